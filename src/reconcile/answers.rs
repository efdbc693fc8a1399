//! What the loop answers: status and services, as the control socket gives them out.

use std::net::IpAddr;

use towpath_image::datapath::{BackendRecord, FrontendKey, FrontendKind, SetWord};
use towpath_proxy::{FrontendSource, PlannedFrontend, PlannedPort, PlannedRecord, PlannedSet};

use super::{Outcome, State};
use crate::admin::{
    Metrics,
    api::{
        AuditReply, BackendReply, CountersReply, FrontendReply, KernelReply, LastChangeReply,
        MapReply, PortReply, ServiceReply, ServicesReply, SetReply, StateReply,
    },
};

/// The loop's part of `towpath status`.
#[must_use]
pub fn status(state: &State) -> StateReply {
    let view = state.store.view();
    let image = state.layout.image();
    let capacities = image.capacities;
    let map = |name: &str, entries: usize, capacity: u32| MapReply {
        name: name.to_owned(),
        entries: entries as u64,
        capacity: u64::from(capacity),
    };
    let mut problems: Vec<String> = state.store.problems().map(ToString::to_string).collect();
    problems.extend(state.plan.problems().iter().map(ToString::to_string));
    problems.extend(state.layout.refused().map(|r| format!("Service {}: {}", r.service, r.why)));
    problems.extend(state.effects.graces.problem());
    problems.extend(view.own_node_problem().iter().map(ToString::to_string));
    for (kind, objects) in state.store.braked() {
        problems.push(format!(
            "{kind}: the last list would remove {objects} objects; waiting for a second one"
        ));
    }
    problems.sort();
    problems.dedup();
    let in_force = image.services.values().flat_map(|record| record.sets);
    let backends: usize = in_force.map(|word| usize::from(word.count())).sum();
    StateReply {
        synced: view.synced().is_some(),
        services: state.plan.services().count() as u64,
        endpoint_slices: view.slices().count() as u64,
        nodes: view.nodes().count() as u64,
        problems,
        kernel: KernelReply {
            maps: vec![
                map("FRONTENDS", image.frontends.len(), capacities.frontends),
                map("SERVICES", image.services.len(), capacities.services),
                map("BACKENDS", backends, capacities.backends),
                map("NODE_ADDRESSES", image.node_addresses.len(), capacities.node_addresses),
            ],
            pending: state.layout.pending(),
            longest_write_us: u64::try_from(state.longest_write.as_micros()).unwrap_or(u64::MAX),
        },
        audit: state.audited.as_ref().map(|finding| AuditReply {
            age_ms: state.clock.now_ms().saturating_sub(finding.at_ms),
            differences: finding.differences.clone(),
        }),
    }
}

/// `towpath services [NAME]`. `name`: `namespace/name`, or a name in any namespace.
#[must_use]
pub fn services(state: &State, name: Option<&str>) -> ServicesReply {
    let matches = |service: &towpath_proxy::PlannedService| {
        name.is_none_or(|name| service.name.to_string() == name || &*service.name.name == name)
    };
    let services = state.plan.services().filter(|service| matches(service)).map(|service| {
        let entry = state.ledger.entry(&service.name);
        ServiceReply {
            name: service.name.to_string(),
            ports: service.ports.iter().map(|port| port_reply(state, port)).collect(),
            problems: service.problems.iter().map(ToString::to_string).collect(),
            last_change: entry.map(|entry| LastChangeReply {
                age_ms: state.clock.now_ms().saturating_sub(entry.received_ms),
                took_us: entry.took_us,
                failed: match &entry.outcome {
                    Outcome::Done => None,
                    Outcome::Failed(why) => Some(why.clone()),
                },
            }),
        }
    });
    ServicesReply {
        api_version: crate::admin::api::VERSION.to_owned(),
        services: services.collect(),
    }
}

