//! The whole plan, kept current by increments: one slice changed costs that Service only.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use towpath_image::datapath::{Addr, FrontendKey, NodeAddressValue};
use towpath_model::{Changes, EndpointSlice, ObjectName, Problem, View, select::Place};

use crate::{
    claims::{Claim, Claims},
    compile::{Surroundings, compile, is_proxied},
    config::ProxyConfig,
    health_ports,
    identity::node_identity,
    planned::{FrontendTarget, HealthCheck, PlannedRecord, PlannedService},
};

/// What this node must translate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePlan {
    config: ProxyConfig,
    services: BTreeMap<ObjectName, Arc<PlannedService>>,
    claims: Claims,
    node_addresses: BTreeMap<Addr, NodeAddressValue>,
    /// Zone the plan was made for; the outer `None`: nothing was planned yet.
    zone: Option<Option<Arc<str>>>,
}

/// What changed in a plan. `None` means: no longer wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlanDelta {
    /// Records by identity.
    pub records: BTreeMap<u64, Option<PlannedRecord>>,
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
}

impl ServicePlan {
    /// An empty plan.
    #[must_use]
    pub fn new(config: ProxyConfig) -> Self {
        Self {
            config,
            services: BTreeMap::new(),
            claims: Claims::default(),
            node_addresses: BTreeMap::new(),
            zone: None,
        }
    }

    /// The settings it is made with.
    #[must_use]
    pub const fn config(&self) -> &ProxyConfig {
        &self.config
    }

    /// Every proxied Service.
    pub fn services(&self) -> impl Iterator<Item = &PlannedService> {
        self.services.values().map(AsRef::as_ref)
    }

    /// One proxied Service.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&PlannedService> {
        self.services.get(name).map(AsRef::as_ref)
    }

    /// The claim in force for a frontend.
    #[must_use]
    pub fn owner(&self, key: &FrontendKey) -> Option<&Claim> {
        self.claims.owner(key)
    }

    /// Whose address this is.
    #[must_use]
    pub fn node_address(&self, ip: IpAddr) -> Option<NodeAddressValue> {
        self.node_addresses.get(&Addr::from(ip)).copied()
    }

    /// Everything that is wrong now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let own = self.services.values().flat_map(|service| service.problems.iter().cloned());
        own.chain(self.claims.problems()).chain(health_ports::problems(&self.services)).collect()
    }

    /// healthCheckNodePorts to serve, each once.
    pub fn health_checks(&self) -> impl Iterator<Item = &HealthCheck> {
        health_ports::served(&self.services)
    }

    /// What is different from a plan compiled from scratch, in words; nothing must be. Service by
    /// Service, so that there never are two plans in memory.
    #[must_use]
    pub fn differences(&self, view: &View<'_>) -> Vec<String> {
        let mut differences = Vec::new();
        let zone = view.own_node().and_then(|node| node.zone.clone());
        let mut claims = Claims::default();
        let mut names: BTreeSet<&ObjectName> = self.services.keys().collect();
        for service in view.services() {
            let name = &service.meta.name;
            names.remove(name);
            let fresh = planned(view, name, &self.config, zone.as_deref());
            if fresh.as_ref() != self.service(name) {
                differences.push(format!("the plan of Service {name} differs from a fresh one"));
            }
            claims.replace(None, fresh.as_ref());
        }
        let gone = names.into_iter().map(|name| format!("Service {name} is planned and gone"));
        differences.extend(gone);
        if claims != self.claims {
            differences.push("the owners of frontends differ from fresh ones".to_owned());
        }
        if node_addresses(view) != self.node_addresses {
            differences.push("the node addresses differ from fresh ones".to_owned());
        }
        differences
    }

    /// The whole plan as a delta from nothing: what a layout that knows nothing must be told.
    #[must_use]
    pub fn everything(&self) -> PlanDelta {
        let records = self.services.values().flat_map(|service| &service.ports);
        let records = records.flat_map(|port| port.records());
        PlanDelta {
            records: records.map(|r| (r.identity, Some(r.clone()))).collect(),
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
    for name in affected(view, changes, plan, moved) {
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
    let zone = plan.zone.as_ref().and_then(|zone| zone.as_deref());
    let new = planned(view, name, &plan.config, zone).map(Arc::new);
    let old = plan.services.get(name).cloned();
    if old == new {
        return;
    }
    delta.services.insert(name.clone());
    diff(&records(old.as_deref()), &records(new.as_deref()), &mut delta.records);
    for key in plan.claims.replace(old.as_deref(), new.as_deref()) {
        delta.frontends.insert(key, plan.claims.owner(&key).map(target));
    }
    if let Some(new) = &new {
        let known = old.as_ref().map_or(&[][..], |old| &old.problems);
        problems.extend(new.problems.iter().filter(|p| !known.contains(p)).cloned());
    }
    match new {
        Some(new) => plan.services.insert(name.clone(), new),
        None => plan.services.remove(name),
    };
}

/// One Service from the view; `None` when it is not proxied.
fn planned(
    view: &View<'_>,
    name: &ObjectName,
    config: &ProxyConfig,
    zone: Option<&str>,
) -> Option<PlannedService> {
    let service = view.service(name).filter(|service| is_proxied(service))?;
    // Both labels hide slices too (services.md 1.1), whoever wrote them: the official test for
    // `headless` labels the slice alone.
    let ours =
        view.slices_of(name).filter(|slice| slice.proxy_name.is_none() && !slice.headless_label);
    let slices: Vec<&EndpointSlice> = ours.map(AsRef::as_ref).collect();
    let place = Place { node: view.own_node_name(), zone };
    Some(compile(service, &slices, Surroundings { config, place }))
}

const fn target(claim: &Claim) -> FrontendTarget {
    FrontendTarget { identity: claim.identity, flags: claim.flags }
}

fn records(service: Option<&PlannedService>) -> BTreeMap<u64, PlannedRecord> {
    let ports = service.into_iter().flat_map(|service| &service.ports);
    ports.flat_map(|port| port.records()).map(|r| (r.identity, r.clone())).collect()
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
