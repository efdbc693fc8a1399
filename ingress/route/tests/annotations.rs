//! Annotations, a row each: what becomes of the routes of an Ingress that has one.

#![expect(clippy::panic, reason = "a test")]

mod cluster;

use cluster::*;
use serde_json::{Value, json};
use towpath_model::{Kind, ObjectName};
use towpath_route::{EndpointTls, Found, Policy, Protocol, TlsVersions};

fn plain() -> Value {
    ingress("i", &[("h.example", "Prefix", "/", "a")])
}

/// Plain, with annotations.
fn said(annotations: &[(&str, &str)]) -> Cluster {
    let fold = |object, (name, value): &(&str, &str)| annotated(object, name, value);
    with(&[annotations.iter().fold(plain(), fold)])
}

fn policy(cluster: &Cluster) -> Policy {
    let Found::Route(route) = cluster.plan.table().find("h.example", "/") else {
        panic!("no route")
    };
    Policy::clone(&route.policy)
}

#[test]
fn an_annotation_that_restricts_or_changes_requests_closes_the_route() {
    let plain = || ingress("i", &[("h.example", "Prefix", "/", "a")]);
    for (name, value, answer, problems) in [
        ("auth-url", "http://x", "closed", 1),
        ("auth-tls-secret", "n/s", "closed", 1),
        ("whitelist-source-range", "10.0.0.0/8", "closed", 1),
        ("satisfy", "any", "closed", 1),
        ("enable-modsecurity", "true", "closed", 1),
        ("enable-modsecurity", "false", "a", 0),
        ("rewrite-target", "/", "closed", 1),
        ("use-regex", "true", "closed", 1),
        ("backend-protocol", "FCGI", "closed", 1),
        ("backend-protocol", "HTTP", "a", 0),
        ("backend-protocol", "gopher", "a", 1),
        ("server-snippet", "deny all;", "closed", 1),
        ("canary", "true", "404", 1),
        ("proxy-read-timeout", "3600", "a", 1),
        ("enable-websockets", "true", "a", 0),
        ("ssl-redirect", "perhaps", "a", 1),
        ("proxy-body-size", "much", "a", 1),
        ("proxy-body-size", "8m", "a", 0),
    ] {
        let cluster = with(&[annotated(plain(), name, value)]);
        assert_eq!(cluster.ask("h.example", "/"), answer, "{name}");
        let said = cluster.problems();
        assert_eq!(said.len(), problems, "{name}: {said:?}");
        assert!(said.iter().all(|problem| problem.contains(&format!("kubernetes.io/{name}]"))));
    }
}

#[test]
fn what_is_spoken_to_endpoints() {
    for (value, protocol) in [
        ("HTTP", Some(Protocol::Http)),
        ("https", Some(Protocol::Https)),
        ("GRPC", Some(Protocol::Grpc)),
        (" Grpcs ", Some(Protocol::Grpcs)),
        ("AUTO_HTTP", Some(Protocol::Auto)),
        // As in ingress-nginx, what is not known is as if it was not there.
        ("h2c", None),
    ] {
        let cluster = said(&[("backend-protocol", value)]);
        assert_eq!(cluster.ask("h.example", "/"), "a");
        assert_eq!(policy(&cluster).protocol, protocol, "{value}");
        assert_eq!(cluster.problems().len(), usize::from(protocol.is_none()), "{value}");
    }
}

#[test]
fn a_services_port_says_its_protocol_where_the_ingress_does_not() {
    for (app_protocol, protocol) in [
        (Value::Null, Protocol::Http),
        (json!("kubernetes.io/h2c"), Protocol::Grpc),
        (json!("grpc"), Protocol::Grpc),
        (json!("https"), Protocol::Https),
        (json!("kubernetes.io/wss"), Protocol::Https),
        (json!("kubernetes.io/ws"), Protocol::Http),
        (json!("http"), Protocol::Http),
        (json!("example.com/own"), Protocol::Http),
    ] {
        let mut cluster = with(&[plain()]);
        let mut object = service("a");
        object["spec"]["ports"][0]["appProtocol"] = app_protocol.clone();
        cluster.apply(Kind::Service, &object);
        let update = cluster.update();
        assert!(update.table.is_none(), "{app_protocol}");
        assert_eq!(cluster.endpoints("h.example", "/").protocol, protocol, "{app_protocol}");
        assert_eq!(policy(&cluster).protocol, None);
    }
}

#[test]
fn tls_to_endpoints() {
    let usual = EndpointTls::default;
    let secret = || Some(ObjectName::new("n", "s"));
    type Row<'a> = (&'a [(&'a str, &'a str)], Option<EndpointTls>, usize);
    let rows: [Row<'_>; 15] = [
        (&[("proxy-ssl-verify", "off")], None, 0),
        (&[("proxy-ssl-secret", "n/s")], Some(EndpointTls { secret: secret(), ..usual() }), 0),
        (
            &[("proxy-ssl-secret", "n/s"), ("proxy-ssl-verify", "on")],
            Some(EndpointTls { secret: secret(), verify: true, ..usual() }),
            0,
        ),
        // As in ingress-nginx: without authorities there is nothing to verify with.
        (&[("proxy-ssl-verify", "on")], None, 1),
        (&[("proxy-ssl-verify", "true"), ("proxy-ssl-secret", "")], None, 1),
        (
            &[("proxy-ssl-name", "Inner.Example"), ("proxy-ssl-server-name", "on")],
            Some(EndpointTls { name: Some("inner.example".into()), tell_name: true, ..usual() }),
            0,
        ),
        (&[("proxy-ssl-name", "")], None, 0),
        (&[("proxy-ssl-name", "*.example")], None, 1),
        (&[("proxy-ssl-name", "a b")], None, 1),
        (&[("proxy-ssl-server-name", "off")], None, 0),
        (
            &[("proxy-ssl-protocols", "TLSv1.3")],
            Some(EndpointTls { versions: TlsVersions::Only13, ..usual() }),
            0,
        ),
        (
            &[("proxy-ssl-protocols", "TLSv1.1 TLSv1.2")],
            Some(EndpointTls { versions: TlsVersions::Only12, ..usual() }),
            0,
        ),
        (&[("proxy-ssl-protocols", "TLSv1.2 TLSv1.3")], None, 0),
        (&[("proxy-ssl-protocols", "TLSv1")], None, 1),
        (&[("proxy-ssl-ciphers", "HIGH"), ("proxy-ssl-verify-depth", "2")], None, 2),
    ];
    for (annotations, tls, problems) in rows {
        let cluster = said(annotations);
        assert_eq!(cluster.ask("h.example", "/"), "a", "{annotations:?}");
        assert_eq!(policy(&cluster).tls.as_deref(), tls.as_ref(), "{annotations:?}");
        let said = cluster.problems();
        assert_eq!(said.len(), problems, "{annotations:?}: {said:?}");
        let wanted: Vec<_> = cluster.plan.endpoint_tls().keys().map(|tls| &**tls).collect();
        assert_eq!(wanted, tls.iter().collect::<Vec<_>>());
    }
    // A Secret of another namespace would be read with this proxy's rights.
    for value in ["other/s", "s", "n/", "n/s/t"] {
        let cluster = said(&[("proxy-ssl-secret", value)]);
        assert_eq!(cluster.ask("h.example", "/"), "closed", "{value}");
        assert!(cluster.problems()[0].starts_with("TP8005"), "{value}");
    }
}
