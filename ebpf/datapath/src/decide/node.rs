//! Where a new flow goes that arrives as packets: services.md 1.3 and 1.4.

use super::{SocketAddress, Tables, Verdict, choose::choose, lookup::fitting};
use crate::{
    Addr,
    keys::FrontendKey,
    records::NodeAddressValue,
    words::{FrontendWord, SetChoice, SetWord},
};

/// Where a packet comes from. Known by the device it came in on, never by its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A pod of this node.
    Pod,
    /// The same, at a device where NetworkPolicies judge what comes out of it.
    JudgedPod,
    /// The node itself.
    Node,
    /// Anything else.
    Outside,
}

impl Origin {
    /// Is it a pod of this node?
    #[inline(always)]
    #[must_use]
    pub const fn is_pod(self) -> bool {
        matches!(self, Self::Pod | Self::JudgedPod)
    }
}

/// The first packet of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Where it comes from.
    pub origin: Origin,
    /// Its source address: the client, for affinity and hairpins.
    pub from: Addr,
    /// Where it wants to go.
    pub to: SocketAddress,
    /// IP protocol number.
    pub protocol: u8,
}

/// When sources are replaced though the rules of 1.4 can do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Masquerade {
    /// `masqueradeAll`: of everything that goes to a clusterIP.
    pub all: bool,
    /// `masqueradeLocal`: also before endpoints of this node, as kube-proxy does. Otherwise these see
    /// the client: their answers come by here anyway.
    pub local: bool,
}

/// Which pod addresses are of this node.
pub trait Pods {
    /// Is this the address of an endpoint on this node?
    fn is_here(&self, addr: &Addr) -> bool;
}

/// Where a new flow goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dispatch {
    /// The same answers as for sockets.
    pub verdict: Verdict,
    /// Translated: with a source address of the node's.
    pub masquerade: bool,
}

impl From<Verdict> for Dispatch {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self { verdict, masquerade: false }
    }
}

/// Where a new flow goes. Writes nothing.
#[inline(always)]
pub fn dispatch<T: Tables + Pods>(
    tables: &T,
    arrival: &Arrival,
    settings: Masquerade,
    random: u32,
    now: u32,
) -> Dispatch {
    let word = match frontend(tables, arrival) {
        Found::Frontend(word) => word,
        Found::Guarded => return Verdict::UnknownPort.into(),
        Found::Nothing => return Verdict::Untouched.into(),
    };
    let service = word.service();
    // Before an endpoint is chosen, and of new flows only: a change of ranges cuts none (services.md 1.3).
    if word.has(FrontendWord::SOURCE_RANGES) && !tables.in_ranges(service, &arrival.from) {
        return Verdict::SourceRanges { service }.into();
    }
    if word.has(FrontendWord::OWN_DNS) && tables.own_dns() {
        return Verdict::OwnDns { service }.into();
    }
    let set = tables.set_word(service, set_of(word, arrival.origin));
    let v4 = arrival.to.addr.is_v4();
    let verdict = match choose(tables, arrival.from, v4, word, set, random, now) {
        // None elsewhere either: a server here that comes back answers at once.
        Verdict::NoLocalEndpoint { .. } if word.has(FrontendWord::OWN_DNS) => {
            Verdict::OwnDns { service }
        }
        verdict => verdict,
    };
    let masquerade = match &verdict {
        Verdict::Translate(choice) => {
            masquerades(tables, arrival, word, &choice.backend.addr, settings)
        }
        _ => false,
    };
    Dispatch { verdict, masquerade }
}

/// Does this packet want to go where its source may not? For what leaves the node untranslated.
#[inline(always)]
pub(super) fn is_kept_out<T: Tables>(tables: &T, arrival: &Arrival) -> bool {
    let (addr, port) = (arrival.to.addr, u16::from_be(arrival.to.port));
    // Only addresses of load balancers have ranges (services.md 1.1).
    let word = fitting(tables, &FrontendKey::vip(addr, port, arrival.protocol));
    word.is_some_and(|word| {
        word.has(FrontendWord::SOURCE_RANGES) && !tables.in_ranges(word.service(), &arrival.from)
    })
}

/// The set that a frontend uses for this; `None`: it is no frontend's.
#[inline(always)]
pub(super) fn set_in_force<T: Tables>(tables: &T, arrival: &Arrival) -> Option<SetWord> {
    match frontend(tables, arrival) {
        Found::Frontend(word) => {
            Some(tables.set_word(word.service(), set_of(word, arrival.origin)))
        }
        _ => None,
    }
}

enum Found {
    Nothing,
    Guarded,
    Frontend(FrontendWord),
}

/// VIP first, nodePort on an address of this node second, then what guards a clusterIP. A remote
/// node's nodePort is that node's: unlike a socket's, a packet to it is on its way there.
#[inline(always)]
fn frontend<T: Tables>(tables: &T, arrival: &Arrival) -> Found {
    let (addr, port) = (arrival.to.addr, u16::from_be(arrival.to.port));
    if let Some(word) = fitting(tables, &FrontendKey::vip(addr, port, arrival.protocol)) {
        return Found::Frontend(word);
    }
    if let Some(node) = tables.node_address(&addr)
        && node.flags & NodeAddressValue::OWN != 0
        && let Some(word) = fitting(tables, &FrontendKey::node(addr, port, arrival.protocol))
    {
        return Found::Frontend(word);
    }
    if fitting(tables, &FrontendKey::guard(addr)).is_some() {
        return Found::Guarded;
    }
    Found::Nothing
}

/// Of an external frontend with policy Local, pods and the node are short-circuited to the whole
/// cluster, as if their packets went up to a load balancer and came back to the right node.
#[inline(always)]
const fn set_of(word: FrontendWord, origin: Origin) -> SetChoice {
    if word.has(FrontendWord::EXTERNAL) {
        let local = word.has(FrontendWord::LOCAL_OUTSIDE) && matches!(origin, Origin::Outside);
        return if local { SetChoice::Local } else { SetChoice::Cluster };
    }
    word.set()
}

/// services.md 1.4, rule by rule.
#[inline(always)]
fn masquerades<T: Pods>(
    tables: &T,
    arrival: &Arrival,
    word: FrontendWord,
    backend: &Addr,
    settings: Masquerade,
) -> bool {
    // 5: a pod that reaches itself would answer itself past us.
    if arrival.from.is(backend) {
        return true;
    }
    let external = word.has(FrontendWord::EXTERNAL);
    // 1
    if settings.all && !external {
        return true;
    }
    let wanted = match (external, word.has(FrontendWord::LOCAL_OUTSIDE)) {
        // 2
        (false, _) => !arrival.origin.is_pod(),
        // 3
        (true, false) => true,
        // 4
        (true, true) => matches!(arrival.origin, Origin::Node),
    };
    wanted && (settings.local || !tables.is_here(backend))
}
