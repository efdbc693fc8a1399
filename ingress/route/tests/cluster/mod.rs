//! A cluster of a few objects, and requests to the table that is compiled out of it.
#![allow(dead_code, reason = "each test uses a part of it")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use serde_json::{Value, json};
use towpath_model::{Event, Kind, ObjectName, Problem, Store, decode};
use towpath_route::{
    EndpointSet, Found, NEEDS, RoutePlan, Settings, Target, Update, normalise, request_host,
};

pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) plan: RoutePlan,
    first: bool,
}

impl Cluster {
    /// A class `ours` of this controller, one `theirs` of another, and Services `a`, `b`, `c` in `n`.
    pub(crate) fn new(settings: Settings) -> Self {
        let mut cluster =
            Self { store: Store::new("node"), plan: RoutePlan::new(settings), first: true };
        for stream in NEEDS {
            cluster.store.feed(Event::Init(stream));
        }
        cluster.apply(Kind::IngressClass, &class("ours", "towpath.io/ingress", "2020", false));
        cluster.apply(Kind::IngressClass, &class("theirs", "other/one", "2020", false));
        for name in ["a", "b", "c"] {
            cluster.apply(Kind::Service, &service(name));
            cluster.apply(Kind::EndpointSlice, &slice(name, &["10.0.0.1"]));
        }
        for stream in NEEDS {
            cluster.store.feed(Event::InitDone(stream));
        }
        cluster
    }

    pub(crate) fn apply(&mut self, kind: Kind, object: &Value) {
        let object = decode(kind, object.to_string().as_bytes()).unwrap();
        self.store.feed(Event::Apply(object));
    }

    pub(crate) fn delete(&mut self, kind: Kind, name: &str) {
        let namespace = if kind == Kind::IngressClass { "" } else { "n" };
        self.store.feed(Event::Delete(kind, ObjectName::new(namespace, name)));
    }

    pub(crate) fn update(&mut self) -> Update {
        let (view, changes) = self.store.commit();
        let first = std::mem::replace(&mut self.first, false);
        self.plan.update(&view, (!first).then_some(&changes))
    }

    /// The Service that a request reaches, or what it is answered with.
    pub(crate) fn ask(&self, host: &str, target: &str) -> String {
        let Ok(path) = normalise(target.split('?').next().unwrap()) else { return "400".into() };
        let host = match host {
            "" => Ok("".into()),
            host => request_host(host),
        };
        let Ok(host) = host else { return "400".into() };
        match self.plan.table().find(&host, &path) {
            Found::Nothing => "404".into(),
            Found::Ambiguous => "400".into(),
            Found::Route(route) => match route.target {
                Target::Closed(_) => "closed".into(),
                Target::NoBackend => "503".into(),
                Target::Service(slot) => {
                    let backend = self.plan.backend(slot).unwrap();
                    let secure = if route.to_https { "https " } else { "" };
                    format!("{secure}{}", backend.service.name)
                }
            },
        }
    }

    /// The endpoints of the Service that a request reaches.
    pub(crate) fn endpoints(&self, host: &str, path: &str) -> EndpointSet {
        let Found::Route(route) = self.plan.table().find(host, path) else { panic!("no route") };
        let Target::Service(slot) = route.target else { panic!("{:?}", route.target) };
        EndpointSet::clone(self.plan.sets().get(slot).unwrap())
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<Problem> = Vec::new();
        self.plan.problems(&mut problems);
        problems.iter().map(Problem::coded).collect()
    }
}

pub(crate) fn class(name: &str, controller: &str, created: &str, default: bool) -> Value {
    let default = if default { "true" } else { "false" };
    json!({ "metadata": { "name": name, "creationTimestamp": created, "annotations": {
        "ingressclass.kubernetes.io/is-default-class": default } },
        "spec": { "controller": controller } })
}

/// Ports `web` 80 and `other` 81.
pub(crate) fn service(name: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "n" },
        "spec": { "type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [
            { "name": "web", "port": 80, "protocol": "TCP" },
            { "name": "other", "port": 81, "protocol": "TCP" },
            { "name": "udp", "port": 82, "protocol": "UDP" }] } })
}

pub(crate) fn slice(service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> =
        addresses.iter().map(|address| json!({ "addresses": [address] })).collect();
    slice_of(service, service, "IPv4", &endpoints, 8080)
}

pub(crate) fn slice_of(
    name: &str,
    service: &str,
    family: &str,
    endpoints: &[Value],
    port: u16,
) -> Value {
    json!({ "metadata": { "name": name, "namespace": "n",
            "labels": { "kubernetes.io/service-name": service } },
        "addressType": family, "endpoints": endpoints,
        "ports": [{ "name": "web", "port": port, "protocol": "TCP" },
                  { "name": "other", "port": port + 1, "protocol": "TCP" }] })
}

/// An Ingress of class `ours` with these rules: host, type, path, Service.
pub(crate) fn ingress(name: &str, rules: &[(&str, &str, &str, &str)]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|(host, path_type, path, service)| {
            json!({ "host": host, "http": { "paths": [
                { "path": path, "pathType": path_type, "backend": backend(service) }] } })
        })
        .collect();
    json!({ "metadata": { "name": name, "namespace": "n", "creationTimestamp": "2020" },
        "spec": { "ingressClassName": "ours", "rules": rules } })
}

pub(crate) fn backend(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 80 } } })
}

pub(crate) fn with(ingresses: &[Value]) -> Cluster {
    with_settings(Settings::default(), ingresses)
}

pub(crate) fn with_settings(settings: Settings, ingresses: &[Value]) -> Cluster {
    let mut cluster = Cluster::new(settings);
    for ingress in ingresses {
        cluster.apply(Kind::Ingress, ingress);
    }
    cluster.update();
    cluster
}

pub(crate) fn patched(mut object: Value, patch: &Value) -> Value {
    fn merge(into: &mut Value, patch: &Value) {
        match (into, patch) {
            (Value::Object(into), Value::Object(patch)) => {
                for (name, value) in patch {
                    merge(into.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
            (into, patch) => *into = patch.clone(),
        }
    }
    merge(&mut object, patch);
    object
}

pub(crate) fn annotated(object: Value, name: &str, value: &str) -> Value {
    let name = format!("nginx.ingress.kubernetes.io/{name}");
    patched(object, &json!({ "metadata": { "annotations": { name: value } } }))
}
