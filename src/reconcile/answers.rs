//! What the loop answers: status and services, as the control socket gives them out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::Bound,
    sync::Arc,
};

use towpath_image::datapath::{BackendRecord, FrontendKey, FrontendKind, FrontendWord};
use towpath_model::{Key, Kind, ObjectName, Protocol, select::Why};
use towpath_proxy::{FrontendSource, NEEDS, PlannedFrontend, PlannedPort, PlannedService};

use super::{Asker, Outcome, Part, State, ask::portion, in_force};
use crate::admin::{
    Metrics,
    api::{
        AuditReply, BackendReply, CountersReply, FrontendReply, KernelReply, LastChangeReply,
        MapReply, PortReply, ServiceReply, ServicesReply, SetReply, StateReply,
    },
};

/// Problems that a reply spells out at most.
const PROBLEMS_MAX: usize = 500;

/// The loop's part of `towpath status`.
#[must_use]
pub fn status(state: &State) -> StateReply {
    let view = state.store.view();
    let image = state.layout.image();
    let capacities = image.capacities;
    let map = |name: &str, entries: u64, capacity: u32| MapReply {
        name: name.to_owned(),
        entries,
        capacity: u64::from(capacity),
    };
    let backends = state.layout.backends_used(state.clock.now_ms());
    let addresses = image.node_addresses.len() as u64;
    StateReply {
        synced: view.synced(&NEEDS).is_some(),
        services: state.plan.services().len() as u64,
        endpoint_slices: view.slices().len() as u64,
        nodes: view.nodes().len() as u64,
        problems: problems(state),
        kernel: KernelReply {
            maps: vec![
                map("FRONTENDS", image.frontends.len() as u64, capacities.frontends),
                map("SERVICES", image.services.len() as u64, capacities.services),
                map("BACKENDS", backends, capacities.backends),
                map("NODE_ADDRESSES", addresses, capacities.node_addresses),
            ],
            pending: state.layout.pending() || state.repair,
            longest_write_us: u64::try_from(state.longest_write.as_micros()).unwrap_or(u64::MAX),
            programs_reattached: state.guard.reattached(),
        },
        audit: state.audited.as_ref().map(|finding| AuditReply {
            age_ms: state.clock.now_ms().saturating_sub(finding.at_ms),
            differences: finding.differences.clone(),
        }),
    }
}

/// What is wrong with objects, with room and with writes.
fn problems(state: &State) -> Vec<String> {
    let view = state.store.view();
    let mut problems: Vec<String> = Vec::new();
    if state.is_planned() {
        let known = state.troubles.iter().chain(state.store.bad());
        problems.extend(known.take(PROBLEMS_MAX).map(ToString::to_string));
    } else {
        problems.extend(state.store.problems().take(PROBLEMS_MAX).map(ToString::to_string));
    }
    let contested = state.plan.contested();
    problems.extend(contested.iter().take(PROBLEMS_MAX).map(ToString::to_string));
    for name in state.ledger.failed().take(PROBLEMS_MAX) {
        if let Some(Outcome::Failed(why)) = state.ledger.entry(name).map(|entry| &entry.outcome) {
            problems.push(format!("Service {name}: {why}"));
        }
    }
    let nodes = state.layout.addresses_without_room();
    if nodes > 0 {
        problems.push(format!(
            "map NODE_ADDRESSES is full: NodePorts are not reached on {nodes} address(es) of nodes; raise \
             its capacity in the configuration and restart"
        ));
    }
    problems.extend(state.effects.graces.problem());
    problems.extend(state.guard.problem().map(str::to_owned));
    problems.extend(view.own_node_problem().iter().map(ToString::to_string));
    for (stream, objects) in state.store.braked() {
        problems.push(format!(
            "{stream}: the last list would remove {objects} objects; waiting for a second one"
        ));
    }
    problems.extend(state.brake.problems());
    problems.extend(unread(state));
    problems.sort();
    problems.dedup();
    if problems.len() > PROBLEMS_MAX {
        let more = problems.len() - PROBLEMS_MAX;
        problems.truncate(PROBLEMS_MAX);
        problems.push(format!("{more} further problems or more: these first, then ask again"));
    }
    problems
}

