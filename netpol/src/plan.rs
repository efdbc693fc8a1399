//! What this node wants enforced, kept up to date change by change.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use towpath_model::{Change, Changes, Namespace, NetworkPolicy, ObjectName, Pod, View};

use crate::{
    Atom, Ruleset, Scope, Signature,
    addresses::Addresses,
    blocks::Blocks,
    compile::{Isolation, Vocabulary, compile},
    peer::OwnDns,
    words::Words,
};

/// More namespaces than this are not watched one by one.
const NAMESPACES_MAX: usize = 32;

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct PolicyPlan {
    local: BTreeMap<ObjectName, Arc<Pod>>,
    isolation: BTreeMap<ObjectName, Isolation>,
    vocabulary: Vocabulary,
    pub(crate) blocks: Blocks,
    pub(crate) addresses: Addresses,
    any_policy: bool,
    dns: OwnDns,
}

/// What is different.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PolicyDelta {
    /// Addresses of which the signature changed.
    pub peers: BTreeSet<IpAddr>,
    /// A pod of this node came, went, or has other rulesets or addresses.
    pub pods: bool,
    /// Blocks changed.
    pub blocks: bool,
}

impl PolicyDelta {
    /// Takes a later one in.
    pub fn absorb(&mut self, later: Self) {
        let mut later = later;
        self.peers.append(&mut later.peers);
        self.pods |= later.pods;
        self.blocks |= later.blocks;
    }
}

/// A pod of this node that policies can select.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalPod {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What may come in; `None`: not isolated.
    pub ingress: Option<Arc<Ruleset>>,
    /// What may go out.
    pub egress: Option<Arc<Ruleset>>,
}

/// Whose pods must be known, besides this node's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PodsWanted {
    /// The whole cluster's.
    All,
    /// Those of these namespaces.
    Of(BTreeSet<Arc<str>>),
}

impl PolicyPlan {
    /// Follows a commit. Work: a pod's change costs its addresses times the atoms; a policy's or a
    /// namespace's costs a compile of this node's pods, and where atoms are new, every known pod.
    pub fn update(&mut self, view: &View<'_>, changes: &Changes) -> PolicyDelta {
        let mut delta = PolicyDelta::default();
        let mut touched = BTreeSet::new();
        let mut recompile = !changes.network_policies.is_empty();
        for Change { name, old, new } in &changes.pods {
            for ip in old.iter().filter(|pod| is_peer(pod)).flat_map(|pod| pod.ips()) {
                self.addresses.take(ip, name);
                touched.insert(ip);
            }
            for pod in new.iter().filter(|pod| is_peer(pod)) {
                for ip in pod.ips() {
                    self.addresses.put(ip, pod);
                    touched.insert(ip);
                }
            }
            let was_local = self.local.remove(name);
            if let Some(pod) = new.as_ref().filter(|pod| is_local(pod, view)) {
                self.local.insert(name.clone(), Arc::clone(pod));
            }
            recompile |= was_local.as_ref() != self.local.get(name);
        }
        touched.extend(self.dns.follow(&changes.services));
        let mut all_peers = false;
        if recompile {
            let before = (self.vocabulary.clone(), self.isolation.clone());
            self.isolation = compile(&self.local, view.network_policies(), &mut self.vocabulary);
            self.any_policy = view.network_policies().len() > 0;
            delta.pods = true;
            if before.0 != self.vocabulary {
                let blocks = Blocks::of(self.vocabulary.atoms.iter());
                delta.blocks = blocks != self.blocks;
                self.blocks = blocks;
                all_peers = true;
            }
        }
        if all_peers {
            delta.peers = self.judge_all(view).into_iter().collect();
        }
        touched.extend(self.of_namespaces(view, &changes.namespaces));
        let mut words = Words::new(&self.vocabulary, &self.blocks, view);
        for ip in touched {
            if self.addresses.judge(ip, &mut words, &self.dns) {
                delta.peers.insert(ip);
            }
        }
        delta
    }

    /// The addresses of which a namespace decides what they are.
    fn of_namespaces(&self, view: &View<'_>, changes: &[Change<Namespace>]) -> Vec<IpAddr> {
        if changes.is_empty() {
            return Vec::new();
        }
        let names: BTreeSet<&str> = changes.iter().map(|change| &*change.name.name).collect();
        let pods = view.pods().filter(|pod| names.contains(&*pod.name.namespace));
        let pods = pods.flat_map(|pod| pod.ips());
        pods.chain(self.dns.addresses().iter().copied()).collect()
    }

