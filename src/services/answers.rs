//! What Services answer: `towpath services`, their part of `status`, and their metrics.

mod explain;
mod not_routed;
mod slices;

pub use explain::{Backend, Fate, Planned, Router, Way};

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::Bound,
    sync::Arc,
};

use towpath_image::datapath::{BackendRecord, FrontendKey, FrontendKind, FrontendWord};
use towpath_model::{Key, Kind, ObjectName, Problem, Protocol, View, select::Why};
use towpath_proxy::{FrontendSource, PlannedFrontend, PlannedPort, PlannedService};

use super::{ServiceMetrics, Services, in_force};
use crate::{
    api::{
        MapReply, VERSION,
        services::{
            BackendReply, CountersReply, FrontendReply, LastChangeReply, PortReply, ServiceReply,
            ServicesReply, SetReply,
        },
    },
    metrics::number,
    reconcile::{AreaAsker, Asked, Outcome, Part, portion},
};

/// The maps of Services, as `status` shows them.
#[must_use]
pub fn maps(asked: &Asked<'_, Services>) -> Vec<MapReply> {
    let layout = &asked.runner.area().layout;
    let image = layout.image();
    let capacities = image.capacities;
    let map = |name: &str, entries: u64, capacity: u32| MapReply {
        name: name.to_owned(),
        entries,
        capacity: u64::from(capacity),
    };
    let addresses = image.node_addresses.len() as u64;
    vec![
        map("FRONTENDS", image.frontends.len() as u64, capacities.frontends),
        map("SERVICES", image.services.len() as u64, capacities.services),
        map("BACKENDS", layout.backends_used(asked.now.ms()), capacities.backends),
        map("NODE_ADDRESSES", addresses, capacities.node_addresses),
    ]
}

/// `towpath services [NAME]`. `name`: `namespace/name`, or a name in any namespace. `None`: the loop
/// did not answer.
#[must_use]
pub fn services(asker: &AreaAsker<Services>, name: Option<&str>) -> Option<ServicesReply> {
    let mut services = Vec::new();
    let name = name.map(str::to_owned);
    let wanted = name.clone();
    asker.walk(
        move |asked, from| some_services(asked, wanted.as_deref(), from),
        |mut part| services.append(&mut part),
    )?;
    let wanted = name.clone();
    let (unlisted, mut not_routed) = asker.ask(move |asked| {
        (not_routed::unlisted(asked), not_routed::withheld(asked, wanted.as_deref()))
    })?;
    let wanted = name.clone();
    asker.walk(
        move |asked, from| not_routed::unread(asked, wanted.as_deref(), from),
        |mut part| not_routed.append(&mut part),
    )?;
    if let Some(name) = name {
        asker.walk(
            move |asked, from| not_routed::by_choice(asked, &name, from),
            |mut part| not_routed.append(&mut part),
        )?;
    }
    Some(ServicesReply { api_version: VERSION.to_owned(), unlisted, services, not_routed })
}

/// Is `service` meant by `asked_for`: `namespace/name`, or a name in any namespace?
fn is_meant(asked_for: &str, service: &ObjectName) -> bool {
    match asked_for.split_once('/') {
        Some((namespace, name)) => *service.namespace == *namespace && *service.name == *name,
        None => *service.name == *asked_for,
    }
}

fn some_services(
    asked: &Asked<'_, Services>,
    name: Option<&str>,
    from: Option<ObjectName>,
) -> Part<Vec<ServiceReply>, ObjectName> {
    let mut found = Vec::new();
    let plan = &asked.runner.area().plan;
    let next = portion(plan.services_after(from.as_ref()), |service| {
        if name.is_none_or(|name| is_meant(name, &service.name)) {
            found.push(service_reply(asked, service, name.is_some()));
        }
        service.name.clone()
    });
    (found, next)
}

/// `detailed`: with what the EndpointSlices of ports without endpoints have.
fn service_reply(
    asked: &Asked<'_, Services>,
    service: &PlannedService,
    detailed: bool,
) -> ServiceReply {
    let area = asked.runner.area();
    let key = Key { kind: Kind::Service, name: service.name.clone() };
    ServiceReply {
        name: service.name.to_string(),
        ports: service.ports.iter().map(|port| port_reply(asked, port, detailed)).collect(),
        problems: problems(area, &asked.view, service),
        last_change: asked.runner.ledger().entry(&key).map(|entry| LastChangeReply {
            age_ms: asked.now.ms().saturating_sub(entry.received_ms),
            took_us: entry.took_us,
            failed: match &entry.outcome {
                Outcome::Done => None,
                Outcome::Failed(why) => Some(why.clone()),
            },
        }),
    }
}

