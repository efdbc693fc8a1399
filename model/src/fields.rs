//! Fields that do not exist, in objects written by hand. The API server of a cluster prunes or
//! refuses them; without one, a typing error would silently change what an object means.
//!
//! Judges names only, never values: a wrong type is found when the object is decoded.

pub(crate) mod tables;

use serde_json::Value;

use crate::{Key, Kind, ObjectName, Problem};

/// A file of nothing but unknown fields must not fill the list of problems.
const PROBLEMS_MAX: usize = 20;

/// What may be in a value.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// Anything: not looked into.
    Any,
    /// These fields and no others.
    Fields(&'static [(&'static str, Self)]),
    /// A list of such values.
    List(&'static Self),
}

/// Every unknown field of an object, with the name that was probably meant. Kinds: Service,
/// EndpointSlice, Node, Pod (of its spec and status the first level only); of any other kind
/// nothing is known and nothing is said.
#[must_use]
pub fn unknown_fields(kind: &str, object: &Value) -> Vec<Problem> {
    let (shape, kind_of_key) = match Kind::of_name(kind) {
        Some(kind) => (kind.row().fields, Some(kind)),
        None if kind == "Pod" => (&tables::POD, None),
        None => return Vec::new(),
    };
    let name = name_of(kind_of_key, object);
    // A Pod has no key; the path says which object it is.
    let path = if kind_of_key.is_none() { format!("{kind} {name}: ") } else { String::new() };
    let about = kind_of_key.map(|kind| Key { kind, name });
    let mut walk = Walk { about, problems: Vec::new(), path };
    walk.value(shape, object);
    walk.problems
}

fn name_of(kind: Option<Kind>, object: &Value) -> ObjectName {
    let part = |part: &str| object["metadata"][part].as_str().filter(|text| !text.is_empty());
    let namespace = part("namespace");
    let namespace = match kind {
        Some(kind) => kind.complete_namespace(namespace),
        None => namespace.unwrap_or("default"),
    };
    ObjectName::new(namespace, part("name").unwrap_or("?"))
}

struct Walk {
    about: Option<Key>,
    problems: Vec<Problem>,
    path: String,
}

impl Walk {
    fn value(&mut self, shape: &Shape, value: &Value) {
        match (shape, value) {
            (Shape::Fields(known), Value::Object(fields)) => {
                for (name, value) in fields {
                    let before = self.path.len();
                    if !self.path.is_empty() && !self.path.ends_with(' ') {
                        self.path.push('.');
                    }
                    self.path.extend(name.chars().take(64));
                    match known.iter().find(|(field, _)| field == name) {
                        Some((_, shape)) => self.value(shape, value),
                        None => self.unknown(name, known),
                    }
                    self.path.truncate(before);
                }
            }
            (Shape::List(shape), Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    let before = self.path.len();
                    self.path.push_str(&format!("[{at}]"));
                    self.value(shape, item);
                    self.path.truncate(before);
                }
            }
            _ => {}
        }
    }

    fn unknown(&mut self, name: &str, known: &[(&'static str, Shape)]) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let action = match nearest(name, known.iter().map(|(field, _)| *field)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "remove it".to_owned(),
        };
        let why = "there is no such field; it has no effect";
        self.problems.push(Problem::new(self.about.clone(), &self.path, why, &action));
    }
}

/// The known name that a person who wrote `name` most probably meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(64).map(|c| c.to_ascii_lowercase()).collect();
    let tolerated = (name.len() / 3).clamp(1, 3);
    known
        .map(|field| {
            (distance(&name, &field.to_ascii_lowercase().chars().collect::<Vec<_>>()), field)
        })
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, field)| field)
}

