//! Which endpoints of one service port are usable, and why (services.md 1.2).
//!
//! Shared by proxy, DNS and ingress, so that all of them agree. Pure and exact: the same rules as
//! kube-proxy's topology, including what it does with odd conditions. Knows nothing about what an
//! empty set means to a caller: refuse, leave and NXDOMAIN are decided there.

use std::{cmp::Reverse, net::IpAddr, sync::Arc};

use crate::{Endpoint, EndpointSlice, Family, Protocol};

/// An endpoint of one service port, with everything that decides whether it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate<'a> {
    /// Address.
    pub addr: IpAddr,
    /// Port, from the slice (a named targetPort may differ from slice to slice).
    pub port: u16,
    /// Condition ready.
    pub ready: bool,
    /// Condition serving.
    pub serving: bool,
    /// Condition terminating.
    pub terminating: bool,
    /// Name of its node; without one it is local nowhere.
    pub node: Option<&'a str>,
    /// Zones it is meant for; empty means no hint.
    pub zone_hints: &'a [Arc<str>],
    /// Nodes it is meant for; empty means no hint.
    pub node_hints: &'a [Arc<str>],
}

impl<'a> Candidate<'a> {
    fn new(endpoint: &'a Endpoint, port: u16) -> Self {
        Self {
            addr: endpoint.addr,
            port,
            ready: endpoint.ready,
            serving: endpoint.serving,
            terminating: endpoint.terminating,
            node: endpoint.node.as_deref(),
            zone_hints: endpoint.zone_hints.as_deref().unwrap_or(&[]),
            node_hints: endpoint.node_hints.as_deref().unwrap_or(&[]),
        }
    }

    /// Takes new connections when nothing better exists: it drains, but still answers.
    #[must_use]
    pub const fn draining(&self) -> bool {
        self.serving && self.terminating
    }

    fn is_on(&self, node: &str) -> bool {
        self.node == Some(node)
    }

    const fn target(&self) -> (IpAddr, u16) {
        (self.addr, self.port)
    }
}

/// The endpoints of one service port and family: the union over the service's slices, matched by
/// port name and protocol in each slice, sorted by address and port.
///
/// An endpoint that moves between slices may be seen twice. A non-terminating entry wins over a
/// terminating one, because the address may be in use again while its former pod terminates; among
/// equals a ready one, then a serving one, then one with a node, then the first in the order given.
pub fn candidates<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    port_name: &str,
    protocol: Protocol,
    family: Family,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for slice in slices {
        if slice.family != Some(family) {
            continue;
        }
        for port in &slice.ports {
            if port.protocol == protocol && *port.name == *port_name {
                let of_family = slice.endpoints.iter().filter(|e| Family::of(e.addr) == family);
                found.extend(of_family.map(|e| Candidate::new(e, port.port)));
            }
        }
    }
    found.sort_by_key(|c| {
        (c.target(), c.terminating, Reverse(c.ready), Reverse(c.serving), c.node.is_none())
    });
    found.dedup_by_key(|c| c.target());
    found
}

/// Which sets a service port needs (services.md 1.2 step 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// internalTrafficPolicy is Cluster, or the port is reachable from outside.
    pub cluster: bool,
    /// internalTrafficPolicy is Local, or externalTrafficPolicy is and the port is reachable from
    /// outside.
    pub local: bool,
}

/// Where the selection is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The node's zone, when it is known.
    pub zone: Option<&'a str>,
}

/// How hints narrow the cluster set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Topology {
    /// Not at all.
    #[default]
    None,
    /// To endpoints meant for this zone.
    SameZone,
    /// To endpoints meant for this node.
    SameNode,
}

