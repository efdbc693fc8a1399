//! Answers as tables: manifests in, where it ends and why out.

use std::fmt::Write as _;

use super::{Manifests, explain_manifests};
use crate::api::explain::{ExplainAnswer, ExplainReply, Outcome};

const CLUSTER: &str = r#"
kind: Node
apiVersion: v1
metadata: { name: here, labels: { topology.kubernetes.io/zone: z1 } }
status: { addresses: [{ type: InternalIP, address: 192.168.0.10 }] }
---
kind: Node
apiVersion: v1
metadata: { name: there, labels: { topology.kubernetes.io/zone: z2 } }
status: { addresses: [{ type: InternalIP, address: 192.168.0.11 }] }
---
kind: Namespace
apiVersion: v1
metadata: { name: shop, labels: { team: shop } }
---
kind: Namespace
apiVersion: v1
metadata: { name: other, labels: { team: other } }
---
kind: Namespace
apiVersion: v1
metadata: { name: kube-system }
"#;

fn pod(namespace: &str, name: &str, node: &str, ip: &str, more: &str) -> String {
    format!(
        "---\nkind: Pod\napiVersion: v1\nmetadata: {{ namespace: {namespace}, name: {name}, labels: {{ app: {name} }} }}\n\
         spec: {{ nodeName: {node}{more}, containers: [{{ name: c, ports: [{{ name: http, containerPort: 8080 }}] }}] }}\n\
         status: {{ phase: Running, podIPs: [{{ ip: {ip} }}] }}\n"
    )
}

fn service(namespace: &str, name: &str, ip: &str, app: &str, more: &str) -> String {
    let selector =
        if app.is_empty() { String::new() } else { format!("selector: {{ app: {app} }}, ") };
    format!(
        "---\nkind: Service\napiVersion: v1\nmetadata: {{ namespace: {namespace}, name: {name} }}\n\
         spec: {{ clusterIP: {ip}, {selector}ports: [{{ name: web, port: 80, targetPort: http }}]{more} }}\n"
    )
}

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\nkind: NetworkPolicy\napiVersion: networking.k8s.io/v1\n\
         metadata: {{ namespace: {namespace}, name: {name} }}\nspec: {spec}\n"
    )
}

/// shop: web and db here, api on both nodes behind a Service; other: spy there.
fn shop() -> String {
    let mut text = CLUSTER.to_owned();
    text += &pod("shop", "web", "here", "10.1.0.2", "");
    text += &pod("shop", "db", "here", "10.1.0.3", "");
    text += &pod("shop", "api", "there", "10.1.1.2", "");
    text += &pod("other", "spy", "there", "10.1.1.9", "");
    text += &pod("shop", "agent", "here", "192.168.0.10", ", hostNetwork: true");
    text += &service("shop", "api", "10.96.0.9", "api", "");
    text += &service("shop", "db", "10.96.0.10", "db", "");
    text += &service("other", "db", "10.96.0.12", "spy", "");
    text += &service("shop", "empty", "10.96.0.11", "none", "");
    text += &service("shop", "here", "10.96.0.13", "api", ", internalTrafficPolicy: Local");
    text += &service("shop", "all", "None", "api", "");
    text += "---\nkind: Service\napiVersion: v1\nmetadata: { namespace: shop, name: out }\n\
             spec: { type: ExternalName, externalName: db.example.org }\n";
    text
}

fn ask(text: &str, from: Option<&str>, to: &str) -> Result<ExplainReply, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("all.yaml"), text).unwrap();
    let manifests = Manifests { dir: dir.path(), node: "here" };
    let (answer, problems) = explain_manifests(&manifests, from, to);
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new());
    match answer {
        ExplainAnswer::Explained(reply) => Ok(reply),
        ExplainAnswer::NotUnderstood(refused) => {
            Err(format!("{}; {}", refused.error, refused.action))
        }
    }
}

