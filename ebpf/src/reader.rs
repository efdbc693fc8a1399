//! What the maps hold, read beside the one writer: for audits, which take too long for its thread.

use std::{collections::BTreeMap, io, os::fd::AsFd as _, sync::Arc};

use aya::maps::MapData;
use towpath_image::{
    Capacities, KernelError, MapName, ServiceImage,
    datapath::{
        Addr, BackendRecord, ConfigRecord, FrontendKey, FrontendWord, NodeAddressValue,
        ServiceRecord,
    },
};

use crate::{live::system, mapped::Mapped, sys};

/// A view of the maps. What it reads while they are written is of no single moment.
pub struct KernelReader {
    pub(crate) capacities: Capacities,
    pub(crate) frontends: Arc<MapData>,
    pub(crate) node_addresses: Arc<MapData>,
    pub(crate) services: Arc<Mapped<ServiceRecord>>,
    pub(crate) backends: Arc<Mapped<BackendRecord>>,
    pub(crate) config: Arc<Mapped<ConfigRecord>>,
}

impl std::fmt::Debug for KernelReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelReader").field("capacities", &self.capacities).finish_non_exhaustive()
    }
}

impl KernelReader {
    /// What the maps hold now.
    ///
    /// # Errors
    /// When a map can not be read.
    pub fn read(&self) -> Result<ServiceImage, KernelError> {
        let failed = |map| move |error: io::Error| system(map, "reading", &error);
        let mut image = ServiceImage::with_capacities(self.capacities);
        let frontends = sys::dump::<FrontendKey, FrontendWord>(self.frontends.fd().as_fd());
        image.frontends = frontends.map_err(failed(MapName::FRONTENDS))?.into_iter().collect();
        let addresses = sys::dump::<Addr, NodeAddressValue>(self.node_addresses.fd().as_fd());
        let addresses = addresses.map_err(failed(MapName::NODE_ADDRESSES))?;
        image.node_addresses = addresses.into_iter().collect();
        image.services = (0..self.services.len())
            .filter_map(|index| Some((index, self.services.get(index)?)))
            .filter(|(_, record)| record.identity != 0)
            .collect::<BTreeMap<_, _>>();
        let used = |slot: &u32| {
            self.backends.get(*slot).is_some_and(|record| record != BackendRecord::default())
        };
        let written = (0..self.backends.len()).rev().find(used).map_or(0, |last| last + 1);
        image.backends = (0..written).filter_map(|slot| self.backends.get(slot)).collect();
        image.config = self.config.get(0).unwrap_or_default();
        Ok(image)
    }
}
