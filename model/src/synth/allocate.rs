//! What the API server fills into a Service: cluster IPs, families and node ports.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ClusterIps, NodePorts, refused};
use crate::{
    Family, Key, Kind, ObjectName, Problem, service::Cidr, wire::readable_address as address,
};

/// What was given to whom; kept by the caller, on disk or in memory. A file format: names are
/// `namespace/name`, fields are only ever added.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allocations {
    /// Addresses per Service.
    pub cluster_ips: BTreeMap<String, Vec<IpAddr>>,
    /// Node ports per Service, by its port number or `healthCheck`; where ports of one number have
    /// several, the others by both numbers (`80/30080`).
    pub node_ports: BTreeMap<String, BTreeMap<String, u16>>,
}

/// What was found while all Services were filled.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filled {
    /// What could not be given to Services that are served all the same.
    pub problems: Vec<Problem>,
    /// Services that an API server would have refused, each with why. Nothing is filled in and
    /// nothing new is theirs; what they had before they keep.
    pub refused: BTreeMap<ObjectName, Problem>,
}

/// Gives cluster IPs and node ports to Services.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Allocator {
    ips: ClusterIps,
    ports: NodePorts,
    kept: Allocations,
}

impl Allocator {
    /// With these blocks of cluster IPs (the first one's family is the primary one) and what was
    /// given before.
    #[must_use]
    pub fn new(ranges: &[Cidr], kept: Allocations) -> Self {
        Self { ips: ClusterIps::new(ranges), ports: NodePorts::new(), kept }
    }

    /// What is given to whom, to be kept.
    #[must_use]
    pub const fn kept(&self) -> &Allocations {
        &self.kept
    }