/// Why one set is what it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Why {
    /// The policies of the service do not use this set.
    #[default]
    NotUsed,
    /// The ready endpoints, wherever they are; none has hints.
    Ready,
    /// The ready endpoints, wherever they are: hints exist, but not on every ready endpoint.
    ReadyHintsIncomplete,
    /// The ready endpoints, wherever they are: no hint names this node or its zone.
    ReadyHintsElsewhere,
    /// The ready endpoints, wherever they are: this node's zone is unknown.
    ReadyZoneUnknown,
    /// The ready endpoints meant for this zone.
    ReadySameZone,
    /// The ready endpoints meant for this node.
    ReadySameNode,
    /// The ready endpoints on this node.
    ReadyLocal,
    /// None is ready: those that terminate and still serve.
    Terminating,
    /// Endpoints exist, but none is ready, and none terminates and still serves.
    NoneUsable,
    /// Usable endpoints exist, but none on this node.
    NoneLocal,
    /// There is no endpoint at all.
    NoEndpoints,
}

impl Why {
    /// In words, for `towpath services`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotUsed => "not used by its policies",
            Self::Ready => "all ready endpoints",
            Self::ReadyHintsIncomplete => "all ready endpoints (hints are not on all of them)",
            Self::ReadyHintsElsewhere => "all ready endpoints (no hint names this node or zone)",
            Self::ReadyZoneUnknown => "all ready endpoints (zone hints, but own zone unknown)",
            Self::ReadySameZone => "ready endpoints meant for this zone",
            Self::ReadySameNode => "ready endpoints meant for this node",
            Self::ReadyLocal => "ready endpoints on this node",
            Self::Terminating => "none ready: terminating endpoints that still serve",
            Self::NoneUsable => "no usable endpoint",
            Self::NoneLocal => "no usable endpoint on this node",
            Self::NoEndpoints => "no endpoints",
        }
    }
}

/// How many endpoints there are of each sort.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// All.
    pub total: usize,
    /// Ready (terminating or not: with publishNotReadyAddresses an endpoint may be both).
    pub ready: usize,
    /// Condition serving.
    pub serving: usize,
    /// Condition terminating.
    pub terminating: usize,
    /// Neither ready, nor serving while terminating: never used.
    pub unusable: usize,
    /// On this node and ready.
    pub local_ready: usize,
}

/// The usable endpoints of a service port, at one place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// For policy Cluster; sorted, without duplicates.
    pub cluster: Vec<(IpAddr, u16)>,
    /// For policy Local; sorted, without duplicates.
    pub local: Vec<(IpAddr, u16)>,
    /// Some endpoint anywhere is ready, or serves while it terminates.
    pub has_any: bool,
    /// How hints narrow `cluster`.
    pub topology: Topology,
    /// `cluster` holds terminating endpoints, because none is ready.
    pub cluster_terminating: bool,
    /// `local` holds terminating endpoints, because none here is ready.
    pub local_terminating: bool,
    /// Why `cluster` is what it is.
    pub cluster_why: Why,
    /// Why `local` is what it is.
    pub local_why: Why,
    /// Of all candidates.
    pub counts: Counts,
}

