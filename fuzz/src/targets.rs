//! What is fuzzed: each function takes whatever a stranger may send, and panics when a promise is
//! broken. Reading must never fail otherwise.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

use towpath_image::Capacities;
use towpath_model::{
    Event, Kind, Object, Protocol, ROWS, Store, decode,
    service::Cidr,
    unknown_fields,
    wire::{decode_list, identify, pod::decode_pod},
};
use towpath_proxy::{NEEDS, ProxyConfig, Question, explain};
use towpath_zone::{
    Client, Name, Outcome, Query, Settings, Snapshot, Transport, Zones, answer, keep, read_kept,
    sealed,
};

use crate::{
    fixture::Fixture,
    start::NODE,
    subjects::{self, Directory, config},
};

pub(crate) type Target = fn(&[u8]);

pub(crate) const TARGETS: [(&str, Target); 13] = [
    ("service", |data| object(Kind::Service, data)),
    ("endpoint_slice", |data| object(Kind::EndpointSlice, data)),
    ("node", |data| object(Kind::Node, data)),
    ("pod", pod),
    ("list", list),
    ("watch_lines", watch_lines),
    ("manifests", manifests),
    ("allocations", allocations),
    ("configuration", configuration),
    ("addresses", addresses),
    ("http_head", http_head),
    ("dns_message", dns_message),
    ("dns_zone", dns_zone),
];

/// Longest input that a target does something with: longer ones teach nothing new.
const LENGTH_MAX: usize = 1 << 16;

/// An object of the API: read, kept, compiled, laid out, asked for.
fn object(kind: Kind, data: &[u8]) {
    // Lists and lines hand over UTF-8 only (`RawValue`), manifests what they wrote themselves.
    if data.len() > LENGTH_MAX || std::str::from_utf8(data).is_err() {
        return;
    }
    if let Ok(value) = serde_json::from_slice(data) {
        drop(unknown_fields(kind.as_str(), &value));
    }
    let event = match decode(kind, data) {
        Ok(object) => {
            let (_, name) = identify(data).expect("what can be read has a name");
            assert_eq!(object.key().name.name, name.name);
            Event::Apply(object)
        }
        Err(bad) => match bad.key {
            Some(key) => Event::Bad(*key, *bad.problem),
            None => return,
        },
    };
    compile(vec![event]);
}

/// The daemon's loop over these events, twice: the second time there must be nothing to do.
fn compile(events: Vec<Event>) {
    assert_idempotent(&events);
    let config = ProxyConfig {
        external_ips: Cidr::parse("0.0.0.0/0").into_iter().collect(),
        ..ProxyConfig::default()
    };
    let sizes = Capacities { frontends: 256, services: 64, backends: 512, node_addresses: 64 };
    let mut daemon = Fixture::new(sizes, config);
    daemon.ingest(NEEDS.map(Event::InitDone).into());
    daemon.ingest(companions().into_iter().map(Event::Apply).collect());
    daemon.ingest(events.clone());
    daemon.settle();
    drop(daemon.take_written());
    daemon.ingest(events);
    daemon.settle();
    assert_eq!(daemon.take_written(), [], "the same objects change nothing");
    for problem in daemon.state().problems(100) {
        assert!(!problem.to_string().is_empty());
    }
    let (image, planned) = (daemon.image(), daemon.services().plan());
    for key in image.frontends.keys() {
        let to = SocketAddr::new(IpAddr::from(key.addr), u16::from_be(key.port));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let answer = explain(&image, planned, &Question { to, protocol, host: true });
            assert!(!answer.to_string().contains("damaged"), "{to} {answer}");
        }
    }
}

/// What is said a second time is no change.
fn assert_idempotent(events: &[Event]) {
    let mut store = Store::new(NODE);
    for first in [true, false] {
        for event in events.iter().cloned() {
            let _relist = store.feed(event);
        }
        let (_view, changes) = store.commit();
        assert!(first || changes.is_empty(), "the same objects change nothing: {changes:?}");
    }
}

/// A Service and a slice that most seeds speak of, so that one object alone reaches the tables.
fn companions() -> Vec<Object> {
    let service = br#"{"metadata":{"namespace":"d","name":"s"},"spec":{"type":"NodePort",
        "clusterIPs":["10.96.0.1","fd00:96::1"],"externalTrafficPolicy":"Local",
        "ports":[{"name":"a","port":80,"nodePort":30080},{"name":"b","protocol":"UDP","port":53}]}}"#;
    let slice = br#"{"metadata":{"namespace":"d","name":"s-1","labels":
        {"kubernetes.io/service-name":"s"}},"addressType":"IPv4","ports":[{"name":"a","port":8080}],
        "endpoints":[{"addresses":["10.0.0.1"],"nodeName":"n0"},{"addresses":["10.0.0.2"],
        "nodeName":"n1","hints":{"forZones":[{"name":"z0"}]}}]}"#;
    let service = decode(Kind::Service, service).expect("a Service");
    vec![service, decode(Kind::EndpointSlice, slice).expect("a slice")]
}