    /// All Services that exist, at once. Each keeps what it had before; then comes what is asked for by
    /// number, of the oldest Service first; then what is free. Whoever asks for what is another's is
    /// refused, as by an API server. What belonged to Services that are gone is given back.
    pub fn fill_all(&mut self, services: &mut [Value]) -> Filled {
        self.ips = ClusterIps::new(self.ips.ranges());
        self.ports = NodePorts::new();
        let mut named: Vec<(ObjectName, &mut Value)> =
            services.iter_mut().filter_map(|service| Some((name_of(service)?, service))).collect();
        named.sort_by_cached_key(|(name, service)| {
            let created = service["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
            (created.to_owned(), name.to_string())
        });
        for (name, service) in &named {
            self.take_again(name, service);
        }
        let mut filled = Filled::default();
        for (name, service) in &named {
            if let Err(problem) = self.reserve(name, service) {
                filled.refused.insert(name.clone(), problem);
            }
        }
        // The last good version of a refused Service may be in force, with all that it had.
        for name in filled.refused.keys() {
            self.take_all_again(name);
        }
        let mut present = Allocations::default();
        for (name, service) in named {
            if !filled.refused.contains_key(&name) {
                self.complete(&name, service, &mut filled.problems);
            }
            if let Some((name, ips)) = self.kept.cluster_ips.remove_entry(&name.to_string()) {
                present.cluster_ips.insert(name, ips);
            }
            if let Some((name, ports)) = self.kept.node_ports.remove_entry(&name.to_string()) {
                present.node_ports.insert(name, ports);
            }
        }
        self.kept = present;
        filled
    }

    /// One Service that was created or changed, beside the others that exist.
    pub fn fill(&mut self, service: &mut Value) -> Vec<Problem> {
        let Some(name) = name_of(service) else { return Vec::new() };
        self.give_back(&name);
        if let Err(problem) = self.reserve(&name, service) {
            self.take_all_again(&name);
            return vec![problem];
        }
        let mut problems = Vec::new();
        self.complete(&name, service, &mut problems);
        problems
    }

    /// A Service that was deleted.
    pub fn release(&mut self, name: &ObjectName) {
        self.give_back(name);
        self.kept.cluster_ips.remove(&name.to_string());
        self.kept.node_ports.remove(&name.to_string());
    }

    fn give_back(&mut self, name: &ObjectName) {
        self.ips.release(name);
        self.ports.release(name);
    }

    /// What the Service asks for by number: all of it, or nothing.
    fn reserve(&mut self, name: &ObjectName, service: &Value) -> Result<(), Problem> {
        let refused = |field: &str, why: &str| {
            let action = "leave the field out, or choose another";
            Err(Problem::new(Some(key(name)), field, why, action))
        };
        let asked = Asked::of(service);
        let wrong = wants_ips(service).then(|| refused::cluster_ips(service, &self.ips)).flatten();
        let wrong = wrong
            .or_else(|| wants_node_ports(service).then(|| refused::node_ports(service)).flatten());
        if let Some((field, why)) = wrong {
            return refused(field, &why);
        }
        for ip in &asked.ips {
            if let Some(owner) = self.ips.owner(*ip).filter(|owner| *owner != name) {
                let why = format!("{ip} already belongs to Service {owner}");
                return refused("spec.clusterIP", &why);
            }
        }
        for port in &asked.node_ports {
            if let Some(owner) = self.ports.owner(*port).filter(|owner| *owner != name) {
                let why = format!("nodePort {port} already belongs to Service {owner}");
                return refused("spec.ports", &why);
            }
        }
        // Each was found to be free, or its own already.
        let _free = asked.ips.iter().try_for_each(|ip| self.ips.reserve(name, *ip));
        let _free = asked.node_ports.iter().try_for_each(|port| self.ports.reserve(name, *port));
        Ok(())
    }

    /// What the Service had before and still wants: by number, or because it leaves it open.
    fn take_again(&mut self, name: &ObjectName, service: &Value) {
        let asked = Asked::of(service);
        if wants_ips(service) {
            let families = self.families(service);
            for ip in self.kept.cluster_ips.get(&name.to_string()).into_iter().flatten() {
                let family = Family::of(*ip);
                let open = families.contains(&family)
                    && !asked.ips.iter().any(|other| Family::of(*other) == family);
                if open || asked.ips.contains(ip) {
                    let _taken_by_another = self.ips.reserve(name, *ip);
                }
            }
        }
        for (what, port) in self.kept.node_ports.get(&name.to_string()).into_iter().flatten() {
            if asked.node_ports.contains(port) || leaves_open(service, what) {
                let _taken_by_another = self.ports.reserve(name, *port);
            }
        }
    }

    /// Everything that the Service had before, as far as nobody else has it.
    fn take_all_again(&mut self, name: &ObjectName) {
        for ip in self.kept.cluster_ips.get(&name.to_string()).into_iter().flatten() {
            let _taken_by_another = self.ips.reserve(name, *ip);
        }
        let ports = self.kept.node_ports.get(&name.to_string());
        for port in ports.into_iter().flat_map(BTreeMap::values) {
            let _taken_by_another = self.ports.reserve(name, *port);
        }
    }

    /// Fills in what is absent.
    fn complete(&mut self, name: &ObjectName, service: &mut Value, problems: &mut Vec<Problem>) {
        match &service["spec"] {
            Value::Null => service["spec"] = json!({}),
            Value::Object(_) => {}
            // Whoever decodes it says what is wrong.
            _ => return,
        }
        if !is_external_name(service) {
            self.complete_ips(service, name, problems);
        } else {
            self.kept.cluster_ips.remove(&name.to_string());
        }
        if wants_node_ports(service) {
            self.complete_node_ports(service, name, problems);
        } else {
            self.kept.node_ports.remove(&name.to_string());
        }
    }

    fn complete_ips(
        &mut self,
        service: &mut Value,
        name: &ObjectName,
        problems: &mut Vec<Problem>,
    ) {
        let families = self.families(service);
        let names: Vec<_> = families.iter().map(|family| family.as_str()).collect();
        if is_headless(service) {
            self.kept.cluster_ips.remove(&name.to_string());
            service["spec"]["clusterIP"] = json!("None");
            service["spec"]["clusterIPs"] = json!(["None"]);
            service["spec"]["ipFamilies"] = json!(names);
            return;
        }
        let explicit = explicit_ips(service);
        let before = self.kept.cluster_ips.remove(&name.to_string()).unwrap_or_default();
        let mut ips = Vec::new();
        for family in &families {
            let of_family = |ip: &&IpAddr| Family::of(**ip) == *family;
            if let Some(ip) = explicit.iter().find(of_family) {
                ips.push(*ip);
                continue;
            }
            let previous = before.iter().find(of_family).copied();
            match self.ips.allocate(name, *family, previous) {
                Ok(ip) => ips.push(ip),
                Err(problem) => {
                    problems.push(Problem { about: Some(key(name)), ..problem });
                }
            }
        }
        service["spec"]["ipFamilies"] = json!(names);
        if let Some(first) = ips.first() {
            // What was asked for stays as it is written, for whoever judges how it is written.
            if ips != explicit {
                service["spec"]["clusterIP"] = json!(first);
                service["spec"]["clusterIPs"] = json!(ips);
            }
            self.kept.cluster_ips.insert(name.to_string(), ips);
        }
    }

    /// The families of a Service: those it names or has addresses of, filled up as its policy says.
    fn families(&self, service: &Value) -> Vec<Family> {
        let spec = &service["spec"];
        let named = spec["ipFamilies"].as_array().into_iter().flatten();
        let named = named.filter_map(|family| match family.as_str() {
            Some("IPv4") => Some(Family::V4),
            Some("IPv6") => Some(Family::V6),
            _ => None,
        });
        let explicit = explicit_ips(service).into_iter().map(Family::of);
        let mut families = Vec::new();
        add(&mut families, named.chain(explicit));
        let configured = self.ips.families();
        let policy = spec["ipFamilyPolicy"].as_str();
        // A headless Service without a selector is dual-stack unless it says otherwise.
        let unselected = is_headless(service)
            && spec["selector"].as_object().is_none_or(serde_json::Map::is_empty)
            && families.is_empty()
            && policy.is_none();
        match policy {
            Some("RequireDualStack") => {
                add(&mut families, configured);
                add(&mut families, [Family::V4, Family::V6]);
            }
            Some("PreferDualStack") => add(&mut families, configured),
            _ if unselected => add(&mut families, configured),
            _ if families.is_empty() => families.extend(configured.first()),
            _ => {}
        }
        families
    }

    fn complete_node_ports(
        &mut self,
        service: &mut Value,
        name: &ObjectName,
        problems: &mut Vec<Problem>,
    ) {
        let mut turn = NodePortTurn {
            name,
            kept: self.kept.node_ports.remove(&name.to_string()).unwrap_or_default(),
            given: BTreeMap::new(),
            ports: &mut self.ports,
            problems,
        };
        let allocates = allocates_node_ports(service);
        let checks_health = wants_health_check(service);
        if let Some(ports) = service["spec"]["ports"].as_array_mut().filter(|_| allocates) {
            for port in &*ports {
                if let (Some(number), Some(asked)) =
                    (number(&port["port"]), number(&port["nodePort"]))
                {
                    let first = *turn.given.entry(number.to_string()).or_insert(asked);
                    if first != asked {
                        turn.given.insert(format!("{number}/{asked}"), asked);
                    }
                }
            }
            for port in ports {
                if number(&port["nodePort"]).is_none()
                    && let Some(number) = number(&port["port"])
                    && let Some(got) = turn.give(number.to_string())
                {
                    port["nodePort"] = json!(got);
                }
            }
        }
        if checks_health {
            match number(&service["spec"]["healthCheckNodePort"]) {
                Some(asked) => {
                    turn.given.insert(HEALTH_CHECK.into(), asked);
                }
                None => {
                    if let Some(got) = turn.give(HEALTH_CHECK.into()) {
                        service["spec"]["healthCheckNodePort"] = json!(got);
                    }
                }
            }
        }
        let given = turn.given;
        if !given.is_empty() {
            self.kept.node_ports.insert(name.to_string(), given);
        }
    }
}

/// What healthCheckNodePort is called among a Service's node ports.
const HEALTH_CHECK: &str = "healthCheck";

/// The node ports of one Service, while they are given. Ports of one number and several protocols
/// share a node port, as the API server has it.
struct NodePortTurn<'a> {
    name: &'a ObjectName,
    kept: BTreeMap<String, u16>,
    given: BTreeMap<String, u16>,
    ports: &'a mut NodePorts,
    problems: &'a mut Vec<Problem>,
}

