//! Which backend a connected UDP socket was sent to.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
};

use aya::maps::MapData;
use towpath_image::{
    MapName,
    datapath::{Addr, PeerValue},
};

use crate::{Error, Settings, load, sys};

/// A view of PEERS that any thread may have.
#[derive(Debug)]
pub struct Peers {
    map: MapData,
}

impl Peers {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let (map, _) = load::open(settings, MapName::PEERS)?;
        Ok(Self { map })
    }

    /// Every connected UDP socket that was translated, with its cookie and where it was sent: of all
    /// network namespaces, and for a while also those that were closed since (the map forgets who was
    /// not seen for longest).
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn all(&self) -> io::Result<Vec<(u64, SocketAddr)>> {
        let found = sys::dump::<u64, PeerValue>(self.map.fd().as_fd())?;
        let backend = |v: PeerValue| SocketAddr::new(v.addr.into(), u16::from_be(v.port));
        Ok(found.into_iter().map(|(cookie, value)| (cookie, backend(value))).collect())
    }

    /// Was the socket with this cookie sent to this backend? `port` in host order.
    #[must_use]
    pub fn sent_to(&self, cookie: u64, ip: IpAddr, port: u16) -> bool {
        let wanted = PeerValue { addr: Addr::from(ip), port: port.to_be(), reserved: [0; 3] };
        let found = sys::lookup::<u64, PeerValue>(self.map.fd().as_fd(), &cookie);
        found.is_ok_and(|found| found == Some(wanted))
    }
}