/// What is wrong with one Service: as it was read, as it was planned, and what others own.
fn problems(area: &Services, view: &View<'_>, service: &PlannedService) -> Vec<String> {
    let read = view.service(&service.name).map(|object| &object.meta.problems);
    let key = Key { kind: Kind::Service, name: service.name.clone() };
    let newest = view.unreadable(&key);
    let read = newest.into_iter().chain(read.into_iter().flatten());
    let read = read.chain(area.problems.of(&service.name));
    read.map(Problem::coded).chain(lost(area, service)).collect()
}

fn port_reply(asked: &Asked<'_, Services>, port: &PlannedPort, detailed: bool) -> PortReply {
    let area = asked.runner.area();
    let index = area.layout.index_of(port.record.identity);
    let counters = index.map(|index| area.kernel.service_counters(index)).unwrap_or_default();
    let set = |choice: usize, name: &str| SetReply {
        name: name.to_owned(),
        why: port.why[choice].as_str().to_owned(),
        backends: port.record.sets[choice].backends.iter().map(backend).collect(),
        agrees: in_force::set(&area.layout, &port.record, choice),
    };
    let nodes = nodes_of(port);
    let mut sets = Vec::new();
    if port.why[0] != Why::NotUsed {
        sets.push(set(0, "cluster"));
    }
    if port.why[1] != Why::NotUsed {
        sets.push(set(1, "local"));
    }
    PortReply {
        name: port.id.port.to_string(),
        port: port.number,
        protocol: port.id.protocol.as_str().to_owned(),
        family: port.id.family.as_str().to_owned(),
        frontends: {
            let frontends = port.frontends.iter();
            frontends.filter_map(|one| frontend(one, &nodes, not_served(area, port, one))).collect()
        },
        no_endpoints: match port.counts.total {
            0 if detailed => slices::without_endpoints(&asked.view, &port.id),
            _ => Vec::new(),
        },
        ready: port.counts.ready as u64,
        serving: port.counts.serving as u64,
        terminating: port.counts.terminating as u64,
        affinity_seconds: port.record.affinity_seconds,
        sets,
        kernel_index: index,
        counters: CountersReply {
            translated: counters.translated,
            refused: counters.refused,
            no_local: counters.no_local,
            untranslated: counters.untranslated,
        },
    }
}

fn frontend(
    frontend: &PlannedFrontend,
    nodes: &BTreeMap<FrontendKey, &str>,
    not_served: Option<String>,
) -> Option<FrontendReply> {
    let address = match (frontend.source, frontend.key.kind()?) {
        (FrontendSource::Guard, _) => return None,
        (_, FrontendKind::Vip) => IpAddr::from(frontend.key.addr).to_string(),
        (_, FrontendKind::Node) => "every node's addresses".to_owned(),
        (_, FrontendKind::NodeLocal) => format!("node {}", nodes.get(&frontend.key)?),
        (_, FrontendKind::Guard) => return None,
    };
    Some(FrontendReply {
        address,
        port: u16::from_be(frontend.key.port),
        kind: frontend.source.as_str().to_owned(),
        served: not_served.is_none(),
        not_served,
    })
}

/// Frontends of this Service that are another's, in words; each once.
fn lost(area: &Services, service: &PlannedService) -> BTreeSet<String> {
    let frontends = service.ports.iter().flat_map(|port| &port.frontends);
    let of_others = frontends.filter_map(|frontend| {
        let owner = &area.plan.owner(&frontend.key)?.service;
        let (kind, port) = (frontend.source.as_str(), u16::from_be(frontend.key.port));
        (*owner != service.name).then(|| {
            format!("{kind}: port {port} belongs to {owner}: choose another address or port")
        })
    });
    of_others.collect()
}

/// Why sockets of this node are not led to the port by this frontend.
fn not_served(area: &Services, port: &PlannedPort, frontend: &PlannedFrontend) -> Option<String> {
    if port.id.protocol == Protocol::Sctp {
        return Some("SCTP is not served yet".to_owned());
    }
    if frontend.flags & FrontendWord::SOURCE_RANGES != 0 {
        return Some(
            "it has source ranges, which are judged by packets (features.packets)".to_owned(),
        );
    }
    match area.plan.owner(&frontend.key) {
        Some(claim) if claim.service == port.record.owner => None,
        Some(claim) => Some(format!("it belongs to {}", claim.service)),
        None => Some("the Service is withheld".to_owned()),
    }
}

/// Which node each remote node's own nodePort is for.
fn nodes_of(port: &PlannedPort) -> BTreeMap<FrontendKey, &str> {
    let Some(first) = port.frontends.first().map(|first| first.key) else {
        return BTreeMap::new();
    };
    let key = |node: &str| {
        let identity = towpath_proxy::node_identity(node);
        FrontendKey::node_local(first.addr, identity, port.node_port, first.protocol)
    };
    port.per_node.iter().map(|(node, _)| (key(node), &**node)).collect()
}

