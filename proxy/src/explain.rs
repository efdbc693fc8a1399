//! What a socket on this node would get: the program's own decision ([`connect()`]), run over what
//! the kernel holds, and its verdict in words. There is no second copy of the rules here.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use towpath_image::{
    ServiceImage,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, FrontendKey, FrontendWord,
        NodeAddressValue, ServiceRecord, SetChoice, SetWord,
        decide::{Call, Request, Search, SocketAddress, Tables, Verdict, connect},
        protocol,
    },
};
use towpath_model::{ObjectName, Protocol};

use crate::plan::ServicePlan;

/// Who asks for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Where the socket wants to go.
    pub to: SocketAddr,
    /// How.
    pub protocol: Protocol,
    /// The socket is in the host's network namespace, not in a pod's.
    pub host: bool,
}

/// A Service as the kernel knows it, by its index, and its name while the plan has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Index into SERVICES.
    pub index: u32,
    /// `None`: the kernel holds it, the plan does not (any more).
    pub name: Option<ObjectName>,
}

/// The answer, for a client that has no session affinity yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// No Service has this address: the socket is left alone.
    NotAService,
    /// Sockets of pods are left alone (`socketLB: hostOnly`).
    HostOnly,
    /// The address is a clusterIP, but the Service has no such port: refused.
    UnknownPort,
    /// Left alone, and why.
    Left {
        /// Service.
        service: Holder,
        /// Why.
        why: &'static str,
    },
    /// Refused: no endpoint is usable.
    Refused {
        /// Service.
        service: Holder,
    },
    /// The tables contradict each other: left alone until the audit repairs them.
    Damaged {
        /// Service.
        service: Holder,
    },
    /// One of these.
    Translated {
        /// Service.
        service: Holder,
        /// Backends.
        backends: Vec<(IpAddr, u16)>,
        /// Seconds that a client keeps its backend.
        affinity_seconds: Option<u32>,
    },
}

/// Asks what the kernel holds; `plan` only gives names.
#[must_use]
pub fn explain(image: &ServiceImage, plan: &ServicePlan, question: &Question) -> Answer {
    let request = request(image, question);
    let holder = |index| Holder { index, name: owner(image, plan, index) };
    match connect(&Held(image), &request, 0, 0) {
        Verdict::Untouched => Answer::NotAService,
        Verdict::HostOnly => Answer::HostOnly,
        Verdict::UnknownPort => Answer::UnknownPort,
        Verdict::NoEndpoint { service } => Answer::Refused { service: holder(service) },
        Verdict::NoLocalEndpoint { service } => Answer::Left {
            service: holder(service),
            why: "its policy is Local, and the node that is asked has no usable endpoint",
        },
        Verdict::SourceRanges { service } => Answer::Left {
            service: holder(service),
            why: "the frontend has source ranges, which sockets cannot check",
        },
        Verdict::Damaged { service } => Answer::Damaged { service: holder(service) },
        Verdict::Translate(choice) => {
            let service = holder(choice.service);
            let Some(backends) = draws(image, &request, choice.word) else {
                return Answer::Damaged { service };
            };
            let record = image.services.get(&choice.service);
            let affinity = record.filter(|_| choice.affinity != 0);
            let affinity_seconds = affinity.map(|record| record.affinity_seconds);
            Answer::Translated { service, backends, affinity_seconds }
        }
    }
}

/// What the program chooses with each draw that lands on another slot of the set; `None` when one
/// of them lands on something damaged.
fn draws(image: &ServiceImage, request: &Request, word: SetWord) -> Option<Vec<(IpAddr, u16)>> {
    let count = u64::from(word.count());
    let one = |slot: u64| {
        // The smallest number whose share of `count` is this slot.
        let random = u32::try_from((slot << 32).div_ceil(count)).ok()?;
        match connect(&Held(image), request, random, 0) {
            Verdict::Translate(choice) => {
                Some((choice.backend.addr.into(), u16::from_be(choice.backend.port)))
            }
            _ => None,
        }
    };
    (0..count).map(one).collect()
}

/// The call that a program would see. Of UDP it is the datagram: connect() is never refused.
fn request(image: &ServiceImage, question: &Question) -> Request {
    let number = question.protocol.number();
    let host = image.config.host_netns;
    Request {
        call: if number == protocol::UDP { Call::Send } else { Call::Connect },
        protocol: number,
        to: SocketAddress::new(question.to.ip().into(), question.to.port().to_be()),
        netns: if question.host { host } else { host.wrapping_add(1) },
        socket: 0,
    }
}

/// Whose record this index holds, as the plan knows it.
fn owner(image: &ServiceImage, plan: &ServicePlan, index: u32) -> Option<ObjectName> {
    let identity = image.services.get(&index)?.identity;
    let ports = plan.services().flat_map(|service| &service.ports);
    let mut records = ports.flat_map(|port| port.records());
    records.find(|record| record.identity == identity).map(|record| record.owner.clone())
}

/// The maps as the decisions read them.
struct Held<'a>(&'a ServiceImage);

impl Search for Held<'_> {
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        self.0.backends.get(usize::try_from(slot).ok()?).copied()
    }
}

impl Tables for Held<'_> {
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
        // An array has an element at every index; a zero one is unused.
        let within = service < self.0.capacities.services;
        within.then(|| self.0.services.get(&service).copied().unwrap_or_default())
    }
    /// The client is new: it has no affinity yet.
    fn affinity(&self, _key: &AffinityKey) -> Option<AffinityValue> {
        None
    }
    fn config(&self) -> ConfigRecord {
        self.0.config
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "Service {name}"),
            None => write!(f, "index {} of the kernel, which no Service of now has", self.index),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAService => f.write_str("not the address of a Service: left alone"),
            Self::HostOnly => {
                f.write_str("left alone: only sockets of the host are served (socketLB: hostOnly)")
            }
            Self::UnknownPort => f.write_str("refused: the Service has no such port"),
            Self::Left { service, why } => write!(f, "{service}: left alone: {why}"),
            Self::Refused { service } => write!(f, "{service}: refused: no endpoint is usable"),
            Self::Damaged { service } => {
                write!(f, "{service}: left alone: its tables are damaged, the next audit repairs")
            }
            Self::Translated { service, backends, affinity_seconds } => {
                let many = if backends.len() == 1 { "" } else { "s" };
                write!(f, "{service}: one of {} endpoint{many}", backends.len())?;
                match affinity_seconds {
                    Some(seconds) => write!(f, ", kept for {seconds} s after the last use"),
                    None => Ok(()),
                }
            }
        }
    }
}
