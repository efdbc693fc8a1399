//! Which rule decides, and what the others lack: for people. Each rule is compiled alone, by the
//! compiler that makes the tables, and asked alone: there is no second reading of a policy here.

use std::{net::IpAddr, sync::Arc};

use towpath_image::datapath::policy::Direction;
use towpath_model::{NetworkPolicy, ObjectName, Pod, Protocol, View, network_policy::PolicyRule};

use crate::{
    Allowed, PolicyPlan, Rule, Ruleset, Signature,
    blocks::Blocks,
    compile::{Vocabulary, alone},
    words::Words,
};

/// May this pod get (or send) this, from (or to) that address?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The pod whose policies are asked, of this node or another.
    pub pod: &'a Pod,
    /// Which way.
    pub direction: Direction,
    /// The other end.
    pub peer: IpAddr,
    /// Protocol and port of the destination; `None`: something without ports.
    pub carried: Option<(Protocol, u16)>,
}

/// What decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The pod has the network of its node: no policy is about it.
    HostNetwork,
    /// The pod has ended.
    Finished,
    /// No policy of the direction selects it.
    NotIsolated,
    /// A rule allows it.
    Rule {
        /// Whose.
        policy: ObjectName,
        /// Place among the rules of the direction.
        rule: usize,
        /// All policies that select the pod in the direction.
        policies: Vec<ObjectName>,
    },
    /// These policies select the pod, and none has a rule that allows it.
    NoRule(Vec<Isolating>),
}

impl Why {
    /// Does it pass?
    #[must_use]
    pub const fn passes(&self) -> bool {
        !matches!(self, Self::NoRule(_))
    }
}

/// A policy that selects a pod and does not allow what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Isolating {
    /// Which.
    pub policy: ObjectName,
    /// What each of its rules of the direction lacks.
    pub rules: Vec<Lacks>,
}

/// Why a rule does not allow something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lacks {
    /// The ports are right; the other end is not among its peers.
    Peer,
    /// The other end is right; the port is not among its ports.
    Port,
    /// Neither is right.
    Both,
}

impl PolicyPlan {
    /// Judges one end of a connection that would begin now, by the objects. Work: the policies of the
    /// pod's namespace, and the rules of those that select it.
    #[must_use]
    pub fn explain(&self, view: &View<'_>, question: &Question<'_>) -> Why {
        let pod = question.pod;
        if pod.state().host_network {
            return Why::HostNetwork;
        }
        if pod.state().finished {
            return Why::Finished;
        }
        let selecting: Vec<(&Arc<NetworkPolicy>, &[PolicyRule])> = view
            .network_policies()
            .filter(|policy| policy.meta.name.namespace == pod.name.namespace)
            .filter(|policy| policy.subjects.matches(|label| pod.label(label)))
            .filter_map(|policy| Some((policy, side(policy, question.direction)?)))
            .collect();
        if selecting.is_empty() {
            return Why::NotIsolated;
        }
        let mut closed = Vec::new();
        for (policy, rules) in &selecting {
            let mut lacking = Vec::with_capacity(rules.len());
            for (at, rule) in rules.iter().enumerate() {
                match self.lacks(view, question, policy, rule) {
                    Some(lacks) => lacking.push(lacks),
                    None => {
                        let names = selecting.iter().map(|(one, _)| one.meta.name.clone());
                        let policy = policy.meta.name.clone();
                        return Why::Rule { policy, rule: at, policies: names.collect() };
                    }
                }
            }
            closed.push(Isolating { policy: policy.meta.name.clone(), rules: lacking });
        }
        Why::NoRule(closed)
    }

    /// `None`: the rule allows it.
    fn lacks(
        &self,
        view: &View<'_>,
        question: &Question<'_>,
        policy: &NetworkPolicy,
        rule: &PolicyRule,
    ) -> Option<Lacks> {
        let destination = match question.direction {
            Direction::Ingress => Some(question.pod),
            Direction::Egress => None,
        };
        let (rule, vocabulary) = alone(&policy.meta.name.namespace, rule, destination);
        let peer = self.peer(view, &vocabulary, question.peer);
        let holds = |rule: Rule| allowed(rule, &peer).holds(question.carried);
        if holds(rule.clone()) {
            return None;
        }
        let Rule { peers, ports } = rule;
        let peer = holds(Rule { peers, ports: None });
        let port = holds(Rule { peers: None, ports });
        Some(match (peer, port) {
            (true, _) => Lacks::Port,
            (false, true) => Lacks::Peer,
            (false, false) => Lacks::Both,
        })
    }

    /// What the other end is to these words.
    fn peer(&self, view: &View<'_>, vocabulary: &Vocabulary, ip: IpAddr) -> Signature {
        let blocks = Blocks::of(vocabulary.atoms.iter());
        let known = self.known(&mut Words::new(vocabulary, &blocks, view), ip);
        let of_blocks = || Signature { atoms: blocks.at(ip).to_vec(), ..Signature::default() };
        known.map_or_else(of_blocks, |known| (*known).clone())
    }
}

fn allowed(rule: Rule, peer: &Signature) -> Allowed {
    Ruleset { rules: vec![rule] }.allowed(peer)
}

/// The rules of a direction; `None`: the policy is not about it.
fn side(policy: &NetworkPolicy, direction: Direction) -> Option<&[PolicyRule]> {
    match direction {
        Direction::Ingress => policy.ingress.as_deref(),
        Direction::Egress => policy.egress.as_deref(),
    }
}
