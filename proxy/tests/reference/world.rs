//! A small world of objects that changes at random: few names, few addresses, many collisions. The
//! objects are the JSON that an API server would send. The daemon gets them through its own decoder
//! ([`Said::event`], the only place here that knows it), the reference through `facts.rs`.

#[path = "objects.rs"]
mod objects;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use serde_json::{Value, json};
use towpath_model::{Event, NodeFact, ObjectName, decode};

use crate::question::Probe;

/// The node under test.
pub(crate) const OWN_NODE: &str = "n0";

/// xorshift64*: repeatable everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first numbers of seeds that follow each other are alike.
        for _ in 0..8 {
            random.number();
        }
        random
    }
    pub(crate) fn number(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap()
    }
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.number() >> 1) as usize % limit
    }
    /// True once in `of` times.
    pub(crate) fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Service,
    EndpointSlice,
    Node,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Service, Self::EndpointSlice, Self::Node];

    const fn of_model(self) -> towpath_model::Kind {
        match self {
            Self::Service => towpath_model::Kind::Service,
            Self::EndpointSlice => towpath_model::Kind::EndpointSlice,
            Self::Node => towpath_model::Kind::Node,
        }
    }

    /// What the store asks to have listed again.
    #[allow(dead_code, reason = "not every test binary that shares this file is asked")]
    pub(crate) fn asked(relist: towpath_model::Relist) -> Self {
        Self::ALL.into_iter().find(|kind| kind.of_model() == relist.0.kind).unwrap()
    }
}

/// Namespace and name.
pub(crate) type Name = (String, String);

/// One thing that an API server, or the node itself, says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// A list of this kind begins.
    Begin(Kind),
    Exists(Kind, Arc<Value>),
    /// The object exists, and some field of it has a wrong type.
    #[allow(dead_code, reason = "not every test binary that shares this file says so")]
    Garbled(Kind, Name),
    Gone(Kind, Name),
    /// The list of this kind is complete.
    End(Kind),
    /// What is on this node's devices.
    Addresses(Vec<IpAddr>),
}

impl Said {
    /// As the daemon hears it.
    pub(crate) fn event(&self) -> Event {
        match self {
            Self::Begin(kind) => Event::Init(kind.of_model().into()),
            Self::Exists(kind, json) => read(*kind, json),
            Self::Garbled(kind, (namespace, name)) => {
                let json = json!({
                    "metadata": { "namespace": namespace, "name": name },
                    "spec": 7, "status": 7, "endpoints": 7,
                });
                let event = read(*kind, &json);
                assert!(matches!(event, Event::Bad(..)), "{event:?}");
                event
            }
            Self::Gone(kind, (namespace, name)) => {
                Event::Delete(kind.of_model(), ObjectName::new(namespace, name))
            }
            Self::End(kind) => Event::InitDone(kind.of_model().into()),
            Self::Addresses(addresses) => Event::Local(NodeFact::Addresses(addresses.clone())),
        }
    }
}

fn read(kind: Kind, json: &Value) -> Event {
    match decode(kind.of_model(), json.to_string().as_bytes()) {
        Ok(object) => Event::Apply(object),
        Err(bad) => Event::Bad(*bad.key.unwrap(), *bad.problem),
    }
}

#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) objects: BTreeMap<(Kind, Name), Arc<Value>>,
    /// On this node's devices.
    pub(crate) own_addresses: Vec<IpAddr>,
    /// `socketLB: hostOnly`; the daemon's setting, it never changes.
    pub(crate) host_only: bool,
}

pub(crate) const CLUSTER: [&str; 4] = ["10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4"];
pub(crate) const CLUSTER6: [&str; 3] = ["fd96::1", "fd96::2", "fd96::3"];
pub(crate) const BALANCER: [&str; 3] = ["1.1.1.1", "1.1.1.2", "fd11::1"];
pub(crate) const EXTERNAL: [&str; 3] = ["2.2.2.2", "2.2.2.3", "3.3.3.3"];
pub(crate) const NODES: [&str; 3] = ["192.168.0.10", "192.168.0.11", "192.168.0.12"];
pub(crate) const NODE_PORTS: [u16; 2] = [30001, 30002];
/// On some device of this node, now and then: one of its own, one that another Node object has, one
/// that a load balancer has.
pub(crate) const OWN: [&str; 4] = ["172.16.0.1", "fd16::1", "192.168.0.11", "1.1.1.2"];
/// No host's, but for the last.
pub(crate) const SPECIAL: [&str; 10] = [
    "169.254.1.1",
    "169.254.169.254",
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.1.2.3",
    "255.255.255.255",
    "100.64.0.1",
];
pub(crate) const SPECIAL6: [&str; 5] = ["fe80::1", "febf::1", "::1", "::", "ff02::1"];

static PROBES: LazyLock<Vec<Probe>> = LazyLock::new(probes);

