//! The whole plan, kept current by increments: one slice changed costs that Service only.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Bound,
    sync::Arc,
};

use towpath_image::datapath::{Addr, FrontendKey, NodeAddressValue};
use towpath_model::{Changes, EndpointSlice, ObjectName, Problem, View, select::Place};

use crate::{
    claims::{Claim, Claims},
    compile::{Surroundings, compile, is_proxied},
    config::ProxyConfig,
    health_ports::HealthPorts,
    identities::{Identities, problem, shorten},
    identity::node_identity,
    planned::{FrontendTarget, HealthCheck, PlannedRecord, PlannedService, ServicePortId},
    ranges::node_ips,
};

/// What this node must translate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePlan {
    config: ProxyConfig,
    /// Bits of an identity that are used; all but in tests of collisions.
    identity_bits: u32,
    services: BTreeMap<ObjectName, Arc<PlannedService>>,
    identities: Identities,
    /// Services with an identity of another one, and which: they have no records and no frontends.
    withheld: BTreeMap<ObjectName, ObjectName>,
    claims: Claims,
    health_ports: HealthPorts,
    node_addresses: BTreeMap<Addr, NodeAddressValue>,
    /// Zone the plan was made for; the outer `None`: nothing was planned yet.
    zone: Option<Option<Arc<str>>>,
    /// This node's addresses that it was made for.
    node_ips: [Option<IpAddr>; 2],
    /// The Service at whose ClusterIPs this node answered DNS when it was planned.
    answers_dns: Option<ObjectName>,
}

/// What changed in a plan. `None` means: no longer wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlanDelta {
    /// Records by identity.
    pub records: BTreeMap<u64, Option<PlannedRecord>>,
    /// Identities that went from one port to another (two names with one hash): what is in force of the
    /// former is not the latter's to change.
    pub handed_over: BTreeSet<u64>,
    /// Frontends, and what they lead to.
    pub frontends: BTreeMap<FrontendKey, Option<FrontendTarget>>,
    /// Node addresses.
    pub node_addresses: BTreeMap<Addr, Option<NodeAddressValue>>,
    /// Services that were compiled again and came out different (or came, or went).
    pub services: BTreeSet<ObjectName>,
}

impl PlanDelta {
    /// Nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes a later delta in, as if there had been one for both.
    pub fn absorb(&mut self, later: Self) {
        self.records.extend(later.records);
        self.frontends.extend(later.frontends);
        self.node_addresses.extend(later.node_addresses);
        self.services.extend(later.services);
        self.handed_over.extend(later.handed_over);
    }
}

impl ServicePlan {
    /// An empty plan.
    #[must_use]
    pub fn new(config: ProxyConfig) -> Self {
        Self::with_short_identities(config, u64::BITS)
    }

    /// An empty plan whose identities have so few bits that they collide: to see what becomes of
    /// Services whose names have the same hash.
    #[must_use]
    pub fn with_short_identities(config: ProxyConfig, bits: u32) -> Self {
        Self {
            config,
            identity_bits: bits,
            identities: Identities::default(),
            withheld: BTreeMap::new(),
            services: BTreeMap::new(),
            claims: Claims::default(),
            health_ports: HealthPorts::default(),
            node_addresses: BTreeMap::new(),
            zone: None,
            node_ips: [None; 2],
            answers_dns: None,
        }
    }

    /// The settings it is made with.
    #[must_use]
    pub const fn config(&self) -> &ProxyConfig {
        &self.config
    }

