//! What a socket would get from an image: the decisions that the kernel takes, on the host.

use towpath_image::{
    ServiceImage,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, FrontendKey, FrontendWord,
        NodeAddressValue, ServiceRecord, SetChoice, SetWord,
        decide::{Action, Call, Request, Search, SocketAddress, Tables, Verdict, connect},
    },
};

use crate::question::{Answer, Probe, When};

/// What a program reads: the frontend first, the record and the backends perhaps much later.
pub(crate) struct Maps<'a> {
    pub(crate) first: &'a ServiceImage,
    pub(crate) later: &'a ServiceImage,
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
        self.first.config
    }
    fn in_ranges(&self, service: u32, from: &Addr) -> bool {
        self.later.in_ranges(service, from)
    }
}

pub(crate) fn ask(image: &ServiceImage, probe: &Probe) -> Answer {
    ask_slowly(image, image, probe)
}

#[allow(dead_code, reason = "not every test binary that shares this file asks")]
/// Index of the record that the frontend leads to.
pub(crate) fn leads_to(image: &ServiceImage, probe: &Probe) -> Option<u32> {
    match connect(&Maps { first: image, later: image }, &request(image, probe), 0, 0) {
        Verdict::NoEndpoint { service }
        | Verdict::NoLocalEndpoint { service }
        | Verdict::SourceRanges { service }
        | Verdict::OwnDns { service }
        | Verdict::Damaged { service } => Some(service),
        Verdict::Translate(choice) => Some(choice.service),
        Verdict::Untouched | Verdict::HostOnly | Verdict::UnknownPort => None,
    }
}

/// The call that a program would see.
pub(crate) fn request(image: &ServiceImage, probe: &Probe) -> Request {
    let host = image.config.host_netns;
    Request {
        call: if probe.datagram { Call::Send } else { Call::Connect },
        protocol: probe.protocol,
        to: SocketAddress::new(probe.addr.into(), probe.port.to_be()),
        from: Addr::from(probe.addr).any_of_family(),
        netns: if probe.host { host } else { host + 1 },
        socket: 0,
    }
}

/// As a program that found the frontend in `first` and was held up until `later`.
pub(crate) fn ask_slowly(first: &ServiceImage, later: &ServiceImage, probe: &Probe) -> Answer {
    let request = request(first, probe);
    let verdict = connect(&Maps { first, later }, &request, 0, 0);
    let when = match verdict.action(&request) {
        Action::Refuse => When::AtOnce,
        Action::Leave | Action::Rewrite(_) => When::Later,
    };
    match verdict {
        Verdict::Untouched => Answer::NotAService,
        Verdict::HostOnly => Answer::HostOnly,
        Verdict::UnknownPort => Answer::UnknownPort(when),
        Verdict::NoEndpoint { .. } => Answer::NoEndpoint(when),
        Verdict::NoLocalEndpoint { .. } => Answer::NoLocalEndpoint,
        // Nothing beats here: what the sets say is what is asked for.
        Verdict::OwnDns { .. } | Verdict::SourceRanges { .. } => Answer::SourceRanges,
        Verdict::Damaged { .. } => Answer::Damaged,
        Verdict::Translate(choice) => {
            let backends = later.extent(choice.word).iter();
            let backend = |b: &BackendRecord| (b.addr.into(), u16::from_be(b.port));
            let record = later.services.get(&choice.service).filter(|_| choice.affinity != 0);
            let keeps = record.map(|record| record.affinity_seconds);
            Answer::OneOf(backends.map(backend).collect(), keeps)
        }
    }
}