fn pod(data: &[u8]) {
    if let Ok(pod) = decode_pod(data) {
        drop(format!("{pod:?}"));
    }
}

/// A page of a list: items are read one by one, whatever the others are.
fn list(data: &[u8]) {
    for kind in ROWS.iter().map(|row| row.kind) {
        let mut items = Vec::new();
        if decode_list(kind, data, |item| items.push(item.is_ok())).is_err() {
            assert!(items.is_empty(), "no list has no items");
        }
    }
}

/// A watch: its first byte says where the stream is cut into chunks.
fn watch_lines(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let chunks: Vec<&[u8]> = stream.chunks(usize::from(*cut) + 1).collect();
    let whole = subjects::lines(&[stream]).expect("short enough");
    let lines = subjects::lines(&chunks).expect("short enough");
    assert_eq!(whole, lines, "chunks make no difference");
    let mut expected: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    // What follows the last line end is not a line yet.
    expected.pop();
    assert_eq!(lines, expected);
    for kind in ROWS.iter().map(|row| row.kind) {
        let events: Vec<Event> = lines.iter().filter_map(|l| subjects::said(kind, l)).collect();
        let mut store = Store::new("n0");
        for event in events {
            let _relist = store.feed(event);
        }
    }
}

/// The content of a file in a directory of manifests.
fn manifests(data: &[u8]) {
    if data.len() > LENGTH_MAX {
        return;
    }
    let mut directory = Directory::new(data, None);
    let events = directory.update();
    assert!(directory.update().is_empty(), "the same files change nothing");
    if directory.was_read() {
        compile(events);
    }
}

/// allocations.json as some earlier daemon, or another program, left it.
fn allocations(data: &[u8]) {
    if data.len() > LENGTH_MAX {
        return;
    }
    let service = |name: &str, rest: &str| {
        format!(
            "kind: Service\nmetadata: {{ namespace: d, name: {name} }}\nspec: {{ ports: [{{ port: 80 }}]{rest} }}\n"
        )
    };
    let yaml = [
        service("a", ", type: NodePort"),
        service("b", ", ipFamilyPolicy: RequireDualStack"),
        service("c", ", clusterIP: 10.96.0.7"),
        service("e", ", type: LoadBalancer, externalTrafficPolicy: Local"),
    ];
    let mut directory = Directory::new(yaml.join("---\n").as_bytes(), Some(data));
    let mut seen = BTreeSet::new();
    let mut services = 0;
    for event in directory.update() {
        let Event::Apply(Object::Service(service)) = event else { continue };
        services += 1;
        assert!(!service.cluster_ips.is_empty(), "{:?} has no address", service.meta.name);
        for ip in &service.cluster_ips {
            let ranges = subjects::RANGES.iter().filter_map(|range| Cidr::parse(range));
            assert!(ranges.into_iter().any(|range| range.contains(*ip)), "{ip} is in no range");
            assert!(seen.insert(*ip), "{ip} was given twice");
        }
    }
    assert_eq!(services, 4);
    assert!(directory.update().is_empty(), "allocations are kept");
}

/// The configuration file.
fn configuration(data: &[u8]) {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let path = dir.as_ref().expect("a directory").path().join("towpath.yaml");
    std::fs::write(&path, data).expect("a file");
    let args = config::RunArgs { config: Some(path), ..config::RunArgs::default() };
    load(&args);
}

fn load(args: &config::RunArgs) {
    let environment = config::Environment {
        own_cgroup_namespace: false,
        node_name: Some("n0".to_owned()),
        host_name: "n0".to_owned(),
        in_cluster: true,
        mounts: "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n".to_owned(),
    };
    match config::Config::load(args, &environment) {
        Ok(config) => assert!(!config.node_name.is_empty()),
        Err(faults) => {
            assert!(!faults.0.is_empty(), "refused for no reason");
            drop(faults.to_string());
        }
    }
}

/// Addresses and blocks of flags.
fn addresses(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(block) = Cidr::parse(text) {
        assert!(block.contains(block.base), "{text}");
        let most = if block.base.is_ipv4() { 32 } else { 128 };
        assert!(block.prefix <= most, "{text}");
    }
    let text = text.to_owned();
    load(&config::RunArgs {
        external_ips: vec![text.clone()],
        api_servers: vec![text.clone()],
        healthz_bind_address: Some(text.clone()),
        metrics_bind_address: Some(text),
        ..config::RunArgs::default()
    });
}