fn probes() -> Vec<Probe> {
    // Port, protocol, host, datagram.
    const AT_VIPS: [(u16, u8, bool, bool); 9] = [
        (80, 6, true, false),
        (80, 6, false, false),
        (80, 132, false, false),
        (53, 17, false, false),
        (53, 17, true, true),
        (53, 17, false, true),
        (53, 6, false, false),
        (81, 6, true, false),
        (81, 17, false, false),
    ];
    const AT_NODES: [(u8, bool, bool); 5] = [
        (6, true, false),
        (6, false, false),
        (17, true, true),
        (17, false, false),
        (132, true, false),
    ];
    let probe = |ip: &str, (port, protocol, host, datagram)| {
        let addr = ip.parse().unwrap();
        Probe { addr, port, protocol, host, datagram }
    };
    let vips = CLUSTER.iter().chain(&CLUSTER6).chain(&BALANCER).chain(&EXTERNAL);
    let mut probes: Vec<Probe> =
        vips.flat_map(|ip| AT_VIPS.map(|asked| probe(ip, asked))).collect();
    let special = SPECIAL.iter().chain(&SPECIAL6);
    probes.extend(special.map(|ip| probe(ip, AT_VIPS[0])));
    for ip in NODES.iter().chain(&OWN).chain(&["127.0.0.1", "::1", SPECIAL[0], "192.168.9.9"]) {
        for port in NODE_PORTS {
            let asked = AT_NODES.map(|(protocol, host, datagram)| (port, protocol, host, datagram));
            probes.extend(asked.map(|asked| probe(ip, asked)));
        }
    }
    probes.sort_unstable();
    probes.dedup();
    probes
}

impl World {
    pub(crate) fn new(host_only: bool) -> Self {
        Self { host_only, ..Self::default() }
    }

    pub(crate) fn probes() -> impl Iterator<Item = Probe> {
        PROBES.iter().copied()
    }

    /// All objects of a kind, by name.
    pub(crate) fn of(&self, of: Kind) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |((kind, _), _)| *kind == of).map(|(_, json)| &**json)
    }

    /// Are these the very same objects of a kind?
    #[allow(dead_code, reason = "not every test binary that shares this file compares")]
    pub(crate) fn has_same(&self, of: Kind, other: &Self) -> bool {
        let objects = |world: &'_ Self| {
            let objects = world.objects.iter().filter(|((kind, _), _)| *kind == of);
            objects.map(|(_, json)| Arc::as_ptr(json)).collect::<Vec<_>>()
        };
        objects(self) == objects(other)
    }

    pub(crate) fn names(&self, of: Kind) -> Vec<Name> {
        let names = self.objects.keys().filter(|(kind, _)| *kind == of);
        names.map(|(_, name)| name.clone()).collect()
    }

    pub(crate) fn put(&mut self, kind: Kind, json: Arc<Value>) {
        self.objects.insert((kind, crate::facts::name(&json)), json);
    }

    pub(crate) fn remove(&mut self, kind: Kind, name: &Name) {
        self.objects.remove(&(kind, name.clone()));
    }

    /// A full list of one kind.
    pub(crate) fn list(&self, of: Kind) -> Vec<Said> {
        let objects = self.objects.iter().filter(|((kind, _), _)| *kind == of);
        let exist = objects.map(|(_, json)| Said::Exists(of, Arc::clone(json)));
        [Said::Begin(of)].into_iter().chain(exist).chain([Said::End(of)]).collect()
    }

    /// Everything, as a daemon hears it that begins.
    pub(crate) fn everything(&self) -> Vec<Said> {
        let mut all = vec![Said::Addresses(self.own_addresses.clone())];
        all.extend(Kind::ALL.into_iter().flat_map(|kind| self.list(kind)));
        all
    }

    /// One change, as it is said.
    pub(crate) fn change(&mut self, random: &mut Random) -> Vec<Said> {
        match random.below(13) {
            0..=3 => vec![self.change_object(Kind::Service, 4, random)],
            4..=8 => vec![self.change_object(Kind::EndpointSlice, 6, random)],
            9 | 10 => vec![self.change_object(Kind::Node, 3, random)],
            11 => vec![self.change_own_addresses(random)],
            _ => self.relist(random),
        }
    }

    /// Everything goes.
    #[allow(dead_code, reason = "not every test binary that shares this file clears")]
    pub(crate) fn clear(&mut self) -> Vec<Said> {
        let (nodes, others): (BTreeMap<_, _>, _) = std::mem::take(&mut self.objects)
            .into_iter()
            .partition(|((kind, _), _)| *kind == Kind::Node);
        self.objects = nodes;
        others.into_keys().map(|(kind, name)| Said::Gone(kind, name)).collect()
    }

    fn change_object(&mut self, kind: Kind, names: usize, random: &mut Random) -> Said {
        let number = random.below(names);
        let name = match kind {
            Kind::Service => ("d".to_owned(), format!("s{number}")),
            Kind::EndpointSlice => ("d".to_owned(), format!("x{number}")),
            Kind::Node => (String::new(), format!("n{number}")),
        };
        if random.chance(6) {
            self.remove(kind, &name);
            return Said::Gone(kind, name);
        }
        let json = Arc::new(match kind {
            Kind::Service => objects::service(&name.1, random),
            Kind::EndpointSlice => objects::slice(&name.1, random),
            Kind::Node => objects::node(&name.1, random),
        });
        self.put(kind, Arc::clone(&json));
        Said::Exists(kind, json)
    }

    fn change_own_addresses(&mut self, random: &mut Random) -> Said {
        let addresses = OWN.iter().filter(|_| random.chance(2)).map(|ip| ip.parse().unwrap());
        self.own_addresses = addresses.collect();
        Said::Addresses(self.own_addresses.clone())
    }

    /// A kind is listed again, and one of its objects was perhaps deleted meanwhile.
    fn relist(&mut self, random: &mut Random) -> Vec<Said> {
        let kind = random.pick(&Kind::ALL);
        if let Some(lost) = self.names(kind).get(random.below(6)) {
            self.remove(kind, lost);
        }
        self.list(kind)
    }
}
