//! What a socket would get from an image: the decisions that the kernel takes, on the host.

use towpath_image::{
    Image,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, FrontendKey, FrontendWord,
        NodeAddressValue, ServiceRecord, SetChoice, SetWord,
        decide::{Call, Request, Search, SocketAddress, Tables, Verdict, connect},
    },
};

use crate::{answers::Answer, world::Probe};

struct Maps<'a>(&'a Image);

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
        self.0.services.get(&service).copied()
    }
    fn affinity(&self, _key: &AffinityKey) -> Option<AffinityValue> {
        None
    }
    fn config(&self) -> ConfigRecord {
        ConfigRecord { host_netns: 1, ..ConfigRecord::default() }
    }
}

pub(crate) fn ask(image: &Image, probe: &Probe) -> Answer {
    let request = Request {
        call: Call::Connect,
        protocol: probe.protocol,
        to: SocketAddress::new(probe.addr.into(), probe.port.to_be()),
        netns: if probe.host { 1 } else { 2 },
        socket: 0,
    };
    match connect(&Maps(image), &request, 0, 0) {
        Verdict::Untouched | Verdict::HostOnly => Answer::NotAService,
        Verdict::UnknownPort => Answer::UnknownPort,
        Verdict::NoEndpoint { .. } => Answer::Refused,
        Verdict::NoLocalEndpoint { .. } | Verdict::SourceRanges { .. } => Answer::Left,
        Verdict::Damaged { .. } => Answer::Damaged,
        Verdict::Translate(choice) => {
            let backends = image.extent(choice.word).iter();
            let backend = |b: &BackendRecord| (b.addr.into(), u16::from_be(b.port));
            Answer::OneOf(backends.map(backend).collect())
        }
    }
}
