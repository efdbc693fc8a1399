//! Which nodes serve, with which addresses, and when a new set of addresses is adopted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use towpath_model::{Family, Node, ObjectName, ingress::Published};

use crate::clock::Millis;

/// Of more nodes than this, some are published: every Ingress carries the whole list, and a client tries
/// a few of them at most.
pub(super) const ADDRESSES_MAX: usize = 64;

/// The families of the addresses at which requests are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Families {
    pub(super) v4: bool,
    pub(super) v6: bool,
}

impl Families {
    fn has(self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        }
    }
}

/// An address, as it is published.
pub(super) fn published(ip: &IpAddr) -> Published {
    Published { hostname: "".into(), ip: ip.to_string().into() }
}

/// What a node is reached at: its external addresses, or else its internal ones; the first of each family,
/// as ingress-nginx takes the first of all.
fn addresses_of(node: &Node, families: Families) -> impl Iterator<Item = Published> {
    let all = if node.external.iter().any(|ip| families.has(*ip)) {
        &*node.external
    } else {
        &*node.addresses
    };
    let first = |family| {
        let fits = |ip: &&IpAddr| Family::of(**ip) == family && families.has(**ip);
        all.iter().find(fits)
    };
    let [v4, v6] = [Family::V4, Family::V6].map(first);
    v4.into_iter().chain(v6).map(published)
}

/// The nodes that serve, or did until lately. It begins with a term of leading.
#[derive(Debug, Default)]
pub(super) struct Serving {
    /// Since when it serves no more; `None`: it does.
    nodes: BTreeMap<ObjectName, Option<Millis>>,
    begun: bool,
}

impl Serving {
    /// Was it updated in this term? Then what Ingresses show is asked no more.
    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes up which nodes serve. `shown`: the addresses that Ingresses show; a node that is published and
    /// does not serve just when a new leader begins is held like one that ended under its eyes.
    pub(super) fn update(
        &mut self,
        serve: &BTreeSet<ObjectName>,
        known: &BTreeMap<ObjectName, Arc<Node>>,
        (shown, families): (&BTreeSet<Published>, Families),
        (now, hold): (Millis, Millis),
    ) {
        // Nothing was noted yet: what Ingresses show is not known either.
        if known.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.begun, true) {
            let shows = |node: &Node| addresses_of(node, families).any(|it| shown.contains(&it));
            let held = known.iter().filter(|(_, node)| shows(node));
            self.nodes = held.map(|(name, _)| (name.clone(), Some(now))).collect();
        }
        for (name, ended) in &mut self.nodes {
            if !serve.contains(name) {
                ended.get_or_insert(now);
            }
        }
        self.nodes.extend(serve.iter().map(|name| (name.clone(), None)));
        self.nodes.retain(|name, ended| {
            let stays = known.get(name).is_some_and(|node| !node.going_away);
            stays && ended.is_none_or(|ended| now.saturating_sub(ended) < hold)
        });
    }

    /// What is to be published for them: sorted, each once.
    pub(super) fn addresses(
        &self,
        known: &BTreeMap<ObjectName, Arc<Node>>,
        families: Families,
    ) -> Vec<Published> {
        let nodes = self.nodes.keys().filter_map(|name| known.get(name));
        let all: BTreeSet<_> = nodes.flat_map(|node| addresses_of(node, families)).collect();
        all.into_iter().take(ADDRESSES_MAX).collect()
    }
}

/// The addresses in force.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    addresses: Vec<Published>,
    since: Millis,
}

impl Adopted {
    /// The first set is adopted at once, a later one when that was long enough ago; an empty one never.
    /// Answers when to offer it again.
    pub(super) fn offer(
        &mut self,
        found: Vec<Published>,
        now: Millis,
        settle: Millis,
    ) -> Option<Millis> {
        if found.is_empty() || found == self.addresses {
            return None;
        }
        let due = self.since.saturating_add(settle);
        if !self.addresses.is_empty() && now < due {
            return Some(due);
        }
        *self = Self { addresses: found, since: now };
        None
    }

    pub(super) fn addresses(&self) -> &[Published] {
        &self.addresses
    }
}

#[cfg(test)]
#[path = "serving/tests.rs"]
mod tests;
