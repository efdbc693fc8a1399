//! What the API server fills into a Service: cluster IPs, families and node ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    ClusterIps, NodePorts, refused,
    written::{FamilyPolicy, Written},
};
use crate::{Family, ObjectName, Problem, service::Cidr};

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

/// Gives cluster IPs and node ports to Services. Only a version that was accepted owns anything.
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
        Self { ips: ClusterIps::new(ranges), ports: NodePorts::default(), kept }
    }

    /// What is given to whom, to be kept.
    #[must_use]
    pub const fn kept(&self) -> &Allocations {
        &self.kept
    }

    /// All Services that exist, at once: those that were read, and the names of those that cannot be.
    /// Each keeps what it had before; then comes what is asked for by number, of the oldest Service
    /// first; then what is free. A Service that asks for what is another's is refused, as by an API
    /// server. What belonged to Services that are gone is given back.
    pub fn fill_all(&mut self, services: &mut [Written], unread: &BTreeSet<ObjectName>) -> Filled {
        let mut services: Vec<&mut Written> = services.iter_mut().collect();
        services.sort_by_cached_key(|written| {
            (written.service.meta.created.clone(), written.name().clone())
        });
        let wrong = services.iter().filter_map(|written| {
            Some((written.name().clone(), refused::problem(written, &self.ips)?))
        });
        let mut refused: BTreeMap<ObjectName, Problem> = wrong.collect();
        // A Service that is refused keeps what it had, which others may have been given meanwhile:
        // then they are refused, too, in the next round.
        loop {
            let last = unread.iter().chain(refused.keys());
            let accepted = services.iter().filter(|written| !refused.contains_key(written.name()));
            let more = self.reserve_all(last, accepted.map(|written| &**written));
            if more.is_empty() {
                break;
            }
            refused.extend(more);
        }
        let before = std::mem::take(&mut self.kept);
        for name in unread.iter().chain(refused.keys()).map(ToString::to_string) {
            let (ips, ports) = (before.cluster_ips.get(&name), before.node_ports.get(&name));
            self.kept.cluster_ips.extend(ips.map(|ips| (name.clone(), ips.clone())));
            self.kept.node_ports.extend(ports.map(|ports| (name.clone(), ports.clone())));
        }
        let mut problems = Vec::new();
        services.retain(|written| !refused.contains_key(written.name()));
        for written in services {
            self.complete(written, &before, &mut problems);
        }
        Filled { problems, refused }
    }

    /// Says who has what. `last`: Services whose last version stays in force, with all that it had.
    /// Answers which of the others ask for what is another's.
    fn reserve_all<'a>(
        &mut self,
        last: impl Iterator<Item = &'a ObjectName>,
        services: impl Iterator<Item = &'a Written> + Clone,
    ) -> Vec<(ObjectName, Problem)> {
        self.ips = ClusterIps::new(self.ips.ranges());
        self.ports = NodePorts::default();
        for name in last {
            self.take_again(name, |_| true, |_, _| true);
        }
        for written in services.clone() {
            let families = self.families(written);
            let asked = &written.service.cluster_ips;
            // What it still wants: by number, or because it leaves it open.
            let wants_ip = |ip: &IpAddr| {
                let of_family = |other: &IpAddr| Family::of(*other) == Family::of(*ip);
                let open = families.contains(&Family::of(*ip)) && !asked.iter().any(of_family);
                !written.service.headless && (open || asked.contains(ip))
            };
            let wants_port = |what: &str, port: u16| {
                node_ports(written).any(|asked| asked == port)
                    || open(written).any(|open| open == what)
            };
            self.take_again(written.name(), wants_ip, wants_port);
        }
        let reserve =
            |written: &Written| Some((written.name().clone(), self.reserve(written).err()?));
        services.filter_map(reserve).collect()
    }

    /// What the Service had before, as far as it is wanted and is not another's.
    fn take_again(
        &mut self,
        name: &ObjectName,
        wants_ip: impl Fn(&IpAddr) -> bool,
        wants_port: impl Fn(&str, u16) -> bool,
    ) {
        let ips = self.kept.cluster_ips.get(&name.to_string()).into_iter().flatten();
        for ip in ips.filter(|ip| wants_ip(ip)) {
            let _taken_by_another = self.ips.reserve(name, *ip);
        }
        let ports = self.kept.node_ports.get(&name.to_string()).into_iter().flatten();
        for (_, port) in ports.filter(|(what, port)| wants_port(what, **port)) {
            let _taken_by_another = self.ports.reserve(name, *port);
        }
    }

    /// What the Service asks for by number: all of it, or nothing.
    fn reserve(&mut self, written: &Written) -> Result<(), Problem> {
        let name = written.name();
        let taken = |field: &str, what: String, owner: &ObjectName| {
            let why = format!("{what} already belongs to Service {owner}");
            Err(written.problem(field, &why, refused::ANOTHER))
        };
        for ip in &written.service.cluster_ips {
            if let Some(owner) = self.ips.owner(*ip).filter(|owner| *owner != name) {
                return taken("spec.clusterIP", ip.to_string(), owner);
            }
        }
        for port in node_ports(written) {
            if let Some(owner) = self.ports.owner(port).filter(|owner| *owner != name) {
                return taken("spec.ports", format!("nodePort {port}"), owner);
            }
        }
        // Each was found to be free, or its own already.
        let ips = &written.service.cluster_ips;
        let _free = ips.iter().try_for_each(|ip| self.ips.reserve(name, *ip));
        let _free = node_ports(written).try_for_each(|port| self.ports.reserve(name, port));
        Ok(())
    }

    /// Fills in what is left open.
    fn complete(
        &mut self,
        written: &mut Written,
        before: &Allocations,
        problems: &mut Vec<Problem>,
    ) {
        let name = written.name().to_string();
        if !written.is_external_name() {
            let before = before.cluster_ips.get(&name).map_or(&[][..], Vec::as_slice);
            let ips = self.complete_ips(written, before, problems);
            if !ips.is_empty() {
                self.kept.cluster_ips.insert(name.clone(), ips);
            }
        }
        if written.has_node_ports() {
            let before = before.node_ports.get(&name);
            let given = self.complete_node_ports(written, before, problems);
            if !given.is_empty() {
                self.kept.node_ports.insert(name, given);
            }
        }
    }

    fn complete_ips(
        &mut self,
        written: &mut Written,
        before: &[IpAddr],
        problems: &mut Vec<Problem>,
    ) -> Vec<IpAddr> {
        let families = self.families(written);
        let mut ips = Vec::new();
        for family in families.iter().filter(|_| !written.service.headless) {
            let of_family = |ip: &&IpAddr| Family::of(**ip) == *family;
            if let Some(ip) = written.service.cluster_ips.iter().find(of_family) {
                ips.push(*ip);
                continue;
            }
            let previous = before.iter().find(of_family).copied();
            match self.ips.allocate(written.name(), *family, previous) {
                Ok(ip) => ips.push(ip),
                Err(problem) => problems.push(Problem { about: Some(written.key()), ..problem }),
            }
        }
        let service = Arc::make_mut(&mut written.service);
        service.ip_families = families;
        service.cluster_ips.clone_from(&ips);
        ips
    }

    /// The families of a Service: those it names or has addresses of, filled up as its policy says.
    fn families(&self, written: &Written) -> Vec<Family> {
        let service = &written.service;
        let of_ips = service.cluster_ips.iter().map(|ip| Family::of(*ip));
        let mut families = Vec::new();
        add(&mut families, service.ip_families.iter().copied().chain(of_ips));
        let configured = self.ips.families();
        match written.spec.ip_family_policy {
            Some(FamilyPolicy::RequireDual) => {
                add(&mut families, configured);
                add(&mut families, [Family::V4, Family::V6]);
            }
            Some(FamilyPolicy::PreferDual) => add(&mut families, configured),
            Some(FamilyPolicy::Single) | None if !families.is_empty() => {}
            // A headless Service without a selector is dual-stack unless it says otherwise.
            None if service.headless && service.selector.is_empty() => families = configured,
            _ => families.extend(configured.first()),
        }
        families
    }

    fn complete_node_ports(
        &mut self,
        written: &mut Written,
        before: Option<&BTreeMap<String, u16>>,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<String, u16> {
        let mut given = BTreeMap::new();
        for port in written.service.ports.iter().filter(|port| port.node_port != 0) {
            let first = *given.entry(port.port.to_string()).or_insert(port.node_port);
            if first != port.node_port {
                given.insert(format!("{}/{}", port.port, port.node_port), port.node_port);
            }
        }
        let health = written.service.health_check_node_port;
        if health != 0 {
            given.insert(HEALTH_CHECK.to_owned(), health);
        }
        // Ports of one number and several protocols share a node port, as the API server has it.
        for what in open(written) {
            if given.contains_key(&what) {
                continue;
            }
            let had = before.and_then(|before| before.get(&what)).copied();
            let had = had.filter(|port| self.ports.reserve(written.name(), *port).is_ok());
            match had.map_or_else(|| self.ports.allocate(written.name(), &what), Ok) {
                Ok(port) => {
                    given.insert(what, port);
                }
                Err(problem) => problems.push(Problem { about: Some(written.key()), ..problem }),
            }
        }
        let allocates = written.allocates_node_ports();
        let checks_health = written.checks_health();
        let port_of = |what: &str| given.get(what).copied().unwrap_or(0);
        let service = Arc::make_mut(&mut written.service);
        for port in service.ports.iter_mut().filter(|port| allocates && port.node_port == 0) {
            port.node_port = port_of(&port.port.to_string());
        }
        if checks_health {
            service.health_check_node_port = port_of(HEALTH_CHECK);
        }
        given
    }
}

/// What healthCheckNodePort is called among a Service's node ports.
const HEALTH_CHECK: &str = "healthCheck";

fn add(families: &mut Vec<Family>, more: impl IntoIterator<Item = Family>) {
    for family in more {
        if !families.contains(&family) {
            families.push(family);
        }
    }
}

/// The node ports that a Service asks for by number.
fn node_ports(written: &Written) -> impl Iterator<Item = u16> {
    let service = &written.service;
    let ports = service.ports.iter().map(|port| port.node_port);
    let all = ports.chain([service.health_check_node_port]);
    all.filter(|port| *port != 0 && written.has_node_ports())
}

/// What it wants any node port for, as in [`Allocations::node_ports`].
fn open(written: &Written) -> impl Iterator<Item = String> {
    let service = &written.service;
    let ports = service.ports.iter().filter(|port| port.node_port == 0);
    let ports = ports.filter(|_| written.allocates_node_ports());
    let health = written.checks_health() && service.health_check_node_port == 0;
    ports.map(|port| port.port.to_string()).chain(health.then(|| HEALTH_CHECK.to_owned()))
}

#[cfg(test)]
mod tests;