    /// Every proxied Service.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &PlannedService> {
        self.services.values().map(AsRef::as_ref)
    }

    /// Those after this name; all of them for `None`.
    pub fn services_after(
        &self,
        name: Option<&ObjectName>,
    ) -> impl Iterator<Item = &PlannedService> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.services.range((from, Bound::Unbounded)).map(|(_, service)| service.as_ref())
    }

    /// One proxied Service.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&PlannedService> {
        self.services.get(name).map(AsRef::as_ref)
    }

    /// Services that are not served because an identity of theirs is another's; and whose.
    #[must_use]
    pub const fn withheld(&self) -> &BTreeMap<ObjectName, ObjectName> {
        &self.withheld
    }

    /// The claim in force for a frontend.
    #[must_use]
    pub fn owner(&self, key: &FrontendKey) -> Option<&Claim> {
        self.claims.owner(key)
    }

    /// Everything that is wrong now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let own = self.services.values().flat_map(|service| service.problems.iter().cloned());
        own.chain(self.contested()).collect()
    }

    /// One problem for each Service that lost a frontend, a healthCheckNodePort or its identity to
    /// another.
    #[must_use]
    pub fn contested(&self) -> Vec<Problem> {
        let mut problems = self.claims.problems();
        problems.extend(self.health_ports.problems());
        problems.extend(self.withheld.iter().map(|(service, owner)| problem(service, owner)));
        problems
    }

    /// Claims to frontends after this one; all of them for `None`.
    pub fn claims_after(
        &self,
        key: Option<&FrontendKey>,
    ) -> impl Iterator<Item = (&FrontendKey, &Claim)> {
        self.claims.after(key)
    }

    /// healthCheckNodePorts to serve, each once.
    pub fn health_checks(&self) -> impl Iterator<Item = &HealthCheck> {
        let owners = self.health_ports.owners().filter_map(|name| self.services.get(name));
        owners.filter_map(|service| service.health_check.as_ref())
    }

    /// What of one Service differs from one compiled from scratch, in words; nothing must.
    #[must_use]
    pub fn difference(&self, view: &View<'_>, name: &ObjectName) -> Option<String> {
        let zone = view.own_node().and_then(|node| node.zone.clone());
        let fresh = planned(view, name, self, zone.as_deref());
        if fresh.as_ref() != self.service(name) {
            return Some(format!("the plan of Service {name} differs from a fresh one"));
        }
        let withheld = fresh.as_ref().and_then(|fresh| self.identities.withheld_by(fresh));
        if withheld.as_ref() != self.withheld.get(name) {
            return Some(format!("whether Service {name} is withheld differs from a fresh plan"));
        }
        // One that is withheld claims nothing.
        let fresh = fresh.filter(|_| withheld.is_none());
        let held = fresh.as_ref().is_none_or(|fresh| self.claims.hold(fresh));
        if !fresh.is_none_or(|fresh| self.health_ports.hold(&fresh)) {
            return Some(format!("the healthCheckNodePort of Service {name} is missing"));
        }
        (!held).then(|| format!("a claim of Service {name} to a frontend is missing"))
    }

    /// Do the node addresses differ from those of the view?
    #[must_use]
    pub fn node_addresses_differ(&self, view: &View<'_>) -> bool {
        node_addresses(view) != self.node_addresses
    }

    /// What is different from a plan compiled from scratch, in words; nothing must be. Service by
    /// Service, so that there never are two plans in memory.
    #[must_use]
    pub fn differences(&self, view: &View<'_>) -> Vec<String> {
        let mut differences = Vec::new();
        let zone = view.own_node().and_then(|node| node.zone.clone());
        let (mut claims, mut identities) = (Claims::default(), Identities::default());
        let mut health_ports = HealthPorts::default();
        let mut names: BTreeSet<&ObjectName> = self.services.keys().collect();
        for service in view.services() {
            let name = &service.meta.name;
            names.remove(name);
            let fresh = planned(view, name, self, zone.as_deref());
            if fresh.as_ref() != self.service(name) {
                differences.push(format!("the plan of Service {name} differs from a fresh one"));
            }
            identities.replace(None, fresh.as_ref());
            let served = fresh.as_ref().filter(|_| !self.withheld.contains_key(name));
            claims.replace(None, served);
            health_ports.replace(None, served);
        }
        let withheld = |service: &Arc<PlannedService>| {
            Some((service.name.clone(), identities.withheld_by(service)?))
        };
        if !self.services.values().filter_map(withheld).eq(self.withheld.clone()) {
            differences.push("the Services that are withheld differ from fresh ones".to_owned());
        }
        let gone = names.into_iter().map(|name| format!("Service {name} is planned and gone"));
        differences.extend(gone);
        if claims != self.claims {
            differences.push("the owners of frontends differ from fresh ones".to_owned());
        }
        if health_ports != self.health_ports {
            differences
                .push("the owners of healthCheckNodePorts differ from fresh ones".to_owned());
        }
        if node_addresses(view) != self.node_addresses {
            differences.push("the node addresses differ from fresh ones".to_owned());
        }
        differences
    }

    /// A Service that is not withheld.
    fn served(&self, name: &ObjectName) -> Option<Arc<PlannedService>> {
        self.services.get(name).filter(|_| !self.withheld.contains_key(name)).cloned()
    }

    /// The whole plan as a delta from nothing: what a layout that knows nothing must be told.
    #[must_use]
    pub fn everything(&self) -> PlanDelta {
        let served = self.services.values().filter(|s| !self.withheld.contains_key(&s.name));
        let records = served.flat_map(|service| &service.ports);
        let records = records.flat_map(|port| port.records());
        PlanDelta {
            records: records.map(|r| (r.identity, Some(r.clone()))).collect(),
            handed_over: BTreeSet::new(),
            frontends: self.claims.owners().map(|(k, c)| (*k, Some(target(c)))).collect(),
            node_addresses: self.node_addresses.iter().map(|(a, v)| (*a, Some(*v))).collect(),
            services: self.services.keys().cloned().collect(),
        }
    }
}

