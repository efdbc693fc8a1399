//! Annotations, a row each: what becomes of the routes of an Ingress that has one.

#![expect(clippy::panic, reason = "a test")]

mod cluster;

use std::time::Duration;

use cluster::*;
use serde_json::{Value, json};

use towpath_model::{Kind, ObjectName};
use towpath_route::{EndpointTls, Found, Policy, Protocol, Times, TlsVersions};

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

/// Each row: name, value, what becomes of the route, and how many problems there are.
fn judge(rows: &[(&str, &str, &str, usize)]) {
    for (name, value, answer, problems) in rows {
        let cluster = said(&[(name, value)]);
        assert_eq!(cluster.ask("h.example", "/"), *answer, "{name} {value}");
        let said = cluster.problems();
        assert_eq!(said.len(), *problems, "{name} {value}: {said:?}");
        assert!(said.iter().all(|problem| problem.contains(&format!("kubernetes.io/{name}]"))));
    }
}

#[test]
fn an_annotation_that_restricts_or_changes_requests_closes_the_route() {
    judge(&[
        ("whitelist-source-range", "10.0.0.0/8", "a", 0),
        ("whitelist-source-range", "10.0.0.0/8,here", "closed", 1),
        ("allowlist-source-range", "", "closed", 1),
        ("denylist-source-range", "10.0.0.0/33", "closed", 1),
        ("satisfy", "any", "closed", 1),
        ("enable-modsecurity", "true", "closed", 1),
        ("enable-modsecurity", "false", "a", 0),
        ("rewrite-target", "/", "a", 0),
        ("rewrite-target", "/$host", "closed", 1),
        ("rewrite-target", "https://o.example/$1", "closed", 1),
        ("rewrite-target", "/a b", "a", 1),
        ("x-forwarded-prefix", "/a\nb", "a", 1),
        ("use-regex", "true", "a", 0),
        ("use-regex", "maybe", "a", 1),
        ("backend-protocol", "FCGI", "closed", 1),
        ("backend-protocol", "HTTP", "a", 0),
        ("backend-protocol", "gopher", "a", 1),
        ("server-snippet", "deny all;", "closed", 1),
        ("canary", "true", "404", 1),
        ("proxy-read-timeout", "3600", "a", 0),
        ("proxy-read-timeout", "60s", "a", 1),
        ("proxy-send-timeout", "0", "a", 1),
        ("proxy-connect-timeout", "-1", "a", 1),
        ("client-body-buffer-size", "1m", "a", 0),
        ("proxy-request-buffering", "off", "a", 0),
        ("proxy-request-buffering", "on", "a", 1),
        ("enable-cors", "perhaps", "a", 1),
        ("affinity", "cookie", "a", 0),
        ("app-root", "/app", "a", 0),
        ("app-root", "//o.example", "closed", 1),
        ("app-root", "https://o.example", "closed", 1),
        ("permanent-redirect", "https://o.example/x?y=z", "a", 0),
        ("permanent-redirect", "ftp://o.example", "closed", 1),
        ("temporal-redirect", "https://o.example/$host", "closed", 1),
        ("temporal-redirect", "/x", "closed", 1),
        ("permanent-redirect-code", "308", "a", 0),
        ("relative-redirects", "true", "a", 0),
        ("upstream-vhost", "inner.example:8080", "a", 0),
        ("upstream-vhost", "$host", "closed", 1),
        ("affinity", "header", "a", 1),
        ("affinity-mode", "persistent", "a", 0),
        ("session-cookie-name", "x", "a", 0),
        ("enable-websockets", "true", "a", 0),
        ("ssl-redirect", "perhaps", "a", 1),
        ("proxy-body-size", "much", "a", 1),
        ("proxy-body-size", "8m", "a", 0),
    ]);
}

