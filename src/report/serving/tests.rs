use serde_json::{Value, json};
use towpath_model::{Kind, Object, decode};

use super::*;

const BOTH: Families = Families { v4: true, v6: true };
const HOLD: Millis = 300;

type Nodes = BTreeMap<ObjectName, Arc<Node>>;

fn node(name: &str, addresses: &[(&str, &str)]) -> (ObjectName, Arc<Node>) {
    let address = |(kind, ip): &(&str, &str)| json!({ "type": kind, "address": ip });
    let addresses: Vec<Value> = addresses.iter().map(address).collect();
    let object = json!({ "metadata": { "name": name }, "status": { "addresses": addresses } });
    match decode(Kind::Node, object.to_string().as_bytes()).unwrap() {
        Object::Node(node) => (node.meta.name.clone(), node),
        other => panic!("{other:?}"),
    }
}

/// Nodes `a`, `b` and so on, with 10.0.0.1, 10.0.0.2 and so on.
fn nodes(names: &str) -> Nodes {
    let one = |name: char| {
        let ip = format!("10.0.0.{}", u32::from(name) - u32::from('a') + 1);
        node(&name.to_string(), &[("InternalIP", &ip)])
    };
    names.chars().map(one).collect()
}

fn names(names: &str) -> BTreeSet<ObjectName> {
    names.chars().map(|name| ObjectName::new("", &name.to_string())).collect()
}

/// Last bytes of what is published.
fn shows(serving: &Serving, known: &Nodes) -> String {
    let all = serving.addresses(known, BOTH);
    all.iter().map(|it| it.ip.trim_start_matches("10.0.0.").to_owned() + " ").collect()
}

#[test]
fn a_node_is_published_by_its_external_addresses_or_else_its_internal_ones() {
    let of = |addresses: &[(&str, &str)], families| {
        let (_, node) = node("n", addresses);
        addresses_of(&node, families).map(|it| it.ip.to_string() + " ").collect::<String>()
    };
    let internal =
        [("InternalIP", "10.0.0.1"), ("InternalIP", "10.0.0.9"), ("InternalIP", "fd00::1")];
    let v4 = Families { v4: true, v6: false };
    for (more, families, expected) in [
        (None, BOTH, "10.0.0.1 fd00::1 "),
        (None, v4, "10.0.0.1 "),
        (None, Families { v4: false, v6: true }, "fd00::1 "),
        (Some(("ExternalIP", "192.0.2.1")), BOTH, "192.0.2.1 "),
        (Some(("ExternalIP", "2001:db8::1")), BOTH, "2001:db8::1 "),
        // One that nothing listens at is none.
        (Some(("ExternalIP", "2001:db8::1")), v4, "10.0.0.1 "),
        (Some(("Hostname", "n.example")), BOTH, "10.0.0.1 fd00::1 "),
    ] {
        let all: Vec<_> = internal.into_iter().chain(more).collect();
        assert_eq!(of(&all, families), expected, "{more:?} {families:?}");
    }
    assert_eq!(of(&[], BOTH), "");
}

#[test]
fn a_node_that_serves_no_more_is_held_and_one_that_is_gone_is_not() {
    let (mut serving, mut known) = (Serving::default(), nodes("abc"));
    let nothing = BTreeSet::new();
    let at = |serving: &mut Serving, ready: &str, known: &Nodes, now| {
        serving.update(&names(ready), known, (&nothing, BOTH), (now, HOLD));
        shows(serving, known)
    };
    assert_eq!(at(&mut serving, "ab", &known, 1_000), "1 2 ");
    assert_eq!(at(&mut serving, "a", &known, 1_100), "1 2 ");
    // It comes back in time, and its time begins anew.
    assert_eq!(at(&mut serving, "ab", &known, 1_300), "1 2 ");
    assert_eq!(at(&mut serving, "a", &known, 1_500), "1 2 ");
    assert_eq!(at(&mut serving, "a", &known, 1_799), "1 2 ");
    assert_eq!(at(&mut serving, "a", &known, 1_800), "1 ");
    // No Node, no address: at once. A pod on a node that is not known is none either.
    known.remove(&ObjectName::new("", "a"));
    assert_eq!(at(&mut serving, "ac", &known, 1_801), "3 ");
}

#[test]
fn a_node_that_is_to_be_deleted_is_not_published() {
    let object = json!({ "metadata": { "name": "a" },
        "spec": { "taints": [{ "key": "ToBeDeletedByClusterAutoscaler" }] },
        "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] } });
    let Object::Node(node) = decode(Kind::Node, object.to_string().as_bytes()).unwrap() else {
        panic!("another kind")
    };
    let (mut serving, mut known) = (Serving::default(), nodes("b"));
    known.insert(node.meta.name.clone(), node);
    serving.update(&names("ab"), &known, (&BTreeSet::new(), BOTH), (1, HOLD));
    assert_eq!(shows(&serving, &known), "2 ");
}

#[test]
fn a_new_leader_takes_nothing_back_that_an_earlier_one_would_hold() {
    let known = nodes("abc");
    let shown = BTreeSet::from(["10.0.0.2", "192.0.2.7"].map(|ip| published(&ip.parse().unwrap())));
    let mut serving = Serving::default();
    let mut at = |now| {
        serving.update(&names("a"), &known, (&shown, BOTH), (now, HOLD));
        shows(&serving, &known)
    };
    // `b` is shown and does not serve; `c` never did.
    assert_eq!(at(1_000), "1 2 ");
    assert_eq!(at(1_299), "1 2 ");
    assert_eq!(at(1_300), "1 ");
}

#[test]
fn many_nodes_are_published_by_some() {
    let one = |number: u32| {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        node(&format!("n{number:04}"), &[("InternalIP", &ip)])
    };
    let known: Nodes = (0..500).map(one).collect();
    let mut serving = Serving::default();
    let all = known.keys().cloned().collect();
    serving.update(&all, &known, (&BTreeSet::new(), BOTH), (1, HOLD));
    let found = serving.addresses(&known, BOTH);
    assert!(found.len() == ADDRESSES_MAX && found.is_sorted());
}

#[test]
fn the_first_set_counts_at_once_a_later_one_in_time_and_an_empty_one_never() {
    let set =
        |ips: &[&str]| -> Vec<_> { ips.iter().map(|ip| published(&ip.parse().unwrap())).collect() };
    let (one, two) = (set(&["10.0.0.1"]), set(&["10.0.0.1", "10.0.0.2"]));
    let mut adopted = Adopted::default();
    assert_eq!(adopted.offer(Vec::new(), 5, 60), None);
    assert!(adopted.addresses().is_empty());
    assert_eq!(adopted.offer(one.clone(), 10, 60), None);
    assert_eq!(adopted.addresses(), one);
    assert_eq!(adopted.offer(two.clone(), 20, 60), Some(70));
    assert_eq!(adopted.addresses(), one);
    // It went back before it was adopted.
    assert_eq!(adopted.offer(one.clone(), 30, 60), None);
    assert_eq!(adopted.offer(two.clone(), 69, 60), Some(70));
    assert_eq!(adopted.offer(two.clone(), 70, 60), None);
    assert_eq!(adopted.addresses(), two);
    assert_eq!(adopted.offer(Vec::new(), 500, 60), None);
    assert_eq!(adopted.addresses(), two);
}
