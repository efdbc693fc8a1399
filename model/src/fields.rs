//! Fields that do not exist, in objects written by hand. The API server of a cluster prunes or
//! refuses them; without one, a typing error would silently change what an object means.
//!
//! Judges names only, never values: a wrong type is found when the object is decoded.

pub(crate) mod tables;

use serde_json::Value;

use crate::{Code, Key, Kind, ObjectName, Problem, nearest};

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

/// Every unknown field of an object, with the name that was probably meant. Of a Pod's spec and status
/// only the first level is known; of kinds without a row nothing is, and nothing is said.
#[must_use]
pub fn unknown_fields(kind: &str, object: &Value) -> Vec<Problem> {
    let Some(kind) = Kind::of_name(kind) else { return Vec::new() };
    let about = Some(Key { kind, name: name_of(kind, object) });
    let mut walk = Walk { about, problems: Vec::new(), path: String::new() };
    walk.value(kind.row().fields, object);
    walk.problems
}

fn name_of(kind: Kind, object: &Value) -> ObjectName {
    let part = |part: &str| object["metadata"][part].as_str().filter(|text| !text.is_empty());
    ObjectName::new(kind.complete_namespace(part("namespace")), part("name").unwrap_or("?"))
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
                    if !self.path.is_empty() {
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
        let known: Vec<&str> = known.iter().map(|(field, _)| *field).collect();
        let action = match nearest(name, &known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "remove it".to_owned(),
        };
        let why = "there is no such field; it has no effect";
        self.problems.push(Problem::new(
            Code::UnknownField,
            self.about.clone(),
            &self.path,
            why,
            &action,
        ));
    }
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
                ("spec.nodename", "did you mean \"nodeName\"?"),
                ("status.podIps", "did you mean \"podIPs\"?"),
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
