//! What this node wants enforced, kept up to date change by change.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use towpath_model::{Change, Changes, Namespace, NetworkPolicy, ObjectName, Pod, View};

use crate::{
    Atom, Ruleset, Scope, Signature,
    blocks::Blocks,
    compile::{Isolation, Vocabulary, compile},
    peer::{OwnDns, Peer},
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
    /// Pods that an address is said to be of.
    owners: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
    /// Addresses that are more than their blocks say.
    pub(crate) peers: BTreeMap<IpAddr, Signature>,
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
        self.peers.extend(later.peers);
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
                if let Some(owners) = self.owners.get_mut(&ip) {
                    owners.remove(name);
                    if owners.is_empty() {
                        self.owners.remove(&ip);
                    }
                }
                touched.insert(ip);
            }
            for ip in new.iter().filter(|pod| is_peer(pod)).flat_map(|pod| pod.ips()) {
                self.owners.entry(ip).or_default().insert(name.clone());
                touched.insert(ip);
            }
            let was_local = self.local.remove(name);
            if let Some(pod) = new.as_ref().filter(|pod| is_local(pod, view)) {
                self.local.insert(name.clone(), Arc::clone(pod));
            }
            recompile |= was_local.as_ref() != self.local.get(name);
        }
        touched.extend(self.dns.follow(&changes.services));
        let mut all_peers = !changes.namespaces.is_empty();
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
            touched.extend(self.owners.keys());
            touched.extend(self.peers.keys());
            touched.extend(self.dns.addresses());
        }
        for ip in touched {
            if self.refresh(ip, view) {
                delta.peers.insert(ip);
            }
        }
        delta
    }

    /// Everything anew, over what is known now. `dns`: the Service at whose addresses this node answers
    /// DNS itself.
    #[must_use]
    pub fn from_scratch(view: &View<'_>, dns: Option<&ObjectName>) -> Self {
        let mut plan = Self { dns: OwnDns::of(dns, view), ..Self::default() };
        for pod in view.pods() {
            for ip in pod.ips().filter(|_| is_peer(pod)) {
                plan.owners.entry(ip).or_default().insert(pod.name.clone());
            }
            if is_local(pod, view) {
                plan.local.insert(pod.name.clone(), Arc::clone(pod));
            }
        }
        plan.isolation = compile(&plan.local, view.network_policies(), &mut plan.vocabulary);
        plan.any_policy = view.network_policies().len() > 0;
        plan.blocks = Blocks::of(plan.vocabulary.atoms.iter());
        let ips = plan.owners.keys().chain(plan.dns.addresses());
        let ips: Vec<IpAddr> = ips.copied().collect();
        for ip in ips {
            plan.refresh(ip, view);
        }
        plan
    }

    /// All that is wanted, as a difference from nothing.
    #[must_use]
    pub fn everything(&self) -> PolicyDelta {
        PolicyDelta { peers: self.peers.keys().copied().collect(), pods: true, blocks: true }
    }

    /// Judges an address anew; true when its signature is another one.
    fn refresh(&mut self, ip: IpAddr, view: &View<'_>) -> bool {
        match self.known(&self.vocabulary, &self.blocks, ip, view) {
            Some(signature) => {
                let before = self.peers.insert(ip, signature);
                before.as_ref() != self.peers.get(&ip)
            }
            None => self.peers.remove(&ip).is_some(),
        }
    }

    /// What an address is to a vocabulary; `None`: no more than what the blocks say.
    pub(crate) fn known(
        &self,
        vocabulary: &Vocabulary,
        blocks: &Blocks,
        ip: IpAddr,
        view: &View<'_>,
    ) -> Option<Signature> {
        match (self.owner(ip, view), self.dns.at(ip)) {
            (Some(pod), _) => signature(vocabulary, blocks, &**pod, ip, view),
            (None, Some(service)) => signature(vocabulary, blocks, service, ip, view),
            (None, None) => None,
        }
    }

    /// The pod that an address belongs to. Of two, the one that stays, then the ready one, then the
    /// later name.
    #[must_use]
    pub fn owner<'a>(&self, ip: IpAddr, view: &View<'a>) -> Option<&'a Arc<Pod>> {
        let owners = self.owners.get(&ip)?.iter().filter_map(|name| view.pod(name));
        owners.max_by_key(|pod| (!pod.state().terminating, pod.state().ready, pod.name.clone()))
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

/// What an address of this peer is to a vocabulary; `None` when it is no more than what the blocks say.
fn signature(
    vocabulary: &Vocabulary,
    blocks: &Blocks,
    peer: &impl Peer,
    ip: IpAddr,
    view: &View<'_>,
) -> Option<Signature> {
    let namespace = namespace_of(peer, view);
    let selects = |(atom, id): (&Atom, u32)| atom.selects(peer, namespace).then_some(id);
    let mut atoms: Vec<u32> = vocabulary.atoms.iter().filter_map(selects).collect();
    let mut ports = Vec::new();
    for ((protocol, name), id) in vocabulary.names.iter() {
        ports.extend(peer.named(*protocol, name).map(|port| (id, *protocol, port)));
    }
    let stands_for = peer.stands_for();
    if atoms.is_empty() && ports.is_empty() && stands_for.is_empty() {
        return None;
    }
    atoms.extend_from_slice(blocks.at(ip));
    atoms.sort_unstable();
    ports.sort_unstable();
    ports.dedup();
    Some(Signature { atoms, named: ports, stands_for })
}

fn namespace_of<'a>(peer: &impl Peer, view: &View<'a>) -> Option<&'a Namespace> {
    let name = ObjectName { namespace: "".into(), name: Arc::clone(peer.namespace()) };
    view.namespace(&name).map(|namespace| &**namespace)
}

/// May its addresses be its own? Those of a finished pod may be another's by now (a reuse of which
/// six peers made a hole), those of a pod of the host's network are the node's.
fn is_peer(pod: &Pod) -> bool {
    !pod.state().host_network && !pod.state().finished
}

fn is_local(pod: &Pod, view: &View<'_>) -> bool {
    is_peer(pod) && pod.node.as_deref() == Some(view.own_node_name()) && pod.ips().next().is_some()
}
