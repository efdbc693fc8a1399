//! Build, run and drain the daemon.
