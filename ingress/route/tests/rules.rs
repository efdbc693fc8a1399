//! The rules of Ingress v1, a row each: objects and a request in, the Service or the answer out.

mod cluster;

use cluster::*;
use serde_json::{Value, json};
use towpath_model::{Kind, ObjectName, ingress::BackendPort};
use towpath_route::{BackendRef, Missing, Settings};

/// The table of the Ingress page of the Kubernetes documentation, row by row.
#[test]
fn the_path_table_of_the_documentation() {
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    const P: &str = "Prefix";
    const E: &str = "Exact";
    let rows: [Row<'_>; 20] = [
        (&[(P, "/")], "/any/path", "a"),
        (&[(E, "/foo")], "/foo", "a"),
        (&[(E, "/foo")], "/bar", "404"),
        (&[(E, "/foo")], "/foo/", "404"),
        (&[(E, "/foo/")], "/foo", "404"),
        (&[(P, "/foo")], "/foo", "a"),
        (&[(P, "/foo")], "/foo/", "a"),
        (&[(P, "/foo/")], "/foo", "a"),
        (&[(P, "/foo/")], "/foo/", "a"),
        (&[(P, "/aaa/bb")], "/aaa/bbb", "404"),
        (&[(P, "/aaa/bbb")], "/aaa/bbb", "a"),
        (&[(P, "/aaa/bbb/")], "/aaa/bbb", "a"),
        (&[(P, "/aaa/bbb")], "/aaa/bbb/", "a"),
        (&[(P, "/aaa/bbb")], "/aaa/bbb/ccc", "a"),
        (&[(P, "/aaa/bbb")], "/aaa/bbbxyz", "404"),
        (&[(P, "/"), (P, "/aaa")], "/aaa/ccc", "b"),
        (&[(P, "/"), (P, "/aaa"), (P, "/aaa/bbb")], "/aaa/bbb", "c"),
        (&[(P, "/"), (P, "/aaa"), (P, "/aaa/bbb")], "/ccc", "a"),
        (&[(P, "/aaa")], "/ccc", "404"),
        (&[(P, "/foo"), (E, "/foo")], "/foo", "b"),
    ];
    for (rules, request, answer) in rows {
        let rules: Vec<_> = rules.iter().zip(["a", "b", "c"]).collect();
        let rules: Vec<_> = rules
            .iter()
            .map(|((kind, path), service)| ("h.example", *kind, *path, *service))
            .collect();
        let cluster = with(&[ingress("i", &rules)]);
        assert_eq!(cluster.ask("h.example", request), answer, "{rules:?} {request}");
        assert_eq!(cluster.problems(), [""; 0]);
    }
}

#[test]
fn a_path_is_compared_in_its_normal_form_and_case_counts() {
    let rules = [
        ("h.example", "Exact", "/caf\u{e9}", "a"),
        ("h.example", "Prefix", "/x/y", "b"),
        ("h.example", "ImplementationSpecific", "", "c"),
    ];
    let cluster = with(&[ingress("i", &rules)]);
    for (request, answer) in [
        ("/caf%c3%a9", "a"),
        ("/caf%C3%A9?x=/x/y", "a"),
        ("/X/y", "c"),
        ("/x//y/z", "b"),
        ("/x/./y", "b"),
        ("/q/../x/%79", "b"),
        ("/x%2Fy", "c"),
        ("/x/y%2F..%2Fz", "c"),
        ("/..", "400"),
        ("/x/%00", "400"),
        ("/%zz", "400"),
    ] {
        assert_eq!(cluster.ask("h.example", request), answer, "{request}");
    }
}

#[test]
fn an_exact_host_then_a_wildcard_of_one_label_then_no_host() {
    let rules = [
        ("foo.example", "Prefix", "/only", "a"),
        ("*.foo.example", "Prefix", "/", "b"),
        ("bar.foo.example", "Prefix", "/only", "a"),
        ("", "Prefix", "/", "c"),
    ];
    let cluster = with(&[ingress("i", &rules)]);
    for (host, path, answer) in [
        ("foo.example", "/only", "a"),
        ("FOO.example.:8080", "/only", "a"),
        // A host that is known is served by its own rules only.
        ("foo.example", "/", "404"),
        ("bar.foo.example", "/", "404"),
        ("baz.foo.example", "/", "b"),
        ("a.baz.foo.example", "/", "c"),
        ("other.example", "/", "c"),
        ("10.0.0.1:80", "/", "c"),
        ("[::1]:80", "/", "c"),
        ("", "/", "c"),
        ("a b", "/", "400"),
    ] {
        assert_eq!(cluster.ask(host, path), answer, "{host} {path}");
    }
}

