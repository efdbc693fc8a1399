//! Which backend a connected UDP socket was sent to.

use std::net::{IpAddr, SocketAddr};

use towpath_image::{
    KernelError,
    datapath::{Addr, PeerValue},
};

use crate::maps::Hash;

/// A view of PEERS that any thread may have.
#[derive(Clone, Debug)]
pub struct Peers {
    map: Hash<u64, PeerValue>,
}

impl Peers {
    pub(crate) const fn new(map: Hash<u64, PeerValue>) -> Self {
        Self { map }
    }

    /// Every connected UDP socket that was translated, with its cookie and where it was sent: of all
    /// network namespaces, and for a while also those that were closed since (the map forgets who was
    /// not seen for longest).
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn all(&self) -> Result<Vec<(u64, SocketAddr)>, KernelError> {
        let backend = |v: PeerValue| SocketAddr::new(v.addr.into(), u16::from_be(v.port));
        Ok(self.map.all()?.into_iter().map(|(cookie, value)| (cookie, backend(value))).collect())
    }

    /// Was the socket with this cookie sent to this backend? `port` in host order.
    #[must_use]
    pub fn sent_to(&self, cookie: u64, ip: IpAddr, port: u16) -> bool {
        let wanted = PeerValue { addr: Addr::from(ip), port: port.to_be(), reserved: [0; 3] };
        self.map.get(&cookie).is_ok_and(|found| found == Some(wanted))
    }
}
