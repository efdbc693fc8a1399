//! One Service uses its share of the tables and no more, whatever its author writes into it.
#![expect(clippy::unwrap_used, reason = "a test")]

mod pipeline;

use std::collections::BTreeMap;

use pipeline::Pipeline;
use serde_json::json;
use towpath_image::Capacities;
use towpath_model::{Event, Kind, NodeFact, ObjectName, decode, service::Cidr};
use towpath_proxy::{FrontendSource, PlannedService, ProxyConfig, ServicePlan, Share};

/// One Service may have 100 frontends, 50 records, 40 backends.
const CAPACITIES: Capacities =
    Capacities { frontends: 400, services: 100, backends: 160, node_addresses: 50 };

/// What a Service asks for.
#[derive(Clone, Copy)]
struct Wish {
    ports: u16,
    node_ports: bool,
    externals: u8,
    balancers: u8,
    /// Endpoints, each on a node of its own.
    endpoints: u8,
}

const PLAIN: Wish = Wish { ports: 1, node_ports: false, externals: 0, balancers: 0, endpoints: 1 };

fn apply(kind: Kind, value: &serde_json::Value) -> Event {
    Event::Apply(decode(kind, value.to_string().as_bytes()).unwrap())
}

/// Service d/NAME at 10.96.0.`last`.
fn service(name: &str, last: u8, wish: Wish) -> Vec<Event> {
    let address = |net: u8| move |n: u8| json!(format!("192.{net}.{last}.{n}"));
    let ingress = |n| json!({ "ip": address(1)(n) });
    let port = |n: u16| {
        let node_port = if wish.node_ports { 30_000 + n } else { 0 };
        json!({ "name": format!("p{n}"), "port": n, "nodePort": node_port })
    };
    let labels = json!({ "kubernetes.io/service-name": name });
    let endpoint =
        |n: u8| json!({ "addresses": [format!("10.0.{last}.{n}")], "nodeName": format!("n{n}") });
    vec![
        apply(
            Kind::Service,
            &json!({
                "metadata": { "name": name, "namespace": "d" },
                "spec": {
                    "type": "LoadBalancer", "clusterIPs": [format!("10.96.0.{last}")],
                    "externalTrafficPolicy": "Local",
                    "externalIPs": (0..wish.externals).map(address(0)).collect::<Vec<_>>(),
                    "ports": (1..=wish.ports).map(port).collect::<Vec<_>>(),
                },
                "status": { "loadBalancer": {
                    "ingress": (0..wish.balancers).map(ingress).collect::<Vec<_>>(),
                }},
            }),
        ),
        apply(
            Kind::EndpointSlice,
            &json!({
                "metadata": { "name": name, "namespace": "d", "labels": labels },
                "addressType": "IPv4",
                "ports": (1..=wish.ports).map(|n| json!({ "name": format!("p{n}"), "port": 80 }))
                    .collect::<Vec<_>>(),
                "endpoints": (1..=wish.endpoints).map(endpoint).collect::<Vec<_>>(),
            }),
        ),
    ]
}

fn planned(events: Vec<Event>) -> Pipeline {
    let config = ProxyConfig {
        external_ips: Cidr::parse("0.0.0.0/0").into_iter().collect(),
        share: Share::of(&CAPACITIES),
    };
    let mut pipeline = Pipeline::listed(CAPACITIES, ServicePlan::new(config));
    pipeline.feed([Event::Local(NodeFact::Addresses(Vec::new()))]);
    pipeline.feed(events);
    pipeline.plan();
    pipeline
}

/// Frontends by source, records, backends.
fn used(service: &PlannedService) -> (BTreeMap<FrontendSource, usize>, usize, usize) {
    let mut sources = BTreeMap::new();
    let ports = || service.ports.iter();
    for frontend in ports().flat_map(|port| &port.frontends).chain(&service.guards) {
        *sources.entry(frontend.source).or_default() += 1;
    }
    let records = ports().flat_map(|port| port.records()).count();
    let largest = |port: &towpath_proxy::PlannedPort| {
        port.records().flat_map(|r| r.sets.iter().map(|set| set.backends.len())).max().unwrap()
    };
    (sources, records, ports().map(largest).sum())
}