/// Brings the plan up to date with the view; answers what changed and what is newly wrong.
pub fn plan(
    view: &View<'_>,
    changes: &Changes,
    plan: &mut ServicePlan,
) -> (PlanDelta, Vec<Problem>) {
    let mut delta = PlanDelta::default();
    let mut problems = Vec::new();
    let zone = view.own_node().and_then(|node| node.zone.clone());
    let moved = plan.zone.as_ref() != Some(&zone);
    plan.zone = Some(zone);
    let mut affected = affected(view, changes, plan, moved);
    let node_ips = node_ips(view.own_node());
    if plan.node_ips != node_ips {
        plan.node_ips = node_ips;
        let ranged = view.services().filter(|service| !service.source_ranges.is_empty());
        affected.extend(ranged.map(|service| service.meta.name.clone()));
    }
    if plan.answers_dns.as_ref() != view.answers_dns() {
        let before = std::mem::replace(&mut plan.answers_dns, view.answers_dns().cloned());
        affected.extend(before.into_iter().chain(plan.answers_dns.clone()));
    } else if changes.local {
        // Which endpoints are this machine's.
        affected.extend(plan.answers_dns.clone());
    }
    for name in affected {
        replan(view, &name, plan, &mut delta, &mut problems);
    }
    if moved || changes.local || !changes.nodes.is_empty() {
        let wanted = node_addresses(view);
        diff(&plan.node_addresses, &wanted, &mut delta.node_addresses);
        plan.node_addresses = wanted;
    }
    (delta, problems)
}

/// The Services to compile again. All of them when the node's zone changed: hints depend on it.
fn affected(
    view: &View<'_>,
    changes: &Changes,
    plan: &ServicePlan,
    moved: bool,
) -> BTreeSet<ObjectName> {
    let mut names = BTreeSet::new();
    if moved {
        names.extend(view.services().map(|service| service.meta.name.clone()));
        names.extend(plan.services.keys().cloned());
    }
    names.extend(changes.services.iter().map(|change| change.name.clone()));
    for change in &changes.slices {
        let both = [&change.old, &change.new];
        names.extend(both.into_iter().flatten().map(|slice| slice.service.clone()));
    }
    names
}

fn replan(
    view: &View<'_>,
    name: &ObjectName,
    plan: &mut ServicePlan,
    delta: &mut PlanDelta,
    problems: &mut Vec<Problem>,
) {
    let zone = plan.zone.clone().flatten();
    let new = planned(view, name, plan, zone.as_deref()).map(Arc::new);
    let old = plan.services.get(name).cloned();
    if old == new {
        return;
    }
    if let Some(new) = &new {
        let known = old.as_ref().map_or(&[][..], |old| &old.problems);
        problems.extend(new.problems.iter().filter(|p| !known.contains(p)).cloned());
    }
    let mut names = plan.identities.replace(old.as_deref(), new.as_deref());
    names.insert(name.clone());
    let before: Vec<_> = names.iter().map(|name| plan.served(name)).collect();
    match new {
        Some(new) => plan.services.insert(name.clone(), new),
        None => plan.services.remove(name),
    };
    for name in &names {
        let service = plan.services.get(name);
        match service.and_then(|service| plan.identities.withheld_by(service)) {
            Some(owner) => {
                if plan.withheld.insert(name.clone(), owner.clone()).is_none() {
                    problems.push(problem(name, &owner));
                }
            }
            None => drop(plan.withheld.remove(name)),
        }
    }
    let after: Vec<_> = names.iter().map(|name| plan.served(name)).collect();
    // An identity may go from one Service to another: what goes comes first.
    let mut come = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for (old, new) in before.iter().zip(&after) {
        let mut changed = BTreeMap::new();
        diff(&records(old.as_deref()), &records(new.as_deref()), &mut changed);
        let (there, gone): (BTreeMap<_, _>, _) =
            changed.into_iter().partition(|(_, r)| r.is_some());
        come.extend(there);
        delta.records.extend::<BTreeMap<_, _>>(gone);
        keys.extend(plan.claims.replace(old.as_deref(), new.as_deref()));
        plan.health_ports.replace(old.as_deref(), new.as_deref());
    }
    delta.records.extend(come);
    delta.handed_over.extend(handed_over(&before, &after));
    for key in keys {
        delta.frontends.insert(key, plan.claims.owner(&key).map(target));
    }
    delta.services.extend(names);
}