#[test]
fn a_server_that_is_asked_is_one_of_the_cluster() {
    judge(&[
        ("auth-url", "http://x", "a", 1),
        ("auth-url", "http://auth.n.svc/x", "a", 1),
        ("auth-url", "http://a.n.svc.cluster.local:80/x?y=$request_uri", "a", 0),
        ("auth-url", "https://$host/oauth2/auth", "a", 0),
        ("auth-url", "https://h.example/oauth2/auth", "a", 0),
        ("auth-url", "", "a", 0),
        ("auth-url", "ftp://x", "closed", 1),
        ("auth-url", "x", "closed", 1),
        ("auth-url", "http://$arg_x/", "closed", 1),
        ("auth-url", "http://x/$document_root", "closed", 1),
        ("auth-url", "http://a\nb/", "closed", 1),
        ("auth-type", "basic", "closed", 1),
        ("auth-snippet", "deny all;", "closed", 1),
        ("auth-proxy-set-headers", "n/c", "closed", 1),
        ("auth-signin", "https://x", "a", 0),
        ("auth-method", "BREW", "a", 0),
        ("enable-global-auth", "true", "a", 0),
        ("auth-tls-secret", "n/s", "closed", 1),
    ]);
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

#[test]
fn what_belongs_to_a_server_that_is_asked_closes_where_it_is_not_honoured() {
    let url = ("auth-url", "https://$host/auth");
    for (name, value, answer, problems) in [
        ("auth-method", "POST", "a", 0),
        ("auth-method", "BREW", "closed", 1),
        ("auth-response-headers", "X-User, X-Group", "a", 0),
        ("auth-response-headers", "X User", "closed", 1),
        ("auth-response-headers", "Content-Length", "closed", 1),
        ("auth-response-headers", "host", "closed", 1),
        ("auth-signin", "https://$host/start?rd=$escaped_request_uri", "a", 0),
        ("auth-signin", "https://$document_root/", "closed", 1),
        ("auth-signin-redirect-param", "a b", "a", 0),
        ("auth-request-redirect", "$scheme://$http_host$request_uri", "a", 0),
        ("auth-request-redirect", "$unknown", "closed", 1),
        ("auth-cache-key", "$remote_user", "a", 1),
        ("auth-cache-duration", "200 5m", "a", 1),
        ("auth-keepalive", "10", "a", 0),
        ("auth-always-set-cookie", "true", "a", 0),
        ("auth-always-set-cookie", "maybe", "a", 1),
        ("auth-snippet", "x", "closed", 1),
    ] {
        let cluster = said(&[url, (name, value)]);
        assert_eq!(cluster.ask("h.example", "/"), answer, "{name} {value}");
        let problems_said = cluster.problems();
        assert_eq!(problems_said.len(), problems, "{name} {value}: {problems_said:?}");
    }
}

#[test]
fn how_long_endpoints_are_waited_for() {
    let seconds = Duration::from_secs;
    for (annotations, connect, send, read) in [
        (&[][..], 5, 60, 60),
        (&[("proxy-read-timeout", "3600"), ("proxy-send-timeout", " 30 ")], 5, 30, 3600),
        (&[("proxy-connect-timeout", "1"), ("proxy-read-timeout", "soon")], 1, 60, 60),
        (&[("proxy-read-timeout", "99999999999")], 5, 60, 31_536_000),
    ] {
        let times = Times { connect: seconds(connect), send: seconds(send), read: seconds(read) };
        assert_eq!(policy(&said(annotations)).times, times, "{annotations:?}");
    }
}

#[test]
fn clients_that_are_served() {
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, bool)]);
    let rows: [Row<'_>; 6] = [
        (
            &[("whitelist-source-range", "10.0.0.0/8, 192.0.2.1,fd00::/8")],
            &[
                ("10.1.2.3", true),
                ("::ffff:10.1.2.3", true),
                ("192.0.2.1", true),
                ("192.0.2.2", false),
                ("fd00::1", true),
                ("2001:db8::1", false),
            ],
        ),
        (&[("denylist-source-range", "10.0.0.0/8")], &[("10.0.0.1", false), ("11.0.0.1", true)]),
        // What is denied is denied, allowed or not.
        (
            &[("allowlist-source-range", "10.0.0.0/8"), ("denylist-source-range", "10.0.0.1")],
            &[("10.0.0.1", false), ("10.0.0.2", true), ("11.0.0.1", false)],
        ),
        // The new name counts before the old one.
        (
            &[("allowlist-source-range", "10.0.0.1"), ("whitelist-source-range", "0.0.0.0/0")],
            &[("10.0.0.1", true), ("10.0.0.2", false)],
        ),
        (&[("whitelist-source-range", "10.9.9.9/8")], &[("10.0.0.1", true)]),
        (&[("whitelist-source-range", "0.0.0.0/0")], &[("10.0.0.1", true), ("::1", false)]),
    ];
    for (annotations, clients) in rows {
        let cluster = said(annotations);
        assert_eq!(cluster.problems(), [""; 0], "{annotations:?}");
        let ranges = policy(&cluster).ranges.unwrap();
        for (client, served) in clients {
            assert_eq!(ranges.allow(client.parse().unwrap()), *served, "{annotations:?} {client}");
        }
    }
    assert_eq!(policy(&said(&[])).ranges, None);
}

