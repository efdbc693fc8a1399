//! Policies and the pods that they select -> a ruleset for each direction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use towpath_model::{
    NetworkPolicy, ObjectName, Pod,
    network_policy::{PolicyPort, PolicyRule},
};

use crate::{
    Atom, AtomId, Ports, Rule, Ruleset,
    atoms::{Numbers, PortName},
    peer::Peer as _,
};

/// Rulesets of a pod, by direction; `None`: not isolated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Isolation {
    pub(crate) ingress: Option<Arc<Ruleset>>,
    pub(crate) egress: Option<Arc<Ruleset>>,
}

/// Atoms and names of ports in use, numbered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Vocabulary {
    pub(crate) atoms: Numbers<Atom>,
    pub(crate) names: Numbers<PortName>,
}

/// Compiles every local pod's policies. Only policies that select one cost anything.
pub(crate) fn compile<'a>(
    local: &BTreeMap<ObjectName, Arc<Pod>>,
    policies: impl Iterator<Item = &'a Arc<NetworkPolicy>>,
    vocabulary: &mut Vocabulary,
) -> BTreeMap<ObjectName, Isolation> {
    let selecting = selecting(local, policies);
    let mut compiler = Compiler { vocabulary, shared: BTreeSet::new() };
    let mut compiled = BTreeMap::new();
    for (name, policies) in selecting {
        let Some(pod) = local.get(&name) else { continue };
        let of = |side: fn(&NetworkPolicy) -> Option<&[PolicyRule]>| {
            let rules: Vec<_> = policies
                .iter()
                .filter_map(|policy| Some((&policy.meta.name.namespace, side(policy)?)))
                .collect();
            (!rules.is_empty()).then_some(rules)
        };
        let (into, out) = (of(|p| p.ingress.as_deref()), of(|p| p.egress.as_deref()));
        let ingress = into.map(|rules| compiler.ruleset(&rules, Some(pod)));
        let egress = out.map(|rules| compiler.ruleset(&rules, None));
        compiled.insert(name, Isolation { ingress, egress });
    }
    forget_unused(&compiled, vocabulary);
    compiled
}

/// The policies that select each local pod.
fn selecting<'a>(
    local: &BTreeMap<ObjectName, Arc<Pod>>,
    policies: impl Iterator<Item = &'a Arc<NetworkPolicy>>,
) -> BTreeMap<ObjectName, Vec<&'a Arc<NetworkPolicy>>> {
    let mut selecting: BTreeMap<ObjectName, Vec<&Arc<NetworkPolicy>>> = BTreeMap::new();
    for policy in policies {
        let namespace = &policy.meta.name.namespace;
        let first = ObjectName { namespace: Arc::clone(namespace), name: "".into() };
        let inside = local.range(first..).take_while(|(name, _)| name.namespace == *namespace);
        for (name, pod) in inside {
            if policy.subjects.matches(|label| pod.label(label)) {
                selecting.entry(name.clone()).or_default().push(policy);
            }
        }
    }
    selecting
}

/// One rule alone, in the words of a vocabulary of its own. `pod`: the destination, for ingress.
pub(crate) fn alone(
    namespace: &Arc<str>,
    rule: &PolicyRule,
    pod: Option<&Pod>,
) -> (Rule, Vocabulary) {
    let mut vocabulary = Vocabulary::default();
    let mut compiler = Compiler { vocabulary: &mut vocabulary, shared: BTreeSet::new() };
    let rule = compiler.rule(namespace, rule, pod);
    (rule, vocabulary)
}

struct Compiler<'a> {
    vocabulary: &'a mut Vocabulary,
    /// Equal rulesets are one.
    shared: BTreeSet<Arc<Ruleset>>,
}

impl Compiler<'_> {
    /// `destination`: the pod itself, for ingress; named ports of egress are the peers'.
    fn ruleset(
        &mut self,
        rules: &[(&Arc<str>, &[PolicyRule])],
        destination: Option<&Pod>,
    ) -> Arc<Ruleset> {
        let mut compiled = BTreeSet::new();
        for (namespace, rules) in rules {
            for rule in *rules {
                compiled.insert(self.rule(namespace, rule, destination));
            }
        }
        let ruleset = Arc::new(Ruleset { rules: compiled.into_iter().collect() });
        if let Some(known) = self.shared.get(&ruleset) {
            return Arc::clone(known);
        }
        self.shared.insert(Arc::clone(&ruleset));
        ruleset
    }

    fn rule(&mut self, namespace: &Arc<str>, rule: &PolicyRule, pod: Option<&Pod>) -> Rule {
        let peers = rule.peers.as_ref().map(|peers| {
            let atoms = peers.iter().filter_map(|peer| Atom::of(peer, namespace));
            let atoms: BTreeSet<_> = atoms.map(|atom| self.vocabulary.atoms.of(&atom)).collect();
            atoms.into_iter().collect()
        });
        let ports = rule.ports.as_ref().map(|ports| {
            let mut all = BTreeSet::new();
            for port in ports {
                match (port, pod) {
                    (PolicyPort::Nothing, _) => {}
                    (PolicyPort::Range { protocol, first, last }, _) => {
                        let (protocol, first, last) = (*protocol, *first, *last);
                        all.insert(Ports::Range { protocol, first, last });
                    }
                    (PolicyPort::Named { protocol, name }, Some(pod)) => {
                        all.extend(pod.named(*protocol, name).map(|port| Ports::Range {
                            protocol: *protocol,
                            first: port,
                            last: port,
                        }));
                    }
                    (PolicyPort::Named { protocol, name }, None) => {
                        let name = self.vocabulary.names.of(&(*protocol, name.clone()));
                        all.insert(Ports::Named(name));
                    }
                }
            }
            all.into_iter().collect()
        });
        Rule { peers, ports }
    }
}

fn forget_unused(compiled: &BTreeMap<ObjectName, Isolation>, vocabulary: &mut Vocabulary) {
    let rulesets = compiled.values().flat_map(|pod| [&pod.ingress, &pod.egress]).flatten();
    let (mut atoms, mut names): (BTreeSet<AtomId>, BTreeSet<u32>) = Default::default();
    for rule in rulesets.flat_map(|ruleset| &ruleset.rules) {
        atoms.extend(rule.peers.iter().flatten());
        names.extend(rule.ports.iter().flatten().filter_map(|port| match port {
            Ports::Named(name) => Some(*name),
            Ports::Range { .. } => None,
        }));
    }
    vocabulary.atoms.keep(|atom| atoms.contains(&atom));
    vocabulary.names.keep(|name| names.contains(&name));
}
