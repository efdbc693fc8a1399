//! What a socket on this node would get, or a packet from outside: the programs' own decisions
//! ([`connect()`], [`dispatch()`]), run over what the kernel holds, and their verdicts in words. There
//! is no second copy of the rules here: which frontend and which set decided is noted as they are read.

mod endpoints;

use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
};

use towpath_image::{
    ServiceImage,
    datapath::{
        Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, FrontendKey, FrontendWord,
        NodeAddressValue, ServiceRecord, SetChoice, SetWord,
        decide::{
            Call, Request, Search, SocketAddress, Tables, Verdict, connect, dispatch,
            node::{Arrival, Masquerade, Origin, Pods},
        },
        protocol,
    },
};
use towpath_model::{ObjectName, Protocol};

use crate::plan::ServicePlan;

pub use endpoints::{EndpointFact, endpoints};

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

/// By which way the first packet of a flow is judged.
#[derive(Clone, Copy, Debug)]
pub enum Via<'a> {
    /// As the socket of a program.
    Socket {
        /// It is in the host's network namespace, not in a pod's.
        host: bool,
    },
    /// As a packet that comes in by a device of the node's own.
    Packet {
        /// Its source.
        from: IpAddr,
        /// Addresses of endpoints on this node.
        here: &'a BTreeSet<IpAddr>,
    },
}

/// An answer, and what was read on the way to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The answer.
    pub answer: Answer,
    /// The frontend that was found.
    pub frontend: Option<FrontendKey>,
    /// The set that it leads to.
    pub set: Option<SetChoice>,
    /// The endpoints that see an address of the node's in place of the client's.
    pub masqueraded: BTreeSet<(IpAddr, u16)>,
}

/// Asks what the kernel holds; `plan` only gives names.
#[must_use]
pub fn explain(image: &ServiceImage, plan: &ServicePlan, question: &Question) -> Answer {
    let way = Via::Socket { host: question.host };
    trace(image, plan, question.to, question.protocol, way).answer
}

/// The same, by whichever way, with what was read.
#[must_use]
pub fn trace(
    image: &ServiceImage,
    plan: &ServicePlan,
    to: SocketAddr,
    protocol: Protocol,
    via: Via<'_>,
) -> Trace {
    let held = Held { image, via, frontend: Cell::new(None), set: Cell::new(None) };
    let (verdict, _) = held.decide(to, protocol, 0);
    let (frontend, set) = (held.frontend.get(), held.set.get());
    let mut masqueraded = BTreeSet::new();
    let holder = |index| Holder { index, name: owner(image, plan, index) };
    let answer = match verdict {
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
            why: match via {
                Via::Socket { host: false } => {
                    "the frontend has source ranges, which are judged by the pod's packets"
                }
                Via::Socket { host: true } => "the frontend has source ranges without this node",
                Via::Packet { .. } => "the frontend has source ranges, none with this source",
            },
        },
        Verdict::OwnDns { service } => Answer::Left {
            service: holder(service),
            why: "this node's own DNS server answers there",
        },
        Verdict::Damaged { service } => Answer::Damaged { service: holder(service) },
        Verdict::Translate(choice) => {
            let service = holder(choice.service);
            match held.draws(to, protocol, choice.word, &mut masqueraded) {
                None => Answer::Damaged { service },
                Some(backends) => {
                    let record = image.services.get(&choice.service);
                    let affinity = record.filter(|_| choice.affinity != 0);
                    let affinity_seconds = affinity.map(|record| record.affinity_seconds);
                    Answer::Translated { service, backends, affinity_seconds }
                }
            }
        }
    };
    Trace { answer, frontend, set, masqueraded }
}

/// Whose record this index holds, as the plan knows it.
fn owner(image: &ServiceImage, plan: &ServicePlan, index: u32) -> Option<ObjectName> {
    let identity = image.services.get(&index)?.identity;
    let ports = plan.services().flat_map(|service| &service.ports);
    let mut records = ports.flat_map(|port| port.records());
    records.find(|record| record.identity == identity).map(|record| record.owner.clone())
}