/// Characters to add, remove, replace or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut two_before = vec![0; b.len() + 1];
    let mut before: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut now = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = before[j] + usize::from(x != y);
            now[j + 1] = replaced.min(before[j + 1] + 1).min(now[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                now[j + 1] = now[j + 1].min(two_before[j - 1] + 1);
            }
        }
        two_before = before;
        before = now;
    }
    before[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(kind: &str, object: Value, expected: &[(&str, &str)]) {
        let found = unknown_fields(kind, &object);
        let found: Vec<_> = found.iter().map(|p| (&*p.field, &*p.action)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_misspelt_field_is_named_with_its_path_and_the_right_name() {
        check(
            "Service",
            json!({"metadata": {"name": "s", "lables": {}}, "spec": {
                "selectors": {}, "clusterIp": "None", "quux": 1,
                "ports": [{"port": 80}, {"prot": 81, "taregtPort": 8080}],
                "sessionAffinityConfig": {"clientIP": {"timeout": 3}}}}),
            &[
                ("metadata.lables", "did you mean \"labels\"?"),
                ("spec.clusterIp", "did you mean \"clusterIP\"?"),
                ("spec.ports[1].prot", "did you mean \"port\"?"),
                ("spec.ports[1].taregtPort", "did you mean \"targetPort\"?"),
                ("spec.quux", "remove it"),
                ("spec.selectors", "did you mean \"selector\"?"),
                ("spec.sessionAffinityConfig.clientIP.timeout", "remove it"),
            ],
        );
        check(
            "EndpointSlice",
            json!({"adressType": "IPv4", "endpoints": [{"addresses": [], "ready": true}]}),
            &[("adressType", "did you mean \"addressType\"?"), ("endpoints[0].ready", "remove it")],
        );
        check("Node", json!({"stauts": {}}), &[("stauts", "did you mean \"status\"?")]);
        check(
            "Pod",
            json!({"metadata": {"name": "p"}, "spec": {"nodename": "n"}, "status": {"podIps": []}}),
            &[
                ("Pod default/p: spec.nodename", "did you mean \"nodeName\"?"),
                ("Pod default/p: status.podIps", "did you mean \"podIPs\"?"),
            ],
        );
    }

    #[test]
    fn real_objects_and_unknown_kinds_have_nothing_unknown() {
        let meta = json!({"name": "x", "namespace": "d", "uid": "u", "labels": {"any": "thing"},
            "annotations": {"a/b": "c"}, "managedFields": [{"anything": 1}], "generation": 1,
            "creationTimestamp": "t", "resourceVersion": "1", "ownerReferences": [{}]});
        check(
            "Service",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "selector": {"app": "x"},
                "ports": [{"name": "a", "port": 1, "targetPort": 2, "nodePort": 3,
                    "protocol": "TCP", "appProtocol": "http"}],
                "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
                "healthCheckNodePort": 1, "allocateLoadBalancerNodePorts": true,
                "trafficDistribution": "PreferSameZone", "publishNotReadyAddresses": false},
                "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP",
                    "hostname": "h", "ports": []}]}, "conditions": []}}),
            &[],
        );
        check(
            "EndpointSlice",
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta,
                "addressType": "IPv4", "ports": [{"name": "a", "port": 1, "protocol": "TCP"}],
                "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n", "zone": "z",
                    "conditions": {"ready": true, "serving": true, "terminating": false},
                    "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]},
                    "targetRef": {"kind": "Pod", "name": "p"}, "hostname": "h"}]}),
            &[],
        );
        check("Deployment", json!({"spec": {"nonsense": 1}}), &[]);
        check("Service", json!([1, 2]), &[]);
        check("Service", json!({"spec": {"ports": "many"}, "metadata": 5}), &[]);
    }

    #[test]
    fn a_flood_of_unknown_fields_is_cut() {
        let mut object = json!({});
        for n in 0..1000 {
            object[format!("x{n}")] = json!(n);
        }
        object["y".repeat(1_000_000)] = json!(0);
        assert_eq!(unknown_fields("Service", &object).len(), PROBLEMS_MAX);
    }

    #[test]
    fn tables_are_free_of_doubles() {
        fn visit(shape: &Shape) -> usize {
            match shape {
                Shape::Any => 0,
                Shape::List(shape) => visit(shape),
                Shape::Fields(fields) => {
                    let names: std::collections::BTreeSet<_> =
                        fields.iter().map(|(name, _)| name).collect();
                    assert_eq!(names.len(), fields.len());
                    fields.len() + fields.iter().map(|(_, shape)| visit(shape)).sum::<usize>()
                }
            }
        }
        let all = [tables::SERVICE, tables::ENDPOINT_SLICE, tables::NODE, tables::POD];
        assert!(all.iter().map(visit).sum::<usize>() > 150);
    }
}
