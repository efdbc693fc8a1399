//! What a socket would get from an image: the decisions that the kernel takes, on the host.

use towpath_image::{
    ServiceImage,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, FrontendKey, FrontendWord,
        NodeAddressValue, ServiceRecord, SetChoice, SetWord,
        decide::{Call, Request, Search, SocketAddress, Tables, Verdict, connect},
    },
};

use crate::{answers::Answer, world::Probe};

/// What a program reads: the frontend first, the record and the backends perhaps much later.
struct Maps<'a> {
    first: &'a ServiceImage,
    later: &'a ServiceImage,
}

impl Search for Maps<'_> {
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        self.later.backends.get(slot as usize).copied()
    }
}

impl Tables for Maps<'_> {
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.first.frontends.get(key).copied()
    }
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue> {
        self.first.node_addresses.get(addr).copied()
    }
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord {
        self.later.services.get(&service).map_or(SetWord(0), |record| record.set(choice))
    }
    fn service(&self, service: u32) -> Option<ServiceRecord> {
        self.later.services.get(&service).copied()
    }
    fn affinity(&self, _key: &AffinityKey) -> Option<AffinityValue> {
        None
    }
    fn config(&self) -> ConfigRecord {
        ConfigRecord { host_netns: 1, ..ConfigRecord::default() }
    }
}

pub(crate) fn ask(image: &ServiceImage, probe: &Probe) -> Answer {
    ask_slowly(image, image, probe)
}

#[allow(dead_code, reason = "not every test binary that shares this file asks")]
/// Index of the record that the frontend leads to.
pub(crate) fn leads_to(image: &ServiceImage, probe: &Probe) -> Option<u32> {
    match verdict(image, image, probe) {
        Verdict::NoEndpoint { service }
        | Verdict::NoLocalEndpoint { service }
        | Verdict::SourceRanges { service }
        | Verdict::Damaged { service } => Some(service),
        Verdict::Translate(choice) => Some(choice.service),
        Verdict::Untouched | Verdict::HostOnly | Verdict::UnknownPort => None,
    }
}

fn verdict(first: &ServiceImage, later: &ServiceImage, probe: &Probe) -> Verdict {
    let request = Request {
        call: Call::Connect,
        protocol: probe.protocol,
        to: SocketAddress::new(probe.addr.into(), probe.port.to_be()),
        netns: if probe.host { 1 } else { 2 },
        socket: 0,
    };
    connect(&Maps { first, later }, &request, 0, 0)
}

/// As a program that found the frontend in `first` and was held up until `later`.
pub(crate) fn ask_slowly(first: &ServiceImage, later: &ServiceImage, probe: &Probe) -> Answer {
    match verdict(first, later, probe) {
        Verdict::Untouched | Verdict::HostOnly => Answer::NotAService,
        Verdict::UnknownPort => Answer::UnknownPort,
        Verdict::NoEndpoint { .. } => Answer::Refused,
        Verdict::NoLocalEndpoint { .. } | Verdict::SourceRanges { .. } => Answer::Left,
        Verdict::Damaged { .. } => Answer::Damaged,
        Verdict::Translate(choice) => {
            let backends = later.extent(choice.word).iter();
            let backend = |b: &BackendRecord| (b.addr.into(), u16::from_be(b.port));
            Answer::OneOf(backends.map(backend).collect())
        }
    }
}
