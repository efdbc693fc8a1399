//! What addresses are to the atoms in use.
//!
//! Of a hundred thousand pods most have their labels in common with others: each namespace is asked
//! once which atoms are about it, each template of pods once which of these select it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use towpath_model::{ObjectName, Pod, View, network_policy::Selector};

use crate::{AtomId, Signature, blocks::Blocks, compile::Vocabulary, peer::Peer};

/// The words of rules, and what was found of them so far. Lives as long as one commit's picture.
pub(crate) struct Words<'a> {
    vocabulary: &'a Vocabulary,
    blocks: &'a Blocks,
    view: View<'a>,
    /// By namespace: the atoms about it, and whom they select there.
    about: BTreeMap<Arc<str>, About<'a>>,
    /// By the places of namespace and template, which live as long as the picture does.
    templates: BTreeMap<[usize; 2], Option<Arc<Signature>>>,
    /// By the places of a template's signature and of what blocks say.
    placed: BTreeMap<[usize; 2], Arc<Signature>>,
}

/// Whom each atom selects of a namespace.
type About<'a> = Arc<[(&'a Selector, AtomId)]>;

impl<'a> Words<'a> {
    pub(crate) fn new(vocabulary: &'a Vocabulary, blocks: &'a Blocks, view: &View<'a>) -> Self {
        let (about, templates, placed) = Default::default();
        Self { vocabulary, blocks, view: *view, about, templates, placed }
    }

    /// What an address of a pod is; `None` when it is no more than what the blocks say.
    pub(crate) fn of_pod(&mut self, pod: &Pod, ip: IpAddr) -> Option<Arc<Signature>> {
        let template = Arc::as_ptr(&pod.template) as usize;
        let key = [pod.name.namespace.as_ptr() as usize, template];
        let selected = match self.templates.get(&key) {
            Some(known) => known.clone()?,
            None => {
                let found = self.selected(pod).map(Arc::new);
                self.templates.entry(key).or_insert(found).clone()?
            }
        };
        let around = self.blocks.at(ip);
        if around.is_empty() {
            return Some(selected);
        }
        let key = [Arc::as_ptr(&selected) as usize, around.as_ptr() as usize];
        let placed = self.placed.entry(key).or_insert_with(|| Arc::new(with(&selected, around)));
        Some(Arc::clone(placed))
    }

    /// The same of another peer.
    pub(crate) fn of(&mut self, peer: &impl Peer, ip: IpAddr) -> Option<Arc<Signature>> {
        let selected = self.selected(peer)?;
        Some(Arc::new(with(&selected, self.blocks.at(ip))))
    }

    /// What a peer is wherever its addresses are.
    fn selected(&mut self, peer: &impl Peer) -> Option<Signature> {
        let about = self.about(peer.namespace());
        let selects = |(pods, id): &(&Selector, AtomId)| {
            pods.matches(|label| peer.label(label)).then_some(*id)
        };
        let mut atoms: Vec<AtomId> = about.iter().filter_map(selects).collect();
        atoms.sort_unstable();
        let mut named = Vec::new();
        for ((protocol, name), id) in self.vocabulary.names.iter() {
            named.extend(peer.named(*protocol, name).map(|port| (id, *protocol, port)));
        }
        named.sort_unstable();
        named.dedup();
        let signature = Signature { atoms, named, stands_for: peer.stands_for() };
        (!signature.is_world()).then_some(signature)
    }

    fn about(&mut self, namespace: &Arc<str>) -> About<'a> {
        if let Some(known) = self.about.get(namespace) {
            return Arc::clone(known);
        }
        let name = ObjectName { namespace: "".into(), name: Arc::clone(namespace) };
        let object = self.view.namespace(&name).map(|object| &**object);
        let atoms = self.vocabulary.atoms.iter();
        let about = atoms.filter_map(|(atom, id)| Some((atom.about(namespace, object)?, id)));
        let about: About<'a> = about.collect();
        self.about.insert(Arc::clone(namespace), Arc::clone(&about));
        about
    }
}

fn with(selected: &Signature, around: &[AtomId]) -> Signature {
    let mut signature = selected.clone();
    signature.atoms.extend_from_slice(around);
    signature.atoms.sort_unstable();
    signature
}