/// What a Service asks for; what it gets of clusterIPs, nodePorts, external addresses and addresses of
/// load balancers; records; backends; what it is told.
type Row = (Wish, [usize; 4], usize, usize, &'static [&'static str]);

#[test]
fn frontends_are_given_in_their_order_up_to_the_share() {
    let rows: Vec<Row> = vec![
        (PLAIN, [1, 0, 0, 0], 1, 1, &[]),
        // 1 guard, 33 of each.
        (Wish { ports: 33, externals: 1, balancers: 1, ..PLAIN }, [33, 0, 33, 33], 33, 33, &[]),
        (
            Wish { ports: 34, externals: 1, balancers: 1, ..PLAIN },
            [34, 0, 34, 31],
            34,
            34,
            &["3 addresses and ports are not served"],
        ),
        (
            Wish { ports: 9, externals: 200, balancers: 200, ..PLAIN },
            [9, 0, 90, 0],
            9,
            9,
            &["3510 addresses and ports are not served: one Service may have 100 frontends"],
        ),
        // Ports beyond the records are left out as a whole.
        (
            Wish { ports: 500, externals: 250, balancers: 250, ..PLAIN },
            [50, 0, 49, 0],
            50,
            50,
            &["450 ports are not served", "24951 addresses and ports are not served"],
        ),
        // nodePorts before the addresses; each node's own is a record, too.
        (
            Wish { ports: 30, node_ports: true, externals: 3, ..PLAIN },
            [30, 50, 19, 0],
            50,
            30,
            &["71 addresses and ports", "10 nodePorts of other nodes are not served"],
        ),
        (Wish { endpoints: 40, ..PLAIN }, [1, 0, 0, 0], 1, 40, &[]),
        (
            Wish { endpoints: 41, ..PLAIN },
            [1, 0, 0, 0],
            1,
            40,
            &["41 endpoints; only the first 40 of a port are used"],
        ),
        (
            Wish { ports: 5, endpoints: 40, ..PLAIN },
            [5, 0, 0, 0],
            5,
            40,
            &["40 endpoints; only the first 8 of a port are used: one Service may have 40 in all"],
        ),
    ];
    for (number, (wish, frontends, records, backends, told)) in rows.into_iter().enumerate() {
        let pipeline = planned(service("a", 1, wish));
        let service = pipeline.plan.service(&ObjectName::new("d", "a")).unwrap();
        let (sources, had, filled) = used(service);
        let of = |source| sources.get(&source).copied().unwrap_or(0);
        let order = [
            FrontendSource::ClusterIp,
            FrontendSource::NodePort,
            FrontendSource::ExternalIp,
            FrontendSource::LoadBalancer,
        ];
        assert_eq!((order.map(of), had, filled), (frontends, records, backends), "row {number}");
        let said: Vec<String> = service.problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), told.len(), "row {number}: {said:?}");
        for (said, told) in said.iter().zip(told) {
            assert!(said.contains(told) && said.contains("Service d/a"), "row {number}: {said}");
        }
    }
}

#[test]
fn a_service_that_wants_everything_leaves_room_for_others() {
    let greedy =
        Wish { ports: 900, node_ports: true, externals: 250, balancers: 250, endpoints: 200 };
    let mut events = service("greedy", 1, greedy);
    (2..20).for_each(|last| events.extend(service(&format!("s{last}"), last, PLAIN)));
    let mut pipeline = planned(events);
    let everything = pipeline.plan.everything();
    pipeline.publish(&everything);
    let layout = &pipeline.layout;
    assert_eq!(layout.refused().collect::<Vec<_>>(), Vec::<&towpath_proxy::Refused>::new());
    assert!(!layout.pending());
    assert_eq!(layout.image().frontends.len(), 100 + 18 * 2);
}