#[test]
fn default_backends() {
    let rules = |name: &str, host: &str| ingress(name, &[(host, "Prefix", "/x", "a")]);
    let default = |service: &str| json!({ "spec": { "defaultBackend": backend(service) } });
    let own = patched(rules("own", "h.example"), &default("b"));
    let cluster = with(&[own.clone(), rules("plain", "p.example")]);
    assert_eq!(cluster.ask("h.example", "/x"), "a");
    assert_eq!(cluster.ask("h.example", "/y"), "b");
    // Of its own hosts only.
    assert_eq!(cluster.ask("p.example", "/y"), "404");
    assert_eq!(cluster.ask("q.example", "/"), "404");

    let catch = |name: &str, created: &str, service: &str| {
        let object = patched(ingress(name, &[]), &default(service));
        patched(object, &json!({ "metadata": { "creationTimestamp": created } }))
    };
    let all =
        [own, rules("plain", "p.example"), catch("late", "2021", "a"), catch("early", "2020", "c")];
    let cluster = with(&all);
    assert_eq!(cluster.ask("h.example", "/y"), "b");
    assert_eq!(cluster.ask("p.example", "/y"), "c");
    assert_eq!(cluster.ask("q.example", "/"), "c");
    let problems = cluster.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("n/late: spec.defaultBackend"),
        "{problems:?}"
    );

    let service = ObjectName::new("n", "b");
    let configured = BackendRef { service, port: BackendPort::Number(80) };
    let settings = Settings { default_backend: Some(configured), ..Settings::default() };
    assert_eq!(with_settings(settings, &[]).ask("q.example", "/"), "b");
}

#[test]
fn a_class_is_named_by_the_field_then_by_the_annotation() {
    let object = |field: Value, annotation: Value| {
        let object = ingress("i", &[("h.example", "Prefix", "/", "a")]);
        let object = patched(object, &json!({ "spec": { "ingressClassName": field } }));
        if annotation.is_null() {
            return object;
        }
        let annotations = json!({ "kubernetes.io/ingress.class": annotation });
        patched(object, &json!({ "metadata": { "annotations": annotations } }))
    };
    let null = Value::Null;
    let default = Settings::default;
    let without = Settings { without_class: true, ..default() };
    let infer = Settings { infer_default_class: true, ..default() };
    let adopts = Settings { controllers: ["other/one".to_owned()].into(), ..default() };
    for (field, annotation, settings, served) in [
        (json!("ours"), null.clone(), default(), true),
        (json!("theirs"), null.clone(), default(), false),
        (json!("absent"), null.clone(), without.clone(), false),
        (json!("theirs"), json!("towpath"), default(), false),
        (json!("theirs"), null.clone(), adopts, true),
        (null.clone(), json!("towpath"), default(), true),
        (null.clone(), json!("nginx"), without.clone(), false),
        (null.clone(), null.clone(), default(), false),
        (null.clone(), null.clone(), without, true),
        // No class is marked as default.
        (null.clone(), null.clone(), infer.clone(), false),
    ] {
        let cluster = with_settings(settings, &[object(field.clone(), annotation.clone())]);
        let answer = if served { "a" } else { "404" };
        assert_eq!(cluster.ask("h.example", "/"), answer, "{field} {annotation}");
    }
    let mut cluster = with_settings(infer, &[object(null.clone(), null)]);
    for (class, answer) in [
        (class("old", "towpath.io/ingress", "2019", true), "a"),
        (class("new", "other/one", "2022", true), "404"),
        (class("newest", "towpath.io/ingress", "2023", true), "a"),
    ] {
        cluster.apply(Kind::IngressClass, &class);
        cluster.update();
        assert_eq!(cluster.ask("h.example", "/"), answer, "{class}");
    }
}

#[test]
fn a_class_that_comes_and_goes_takes_its_routes_along() {
    let object = patched(
        ingress("i", &[("h.example", "Prefix", "/", "a")]),
        &json!({ "spec": { "ingressClassName": "later" } }),
    );
    let mut cluster = with(&[object]);
    assert_eq!(cluster.ask("h.example", "/"), "404");
    cluster.apply(Kind::IngressClass, &class("later", "towpath.io/ingress", "2020", false));
    cluster.update();
    assert_eq!(cluster.ask("h.example", "/"), "a");
    cluster.delete(Kind::IngressClass, "later");
    cluster.update();
    assert_eq!(cluster.ask("h.example", "/"), "404");
}

