//! Health, metrics and the control socket.
