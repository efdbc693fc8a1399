//! What policy answers: its hops in `towpath explain`.

use std::{net::IpAddr, sync::Arc};

use towpath_image::{
    MapName, PolicyImage,
    datapath::{
        decide::{PolicyVerdict, forward},
        policy::{Direction, PolicyConfig},
    },
};
use towpath_model::{Code, ObjectName, Pod, Protocol, View};
use towpath_netpol::{Isolating, Lacks, PolicyLayout, PolicyPlan, Question, Why};

use super::{Policy, PolicyMetrics, metrics::Pods};
use crate::{
    api::{
        MapReply,
        explain::{self as api, KernelVerdict, Outcome, PolicyHop, PolicyReply, RuleReply},
    },
    reconcile::{AreaAsker, Asked},
};

/// Policies that a hop names at most.
const POLICIES_MAX: usize = 20;
/// Rules that it names of each at most.
const RULES_MAX: usize = 20;

/// The maps of policies, as `status` shows them.
#[must_use]
pub fn maps(asked: &Asked<'_, Policy>) -> Vec<MapReply> {
    let image = asked.runner.area().layout().image();
    let capacities = image.capacities;
    let map = |name: MapName, entries: usize, capacity: u32| MapReply {
        name: name.to_string(),
        entries: entries as u64,
        capacity: u64::from(capacity),
    };
    vec![
        map(MapName::POLICY_PODS, image.pods.len(), capacities.pods),
        map(MapName::POLICY_DEVICES, image.devices.len(), capacities.pods),
        map(MapName::POLICY_PEERS, image.peers.len(), capacities.peers),
        map(MapName::POLICY_BLOCKS, image.blocks.len(), capacities.blocks),
        map(MapName::POLICY_ROW_INDEX, image.row_index.len(), capacities.row_index),
        map(MapName::POLICY_ROWS, image.rows.len(), capacities.rows),
    ]
}

/// Brings metrics up to date that are read, not counted; answers the maps. `None`: policies are off, or
/// the loop did not answer. Work: the pods of this node.
#[must_use]
pub fn gather(asker: &AreaAsker<Policy>, metrics: &PolicyMetrics) -> Option<Vec<MapReply>> {
    let (counters, policies, pods, maps) = asker.ask(|asked| {
        let area = asked.runner.area();
        let pods = Pods {
            all: area.wanted().pods().count(),
            isolated: area.wanted().isolated(),
            bound: area.bindings().len(),
            adrift: area.adrift(),
        };
        (area.counters(), asked.view.network_policies().len(), pods, maps(asked))
    })?;
    metrics.counted(&counters);
    metrics.known(policies, pods);
    Some(maps)
}

/// Judges connections that would begin now.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    view: View<'a>,
    plan: &'a PolicyPlan,
    kernel: Option<(&'a PolicyLayout, &'a PolicyImage)>,
}

/// What is planned without a daemon.
#[derive(Debug)]
pub struct Planned(PolicyPlan);

impl Planned {
    /// From what is known. `dns`: the Service at whose addresses nodes answer DNS themselves.
    #[must_use]
    pub fn of(view: &View<'_>, dns: Option<&ObjectName>) -> Self {
        Self(PolicyPlan::from_scratch(view, dns))
    }

    /// A judge that knows no kernel.
    #[must_use]
    pub const fn judge<'a>(&'a self, view: View<'a>) -> Judge<'a> {
        Judge { view, plan: &self.0, kernel: None }
    }
}

impl Policy {
    /// What did not pass so far.
    #[must_use]
    pub fn drops(&self) -> api::DropsReply {
        let counters = self.counters();
        api::DropsReply {
            denied_ingress: counters.denied_to_pod,
            denied_egress: counters.denied_from_pod,
            spoofed: counters.spoofed,
            unbound: counters.unbound,
            unreadable: counters.unreadable,
            not_for_it: counters.not_for_it,
        }
    }

    /// A judge by what is planned; `held`: what was read back of the maps.
    #[must_use]
    pub fn judge<'a>(&'a self, view: View<'a>, held: Option<&'a PolicyImage>) -> Judge<'a> {
        let kernel = held.map(|held| (self.layout(), held));
        Judge { view, plan: self.wanted(), kernel }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The pod at this end.
    pub pod: &'a Arc<Pod>,
    /// What is asked of it.
    pub direction: Direction,
    /// The address of the other end, as it is seen here.
    pub peer: IpAddr,
    /// Protocol and port of the destination.
    pub carried: (Protocol, u16),
}

