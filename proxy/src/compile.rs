//! One Service and its slices -> [`PlannedService`]. The rules are services.md 1.1 to 1.3, as seen
//! by sockets on this node.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use towpath_image::datapath::{
    Addr, BackendRecord, Empty, FrontendKey, FrontendKind, FrontendWord,
};
use towpath_model::{
    Code, EndpointSlice, Family, Key, Kind, Problem, Protocol, Service,
    select::{self, Candidate, Place, Selection, Usage},
    service::{ServicePort, ServiceType, TrafficPolicy},
    why_unroutable,
};

use crate::{
    config::ProxyConfig,
    identity::{node_identity, service_identity},
    not_routed::NotRouted,
    planned::{
        FrontendSource, HealthCheck, PlannedFrontend, PlannedPort, PlannedRecord, PlannedService,
        PlannedSet, ServicePortId,
    },
    ranges::Ranges,
    share::Budget,
};

/// What the result depends on besides the Service and its slices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a ProxyConfig,
    pub(crate) place: Place<'a>,
    /// This node itself answers DNS at the Service's ClusterIPs.
    pub(crate) answers_dns: bool,
    /// Addresses of this machine.
    pub(crate) own_addresses: &'a [IpAddr],
    /// This node's address of each family, as its Node object has them.
    pub(crate) node_ips: [Option<IpAddr>; 2],
}

/// The port of DNS.
const DNS: u16 = 53;

/// Is this port of a ClusterIP answered by this node's own DNS server?
fn own_dns(port: &ServicePort, around: Surroundings<'_>) -> bool {
    around.answers_dns && port.port == DNS && port.protocol != Protocol::Sctp
}

/// The endpoints of a port. Behind an own DNS server they are for when that does not serve, wherever it
/// listens besides.
fn endpoints<'a>(
    slices: &[&'a EndpointSlice],
    port: &ServicePort,
    ip: IpAddr,
    around: Surroundings<'_>,
) -> Vec<Candidate<'a>> {
    let family = Family::of(ip);
    let mut all = select::candidates(slices.iter().copied(), &port.name, port.protocol, family);
    if own_dns(port, around) {
        all.retain(|c| c.addr != ip && !around.own_addresses.contains(&c.addr));
    }
    all
}

/// Is this Service ours at all?
pub(crate) fn is_proxied(service: &Service) -> bool {
    NotRouted::of(service).is_none()
}

/// Compiles a Service that [`is_proxied`].
pub(crate) fn compile(
    service: &Service,
    slices: &[&EndpointSlice],
    around: Surroundings<'_>,
) -> PlannedService {
    let mut problems = Vec::new();
    let pairs =
        || service.cluster_ips.iter().flat_map(|ip| service.ports.iter().map(move |p| (*ip, p)));
    let (mut budget, kept) =
        Budget::new(around.config.share, service.cluster_ips.len(), pairs().count());
    budget.set_aside(pairs().take(kept).filter(|(_, port)| port.node_port != 0).count());
    let outside = Outside::of(service, around.config);
    let mut ports = Vec::with_capacity(kept);
    let mut ready_local = BTreeSet::new();
    let mut refused = BTreeSet::new();
    refuse_external_ips(service, around.config, &mut problems);
    for (ip, port) in pairs().take(kept) {
        let all = endpoints(slices, port, ip, around);
        let (usable, bad): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|c| why_unroutable(c.addr).is_none());
        refused.extend(bad.iter().map(|c| c.addr));
        ready_local.extend(
            usable.iter().filter(|c| c.ready && c.node == Some(around.place.node)).map(|c| c.addr),
        );
        let mut compiled =
            compile_port(service, port, ip, &usable, &outside, around.place, &mut budget);
        if own_dns(port, around) {
            leave_to_own_dns(&mut compiled);
        }
        ports.push(compiled);
    }
    outside.give(service, &mut ports, around.node_ips, &mut budget);
    for port in &mut ports {
        // As a person reads them; remote nodes' own come last.
        let own = |f: &PlannedFrontend| f.key.kind() == Some(FrontendKind::NodeLocal);
        port.frontends.sort_by_key(|frontend| (own(frontend), frontend.source));
        port.frontends.shrink_to_fit();
    }
    problems.extend(budget.problems(service));
    let refused = refused.into_iter().filter_map(|addr| Some((addr, why_unroutable(addr)?)));
    for (addr, why) in refused {
        problems.push(problem(
            service,
            "endpoints",
            &format!("endpoint address {addr} is {why} and is not used"),
            "remove it from the EndpointSlice: such addresses would lead to the node itself",
        ));
    }
    let health_check = (service.service_type == ServiceType::LoadBalancer
        && service.external_policy == TrafficPolicy::Local
        && service.health_check_node_port != 0)
        .then(|| HealthCheck {
            service: service.meta.name.clone(),
            port: service.health_check_node_port,
            ready_local: ready_local.len(),
        });
    let guards = service.cluster_ips.iter().map(|ip| guard(*ip, &ports)).collect();
    PlannedService {
        name: service.meta.name.clone(),
        created: Arc::from(&*service.meta.created),
        ports,
        guards,
        health_check,
        problems,
    }
}