/// The slices that count. Both labels hide slices too (services.md 1.1), whatever wrote them: the
/// official test for `headless` labels the slice alone.
pub(crate) fn slices_of<'a>(
    view: &View<'a>,
    name: &ObjectName,
) -> impl Iterator<Item = &'a EndpointSlice> {
    let all = view.slices_of(name).map(AsRef::as_ref);
    all.filter(|slice: &&EndpointSlice| slice.proxy_name.is_none() && !slice.headless_label)
}

/// One Service from the view; `None` when it is not proxied.
fn planned(
    view: &View<'_>,
    name: &ObjectName,
    plan: &ServicePlan,
    zone: Option<&str>,
) -> Option<PlannedService> {
    let service = view.service(name).filter(|service| is_proxied(service))?;
    let slices: Vec<&EndpointSlice> = slices_of(view, name).collect();
    let place = Place { node: view.own_node_name(), zone };
    let answers_dns = view.answers_dns() == Some(name);
    let own_addresses = view.local_addresses();
    let node_ips = node_ips(view.own_node());
    let config = &plan.config;
    let around = Surroundings { config, place, answers_dns, own_addresses, node_ips };
    let mut planned = compile(service, &slices, around);
    if plan.identity_bits < u64::BITS {
        shorten(&mut planned, plan.identity_bits);
    }
    Some(planned)
}

const fn target(claim: &Claim) -> FrontendTarget {
    FrontendTarget { identity: claim.identity, flags: claim.flags }
}

fn records(service: Option<&PlannedService>) -> BTreeMap<u64, PlannedRecord> {
    let ports = service.into_iter().flat_map(|service| &service.ports);
    ports.flat_map(|port| port.records()).map(|r| (r.identity, r.clone())).collect()
}

/// Identities that another port has than before; practically always none.
fn handed_over(
    before: &[Option<Arc<PlannedService>>],
    after: &[Option<Arc<PlannedService>>],
) -> BTreeSet<u64> {
    if ports_by_identity(before).eq(ports_by_identity(after)) {
        return BTreeSet::new();
    }
    let before: BTreeMap<_, _> = ports_by_identity(before).collect();
    let other = |(identity, port): &(u64, _)| before.get(identity).is_some_and(|old| old != port);
    ports_by_identity(after).filter(other).map(|(identity, _)| identity).collect()
}

/// Each record's identity, and the names that it is the hash of.
fn ports_by_identity(
    services: &[Option<Arc<PlannedService>>],
) -> impl Iterator<Item = (u64, (&ServicePortId, Option<&str>))> {
    let ports = services.iter().flatten().flat_map(|service| &service.ports);
    ports.flat_map(|port| {
        let own = (port.record.identity, (&port.id, None));
        let nodes = port.per_node.iter();
        let nodes = nodes.map(|(node, record)| (record.identity, (&port.id, Some(&**node))));
        std::iter::once(own).chain(nodes)
    })
}

/// NodePorts answer on every node's addresses, this node's devices, and loopback (host only).
fn node_addresses(view: &View<'_>) -> BTreeMap<Addr, NodeAddressValue> {
    let own = view.own_node_name();
    let mut addresses = BTreeMap::new();
    for node in view.nodes() {
        let name = &*node.meta.name.name;
        let flags = if name == own { NodeAddressValue::OWN } else { 0 };
        let value = NodeAddressValue { node: node_identity(name), flags, reserved: 0 };
        addresses.extend(node.addresses.iter().map(|ip| (Addr::from(*ip), value)));
    }
    // What is on our own devices is ours, whatever a Node object says.
    let node = node_identity(own);
    let value = NodeAddressValue { node, flags: NodeAddressValue::OWN, reserved: 0 };
    addresses.extend(view.local_addresses().iter().map(|ip| (Addr::from(*ip), value)));
    let flags = NodeAddressValue::OWN | NodeAddressValue::LOOPBACK;
    let value = NodeAddressValue { node, flags, reserved: 0 };
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        addresses.insert(Addr::from(ip), value);
    }
    addresses
}

fn diff<K: Ord + Copy, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    delta: &mut BTreeMap<K, Option<V>>,
) {
    for key in old.keys().filter(|key| !new.contains_key(key)) {
        delta.insert(*key, None);
    }
    for (key, value) in new.iter().filter(|(key, value)| old.get(key) != Some(value)) {
        delta.insert(*key, Some(value.clone()));
    }
}