/// Chooses. `candidates` is what [`candidates`] gave, possibly with entries taken out.
#[must_use]
pub fn select(candidates: &[Candidate<'_>], usage: Usage, place: Place<'_>) -> Selection {
    let mut selection = Selection {
        has_any: candidates.iter().any(|c| c.ready || c.draining()),
        counts: count(candidates, place.node),
        ..Selection::default()
    };
    if usage.cluster {
        let (topology, why) = topology(candidates, place);
        let ready = candidates.iter().filter(|c| c.ready);
        selection.cluster = targets(ready.filter(|c| meant_for(c, topology, place)));
        selection.topology = topology;
        selection.cluster_why = why;
        if selection.cluster.is_empty() {
            selection.cluster = targets(candidates.iter().filter(|c| c.draining()));
            selection.cluster_terminating = !selection.cluster.is_empty();
            selection.cluster_why =
                why_not_ready(selection.cluster_terminating, candidates.is_empty());
        }
    }
    if usage.local {
        (selection.local, selection.local_terminating) = local(candidates, place.node);
        selection.local_why = if !selection.local.is_empty() && !selection.local_terminating {
            Why::ReadyLocal
        } else if selection.has_any && selection.local.is_empty() {
            Why::NoneLocal
        } else {
            why_not_ready(selection.local_terminating, candidates.is_empty())
        };
    }
    selection
}

/// The set that policy Local uses on any node, this one or another: a remote node's NodePort with
/// externalTrafficPolicy Local leads to that node's endpoints.
#[must_use]
pub fn local_set(candidates: &[Candidate<'_>], node: &str) -> Vec<(IpAddr, u16)> {
    local(candidates, node).0
}

/// Step 4: ready ones on the node, else those there that drain. Hints do not matter.
fn local(candidates: &[Candidate<'_>], node: &str) -> (Vec<(IpAddr, u16)>, bool) {
    let here = || candidates.iter().filter(|c| c.is_on(node));
    let ready = targets(here().filter(|c| c.ready));
    if !ready.is_empty() {
        return (ready, false);
    }
    let draining = targets(here().filter(|c| c.draining()));
    let any = !draining.is_empty();
    (draining, any)
}

/// Step 2: hints count only when every ready endpoint has one and at least one is for us.
fn topology(candidates: &[Candidate<'_>], place: Place<'_>) -> (Topology, Why) {
    let ready = || candidates.iter().filter(|c| c.ready);
    let all_node = ready().all(|c| !c.node_hints.is_empty());
    let all_zone = ready().all(|c| !c.zone_hints.is_empty());
    if all_node && ready().any(|c| names(c.node_hints, place.node)) {
        return (Topology::SameNode, Why::ReadySameNode);
    }
    if all_zone
        && let Some(zone) = place.zone
        && ready().any(|c| names(c.zone_hints, zone))
    {
        return (Topology::SameZone, Why::ReadySameZone);
    }
    let hinted = ready().any(|c| !c.node_hints.is_empty() || !c.zone_hints.is_empty());
    let why = match (hinted, all_node, all_zone) {
        (false, ..) => Why::Ready,
        (true, _, true) if place.zone.is_none() => Why::ReadyZoneUnknown,
        (true, false, false) => Why::ReadyHintsIncomplete,
        (true, ..) => Why::ReadyHintsElsewhere,
    };
    (Topology::None, why)
}

fn meant_for(candidate: &Candidate<'_>, topology: Topology, place: Place<'_>) -> bool {
    match topology {
        Topology::None => true,
        Topology::SameNode => names(candidate.node_hints, place.node),
        Topology::SameZone => place.zone.is_some_and(|zone| names(candidate.zone_hints, zone)),
    }
}

fn names(hints: &[Arc<str>], name: &str) -> bool {
    hints.iter().any(|hint| **hint == *name)
}

const fn why_not_ready(draining: bool, no_endpoints: bool) -> Why {
    match (draining, no_endpoints) {
        (true, _) => Why::Terminating,
        (false, true) => Why::NoEndpoints,
        (false, false) => Why::NoneUsable,
    }
}

fn count(candidates: &[Candidate<'_>], node: &str) -> Counts {
    let of = |wanted: fn(&Candidate<'_>) -> bool| candidates.iter().filter(|c| wanted(c)).count();
    Counts {
        total: candidates.len(),
        ready: of(|c| c.ready),
        serving: of(|c| c.serving),
        terminating: of(|c| c.terminating),
        unusable: of(|c| !c.ready && !c.draining()),
        local_ready: candidates.iter().filter(|c| c.ready && c.is_on(node)).count(),
    }
}

fn targets<'c, 'a: 'c>(chosen: impl Iterator<Item = &'c Candidate<'a>>) -> Vec<(IpAddr, u16)> {
    let mut targets: Vec<_> = chosen.map(Candidate::target).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests;