/// From, to, how it ends, and a part of why.
type Row = (&'static str, &'static str, Outcome, &'static str);

#[track_caller]
fn table(text: &str, rows: &[Row]) {
    let mut wrong = String::new();
    for (from, to, outcome, part) in rows {
        let from = (*from != "host").then_some(*from);
        match ask(text, from, to) {
            Ok(reply) if reply.result.outcome == *outcome && reply.result.why.contains(part) => {}
            Ok(reply) => writeln!(wrong, "{from:?} -> {to}: {:?}", reply.result).unwrap(),
            Err(error) => writeln!(wrong, "{from:?} -> {to}: {error}").unwrap(),
        }
    }
    assert_eq!(wrong, "");
}

use Outcome::{Dies, Passes, Unknown};

#[test]
fn without_policies_what_services_do_decides() {
    let rows: &[Row] = &[
        ("shop/web", "api:80", Passes, "it arrives at 10.1.1.2:8080"),
        ("web", "shop/api", Passes, "10.1.1.2:8080"),
        ("web", "api.shop:web", Passes, "10.1.1.2:8080"),
        ("web", "api.shop.svc.cluster.local.:80", Passes, "10.1.1.2:8080"),
        ("host", "10.96.0.9:80", Passes, "10.1.1.2:8080"),
        ("web", "db", Passes, "10.1.0.3:8080"),
        ("other/spy", "db", Passes, "10.1.1.9:8080"),
        ("web", "10.1.1.9:1", Passes, "10.1.1.9:1"),
        ("web", "shop/web:80", Passes, "10.1.0.2:80"),
        ("web", "api:81", Dies, "Service shop/api has no such port"),
        ("web", "api:80/udp", Dies, "Service shop/api has no such port"),
        ("web", "empty", Dies, "Service shop/empty, port web 80/TCP: no endpoints: refused"),
        ("web", "here", Dies, "internalTrafficPolicy: Local: no usable endpoint there"),
        ("web", "all:8080", Passes, "10.1.1.2:8080"),
        ("web", "out:5432", Unknown, "db.example.org. is not the cluster's"),
        ("web", "www.example.org:443", Unknown, "www.example.org. is not the cluster's"),
        ("web", "nothing.shop.svc.cluster.local:80", Dies, "there is no such name"),
        ("web", "198.51.100.7:443", Passes, "198.51.100.7:443"),
        ("198.51.100.7", "10.96.0.9:80", Passes, "10.1.1.2:8080"),
        ("web", "[::ffff:10.96.0.9]:80", Passes, "10.1.1.2:8080"),
        ("::ffff:10.1.0.2", "10.96.0.9:80", Passes, "10.1.1.2:8080"),
        ("198.51.100.7", "192.168.0.11:30080", Unknown, "the node with that address decides"),
        ("192.168.0.11", "10.96.0.9:80", Passes, "10.1.1.2:8080"),
    ];
    table(&shop(), rows);
}

#[test]
fn policies_at_both_ends_decide_and_are_named() {
    let mut text = shop();
    text += &policy(
        "shop",
        "db",
        "{ podSelector: { matchLabels: { app: db } }, \
        ingress: [{ from: [{ podSelector: { matchLabels: { app: api } } }], ports: [{ port: 8080 }] }, \
                  { from: [{ podSelector: { matchLabels: { app: web } } }], ports: [{ port: 80 }] }, \
                  { from: [{ ipBlock: { cidr: 198.51.100.0/24 } }] }] }",
    );
    text += &policy("other", "quiet", "{ podSelector: {}, policyTypes: [Egress] }");
    text += &policy(
        "shop",
        "api",
        "{ podSelector: { matchLabels: { app: api } } , policyTypes: [Ingress], \
                    ingress: [{ from: [{ namespaceSelector: {} }] }] }",
    );
    let rows: &[Row] = &[
        ("shop/api", "10.1.0.3:8080", Passes, "10.1.0.3:8080"),
        (
            "web",
            "10.1.0.3:8080",
            Dies,
            "ingress of pod shop/db is denied on node here: it is selected by shop/db",
        ),
        ("web", "shop/db", Dies, "ingress of pod shop/db is denied"),
        ("web", "10.1.0.3:80", Passes, ""),
        ("host", "10.1.0.3:9999", Passes, ""),
        ("192.168.0.11", "10.1.0.3:8080", Dies, "ingress of pod shop/db"),
        ("192.168.0.11", "10.1.1.2:8080", Passes, "10.1.1.2:8080"),
        ("198.51.100.7", "10.1.0.3:1", Passes, ""),
        ("198.51.101.7", "10.1.0.3:1", Dies, "ingress of pod shop/db"),
        ("shop/agent", "10.1.0.3:1", Passes, ""),
        ("other/spy", "10.1.1.2:8080", Dies, "egress of pod other/spy is denied on node there"),
        ("other/spy", "shop/agent:80", Dies, "egress of pod other/spy"),
    ];
    table(&text, rows);
    let reply = ask(&text, Some("web"), "shop/db").unwrap();
    assert!(
        reply.result.action.contains(
            "nearest: shop/db, ingress[1], lacks only the port; policies see the port of the pod"
        ),
        "{:?}",
        reply.result
    );
    let hop = reply.routes[0].destinations[0].ingress.as_ref().unwrap();
    assert!(hop.here && hop.kernel.is_none() && hop.policies[0].rules.len() == 3, "{hop:?}");
}

#[test]
fn a_pod_that_may_not_ask_dns_has_no_address_to_connect_to() {
    let mut text = shop();
    text += &pod("kube-system", "dns", "there", "10.1.1.5", "");
    text += "---\nkind: Service\napiVersion: v1\nmetadata: { namespace: kube-system, name: kube-dns }\n\
             spec: { clusterIP: 10.96.0.53, selector: { app: dns }, ports: [{ port: 53, protocol: UDP }] }\n";
    let only = "{ podSelector: { matchLabels: { app: web } }, policyTypes: [Egress], \
                egress: [{ to: [{ podSelector: {} }] }] }";
    let rows: &[Row] = &[
        ("web", "api", Passes, "10.1.1.2:8080"),
        // This node answers itself; endpoints are asked where it does not.
        ("web", "kube-dns.kube-system:53/udp", Passes, "it arrives at 10.96.0.53:53"),
    ];
    table(&text, rows);
    text += &policy("shop", "only", only);
    let rows: &[Row] = &[
        (
            "web",
            "api",
            Dies,
            "the cluster's DNS (kube-system/kube-dns) cannot be asked: egress of pod shop/web",
        ),
        ("web", "10.96.0.9:80", Passes, "10.1.1.2:8080"),
    ];
    table(&text, rows);
    // Rules that allow the Service's pods allow its address.
    let dns = "{ podSelector: { matchLabels: { app: web } }, policyTypes: [Egress], \
                egress: [{ to: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: dns } } }], \
                ports: [{ port: 53, protocol: UDP }] }] }";
    text += &policy("shop", "dns", dns);
    let rows: &[Row] = &[
        ("web", "api", Passes, "10.1.1.2:8080"),
        ("web", "kube-dns.kube-system:53/udp", Passes, "it arrives at 10.96.0.53:53"),
        ("shop/db", "10.96.0.53:53/udp", Passes, "it arrives at 10.96.0.53:53"),
    ];
    table(&text, rows);
}

#[test]
fn endpoints_say_why_they_are_used_or_not() {
    let slice = "---\nkind: EndpointSlice\napiVersion: discovery.k8s.io/v1\n\
        metadata: { namespace: shop, name: hand-1, labels: { kubernetes.io/service-name: hand } }\n\
        addressType: IPv4\nports: [{ name: web, port: 8080, protocol: TCP }]\nendpoints:\n\
        - { addresses: [10.1.1.2], nodeName: there, hints: { forZones: [{ name: z2 }] } }\n\
        - { addresses: [10.1.0.3], nodeName: here, hints: { forZones: [{ name: z1 }] } }\n\
        - { addresses: [10.1.0.4], nodeName: here, conditions: { ready: false } }\n\
        - { addresses: [10.1.0.5], nodeName: here, conditions: { ready: false, serving: true, terminating: true } }\n";
    let text = shop() + &service("shop", "hand", "10.96.0.20", "", "") + slice;
    let reply = ask(&text, Some("web"), "hand").unwrap();
    let hop = reply.routes[0].service.as_ref().unwrap();
    let told: Vec<_> = hop
        .endpoints
        .iter()
        .map(|one| (&*one.address, one.used, one.zone.as_deref().unwrap_or("-"), &*one.why))
        .collect();
    let expected = [
        ("10.1.0.3", true, "z1", "ready, and meant for this zone"),
        ("10.1.0.4", false, "z1", "not ready"),
        ("10.1.0.5", false, "z1", "terminating and still serving: used only where none is ready"),
        ("10.1.1.2", false, "z2", "meant for another zone"),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        (hop.set.as_deref(), &*hop.kind, hop.kernel_agrees),
        (Some("cluster"), "ClusterIP", None)
    );
}

#[test]
fn what_names_nothing_or_too_much_is_refused() {
    let rows = [
        (Some("absent"), "api", "no pod absent is known here"),
        (Some("web"), "no/such", "no Service and no pod no/such is known here"),
        (Some("a b"), "api", "\"a b\" is no source"),
        (None, "db", "there is more than one Service db: other/db, shop/db"),
        (None, "10.96.0.9", "says no port"),
        (None, "shop/api:", "has no port after its colon"),
        (None, "shop/web:http", "only a Service has ports with names"),
    ];
    for (from, to, said) in rows {
        let refused = ask(&shop(), from, to).unwrap_err();
        assert!(refused.contains(said), "{from:?} {to}: {refused}");
    }
}
