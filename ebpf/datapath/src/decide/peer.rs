//! getpeername() of a connected socket.

use super::{SocketAddress, TableMut};

/// The frontend the socket asked for, while its peer is the backend it got; `None`: as it is.
///
/// The comparison matters: connect(AF_UNSPEC) and what follows it are not seen by every hook.
#[inline(always)]
pub fn getpeername<T: TableMut>(tables: &T, peer: &SocketAddress) -> Option<SocketAddress> {
    let record = tables.record();
    let backend = SocketAddress::new(record.backend, record.backend_port);
    if record.connected() && backend.is(peer) {
        return Some(SocketAddress::new(record.frontend, record.frontend_port));
    }
    None
}
