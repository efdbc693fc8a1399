//! The maps as the kernel's own arrays and hashes are: written apart from `explain`'s.

use towpath_image::{
    ServiceImage,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, FrontendKey, FrontendWord,
        NodeAddressValue, ServiceRecord, SetChoice, SetWord,
        decide::{Search, Tables},
    },
};

pub(crate) struct Maps<'a>(pub(crate) &'a ServiceImage, pub(crate) ConfigRecord);

impl Search for Maps<'_> {
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        self.0.backends.get(slot as usize).copied()
    }
}

impl Tables for Maps<'_> {
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.0.frontends.get(key).copied()
    }
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue> {
        self.0.node_addresses.get(addr).copied()
    }
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord {
        self.0.services.get(&service).map_or(SetWord(0), |record| record.set(choice))
    }
    fn service(&self, service: u32) -> Option<ServiceRecord> {
        if service >= self.0.capacities.services {
            return None;
        }
        Some(self.0.services.get(&service).copied().unwrap_or_default())
    }
    fn affinity(&self, _key: &AffinityKey) -> Option<AffinityValue> {
        None
    }
    fn config(&self) -> ConfigRecord {
        self.1
    }
    fn in_ranges(&self, service: u32, from: &Addr) -> bool {
        self.0.source_ranges.iter().any(|key| key.contains(service, from))
    }
    fn own_dns(&self) -> bool {
        true
    }
}