    /// Everything anew, over what is known now. `dns`: the Service at whose addresses this node answers
    /// DNS itself.
    #[must_use]
    pub fn from_scratch(view: &View<'_>, dns: Option<&ObjectName>) -> Self {
        let mut plan = Self { dns: OwnDns::of(dns, view), ..Self::default() };
        for pod in view.pods() {
            for ip in pod.ips().filter(|_| is_peer(pod)) {
                plan.addresses.put(ip, pod);
            }
            if is_local(pod, view) {
                plan.local.insert(pod.name.clone(), Arc::clone(pod));
            }
        }
        plan.isolation = compile(&plan.local, view.network_policies(), &mut plan.vocabulary);
        plan.any_policy = view.network_policies().len() > 0;
        plan.blocks = Blocks::of(plan.vocabulary.atoms.iter());
        plan.judge_all(view);
        plan
    }

    /// All that is wanted, as a difference from nothing.
    #[must_use]
    pub fn everything(&self) -> PolicyDelta {
        PolicyDelta {
            peers: self.addresses.peers().map(|(ip, _)| ip).collect(),
            pods: true,
            blocks: true,
        }
    }

    fn judge_all(&mut self, view: &View<'_>) -> Vec<IpAddr> {
        let mut words = Words::new(&self.vocabulary, &self.blocks, view);
        self.addresses.judge_all(&mut words, &self.dns)
    }

    /// What an address is to a vocabulary; `None`: no more than what the blocks say.
    pub(crate) fn known(&self, words: &mut Words<'_>, ip: IpAddr) -> Option<Arc<Signature>> {
        match (self.addresses.owner(ip), self.dns.at(ip)) {
            (Some(pod), _) => words.of_pod(pod, ip),
            (None, Some(service)) => words.of(service, ip),
            (None, None) => None,
        }
    }

    /// The pod that an address belongs to. Of two, the one that stays, then the ready one, then the
    /// later name.
    #[must_use]
    pub fn owner(&self, ip: IpAddr) -> Option<&Arc<Pod>> {
        self.addresses.owner(ip)
    }

    /// The pods of this node, with what isolates them.
    pub fn pods(&self) -> impl Iterator<Item = LocalPod> {
        self.local.iter().map(|(name, pod)| {
            let Isolation { ingress, egress } =
                self.isolation.get(name).cloned().unwrap_or_default();
            LocalPod { pod: Arc::clone(pod), ingress, egress }
        })
    }

    /// A pod of this node.
    #[must_use]
    pub fn local(&self, name: &ObjectName) -> Option<&Arc<Pod>> {
        self.local.get(name)
    }

    /// Is there any policy in the cluster? Then devices whose pod is not known yet are closed.
    #[must_use]
    pub const fn any_policy(&self) -> bool {
        self.any_policy
    }

    /// How many pods of this node are isolated in some direction.
    #[must_use]
    pub fn isolated(&self) -> usize {
        let isolated = |pod: &&Isolation| pod.ingress.is_some() || pod.egress.is_some();
        self.isolation.values().filter(isolated).count()
    }

    /// How many atoms are in use.
    #[must_use]
    pub fn atoms(&self) -> usize {
        self.vocabulary.atoms.len()
    }

    /// Does this policy select a pod of this node?
    #[must_use]
    pub fn concerns(&self, policy: &NetworkPolicy) -> bool {
        let namespace = &policy.meta.name.namespace;
        let inside = self.local.values().filter(|pod| pod.name.namespace == *namespace);
        inside.into_iter().any(|pod| policy.subjects.matches(|label| pod.label(label)))
    }

    /// Whose pods the rulesets in use may select.
    #[must_use]
    pub fn pods_wanted(&self, view: &View<'_>) -> PodsWanted {
        let mut wanted = BTreeSet::new();
        for (atom, _) in self.vocabulary.atoms.iter() {
            match atom {
                Atom::Pods { scope: Scope::Own(name), .. } => {
                    wanted.insert(Arc::clone(name));
                }
                Atom::Pods { scope: Scope::Matching(selector), .. } => {
                    let matching = view
                        .namespaces()
                        .filter(|namespace| selector.matches(|label| namespace.label(label)));
                    wanted.extend(matching.map(|namespace| Arc::clone(&namespace.meta.name.name)));
                }
                Atom::Block { .. } => {}
            }
        }
        // A named port of egress may be any pod's.
        match self.vocabulary.names.len() > 0 || wanted.len() > NAMESPACES_MAX {
            true => PodsWanted::All,
            false => PodsWanted::Of(wanted),
        }
    }
}

/// May its addresses be its own? Those of a finished pod may be another's by now (a reuse of which
/// six peers made a hole), those of a pod of the host's network are the node's.
fn is_peer(pod: &Pod) -> bool {
    !pod.state().host_network && !pod.state().finished
}

fn is_local(pod: &Pod, view: &View<'_>) -> bool {
    is_peer(pod) && pod.node.as_deref() == Some(view.own_node_name()) && pod.ips().next().is_some()
}