/// The ClusterIP's frontend asks the heartbeat first. Without an endpoint elsewhere the address is left
/// alone in any case: a server that comes back answers at once, and a kernel without sockets refuses.
fn leave_to_own_dns(port: &mut PlannedPort) {
    let cluster_ip = |f: &&mut PlannedFrontend| f.source == FrontendSource::ClusterIp;
    for frontend in port.frontends.iter_mut().filter(cluster_ip) {
        frontend.flags |= FrontendWord::OWN_DNS;
    }
    for set in &mut port.record.sets {
        set.empty = Empty::Leave;
    }
}

fn compile_port(
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
    usable: &[Candidate<'_>],
    outside: &Outside,
    place: Place<'_>,
    budget: &mut Budget,
) -> PlannedPort {
    let id = ServicePortId {
        service: service.meta.name.clone(),
        port: Arc::from(&*port.name),
        protocol: port.protocol,
        family: Family::of(cluster_ip),
    };
    let identity = service_identity(&id, None);
    let mut frontends = vec![own_frontend(service, port, cluster_ip, identity)];
    let node_port = port.node_port != 0 && budget.take_node_port();
    if node_port {
        frontends.push(node_frontend(service, port, cluster_ip, identity));
    }
    let external = port.node_port != 0 || outside.has(id.family);
    // From this node, frontends of the outside are short-circuited to the cluster set whatever
    // externalTrafficPolicy says (1.3): packets from outside alone use the local set then.
    let internal_local = service.internal_policy == TrafficPolicy::Local;
    let external_local = service.external_policy == TrafficPolicy::Local && external;
    let usage =
        Usage { cluster: !internal_local || external, local: internal_local || external_local };
    let chosen = select::select(usable, usage, place);
    let per_node = if node_port && service.external_policy == TrafficPolicy::Local {
        per_node(service, &id, usable, place, budget)
    } else {
        Vec::new()
    };
    let any = Addr::from(cluster_ip).any_of_family();
    frontends.extend(per_node.iter().map(|(node, record)| PlannedFrontend {
        key: FrontendKey::node_local(
            any,
            node_identity(node),
            port.node_port,
            port.protocol.number(),
        ),
        flags: FrontendWord::EXTERNAL | FrontendWord::LOCAL_SET,
        identity: record.identity,
        source: FrontendSource::NodePort,
    }));
    PlannedPort {
        record: PlannedRecord {
            identity,
            owner: service.meta.name.clone(),
            affinity_seconds: service.affinity_seconds,
            sets: sets(&chosen, usage, budget),
            source_ranges: Arc::default(),
        },
        id,
        number: port.port,
        node_port: port.node_port,
        per_node,
        frontends,
        counts: chosen.counts,
        why: [chosen.cluster_why, chosen.local_why],
    }
}

fn own_frontend(
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
    identity: u64,
) -> PlannedFrontend {
    let internal_local = service.internal_policy == TrafficPolicy::Local;
    PlannedFrontend {
        key: FrontendKey::vip(cluster_ip.into(), port.port, port.protocol.number()),
        flags: if internal_local { FrontendWord::LOCAL_SET } else { 0 },
        identity,
        source: FrontendSource::ClusterIp,
    }
}

fn node_frontend(
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
    identity: u64,
) -> PlannedFrontend {
    let local = service.external_policy == TrafficPolicy::Local;
    PlannedFrontend {
        key: FrontendKey::node(cluster_ip.into(), port.node_port, port.protocol.number()),
        flags: external_flags(service) | if local { FrontendWord::PER_NODE } else { 0 },
        identity,
        source: FrontendSource::NodePort,
    }
}

/// Of a frontend that the outside may use.
fn external_flags(service: &Service) -> u8 {
    match service.external_policy {
        TrafficPolicy::Local => FrontendWord::EXTERNAL | FrontendWord::LOCAL_OUTSIDE,
        TrafficPolicy::Cluster => FrontendWord::EXTERNAL,
    }
}

/// Addresses of the outside that a Service may have, in the order in which they are given.
struct Outside(Vec<(FrontendSource, IpAddr)>);

impl Outside {
    fn of(service: &Service, config: &ProxyConfig) -> Self {
        let allowed = service.external_ips.iter().filter(|ip| config.allows_external_ip(**ip));
        let external = allowed.map(|ip| (FrontendSource::ExternalIp, *ip));
        let balancers = service.load_balancer.iter().filter(|ingress| !ingress.proxied);
        let balancers = balancers.map(|ingress| (FrontendSource::LoadBalancer, ingress.ip));
        Self(external.chain(balancers).collect())
    }

    fn has(&self, family: Family) -> bool {
        self.0.iter().any(|(_, ip)| Family::of(*ip) == family)
    }

    /// Gives all ports their external addresses, then all of them those of load balancers.
    fn give(
        &self,
        service: &Service,
        ports: &mut [PlannedPort],
        node_ips: [Option<IpAddr>; 2],
        budget: &mut Budget,
    ) {
        let ranges = [Family::V4, Family::V6].map(|family| {
            let vips = self.0.iter().filter(|(source, _)| *source == FrontendSource::LoadBalancer);
            let vips = vips.map(|(_, ip)| *ip).filter(|ip| Family::of(*ip) == family);
            Ranges::of(service, family, node_ips, vips)
        });
        for source in [FrontendSource::ExternalIp, FrontendSource::LoadBalancer] {
            for port in &mut *ports {
                let family = port.id.family;
                let fits = |(of, ip): &&(_, IpAddr)| *of == source && Family::of(*ip) == family;
                let granted = budget.grant(self.0.iter().filter(fits).count());
                let given = self.0.iter().filter(fits).take(granted);
                // Ranges of another family do not filter this one (1.1): without any of this family,
                // no filter.
                let mut flags = external_flags(service);
                if source == FrontendSource::LoadBalancer && granted > 0 {
                    let ranges = &ranges[usize::from(family == Family::V6)];
                    flags |= ranges.flags();
                    port.record.source_ranges = ranges.blocks(budget);
                }
                let (number, protocol) = (port.number, port.id.protocol.number());
                port.frontends.extend(given.map(|(_, ip)| PlannedFrontend {
                    key: FrontendKey::vip((*ip).into(), number, protocol),
                    flags,
                    identity: port.record.identity,
                    source,
                }));
            }
        }
    }
}

/// Unknown ports of a clusterIP are refused (services.md 1.3). It comes and goes with the first port
/// of its family: a Service that does not fit refuses nothing.
fn guard(cluster_ip: IpAddr, ports: &[PlannedPort]) -> PlannedFrontend {
    let first = ports.iter().find(|port| port.id.family == Family::of(cluster_ip));
    PlannedFrontend {
        key: FrontendKey::guard(cluster_ip.into()),
        flags: 0,
        identity: first.map_or(0, |port| port.record.identity),
        source: FrontendSource::Guard,
    }
}

fn sets(chosen: &Selection, usage: Usage, budget: &mut Budget) -> [PlannedSet; 2] {
    let empty = if chosen.has_any { Empty::Leave } else { Empty::Refuse };
    [
        PlannedSet { backends: backends(&chosen.cluster, budget), empty, used: usage.cluster },
        PlannedSet { backends: backends(&chosen.local, budget), empty, used: usage.local },
    ]
}

/// Remote nodes' own sets; a node without usable endpoints gets no record, hence no connection.
fn per_node(
    service: &Service,
    id: &ServicePortId,
    usable: &[Candidate<'_>],
    place: Place<'_>,
    budget: &mut Budget,
) -> Vec<(Arc<str>, PlannedRecord)> {
    let nodes: BTreeSet<&str> =
        usable.iter().filter_map(|c| c.node).filter(|node| *node != place.node).collect();
    let mut records = Vec::new();
    for node in nodes {
        let targets = select::local_set(usable, node);
        if targets.is_empty() || !budget.take_node() {
            continue;
        }
        let set =
            PlannedSet { backends: backends(&targets, budget), empty: Empty::Leave, used: true };
        records.push((
            Arc::from(node),
            PlannedRecord {
                identity: service_identity(id, Some(node)),
                owner: id.service.clone(),
                affinity_seconds: service.affinity_seconds,
                sets: [PlannedSet::default(), set],
                source_ranges: Arc::default(),
            },
        ));
    }
    records
}

fn backends(targets: &[(IpAddr, u16)], budget: &mut Budget) -> Arc<[BackendRecord]> {
    let kept = targets.iter().take(budget.cut(targets.len()));
    let mut backends: Vec<_> =
        kept.map(|(ip, port)| BackendRecord::new((*ip).into(), *port)).collect();
    backends.sort_unstable_by_key(BackendRecord::order);
    backends.into()
}

fn refuse_external_ips(service: &Service, config: &ProxyConfig, problems: &mut Vec<Problem>) {
    for ip in service.external_ips.iter().filter(|ip| !config.allows_external_ip(**ip)) {
        problems.push(problem(
            service,
            "spec.externalIPs",
            &format!("{ip} is in no block of the externalIPs setting and is not served"),
            "allow its block in Towpath's configuration (externalIPs), or remove it",
        ));
    }
}

fn problem(service: &Service, field: &str, why: &str, action: &str) -> Problem {
    let key = Key { kind: Kind::Service, name: service.meta.name.clone() };
    Problem::new(Code::ServiceNotServed, Some(key), field, why, action)
}