impl<'a> Judge<'a> {
    /// The pod that an address belongs to, of those that are known.
    #[must_use]
    pub fn pod_at(&self, ip: IpAddr) -> Option<&'a Arc<Pod>> {
        self.plan.owner(ip)
    }

    /// Is there a policy that could isolate some pod in this direction?
    #[must_use]
    pub fn any(&self, direction: Direction) -> bool {
        self.view.network_policies().any(|policy| match direction {
            Direction::Ingress => policy.ingress.is_some(),
            Direction::Egress => policy.egress.is_some(),
        })
    }

    /// What policies say at one end.
    #[must_use]
    pub fn hop(&self, end: &End<'_>) -> PolicyHop {
        let End { pod, direction, peer, carried } = *end;
        let question = Question { pod, direction, peer, carried: Some(carried) };
        let why = self.plan.explain(&self.view, &question);
        let node = pod.node.as_deref().unwrap_or_default();
        let here = node == self.view.own_node_name();
        let kernel = if here && is_judged(pod) { self.kernel(end, why.passes()) } else { None };
        let mut hop = hop(&why, end);
        (hop.node, hop.here) = (node.to_owned(), here);
        if let Some(kernel) = kernel.as_ref().filter(|kernel| !kernel.agrees) {
            hop.outcome = Outcome::Unknown;
            hop.why = format!("{}; the kernel: {}", hop.why, kernel.verdict);
        }
        hop.kernel = kernel;
        hop
    }

    /// The programs' own decision over what the maps hold.
    fn kernel(&self, end: &End<'_>, passes: bool) -> Option<KernelVerdict> {
        let (layout, held) = self.kernel?;
        let found = layout.slot(&end.pod.name);
        let found = found.and_then(|slot| Some((slot, held.pods.get(&slot)?)));
        let bound = |slot| held.devices.values().any(|device| device.slot() == Some(slot));
        let closed = held.config.flags & PolicyConfig::CLOSED != 0;
        let verdict = |text: &str, agrees| Some(KernelVerdict { verdict: text.to_owned(), agrees });
        let Some((_, record)) = found.filter(|(slot, _)| bound(*slot)) else {
            let text = format!(
                "no device of this node certainly leads to the pod ({}): a device that is not known \
                 is closed while there is any policy",
                Code::PodWithoutDevice
            );
            return verdict(&text, !closed && passes);
        };
        let (protocol, port) = end.carried;
        let (word, peer) = (record.word(end.direction), end.peer.into());
        let judged = forward(held, word, &peer, protocol.number(), Some(port.to_be()));
        let text = match judged {
            PolicyVerdict::NotIsolated => "the pod is not isolated",
            PolicyVerdict::Allowed => "allowed",
            _ => "denied",
        };
        verdict(text, judged.passes() == passes)
    }
}

/// A pod that no device of its own leads to is no table's.
fn is_judged(pod: &Pod) -> bool {
    !pod.state().host_network && !pod.state().finished
}

fn hop(why: &Why, end: &End<'_>) -> PolicyHop {
    let way = way(end.direction);
    let (protocol, port) = end.carried;
    let (peer, protocol) = (end.peer, protocol.as_str());
    let asked = match end.direction {
        Direction::Ingress => format!("{port}/{protocol} from {peer}"),
        Direction::Egress => format!("{port}/{protocol} to {peer}"),
    };
    let passes = if why.passes() { Outcome::Passes } else { Outcome::Dies };
    let (text, policies, more) = match why {
        Why::HostNetwork => {
            ("it has the network of its node: no policy is about it".to_owned(), Vec::new(), 0)
        }
        Why::Finished => ("the pod has ended".to_owned(), Vec::new(), 0),
        Why::NotIsolated => (format!("no policy selects it for {way}"), Vec::new(), 0),
        Why::Rule { policy, rule, policies } => {
            let text = format!("NetworkPolicy {policy} allows {asked}: {way}[{rule}]");
            (text, policies.iter().map(selecting).take(POLICIES_MAX).collect(), policies.len())
        }
        Why::NoRule(closed) => {
            let names: Vec<_> = closed.iter().take(3).map(|one| one.policy.to_string()).collect();
            let more = if closed.len() > 3 { ", ..." } else { "" };
            let text =
                format!("it is selected by {}{more}, and no rule allows {asked}", names.join(", "));
            (
                text,
                closed.iter().take(POLICIES_MAX).map(|one| lacking(one, way)).collect(),
                closed.len(),
            )
        }
    };
    let more_policies = more.saturating_sub(policies.len()) as u64;
    PolicyHop {
        pod: end.pod.name.to_string(),
        node: String::new(),
        here: false,
        outcome: passes,
        why: text,
        policies,
        more_policies,
        kernel: None,
    }
}

const fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn selecting(policy: &ObjectName) -> PolicyReply {
    PolicyReply { name: policy.to_string(), rules: Vec::new(), more_rules: 0 }
}

fn lacking(closed: &Isolating, way: &str) -> PolicyReply {
    let rule = |(at, lacks): (usize, &Lacks)| RuleReply {
        rule: format!("{way}[{at}]"),
        lacks: match lacks {
            Lacks::Peer => api::Lacks::Peer,
            Lacks::Port => api::Lacks::Port,
            Lacks::Both => api::Lacks::Both,
        },
    };
    let rules: Vec<_> = closed.rules.iter().enumerate().take(RULES_MAX).map(rule).collect();
    let more_rules = closed.rules.len().saturating_sub(rules.len()) as u64;
    PolicyReply { name: closed.policy.to_string(), rules, more_rules }
}
