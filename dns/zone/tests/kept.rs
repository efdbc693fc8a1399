//! A zone over a restart: what comes back, what it says of itself, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "table/ask.rs"]
mod ask;
#[path = "table/fixture.rs"]
mod fixture;

use hickory_proto::{op::Message, rr::rdata::opt::EdnsCode};
use serde_json::{Value, json};
use towpath_zone::{
    KeptPlace, Name, PodRecords, Settings, Snapshot, Transport, Unkept, keep, read_kept, sealed,
};

fn place() -> KeptPlace {
    let addresses = vec!["10.96.0.10".parse().unwrap(), "fd00::a".parse().unwrap()];
    let sources = vec!["192.0.2.1".parse().unwrap()];
    KeptPlace { cluster: Some("uid".to_owned()), addresses, sources }
}

fn snapshot() -> Snapshot {
    fixture::snapshot(&fixture::objects(), PodRecords::Insecure)
}

/// The kept zone, its JSON changed; with a digest that fits.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Snapshot, Unkept> {
    let bytes = keep(&snapshot(), &place()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let mut zone: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    change(&mut zone);
    let json = zone.to_string();
    read_kept(&sealed(json.as_bytes()), &fixture::settings(), Some("uid")).map(|kept| kept.snapshot)
}

/// What is done to a kept zone.
type Change = Box<dyn FnOnce(&mut Value)>;

#[test]
fn a_zone_comes_back_whole_and_says_that_it_is_old() {
    let bytes = keep(&snapshot(), &place()).unwrap();
    let kept = read_kept(&bytes, &fixture::settings(), Some("uid")).unwrap();
    assert!(kept.snapshot.same(&snapshot()) && kept.snapshot.serial() == 1_700_000_000);
    assert_eq!((kept.place, kept.snapshot.stale()), (place(), true));
    let rows = [
        ("web.shop.svc.cluster.local", 1, &[0, 3][..]),
        ("_sql._tcp.db.shop.svc.cluster.local", 33, &[0, 3]),
        ("idle.shop.svc.cluster.local", 28, &[0, 3]),
        ("no.shop.svc.cluster.local", 1, &[0, 19]),
    ];
    for (name, rtype, said) in rows {
        for size in [None, Some(1232)] {
            let query = fixture::question(name, rtype, size);
            let before = ask::ask(&snapshot(), Transport::Udp, &query).0.unwrap();
            let after = ask::ask(&kept.snapshot, Transport::Udp, &query).0.unwrap();
            let [before, after] = [before, after].map(|m| Message::from_vec(&m).unwrap());
            assert_eq!(before.answers, after.answers, "{name}");
            assert_eq!(before.authorities, after.authorities, "{name}");
            assert_eq!(before.additionals, after.additionals, "{name}");
            let option = after.edns.as_ref().and_then(|e| e.option(EdnsCode::Unknown(15)));
            let told = option.map(|option| Vec::try_from(option).unwrap());
            assert_eq!(told.as_deref(), size.map(|_| said), "{name}");
            let edns = before.edns.as_ref().and_then(|e| e.option(EdnsCode::Unknown(15)));
            assert_eq!(edns, None, "what is up to date does not say so");
        }
    }
}

#[test]
fn a_zone_of_another_cluster_domain_or_service_is_not_taken() {
    let bytes = keep(&snapshot(), &place()).unwrap();
    let other = |settings: &Settings, cluster| read_kept(&bytes, settings, cluster).unwrap_err();
    let ours = fixture::settings();
    assert_eq!(other(&ours, Some("another")), Unkept::Other("cluster"));
    assert_eq!(other(&ours, None), Unkept::Other("cluster"));
    let domain = Name::parse("k8s.example").unwrap();
    let settings = Settings { domain, ..ours.clone() };
    assert_eq!(other(&settings, Some("uid")), Unkept::Other("domain"));
    let service = towpath_model::ObjectName::new("net", "dns");
    assert_eq!(other(&Settings { service, ..ours }, Some("uid")), Unkept::Other("Service"));
}

#[test]
fn what_no_object_leads_to_is_refused_also_with_a_digest_that_fits() {
    assert!(changed(|_| {}).is_ok());
    let long = "x".repeat(63);
    let longer = "x".repeat(64);
    let hostile: Vec<(&str, Change)> = vec![
        ("a field that does not exist", Box::new(|z| z["more"] = json!(1))),
        ("no services", Box::new(|z| z["services"] = json!(null))),
        ("a label too long", Box::new(move |z| z["services"][0]["name"] = json!(longer))),
        ("an empty label", Box::new(|z| z["services"][0]["namespace"] = json!(""))),
        ("a dot in a label", Box::new(|z| z["namespaces"][0] = json!("a.b"))),
        ("bytes in a label", Box::new(|z| z["services"][0]["name"] = json!("a\u{0}b"))),
        ("no address", Box::new(|z| z["place"]["addresses"] = json!(["10.96.0"]))),
        ("an address of all", Box::new(|z| z["place"]["addresses"] = json!(["0.0.0.0"]))),
        ("loopback", Box::new(|z| z["place"]["addresses"] = json!(["127.0.0.1"]))),
        ("too many addresses", {
            Box::new(|z| z["place"]["addresses"] = json!(["10.96.0.1", "10.96.0.2", "fd00::1"]))
        }),
        ("no block", Box::new(|z| z["blocks"] = json!(["10.96.0.0/33"]))),
        ("a host that is not there", port_hosts(json!([9]))),
        ("hosts out of order", port_hosts(json!([1, 0]))),
        ("a port of no host", port_hosts(json!([]))),
        ("a host twice", port_hosts(json!([0, 0]))),
        ("hosts out of order", Box::new(|z| db(z)["hosts"].as_array_mut().unwrap().reverse())),
        ("a host without address", Box::new(|z| db(z)["hosts"][0]["addresses"] = json!([]))),
        ("a headless Service of nothing", Box::new(|z| db(z)["hosts"] = json!([]))),
        ("a protocol", Box::new(|z| db(z)["ports"][0]["protocol"] = json!("QUIC"))),
        ("an external name with addresses", Box::new(|z| db(z)["external"] = json!("a.b"))),
        ("a name beyond 255 bytes", {
            let name = [&*long; 4].join(".");
            Box::new(move |z| service(z, "out")["external"] = json!(name))
        }),
    ];
    for (what, change) in hostile {
        let refused = changed(change).map(|_| ()).unwrap_err();
        let known = matches!(refused, Unkept::Unreadable(_) | Unkept::Impossible(_));
        assert!(known, "{what}: {refused}");
    }
    for bytes in [&b""[..], b"towpath-dns-zone 1 ", b"towpath-dns-zone 2 x\n{}", b"\xff\xff"] {
        let refused = read_kept(bytes, &fixture::settings(), None).unwrap_err();
        assert_eq!(refused, Unkept::Version);
    }
}

fn service<'a>(zone: &'a mut Value, name: &str) -> &'a mut Value {
    let services = zone["services"].as_array_mut().unwrap();
    services.iter_mut().find(|service| service["name"] == name).unwrap()
}

fn db(zone: &mut Value) -> &mut Value {
    service(zone, "db")
}

fn port_hosts(hosts: Value) -> Box<dyn FnOnce(&mut Value)> {
    Box::new(move |zone| db(zone)["ports"][0]["hosts"] = hosts)
}