/// Services that hold what nobody claims. Slices that do so are named with the Service that they hold.
fn unread(state: &State) -> Vec<String> {
    let held = state.layout.held_frontends();
    let unread = state.store.unread().filter(|key| key.kind == Kind::Service && held > 0);
    let line = |key: &Key| {
        format!(
            "{key}: it could not be read since the start, so nobody knows what in the kernel is its \
             own: {held} frontends that no Service claims stay in force; mend or delete it"
        )
    };
    unread.take(PROBLEMS_MAX).map(line).collect()
}

/// `towpath services [NAME]`. `name`: `namespace/name`, or a name in any namespace. `None`: the loop
/// did not answer.
#[must_use]
pub fn services(asker: &Asker, name: Option<&str>) -> Option<ServicesReply> {
    let mut services = Vec::new();
    let name = name.map(str::to_owned);
    asker.walk(
        move |state, from| some_services(state, name.as_deref(), from),
        |mut part| services.append(&mut part),
    )?;
    Some(ServicesReply { api_version: crate::admin::api::VERSION.to_owned(), services })
}

fn some_services(
    state: &State,
    name: Option<&str>,
    from: Option<ObjectName>,
) -> Part<Vec<ServiceReply>, ObjectName> {
    let mut found = Vec::new();
    let next = portion(state.plan.services_after(from.as_ref()), |service| {
        let asked_for = |name: &str| match name.split_once('/') {
            Some((namespace, name)) => {
                &*service.name.namespace == namespace && &*service.name.name == name
            }
            None => &*service.name.name == name,
        };
        if name.is_none_or(asked_for) {
            found.push(service_reply(state, service));
        }
        service.name.clone()
    });
    (found, next)
}

fn service_reply(state: &State, service: &PlannedService) -> ServiceReply {
    let entry = state.ledger.entry(&service.name);
    ServiceReply {
        name: service.name.to_string(),
        ports: service.ports.iter().map(|port| port_reply(state, port)).collect(),
        problems: {
            let known = state.troubles.of_service(&service.name).map(ToString::to_string);
            known.chain(lost(state, service)).collect()
        },
        last_change: entry.map(|entry| LastChangeReply {
            age_ms: state.clock.now_ms().saturating_sub(entry.received_ms),
            took_us: entry.took_us,
            failed: match &entry.outcome {
                Outcome::Done => None,
                Outcome::Failed(why) => Some(why.clone()),
            },
        }),
    }
}