#[test]
fn what_is_kept_from_some_clients_is_not_reached_under_another_spelling() {
    let open = ingress("open", &[("h.example", "Prefix", "/", "a")]);
    let kept = ingress("kept", &[("h.example", "Prefix", "/admin", "b")]);
    for (name, value) in
        [("whitelist-source-range", "10.0.0.0/8"), ("auth-url", "http://a.n.svc/x")]
    {
        let cluster = with(&[open.clone(), annotated(kept.clone(), name, value)]);
        kept_under_every_spelling(&cluster);
    }
}

fn kept_under_every_spelling(cluster: &Cluster) {
    for (request, answer) in [
        ("/admin", "b"),
        ("/admin/x%2Fy", "b"),
        ("/x%2F..%2Fadmin", "400"),
        ("/x/..;/admin", "400"),
        // Out of it is no way past it.
        ("/admin%2F..%2Fx", "a"),
        ("/a%2Fb", "a"),
    ] {
        assert_eq!(cluster.ask("h.example", request), answer, "{request}");
    }
}

#[test]
fn sites_whose_scripts_may_read() {
    let on = ("enable-cors", "true");
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, Option<&'a str>)], usize);
    let rows: [Row<'_>; 5] = [
        (&[on], &[("https://a.example", Some("*")), ("", Some("*"))], 0),
        (
            &[on, ("cors-allow-origin", "https://a.example, https://*.b.example")],
            &[
                ("https://a.example", Some("https://a.example")),
                ("https://x.b.example", Some("https://x.b.example")),
                ("https://c.example", None),
                ("", None),
            ],
            0,
        ),
        (
            &[on, ("cors-allow-origin", "https://a.example,*")],
            &[("https://c.example", Some("*"))],
            0,
        ),
        // A slip does not let every site read.
        (
            &[on, ("cors-allow-origin", "a.example,https://b.example")],
            &[("https://a.example", None), ("https://b.example", Some("https://b.example"))],
            1,
        ),
        (&[on, ("cors-allow-origin", "")], &[("https://a.example", None)], 0),
    ];
    for (annotations, origins, problems) in rows {
        let cluster = said(annotations);
        assert_eq!(cluster.problems().len(), problems, "{annotations:?}");
        let cors = policy(&cluster).cors.unwrap();
        for (origin, told) in origins {
            let origin = Some(*origin).filter(|origin| !origin.is_empty());
            assert_eq!(cors.allowed(origin), *told, "{annotations:?} {origin:?}");
        }
    }
    let cors = policy(&said(&[on])).cors.unwrap();
    assert_eq!(&*cors.methods, "GET, PUT, POST, DELETE, PATCH, OPTIONS");
    assert!(cors.headers.contains("Authorization") && cors.credentials && cors.exposed.is_empty());
    assert_eq!(cors.max_age, 1_728_000);
    let all = [
        on,
        ("cors-allow-methods", "GET, POST"),
        ("cors-allow-headers", "X-One,X-Two"),
        ("cors-expose-headers", "*"),
        ("cors-allow-credentials", "false"),
        ("cors-max-age", "600"),
    ];
    let cors = policy(&said(&all)).cors.unwrap();
    assert_eq!((&*cors.methods, &*cors.headers), ("GET, POST", "X-One,X-Two"));
    assert_eq!((&*cors.exposed, cors.credentials, cors.max_age), ("*", false, 600));
    let wrong = [
        on,
        ("cors-allow-methods", "GET;"),
        ("cors-allow-headers", "a\r\nb"),
        ("cors-expose-headers", "\u{e9}"),
        ("cors-allow-credentials", "never"),
        ("cors-max-age", "1d"),
    ];
    let cluster = said(&wrong);
    assert_eq!(cluster.problems().len(), 5, "{:?}", cluster.problems());
    assert_eq!(policy(&cluster).cors, policy(&said(&[on])).cors);
    for off in [&[][..], &[("enable-cors", "false")], &[("cors-allow-origin", "*")]] {
        assert_eq!(policy(&said(off)).cors, None, "{off:?}");
    }
}