#[test]
fn the_oldest_wins_each_route_and_the_loser_is_told() {
    let of = |name: &str, created: &str, rules: &[(&str, &str, &str, &str)]| {
        patched(ingress(name, rules), &json!({ "metadata": { "creationTimestamp": created } }))
    };
    let old = of("z", "2019", &[("h.example", "Prefix", "/foo", "a")]);
    // The same rule: a prefix's own slash says nothing.
    let young = [("h.example", "Prefix", "/foo/", "b"), ("h.example", "Exact", "/foo", "c")];
    let young = of("a", "2020", &young);
    let mut cluster = with(&[young, old]);
    assert_eq!(cluster.ask("h.example", "/foo/x"), "a");
    assert_eq!(cluster.ask("h.example", "/foo"), "c");
    let problems = cluster.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("TP8001 Ingress n/a: spec.rules[0].http.paths[0]: Ingress n/z")
    );
    cluster.delete(Kind::Ingress, "z");
    cluster.update();
    assert_eq!(cluster.ask("h.example", "/foo/x"), "b");
    assert_eq!(cluster.problems(), [""; 0]);
    // Of one age, the first name.
    let one = of("one", "2018", &[("i.example", "Prefix", "/", "a")]);
    let other = of("other", "2018", &[("i.example", "Prefix", "/", "b")]);
    assert_eq!(with(&[other, one]).ask("i.example", "/"), "a");
}

#[test]
fn a_bad_rule_harms_only_itself() {
    let rules = [
        ("h.example", "Prefix", "/../x", "a"),
        ("h.example", "Exact", "no-slash", "a"),
        ("*", "Prefix", "/", "a"),
        ("h.example", "Prefix", "/good", "b"),
    ];
    let cluster = with(&[ingress("i", &rules)]);
    assert_eq!(cluster.ask("h.example", "/good"), "b");
    assert_eq!(cluster.ask("h.example", "/x"), "404");
    assert_eq!(cluster.ask("other.example", "/"), "404");
    let problems = cluster.problems();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.starts_with("TP8006 Ingress n/i: spec.rules[")));
}

#[test]
fn a_backend_that_is_not_there_heals_without_a_change_of_the_ingress() {
    let mut cluster = with(&[ingress("i", &[("h.example", "Prefix", "/", "late")])]);
    assert_eq!(cluster.endpoints("h.example", "/").missing, Some(Missing::Service));
    assert!(cluster.problems()[0].contains("there is no Service n/late"));
    cluster.apply(Kind::Service, &service("late"));
    let update = cluster.update();
    assert!(update.table.is_none(), "endpoints never compile routes");
    assert_eq!(cluster.endpoints("h.example", "/").missing, Some(Missing::Endpoints));
    assert_eq!(cluster.problems(), [""; 0]);
    cluster.apply(Kind::EndpointSlice, &slice("late", &["10.0.0.9", "10.0.0.8"]));
    let update = cluster.update();
    assert!(update.table.is_none() && update.sets.is_some());
    let endpoints = cluster.endpoints("h.example", "/").endpoints;
    assert_eq!(*endpoints, ["10.0.0.8:8080".parse().unwrap(), "10.0.0.9:8080".parse().unwrap()]);
}

