//! Kubernetes JSON of a cluster's nodes, pods and endpoints, and of the way to its API server.

use serde_json::{Value, json};

use crate::cluster::{Host, NodeBed};

/// A Node object.
#[must_use]
pub fn node(bed: &NodeBed, zone: &str) -> Value {
    let addresses: Vec<Value> = bed
        .host
        .addresses
        .iter()
        .map(|ip| json!({ "type": "InternalIP", "address": ip }))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": bed.host.name, "labels": { "topology.kubernetes.io/zone": zone } },
        "status": { "addresses": addresses, "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

/// A running pod, as the object of the API.
#[must_use]
pub fn pod(host: &Host, node: &str, namespace: &str, name: &str, labels: &Value) -> Value {
    let ips: Vec<Value> = host.addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "uid": host.name, "labels": labels },
        "spec": { "nodeName": node, "containers": [{ "name": "c" }] },
        "status": {
            "phase": "Running", "podIP": host.addresses[0], "podIPs": ips,
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

/// A namespace with the label that every one has, and these.
#[must_use]
pub fn namespace(name: &str, labels: &Value) -> Value {
    let mut labels = labels.as_object().cloned().unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "uid": format!("ns-{name}"), "labels": labels },
    })
}

/// A NetworkPolicy with this `spec`.
#[must_use]
pub fn network_policy(namespace: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({ "namespace": namespace, "name": name, "uid": format!("np-{name}") });
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
        "spec": spec,
    })
}

/// An IngressClass of Towpath's.
#[must_use]
pub fn ingress_class(name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": name },
        "spec": { "controller": "towpath.io/ingress" },
    })
}

/// An Ingress in namespace `default`: hosts, each with its paths (prefixes) and their Services, port 80;
/// and the Secret of all of them, if there is one.
#[must_use]
pub fn ingress(
    name: &str,
    class: &str,
    hosts: &[(&str, &[(&str, &str)])],
    secret: Option<&str>,
) -> Value {
    let path = |(path, service): &(&str, &str)| {
        json!({
            "path": path, "pathType": "Prefix",
            "backend": { "service": { "name": service, "port": { "number": 80 } } },
        })
    };
    let rules: Vec<Value> = hosts
        .iter()
        .map(|(host, paths)| {
            let paths: Vec<Value> = paths.iter().map(path).collect();
            json!({ "host": host, "http": { "paths": paths } })
        })
        .collect();
    let names: Vec<&str> = hosts.iter().map(|(host, _)| *host).collect();
    let tls: Vec<Value> =
        secret.iter().map(|secret| json!({ "hosts": names, "secretName": secret })).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "ingressClassName": class, "rules": rules, "tls": tls },
    })
}

/// A Secret with a certificate, both PEM, in namespace `default`.
#[must_use]
pub fn tls_secret(name: &str, certificate: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": name, "namespace": "default" },
        "data": { "tls.crt": base64(certificate), "tls.key": base64(key) },
    })
}

fn base64(text: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(text)
}

/// An endpoint: where it is and what its conditions are.
#[derive(Clone, Debug)]
pub struct Endpoint<'a> {
    /// The pod (or node) it runs on.
    pub host: &'a Host,
    /// Name of the node.
    pub node: &'a str,
    /// Condition ready.
    pub ready: bool,
    /// Condition terminating (and serving).
    pub terminating: bool,
}

impl<'a> Endpoint<'a> {
    /// A ready one.
    #[must_use]
    pub const fn ready(host: &'a Host, node: &'a str) -> Self {
        Self { host, node, ready: true, terminating: false }
    }
}

/// One slice of one family for a Service. `ports`: name, protocol, number.
#[must_use]
pub fn slice(
    service: &str,
    v6: bool,
    ports: &[(&str, &str, u16)],
    endpoints: &[Endpoint<'_>],
) -> Value {
    let family = if v6 { "IPv6" } else { "IPv4" };
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, port)| json!({ "name": name, "protocol": protocol, "port": port }))
        .collect();
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|endpoint| {
            let serving = endpoint.ready || endpoint.terminating;
            json!({
                "addresses": [endpoint.host.addresses[usize::from(v6)]],
                "nodeName": endpoint.node,
                "conditions": {
                    "ready": endpoint.ready, "serving": serving, "terminating": endpoint.terminating,
                },
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{}", family.to_lowercase()), "namespace": "default",
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": family, "ports": ports, "endpoints": endpoints,
    })
}

/// A kubeconfig for a cluster with these fields, such as `server`; without credentials.
#[must_use]
pub fn kubeconfig(cluster: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "testbed",
        "clusters": [{ "name": "testbed", "cluster": cluster }],
        "users": [{ "name": "testbed", "user": {} }],
        "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": "testbed" } }],
    })
}