fn port_reply(state: &State, port: &PlannedPort) -> PortReply {
    let index = state.layout.index_of(port.record.identity);
    let counters = index.map(|index| state.kernel.service_counters(index)).unwrap_or_default();
    let set = |choice: usize, name: &str| SetReply {
        name: name.to_owned(),
        why: port.why[choice].as_str().to_owned(),
        backends: port.record.sets[choice].backends.iter().map(backend).collect(),
        agrees: agrees(state, &port.record, choice),
    };
    let mut sets = Vec::new();
    if port.why[0] != towpath_model::select::Why::NotUsed {
        sets.push(set(0, "cluster"));
    }
    if port.why[1] != towpath_model::select::Why::NotUsed {
        sets.push(set(1, "local"));
    }
    PortReply {
        name: port.id.port.to_string(),
        port: port.number,
        protocol: port.id.protocol.as_str().to_owned(),
        family: port.id.family.as_str().to_owned(),
        frontends: port.frontends.iter().filter_map(|f| frontend(f, port)).collect(),
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

/// Does what was written say what is planned?
fn agrees(state: &State, record: &PlannedRecord, choice: usize) -> bool {
    let image = state.layout.image();
    let index = state.layout.index_of(record.identity);
    let held = index.and_then(|index| image.services.get(&index));
    let same = |word: SetWord, set: &PlannedSet| {
        if set.backends.is_empty() {
            word.count() == 0 && word.meaning() == set.empty
        } else {
            image.extent(word) == &*set.backends
        }
    };
    held.is_some_and(|held| same(held.sets[choice], &record.sets[choice]))
}

fn frontend(frontend: &PlannedFrontend, port: &PlannedPort) -> Option<FrontendReply> {
    let address = match (frontend.source, frontend.key.kind()?) {
        (FrontendSource::Guard, _) => return None,
        (_, FrontendKind::Vip) => IpAddr::from(frontend.key.addr).to_string(),
        (_, FrontendKind::Node) => "every node's addresses".to_owned(),
        (_, FrontendKind::NodeLocal) => of_node(&frontend.key, port)?,
        (_, FrontendKind::Guard) => return None,
    };
    let ranges = frontend.flags & towpath_image::datapath::FrontendWord::SOURCE_RANGES != 0;
    Some(FrontendReply {
        address,
        port: u16::from_be(frontend.key.port),
        kind: frontend.source.as_str().to_owned(),
        served: !ranges,
    })
}

fn of_node(key: &FrontendKey, port: &PlannedPort) -> Option<String> {
    let is = |node: &str| {
        FrontendKey::node_local(
            port.frontends.first().map_or(key.addr, |first| first.key.addr),
            towpath_proxy::node_identity(node),
            port.node_port,
            key.protocol,
        ) == *key
    };
    port.per_node.iter().map(|(node, _)| node).find(|node| is(node)).map(|n| format!("node {n}"))
}

fn backend(record: &BackendRecord) -> BackendReply {
    BackendReply { address: IpAddr::from(record.addr).to_string(), port: u16::from_be(record.port) }
}

/// Brings metrics up to date that are read, not counted.
pub fn gather(state: &State, metrics: &Metrics) {
    let status = status(state);
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    metrics.services.set(number(status.services));
    metrics.problems.set(i64::try_from(status.problems.len()).unwrap_or(i64::MAX));
    for map in &status.kernel.maps {
        metrics.map_entries.with_label_values(&[map.name.as_str()]).set(number(map.entries));
        metrics.map_max_entries.with_label_values(&[map.name.as_str()]).set(number(map.capacity));
    }
    let mut sums = [0u64; 4];
    let mut no_local = 0;
    for port in state.plan.services().flat_map(|service| &service.ports) {
        no_local += i64::from(port.why[1] == towpath_model::select::Why::NoneLocal);
        let indices = port.records().filter_map(|r| state.layout.index_of(r.identity));
        for counters in indices.map(|index| state.kernel.service_counters(index)) {
            sums[0] += counters.translated;
            sums[1] += counters.refused;
            sums[2] += counters.no_local;
            sums[3] += counters.untranslated;
        }
    }
    metrics.no_local.with_label_values(&["internal"]).set(no_local);
    let names = ["translated", "refused", "no_local", "untranslated"];
    for (name, sum) in names.iter().zip(sums) {
        metrics.verdicts.with_label_values(&[name]).set(number(sum));
    }
    metrics.flows_evicted.set(number(state.kernel.counters().flows_evicted));
}
