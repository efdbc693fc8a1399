//! Objects in, the answer to a question out.

use serde_json::{Value, json};
use towpath_model::{Changes, Event, Kind, Store, decode};
use towpath_zone::{NEEDS, Name, PodRecords, Settings, Snapshot, Zones};

/// The cluster that rows are about.
pub(crate) fn objects() -> Vec<(Kind, Value)> {
    let mut all = surroundings();
    let tcp = |name: &str, port: u16| json!({ "name": name, "protocol": "TCP", "port": port });
    let udp = |name: &str, port: u16| json!({ "name": name, "protocol": "UDP", "port": port });
    let services = [
        (
            "default/kubernetes",
            json!({ "clusterIPs": ["10.96.0.1"], "ports": [tcp("https", 443)] }),
        ),
        (
            "kube-system/kube-dns",
            json!({ "clusterIPs": ["10.96.0.10", "fd00::a"],
                    "ports": [udp("dns", 53), tcp("dns-tcp", 53)] }),
        ),
        (
            "shop/web",
            json!({ "clusterIPs": ["10.96.1.1"], "ports": [tcp("http", 80), tcp("admin", 8080)] }),
        ),
        (
            "shop/dual",
            json!({ "clusterIPs": ["10.96.1.2", "fd00::2"], "ports": [tcp("http", 80)] }),
        ),
        ("shop/plain", json!({ "clusterIPs": ["10.96.1.3"], "ports": [tcp("", 80)] })),
        ("shop/idle", json!({ "clusterIPs": ["10.96.1.4"], "ports": [tcp("http", 80)] })),
        ("shop/only6", json!({ "clusterIPs": ["fd00::5"], "ports": [tcp("http", 80)] })),
        ("shop/1digit", json!({ "clusterIPs": ["10.96.1.6"], "ports": [tcp("http", 80)] })),
        ("shop/early", json!({ "ports": [tcp("http", 80)] })),
        ("shop/db", json!({ "clusterIP": "None", "ports": [tcp("sql", 5432)] })),
        (
            "shop/two",
            json!({ "clusterIP": "None", "ports": [tcp("sql", 5432), tcp("stats", 9100)] }),
        ),
        ("shop/asleep", json!({ "clusterIP": "None", "ports": [tcp("sql", 5432)] })),
        ("shop/bare", json!({ "clusterIP": "None" })),
        ("lonely/svc", json!({ "clusterIPs": ["10.96.2.1"], "ports": [tcp("http", 80)] })),
        ("shop/out", json!({ "type": "ExternalName", "externalName": "db.example.com" })),
        (
            "shop/in",
            json!({ "type": "ExternalName", "externalName": "web.shop.svc.cluster.local" }),
        ),
        (
            "shop/hop",
            json!({ "type": "ExternalName", "externalName": "In.shop.svc.Cluster.local." }),
        ),
        (
            "shop/hopout",
            json!({ "type": "ExternalName", "externalName": "out.shop.svc.cluster.local" }),
        ),
        (
            "shop/gone",
            json!({ "type": "ExternalName", "externalName": "no.shop.svc.cluster.local" }),
        ),
        (
            "shop/ring",
            json!({ "type": "ExternalName", "externalName": "ring.shop.svc.cluster.local" }),
        ),
        ("shop/literal", json!({ "type": "ExternalName", "externalName": "192.0.2.1" })),
        ("shop/broken", json!({ "type": "ExternalName", "externalName": "a..b" })),
    ];
    for (name, spec) in services {
        let (namespace, name) = name.split_once('/').unwrap();
        let metadata = json!({ "namespace": namespace, "name": name });
        all.push((Kind::Service, json!({ "metadata": metadata, "spec": spec })));
    }
    all.extend(slices());
    all
}

fn surroundings() -> Vec<(Kind, Value)> {
    let mut all = Vec::new();
    for name in ["default", "shop", "kube-system", "empty"] {
        all.push((Kind::Namespace, json!({ "metadata": { "name": name } })));
    }
    all.push((
        Kind::ServiceCIDR,
        json!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": ["10.96.0.0/16"] } }),
    ));
    all
}

fn slices() -> Vec<(Kind, Value)> {
    let slice = |name: &str, service: &str, family: &str, port: Value, endpoints: Value| {
        let labels = json!({ "kubernetes.io/service-name": service });
        let metadata = json!({ "namespace": "shop", "name": name, "labels": labels });
        let slice = json!({ "metadata": metadata, "addressType": family, "ports": port,
                            "endpoints": endpoints });
        (Kind::EndpointSlice, slice)
    };
    let at = |address: &str| json!({ "addresses": [address], "conditions": { "ready": true } });
    let named = |address: &str, name: &str| json!({ "addresses": [address], "hostname": name });
    let down = |address: &str| json!({ "addresses": [address], "conditions": { "ready": false } });
    let sql = json!([{ "name": "sql", "protocol": "TCP", "port": 15432 }]);
    let http = json!([{ "name": "http", "protocol": "TCP", "port": 8080 }]);
    let two = json!([
        { "name": "sql", "protocol": "TCP", "port": 15432 },
        { "name": "stats", "protocol": "TCP", "port": 9100 },
    ]);
    let both = json!([
        named("10.1.0.1", "db-0"),
        named("10.1.0.2", "DB-1"),
        at("10.1.0.3"),
        down("10.1.0.4")
    ]);
    let terminating = json!({ "ready": false, "serving": true, "terminating": true });
    let leaving = json!({ "addresses": ["10.1.0.9"], "conditions": terminating });
    vec![
        slice("db-a", "db", "IPv4", sql.clone(), both),
        slice("db-b", "db", "IPv6", sql.clone(), json!([named("fd01::1", "db-0"), at("fd01::")])),
        slice("two-a", "two", "IPv4", two, json!([named("10.1.2.1", "b"), named("10.1.2.2", "a")])),
        slice("asleep-a", "asleep", "IPv4", sql, json!([down("10.1.0.5"), leaving])),
        slice("bare-a", "bare", "IPv4", json!([]), json!([at("10.1.0.6"), at("10.1.0.3")])),
        slice("web-a", "web", "IPv4", http, json!([named("10.1.0.7", "web-0"), at("10.1.0.8")])),
    ]
}

/// A store that holds these.
pub(crate) fn store(objects: &[(Kind, Value)]) -> Store {
    let mut store = Store::new("node");
    for stream in NEEDS.into_iter().chain([towpath_model::Stream::all(Kind::ServiceCIDR)]) {
        store.feed(Event::Init(stream.clone()));
        for (kind, object) in objects.iter().filter(|(kind, _)| *kind == stream.kind) {
            let object = decode(*kind, object.to_string().as_bytes()).unwrap();
            store.feed(Event::Apply(object));
        }
        store.feed(Event::InitDone(stream));
    }
    store
}

pub(crate) fn settings() -> Settings {
    Settings::of_domain(Name::parse("cluster.local").unwrap())
}

/// The snapshot of these objects.
pub(crate) fn snapshot(objects: &[(Kind, Value)], pods: PodRecords) -> Snapshot {
    let mut store = store(objects);
    let mut zones = Zones::new(Settings { pods, ..settings() }).unwrap();
    let (view, _) = store.commit();
    zones.update(&view, &Changes::default(), 1_700_000_000);
    zones.snapshot().clone()
}

/// A question as bytes; `size`: of EDNS.
pub(crate) fn question(name: &str, rtype: u16, size: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())];
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&rtype.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    if let Some(size) = size {
        bytes.extend_from_slice(&[0, 0, 41]);
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&[0; 6]);
    }
    bytes
}