impl NodePortTurn<'_> {
    fn give(&mut self, what: String) -> Option<u16> {
        if let Some(port) = self.given.get(&what) {
            return Some(*port);
        }
        let port = match self.kept.get(&what) {
            Some(port) if self.ports.reserve(self.name, *port).is_ok() => Ok(*port),
            _ => self.ports.allocate(self.name, &what, None),
        };
        match port {
            Ok(port) => {
                self.given.insert(what, port);
                Some(port)
            }
            Err(problem) => {
                self.problems.push(Problem { about: Some(key(self.name)), ..problem });
                None
            }
        }
    }
}

fn add(families: &mut Vec<Family>, more: impl IntoIterator<Item = Family>) {
    for family in more {
        if !families.contains(&family) {
            families.push(family);
        }
    }
}

fn key(name: &ObjectName) -> Key {
    Key { kind: Kind::Service, name: name.clone() }
}

fn name_of(service: &Value) -> Option<ObjectName> {
    let meta = &service["metadata"];
    let name = meta["name"].as_str().filter(|name| !name.is_empty())?;
    let namespace = meta["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    Some(ObjectName::new(namespace.unwrap_or("default"), name))
}

/// `clusterIPs` and `clusterIP`, as far as they are addresses.
fn explicit_ips(service: &Value) -> Vec<IpAddr> {
    let spec = &service["spec"];
    let all = spec["clusterIPs"].as_array().into_iter().flatten().chain([&spec["clusterIP"]]);
    let mut ips: Vec<IpAddr> = Vec::new();
    for ip in all.filter_map(|text| address(text.as_str()?)) {
        if !ips.iter().any(|known| Family::of(*known) == Family::of(ip)) {
            ips.push(ip);
        }
    }
    ips
}

fn explicit_node_ports(service: &Value) -> impl Iterator<Item = u16> {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().into_iter().flatten();
    let all = ports.map(|port| &port["nodePort"]).chain([&spec["healthCheckNodePort"]]);
    all.filter_map(number).filter(|_| wants_node_ports(service))
}

/// What a Service asks for by number.
struct Asked {
    ips: Vec<IpAddr>,
    node_ports: Vec<u16>,
}

impl Asked {
    fn of(service: &Value) -> Self {
        let ips = if wants_ips(service) { explicit_ips(service) } else { Vec::new() };
        Self { ips, node_ports: explicit_node_ports(service).collect() }
    }
}

/// Does the Service want a node port for this (as in [`Allocations::node_ports`]), whichever?
fn leaves_open(service: &Value, what: &str) -> bool {
    let spec = &service["spec"];
    if what == HEALTH_CHECK {
        return wants_health_check(service) && number(&spec["healthCheckNodePort"]).is_none();
    }
    let mut ports = spec["ports"].as_array().into_iter().flatten();
    wants_node_ports(service)
        && allocates_node_ports(service)
        && ports.any(|port| {
            number(&port["port"]).is_some_and(|number| number.to_string() == what)
                && number(&port["nodePort"]).is_none()
        })
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0)
}

fn service_type(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

fn is_external_name(service: &Value) -> bool {
    service_type(service) == "ExternalName"
}

fn is_headless(service: &Value) -> bool {
    let spec = &service["spec"];
    spec["clusterIP"].as_str() == Some("None") || spec["clusterIPs"][0].as_str() == Some("None")
}

fn wants_ips(service: &Value) -> bool {
    !is_external_name(service) && !is_headless(service)
}

fn wants_node_ports(service: &Value) -> bool {
    matches!(service_type(service), "NodePort" | "LoadBalancer") && !is_headless(service)
}

/// A load balancer may do without (allocateLoadBalancerNodePorts).
fn allocates_node_ports(service: &Value) -> bool {
    service_type(service) == "NodePort"
        || service["spec"]["allocateLoadBalancerNodePorts"].as_bool() != Some(false)
}

fn wants_health_check(service: &Value) -> bool {
    service_type(service) == "LoadBalancer"
        && service["spec"]["externalTrafficPolicy"].as_str() == Some("Local")
}

#[cfg(test)]
mod tests;