/// Where a request goes, and as what.
fn sent(cluster: &Cluster, path: &str) -> String {
    let answer = cluster.ask("h.example", path);
    let Ok(normal) = towpath_route::normalise(path) else { return answer };
    match cluster.plan.table().find("h.example", &normal) {
        Found::Route(route) => match route.rewritten(&normal) {
            Some(rewritten) => format!("{answer} {rewritten}"),
            None => answer,
        },
        _ => answer,
    }
}

#[test]
fn paths_that_are_rewritten() {
    const I: &str = "ImplementationSpecific";
    type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);
    let rows: [Row<'_>; 7] = [
        (
            I,
            "/something(/|$)(.*)",
            "/$2",
            &[
                ("/something", "a /"),
                ("/something/", "a /"),
                ("/something/new", "a /new"),
                ("/Something/New", "a /New"),
                ("/something//a/../b", "a /b"),
                ("/something/a%20b%2Fc", "a /a%20b%2Fc"),
                ("/somethingelse", "404"),
                ("/x/something/new", "404"),
            ],
        ),
        // The type that ingress-nginx's documentation named for expressions until 2023.
        ("Prefix", "/v1(/|$)(.*)", "/$2", &[("/v1/x", "a /x"), ("/v1", "a /")]),
        // A literal path stays one, and has no groups.
        ("Prefix", "/foo", "/bar", &[("/foo", "a /bar"), ("/foo/x", "a /bar"), ("/foox", "404")]),
        ("Exact", "/foo", "/bar", &[("/foo", "a /bar"), ("/foo/", "404"), ("/FOO", "404")]),
        ("Prefix", "/foo", "/foo", &[("/foo/x", "a")]),
        ("Prefix", "/", "/", &[("/x/y", "a")]),
        // As a prefix of text, not of elements.
        (I, "/foo", "/bar", &[("/foox", "a /bar"), ("/fo", "404")]),
    ];
    for (path_type, path, target, requests) in rows {
        let object = ingress("i", &[("h.example", path_type, path, "a")]);
        let cluster = with(&[annotated(object, "rewrite-target", target)]);
        assert_eq!(cluster.problems(), [""; 0], "{path}");
        for (request, answer) in requests {
            assert_eq!(sent(&cluster, request), *answer, "{path_type} {path} {request}");
        }
    }
}

#[test]
fn an_expression_concerns_its_own_ingress_and_the_longest_is_tried_first() {
    const I: &str = "ImplementationSpecific";
    let expressions = [
        ("h.example", I, "/api/.*", "a"),
        ("h.example", I, "/api/v[0-9]+/.*", "b"),
        ("h.example", "Exact", "/api/v1/exact", "c"),
    ];
    let others = [
        ("h.example", "Prefix", "/", "c"),
        ("h.example", "Prefix", "/api/v1/longer/than/that", "c"),
        ("h.example", I, "/d.t", "c"),
    ];
    let regex = annotated(ingress("regex", &expressions), "use-regex", "true");
    let mut cluster = with(&[regex, ingress("plain", &others)]);
    assert_eq!(cluster.problems(), [""; 0]);
    for (request, answer) in [
        ("/api/x", "a"),
        ("/api/v12/x", "b"),
        ("/API/V1/x", "b"),
        ("/api/vx/x", "a"),
        ("/api/v1/exact", "c"),
        ("/api/v1/longer/than/that/x", "c"),
        ("/api", "c"),
        // No expression without being asked for: only itself.
        ("/d.t", "c"),
        ("/dot", "c"),
    ] {
        assert_eq!(sent(&cluster, request), answer, "{request}");
    }
    // The oldest has an expression, too.
    let young =
        annotated(ingress("young", &[("h.example", I, "/api/.*", "c")]), "use-regex", "true");
    let created = json!({ "metadata": { "creationTimestamp": "2021" } });
    cluster.apply(Kind::Ingress, &patched(young, &created));
    cluster.update();
    assert_eq!(sent(&cluster, "/api/x"), "a");
    let problems = cluster.problems();
    assert!(
        problems.len() == 1 && problems[0].starts_with("TP8001 Ingress n/young: "),
        "{problems:?}"
    );
    cluster.delete(Kind::Ingress, "regex");
    cluster.update();
    assert_eq!(sent(&cluster, "/api/x"), "c");
}