fn backend(record: &BackendRecord) -> BackendReply {
    BackendReply { address: IpAddr::from(record.addr).to_string(), port: u16::from_be(record.port) }
}

/// Of these UDP endpoints, those that no Service uses. `None`: the loop did not answer, or does not
/// know yet.
#[must_use]
pub(super) fn unused_udp(
    asker: &AreaAsker<Services>,
    endpoints: BTreeSet<SocketAddr>,
) -> Option<BTreeSet<SocketAddr>> {
    let endpoints = Arc::new(endpoints);
    let mut unused = BTreeSet::new();
    let mut known = true;
    let portion = move |asked: &Asked<'_, Services>, from: Option<SocketAddr>| {
        let (area, from) = (asked.runner.area(), from.map_or(Bound::Unbounded, Bound::Excluded));
        if !asked.runner.is_planned() || area.doubts_lists() {
            return (None, None);
        }
        let held = area.layout.held_backends();
        let held: BTreeSet<_> =
            held.map(|b| SocketAddr::new(b.addr.into(), u16::from_be(b.port))).collect();
        let mut found = Vec::new();
        let next = portion(endpoints.range((from, Bound::Unbounded)), |endpoint| {
            if !area.udp.contains(endpoint) && !held.contains(endpoint) {
                found.push(*endpoint);
            }
            *endpoint
        });
        (Some(found), next)
    };
    asker.walk(portion, |part| match part {
        Some(part) => unused.extend(part),
        None => known = false,
    })?;
    known.then_some(unused)
}

/// Brings metrics up to date that are read, not counted. `None`: the loop did not answer.
#[must_use]
pub fn gather(asker: &AreaAsker<Services>, metrics: &ServiceMetrics) -> Option<()> {
    let (services, failed, maps, totals) = asker.ask(|asked| {
        let area = asked.runner.area();
        let failed = asked.runner.ledger().failed().len();
        (area.plan.services().len(), failed, maps(asked), area.kernel.counters())
    })?;
    metrics.services.set(number(services as u64));
    metrics.services_failed.set(number(failed as u64));
    metrics.choices_evicted.set(number(totals.choices_evicted));
    metrics.unknown_port.set(number(totals.unknown_port));
    metrics.untracked.set(number(totals.untracked));
    metrics.maps(&maps);
    let mut sums = Sums::default();
    asker.walk(some_sums, |part| sums.add(&part))?;
    metrics.no_local.with_label_values(&["internal"]).set(number(sums.no_local[0]));
    metrics.no_local.with_label_values(&["external"]).set(number(sums.no_local[1]));
    let names = ["translated", "refused", "no_local", "untranslated"];
    for (name, sum) in names.iter().zip(sums.verdicts) {
        metrics.verdicts.with_label_values(&[name]).set(number(sum));
    }
    Some(())
}

/// Over all Services.
#[derive(Clone, Copy, Default)]
struct Sums {
    verdicts: [u64; 4],
    /// Ports with a Local policy, internal and external, and no local endpoint.
    no_local: [u64; 2],
}

impl Sums {
    fn add(&mut self, other: &Self) {
        let pairs = self.verdicts.iter_mut().zip(other.verdicts);
        pairs.chain(self.no_local.iter_mut().zip(other.no_local)).for_each(|(sum, n)| *sum += n);
    }

    fn count(&mut self, area: &Services, port: &PlannedPort) {
        if port.why[1] == Why::NoneLocal {
            let local = |external: bool| {
                port.frontends.iter().any(|frontend| {
                    let is = |flag: u8| frontend.flags & flag != 0;
                    let local = FrontendWord::LOCAL_SET | FrontendWord::LOCAL_OUTSIDE;
                    is(local) && is(FrontendWord::EXTERNAL) == external
                })
            };
            self.no_local[0] += u64::from(local(false));
            self.no_local[1] += u64::from(local(true));
        }
        let indices = port.records().filter_map(|r| area.layout.index_of(r.identity));
        for counters in indices.map(|index| area.kernel.service_counters(index)) {
            self.verdicts[0] += counters.translated;
            self.verdicts[1] += counters.refused;
            self.verdicts[2] += counters.no_local;
            self.verdicts[3] += counters.untranslated;
        }
    }
}

fn some_sums(asked: &Asked<'_, Services>, from: Option<ObjectName>) -> Part<Sums, ObjectName> {
    let (area, mut sums) = (asked.runner.area(), Sums::default());
    let next = portion(area.plan.services_after(from.as_ref()), |service| {
        service.ports.iter().for_each(|port| sums.count(area, port));
        service.name.clone()
    });
    (sums, next)
}

#[cfg(test)]
mod tests;