/// What is sent to the control socket, or to the health and metrics ports.
fn http_head(data: &[u8]) {
    if data.len() > LENGTH_MAX {
        return;
    }
    let reply = subjects::http_exchange(data);
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1."), "{reply:?}");
    let text = String::from_utf8_lossy(data);
    if let Some(value) = subjects::parameter(&text, "name") {
        assert!(value.len() <= text.len() * 3, "decoding never grows but for replaced bytes");
    }
}

/// A message to the DNS server, over UDP and over TCP.
fn dns_message(data: &[u8]) {
    static ZONE: LazyLock<Snapshot> = LazyLock::new(zone);
    for transport in [Transport::Udp, Transport::Tcp] {
        let client = Client { transport, rotation: 1 };
        let mut out = vec![0xee; usize::from(u16::MAX)];
        match answer(&ZONE, client, data, &mut out) {
            Outcome::Reply(reply) => {
                let (said, rest) = out.split_at(reply.length);
                assert!(rest.iter().all(|byte| *byte == 0xee), "nothing behind the reply");
                assert_eq!(said[..2], data[..2], "the id is the client's");
                assert_eq!(u16::from(said[3] & 0xf), reply.rcode & 0xf);
                let edns = Query::parse(data).ok().and_then(|query| query.edns);
                let udp = usize::from(edns.map_or(512, |edns| edns.udp_size).clamp(512, 1232));
                assert!(transport == Transport::Tcp || said.len() <= udp, "{}", said.len());
                let mut again = vec![0; usize::from(u16::MAX)];
                let echoed = answer(&ZONE, client, said, &mut again);
                assert!(matches!(echoed, Outcome::Drop), "a reply is no question");
            }
            Outcome::Miss(miss) => {
                assert!(miss.written <= out.len());
                assert_eq!(miss.name().last(), Some(&0), "a whole name");
            }
            Outcome::Drop => {}
        }
    }
}

/// A zone that was kept on disk, with a digest that fits.
fn dns_zone(data: &[u8]) {
    if data.len() > LENGTH_MAX {
        return;
    }
    let settings = Settings::of_domain(Name::parse("cluster.local").expect("a domain"));
    let Ok(kept) = read_kept(&sealed(data), &settings, None) else { return };
    let bytes = keep(&kept.snapshot, &kept.place).expect("JSON");
    let again = read_kept(&bytes, &settings, None).expect("what was written is read");
    assert!(again.snapshot.same(&kept.snapshot) && again.place == kept.place);
    let client = Client { transport: Transport::Tcp, rotation: 1 };
    let mut out = vec![0; usize::from(u16::MAX)];
    let query =
        b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01h\x01d\x03svc\x07cluster\x05local\0\0\x21\0\x01";
    let outcome = answer(&kept.snapshot, client, query, &mut out);
    assert!(!matches!(outcome, Outcome::Drop), "a name of the cluster is answered");
}

/// The zone of the companions, a headless Service and one that leads out of the cluster.
fn zone() -> Snapshot {
    let mut store = Store::new("n0");
    for object in companions() {
        store.feed(Event::Apply(object));
    }
    let others = [
        (Kind::Namespace, r#"{"metadata":{"name":"d"}}"#),
        (Kind::Service, r#"{"metadata":{"namespace":"d","name":"h"},"spec":{"clusterIP":"None"}}"#),
        (
            Kind::Service,
            r#"{"metadata":{"namespace":"d","name":"x"},"spec":{"type":"ExternalName",
                "externalName":"www.example.com"}}"#,
        ),
        (
            Kind::EndpointSlice,
            r#"{"metadata":{"namespace":"d","name":"h-1","labels":{"kubernetes.io/service-name":"h"}},
                "addressType":"IPv4","ports":[{"name":"a","port":80}],"endpoints":[
                {"addresses":["10.0.0.3"],"hostname":"h-0"},{"addresses":["10.0.0.4"]}]}"#,
        ),
    ];
    for (kind, object) in others {
        store.feed(Event::Apply(decode(kind, object.as_bytes()).expect("an object")));
    }
    let domain = Name::parse("cluster.local").expect("a domain");
    let mut zones = Zones::new(Settings::of_domain(domain)).expect("a short domain");
    let (view, changes) = store.commit();
    zones.update(&view, &changes, 1);
    assert_eq!(zones.snapshot().services(), 3);
    zones.snapshot().clone()
}