#[test]
fn what_is_no_expression_closes_what_begins_like_it() {
    const I: &str = "ImplementationSpecific";
    let rules = [
        ("h.example", I, "/api/(?!internal)(.*)", "a"),
        ("h.example", I, "/fine/(.*)", "b"),
        ("h.example", "Prefix", "/", "c"),
    ];
    let cluster = with(&[annotated(ingress("i", &rules), "rewrite-target", "/$1")]);
    for (request, answer) in
        [("/api/internal", "closed"), ("/API/x", "closed"), ("/fine/x", "b /x"), ("/x", "c /")]
    {
        let sent = sent(&cluster, request);
        assert!(sent.starts_with(answer), "{request}: {sent}");
    }
    let problems = cluster.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("TP8006 Ingress n/i: spec.rules[0].http.paths[0].path: no"));
}

#[test]
fn cookies_that_say_an_endpoint() {
    let on = ("affinity", "cookie");
    for (name, value, problems) in [
        ("session-cookie-name", "route-1", 0),
        ("session-cookie-name", "a b", 1),
        ("session-cookie-name", "a;b", 1),
        ("session-cookie-path", "/a/b", 0),
        ("session-cookie-path", "/a; Domain=x", 1),
        ("session-cookie-domain", "a.example", 0),
        ("session-cookie-domain", "a\r\nb", 1),
        ("session-cookie-max-age", "172800", 0),
        ("session-cookie-max-age", "2d", 1),
        ("session-cookie-expires", "-1", 0),
        ("session-cookie-samesite", "Lax", 0),
        ("session-cookie-samesite", "lax", 1),
        ("session-cookie-secure", "true", 0),
        ("session-cookie-secure", "yes", 1),
        ("session-cookie-change-on-failure", "true", 0),
        ("session-cookie-conditional-samesite-none", "true", 1),
        ("session-cookie-hash", "sha1", 0),
        ("session-cookie-colour", "blue", 1),
    ] {
        let cluster = said(&[on, (name, value)]);
        assert_eq!(cluster.ask("h.example", "/"), "a");
        assert_eq!(cluster.problems().len(), problems, "{name} {value}: {:?}", cluster.problems());
        let affinity = policy(&cluster).affinity.unwrap();
        if problems > 0 {
            assert_eq!(Some(affinity), policy(&said(&[on])).affinity, "{name} {value}");
        }
    }
    assert_eq!(policy(&said(&[])).affinity, None);
    // The same on every node, another for each Service and endpoint.
    let key = |uid: &str, at: &str| towpath_route::endpoint_key(uid, &at.parse().unwrap());
    assert_eq!(key("u", "10.0.0.1:80"), key("u", "10.0.0.1:80"));
    let others = [key("v", "10.0.0.1:80"), key("u", "10.0.0.1:81"), key("u", "10.0.0.2:80")];
    assert!(!others.contains(&key("u", "10.0.0.1:80")));
}

#[test]
fn where_requests_are_sent_instead() {
    let (permanent, temporal) =
        (("permanent-redirect", "https://p.example"), ("temporal-redirect", "http://t.example"));
    for (annotations, code, to, problems) in [
        (&[permanent][..], 301, "https://p.example", 0),
        (&[temporal], 302, "http://t.example", 0),
        (&[permanent, temporal], 302, "http://t.example", 0),
        (&[permanent, ("permanent-redirect-code", "308")], 308, "https://p.example", 0),
        (&[permanent, ("permanent-redirect-code", "309")], 301, "https://p.example", 1),
        (&[temporal, ("temporal-redirect-code", "307")], 307, "http://t.example", 0),
        (&[temporal, ("temporal-redirect-code", "308")], 302, "http://t.example", 1),
        (&[temporal, ("temporal-redirect-code", "soon")], 302, "http://t.example", 1),
    ] {
        let cluster = said(annotations);
        let redirect = policy(&cluster).redirect.unwrap();
        assert_eq!((redirect.code, &*redirect.to), (code, to), "{annotations:?}");
        assert_eq!(cluster.problems().len(), problems, "{annotations:?}");
    }
}