#[test]
fn ports_by_name_and_number_lead_to_the_slices_port() {
    for (port, endpoint) in [
        (json!({ "number": 80 }), Ok("10.0.0.1:8080")),
        (json!({ "name": "other" }), Ok("10.0.0.1:8081")),
        (json!({ "number": 8080 }), Err(Missing::Port)),
        (json!({ "name": "udp" }), Err(Missing::Port)),
        (json!({ "number": 82 }), Err(Missing::Port)),
    ] {
        let mut object = ingress("i", &[("h.example", "Prefix", "/", "a")]);
        object["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] = port.clone();
        let set = with(&[object]).endpoints("h.example", "/");
        let found = set.endpoints.first().map(ToString::to_string);
        assert_eq!(found.as_deref().ok_or(set.missing), endpoint.map_err(Some), "{port}");
    }
}

#[test]
fn endpoints_are_those_that_a_service_uses() {
    let mut cluster = with(&[ingress("i", &[("h.example", "Prefix", "/", "a")])]);
    let endpoint = |address: &str, ready: bool, serving: bool, terminating: bool| {
        json!({ "addresses": [address], "conditions": {
            "ready": ready, "serving": serving, "terminating": terminating } })
    };
    let mut of = |slices: &[(&str, &[Value])]| {
        for (family, endpoints) in slices {
            let name = if *family == "IPv4" { "a" } else { "a6" };
            cluster.apply(Kind::EndpointSlice, &slice_of(name, "a", family, endpoints, 8080));
        }
        cluster.update();
        let set = cluster.endpoints("h.example", "/");
        set.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let terminating = endpoint("10.0.0.1", false, true, true);
    let ready = endpoint("10.0.0.2", true, true, false);
    assert_eq!(of(&[("IPv4", &[terminating.clone(), ready])]), ["10.0.0.2:8080"]);
    assert_eq!(of(&[("IPv4", &[terminating])]), ["10.0.0.1:8080"]);
    // One family at a time; the other one is used when the first has none.
    let six = endpoint("fd00::1", true, true, false);
    assert_eq!(of(&[("IPv6", std::slice::from_ref(&six))]), ["10.0.0.1:8080"]);
    // An address that leads to the node itself is no endpoint (CVE-2021-25737).
    assert_eq!(of(&[("IPv4", &[endpoint("127.0.0.1", true, true, false)])]), ["[fd00::1]:8080"]);
}

#[test]
fn an_external_name_is_not_followed() {
    let mut cluster = with(&[ingress("i", &[("h.example", "Prefix", "/", "a")])]);
    let spec = json!({ "spec": { "type": "ExternalName", "externalName": "localhost" } });
    cluster.apply(Kind::Service, &patched(service("a"), &spec));
    cluster.update();
    assert_eq!(cluster.endpoints("h.example", "/").missing, Some(Missing::ExternalName));
    assert!(cluster.problems()[0].starts_with("TP8002 Ingress n/i: "));
}

#[test]
fn a_backend_that_is_no_service_is_answered_with_503() {
    let mut object = ingress("i", &[("h.example", "Prefix", "/", "a")]);
    object["spec"]["rules"][0]["http"]["paths"][0]["backend"] =
        json!({ "resource": { "kind": "Bucket", "name": "x" } });
    assert_eq!(with(&[object]).ask("h.example", "/"), "503");
}

#[test]
fn a_closed_route_is_not_reached_under_another_spelling() {
    let open = ingress("open", &[("h.example", "Prefix", "/", "a")]);
    let closed = ingress("closed", &[("h.example", "Prefix", "/admin", "b")]);
    let cluster = with(&[open, annotated(closed, "auth-type", "basic")]);
    for (request, answer) in [
        ("/admin", "closed"),
        ("/x/../admin", "closed"),
        ("/x%2F..%2Fadmin", "400"),
        ("/x/..;/admin", "400"),
        ("/x%5c..%5cadmin", "400"),
        ("/a%2Fb", "a"),
        ("/a;b", "a"),
    ] {
        assert_eq!(cluster.ask("h.example", request), answer, "{request}");
    }
}

#[test]
fn plain_requests_of_hosts_with_tls_go_to_https() {
    let tls = json!({ "spec": { "tls": [{ "hosts": ["h.example", "*.w.example"], "secretName": "s" }] } });
    let rules = [
        ("h.example", "Prefix", "/", "a"),
        ("x.w.example", "Prefix", "/", "b"),
        ("p.example", "Prefix", "/", "c"),
    ];
    let object = || patched(ingress("i", &rules), &tls);
    let ask = |cluster: &Cluster| {
        ["h.example", "x.w.example", "p.example"].map(|host| cluster.ask(host, "/"))
    };
    assert_eq!(ask(&with(&[object()])), ["https a", "https b", "c"]);
    assert_eq!(ask(&with(&[annotated(object(), "ssl-redirect", "false")])), ["a", "b", "c"]);
    let forced = annotated(object(), "force-ssl-redirect", "true");
    assert_eq!(ask(&with(&[forced])), ["https a", "https b", "https c"]);
    let off = Settings { ssl_redirect: false, ..Settings::default() };
    assert_eq!(ask(&with_settings(off, &[object()])), ["a", "b", "c"]);
}

#[test]
fn a_host_has_the_certificate_of_the_oldest_ingress_that_names_it() {
    let of = |name: &str, created: &str, tls: Value| {
        let object = ingress(name, &[("h.example", "Prefix", "/", "a")]);
        patched(
            object,
            &json!({ "metadata": { "creationTimestamp": created }, "spec": { "tls": tls } }),
        )
    };
    let young =
        of("a", "2021", json!([{ "hosts": ["h.example", "Y.example"], "secretName": "young" }]));
    // Without hosts: for those of its rules.
    let old = of("z", "2020", json!([{ "secretName": "old" }, { "hosts": ["d.example"] }]));
    let mut cluster = with(&[young, old]);
    let wishes = |cluster: &Cluster| -> Vec<String> {
        let secret = |wish: &towpath_route::Wish| {
            wish.secret.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string)
        };
        cluster
            .plan
            .certificates()
            .iter()
            .map(|(host, wish)| format!("{host} {}", secret(wish)))
            .collect()
    };
    assert_eq!(wishes(&cluster), ["d.example default", "h.example n/old", "y.example n/young"]);
    let problems = cluster.problems();
    let told = problems.iter().find(|problem| problem.contains("n/a: spec.tls[0].secretName"));
    assert!(told.is_some_and(|problem| problem.contains("Ingress n/z")), "{problems:?}");
    cluster.delete(Kind::Ingress, "z");
    cluster.update();
    assert_eq!(wishes(&cluster), ["h.example n/young", "y.example n/young"]);
}