fn port_reply(state: &State, port: &PlannedPort) -> PortReply {
    let index = state.layout.index_of(port.record.identity);
    let counters = index.map(|index| state.kernel.service_counters(index)).unwrap_or_default();
    let set = |choice: usize, name: &str| SetReply {
        name: name.to_owned(),
        why: port.why[choice].as_str().to_owned(),
        backends: port.record.sets[choice].backends.iter().map(backend).collect(),
        agrees: in_force::set(&state.layout, &port.record, choice),
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
            frontends
                .filter_map(|one| frontend(one, &nodes, not_served(state, port, one)))
                .collect()
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
fn lost(state: &State, service: &PlannedService) -> BTreeSet<String> {
    let frontends = service.ports.iter().flat_map(|port| &port.frontends);
    let of_others = frontends.filter_map(|frontend| {
        let owner = &state.plan.owner(&frontend.key)?.service;
        let (kind, port) = (frontend.source.as_str(), u16::from_be(frontend.key.port));
        (*owner != service.name).then(|| {
            format!("{kind}: port {port} belongs to {owner}: choose another address or port")
        })
    });
    of_others.collect()
}

/// Why sockets of this node are not led to the port by this frontend.
fn not_served(state: &State, port: &PlannedPort, frontend: &PlannedFrontend) -> Option<String> {
    if port.id.protocol == Protocol::Sctp {
        return Some("SCTP is not served yet".to_owned());
    }
    if frontend.flags & FrontendWord::SOURCE_RANGES != 0 {
        return Some("it has source ranges".to_owned());
    }
    match state.plan.owner(&frontend.key) {
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
pub fn unused_udp(asker: &Asker, endpoints: BTreeSet<SocketAddr>) -> Option<BTreeSet<SocketAddr>> {
    let endpoints = Arc::new(endpoints);
    let mut unused = BTreeSet::new();
    let mut known = true;
    let portion = move |state: &State, from: Option<SocketAddr>| {
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let known = state.is_planned() && !state.brake.holds();
        if !known {
            return (None, None);
        }
        let held = state.layout.held_backends();
        let held: BTreeSet<_> =
            held.map(|b| SocketAddr::new(b.addr.into(), u16::from_be(b.port))).collect();
        let mut found = Vec::new();
        let next = portion(endpoints.range((from, Bound::Unbounded)), |endpoint| {
            if !state.udp.contains(endpoint) && !held.contains(endpoint) {
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

/// Brings metrics up to date that are read, not counted. `notes`: how many problems there are that the
/// loop does not know of. `None`: the loop did not answer.
#[must_use]
pub fn gather(asker: &Asker, metrics: &Metrics, notes: usize) -> Option<()> {
    let (status, failed, totals) =
        asker.ask(|s| (status(s), s.ledger.failed().len(), s.kernel.counters()))?;
    metrics.services.set(gauge(status.services));
    metrics.problems.set(gauge((status.problems.len() + notes) as u64));
    metrics.services_failed.set(gauge(failed as u64));
    metrics.flows_evicted.set(gauge(totals.flows_evicted));
    metrics.unknown_port.set(gauge(totals.unknown_port));
    metrics.untracked.set(gauge(totals.untracked));
    for map in &status.kernel.maps {
        metrics.map_entries.with_label_values(&[map.name.as_str()]).set(gauge(map.entries));
        metrics.map_max_entries.with_label_values(&[map.name.as_str()]).set(gauge(map.capacity));
    }
    let mut sums = Sums::default();
    asker.walk(some_sums, |part| sums.add(&part))?;
    metrics.no_local.with_label_values(&["internal"]).set(gauge(sums.no_local[0]));
    metrics.no_local.with_label_values(&["external"]).set(gauge(sums.no_local[1]));
    let names = ["translated", "refused", "no_local", "untranslated"];
    for (name, sum) in names.iter().zip(sums.verdicts) {
        metrics.verdicts.with_label_values(&[name]).set(gauge(sum));
    }
    Some(())
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
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

    fn count(&mut self, state: &State, port: &PlannedPort) {
        if port.why[1] == Why::NoneLocal {
            let local = |external: bool| {
                port.frontends.iter().any(|frontend| {
                    let is = |flag: u8| frontend.flags & flag != 0;
                    is(FrontendWord::LOCAL_SET) && is(FrontendWord::EXTERNAL) == external
                })
            };
            self.no_local[0] += u64::from(local(false));
            self.no_local[1] += u64::from(local(true));
        }
        let indices = port.records().filter_map(|r| state.layout.index_of(r.identity));
        for counters in indices.map(|index| state.kernel.service_counters(index)) {
            self.verdicts[0] += counters.translated;
            self.verdicts[1] += counters.refused;
            self.verdicts[2] += counters.no_local;
            self.verdicts[3] += counters.untranslated;
        }
    }
}

fn some_sums(state: &State, from: Option<ObjectName>) -> Part<Sums, ObjectName> {
    let mut sums = Sums::default();
    let next = portion(state.plan.services_after(from.as_ref()), |service| {
        service.ports.iter().for_each(|port| sums.count(state, port));
        service.name.clone()
    });
    (sums, next)
}

#[cfg(test)]
mod tests;
