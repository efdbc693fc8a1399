//! The Ingresses and nodes as last seen, and which writes are due.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use towpath_model::{Changes, Ingress, Node, ObjectName, View, ingress::Published};

/// As last seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    served: BTreeMap<ObjectName, Arc<Ingress>>,
    /// Ingresses that were served here and name another class now.
    left: BTreeMap<ObjectName, Left>,
    nodes: BTreeMap<ObjectName, Arc<Node>>,
}

#[derive(Clone, Debug)]
struct Left {
    /// As it was when it was served.
    was: Arc<Ingress>,
    now: Arc<Ingress>,
}

/// A write that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Due {
    /// As last seen; the writer looks again before it writes.
    pub(super) ingress: Arc<Ingress>,
    /// What `status.loadBalancer.ingress` shall hold; nothing: it is taken back.
    pub(super) publish: bool,
}

impl Due {
    pub(super) fn name(&self) -> &ObjectName {
        &self.ingress.meta.name
    }

    /// What the write would leave there.
    pub(super) const fn wanted<'a>(&self, addresses: &'a [Published]) -> &'a [Published] {
        if self.publish { addresses } else { &[] }
    }

    /// Is this object still the one that the write is meant for? Another object of the name, or one whose
    /// class changed, is not; what is taken back must still be what was published.
    pub(super) fn is_of(&self, fresh: &Ingress) -> bool {
        fresh.meta.uid == self.ingress.meta.uid
            && is_of_one_class(fresh, &self.ingress)
            && (self.publish || fresh.published == self.ingress.published)
    }
}

fn is_of_one_class(one: &Ingress, other: &Ingress) -> bool {
    (&one.class, &one.class_annotation) == (&other.class, &other.class_annotation)
}

impl Seen {
    pub(super) fn nodes(&mut self, view: &View<'_>, changes: Option<&Changes>) {
        let named = |node: &Arc<Node>| (node.meta.name.clone(), Arc::clone(node));
        let Some(changes) = changes else {
            self.nodes = view.nodes().map(named).collect();
            return;
        };
        for change in &changes.nodes {
            match &change.new {
                Some(node) => drop(self.nodes.insert(change.name.clone(), Arc::clone(node))),
                None => drop(self.nodes.remove(&change.name)),
            }
        }
    }

    pub(super) fn ingresses<'a>(
        &mut self,
        view: &View<'_>,
        served: impl IntoIterator<Item = &'a ObjectName>,
        gone: impl IntoIterator<Item = &'a ObjectName>,
    ) {
        for name in gone {
            let Some(was) = self.served.remove(name) else { continue };
            // Only an Ingress that was given to another class is left: one whose class went away (a
            // chart that is installed anew takes its IngressClass along) keeps what it has.
            if let Some(now) = view.ingress(name)
                && !is_of_one_class(now, &was)
            {
                self.left.insert(name.clone(), Left { was, now: Arc::clone(now) });
            }
        }
        for name in served {
            if let Some(ingress) = view.ingress(name) {
                self.served.insert(name.clone(), Arc::clone(ingress));
                self.left.remove(name);
            }
        }
        // Whatever is written there by others, or by the one that leads, ends our part in it.
        self.left.retain(|name, left| match view.ingress(name) {
            Some(now) => {
                left.now = Arc::clone(now);
                now.published == left.was.published && now.meta.uid == left.was.meta.uid
            }
            None => false,
        });
    }

    /// What left was taken back: that ends our part in it, whatever is written there next.
    pub(super) fn taken_back(&mut self, name: &ObjectName) {
        self.left.remove(name);
    }

    pub(super) const fn known_nodes(&self) -> &BTreeMap<ObjectName, Arc<Node>> {
        &self.nodes
    }

    /// Every address that an Ingress of ours shows.
    pub(super) fn shown(&self) -> BTreeSet<Published> {
        self.served.values().flat_map(|ingress| &ingress.published).cloned().collect()
    }

    /// The writes that are due, `max` of them at most: of Ingresses that are served, and of those that
    /// left and still show exactly what is published here. `rests` says which are passed over. They go on
    /// behind `after`, around: one whose write fails holds up no other for good.
    pub(super) fn due(
        &self,
        addresses: &[Published],
        rests: impl Fn(&ObjectName) -> bool,
        (after, max): (Option<&ObjectName>, usize),
    ) -> Vec<Due> {
        // Nothing is ever taken back because no address is known.
        if addresses.is_empty() {
            return Vec::new();
        }
        let served = self.served.values().filter(|ingress| *ingress.published != *addresses);
        let served = served.map(|ingress| (ingress, true));
        let left = self.left.values().filter(|left| *left.now.published == *addresses);
        let left = left.map(|left| (&left.now, false));
        let due = served.chain(left).filter(|(ingress, _)| !rests(&ingress.meta.name));
        let mut all: Vec<(&Arc<Ingress>, bool)> = due.collect();
        all.sort_by_key(|(ingress, _)| {
            let name = &ingress.meta.name;
            (after.is_some_and(|after| name <= after), name)
        });
        let due = |(ingress, publish)| Due { ingress: Arc::clone(ingress), publish };
        all.into_iter().take(max).map(due).collect()
    }
}

#[cfg(test)]
#[path = "seen/tests.rs"]
mod tests;