/// The maps as the decisions read them, and what they read last.
struct Held<'a> {
    image: &'a ServiceImage,
    via: Via<'a>,
    frontend: Cell<Option<FrontendKey>>,
    set: Cell<Option<SetChoice>>,
}

impl Held<'_> {
    /// The verdict with this draw, and whether the source is replaced.
    fn decide(&self, to: SocketAddr, protocol: Protocol, random: u32) -> (Verdict, bool) {
        let number = protocol.number();
        let address = SocketAddress::new(to.ip().into(), to.port().to_be());
        match self.via {
            Via::Socket { host } => {
                let netns = self.image.config.host_netns;
                let request = Request {
                    // Of UDP it is the datagram: connect() is never refused.
                    call: if number == protocol::UDP { Call::Send } else { Call::Connect },
                    protocol: number,
                    to: address,
                    from: address.addr.any_of_family(),
                    netns: if host { netns } else { netns.wrapping_add(1) },
                    socket: 0,
                };
                (connect(self, &request, random, 0), false)
            }
            Via::Packet { from, .. } => {
                let origin = Origin::Outside;
                let arrival = Arrival { origin, from: from.into(), to: address, protocol: number };
                let found = dispatch(self, &arrival, Masquerade::default(), random, 0);
                (found.verdict, found.masquerade)
            }
        }
    }

    /// What is chosen with each draw that lands on another slot of the set; `None` when one of them
    /// lands on something damaged.
    fn draws(
        &self,
        to: SocketAddr,
        protocol: Protocol,
        word: SetWord,
        masqueraded: &mut BTreeSet<(IpAddr, u16)>,
    ) -> Option<Vec<(IpAddr, u16)>> {
        let count = u64::from(word.count());
        let mut backends = Vec::with_capacity(usize::from(word.count()));
        for slot in 0..count {
            // The smallest number whose share of `count` is this slot.
            let random = u32::try_from((slot << 32).div_ceil(count)).ok()?;
            let (Verdict::Translate(choice), replaced) = self.decide(to, protocol, random) else {
                return None;
            };
            let backend = (choice.backend.addr.into(), u16::from_be(choice.backend.port));
            masqueraded.extend(replaced.then_some(backend));
            backends.push(backend);
        }
        Some(backends)
    }
}

impl Search for Held<'_> {
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        self.image.backends.get(usize::try_from(slot).ok()?).copied()
    }
}

impl Tables for Held<'_> {
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        let word = self.image.frontends.get(key).copied()?;
        if word.fits(key) {
            self.frontend.set(Some(*key));
        }
        Some(word)
    }
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue> {
        self.image.node_addresses.get(addr).copied()
    }
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord {
        self.set.set(Some(choice));
        self.image.services.get(&service).map_or(SetWord(0), |record| record.set(choice))
    }
    fn service(&self, service: u32) -> Option<ServiceRecord> {
        // An array has an element at every index; a zero one is unused.
        let within = service < self.image.capacities.services;
        within.then(|| self.image.services.get(&service).copied().unwrap_or_default())
    }
    /// The client is new: it has no affinity yet.
    fn affinity(&self, _key: &AffinityKey) -> Option<AffinityValue> {
        None
    }
    fn config(&self) -> ConfigRecord {
        self.image.config
    }
    fn in_ranges(&self, service: u32, from: &Addr) -> bool {
        self.image.in_ranges(service, from)
    }
    /// Only a daemon that serves is asked.
    fn own_dns(&self) -> bool {
        true
    }
}

impl Pods for Held<'_> {
    fn is_here(&self, addr: &Addr) -> bool {
        match self.via {
            Via::Packet { here, .. } => here.contains(&IpAddr::from(*addr)),
            Via::Socket { .. } => false,
        }
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
