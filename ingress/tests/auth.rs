//! Requests that another server is asked about first.
#![expect(clippy::unwrap_used, reason = "a test")]

mod bed;

use bed::{Backend, Bed, ask};
use serde_json::{Value, json};
use towpath_model::Kind;

const SERVICE: &str = "http://judge.n.svc.cluster.local/auth?to=$escaped_request_uri";

fn annotations(pairs: &[(&str, &str)]) -> Value {
    let named = pairs
        .iter()
        .map(|(name, value)| (format!("nginx.ingress.kubernetes.io/{name}"), json!(value)));
    Value::Object(named.collect())
}

/// Service `s` behind these annotations, and the one that is asked.
fn bed(pairs: &[(&str, &str)]) -> Bed {
    let mut bed = Bed::new();
    bed.backends.insert("judge".to_owned(), vec![Backend::judge()]);
    bed.ingress(&annotations(pairs));
    bed
}

fn judge(bed: &Bed) -> Vec<String> {
    bed.backends["judge"][0].heads()
}

fn fields<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let named =
        |line: &'h str| line.split_once(": ").filter(|(it, _)| it.eq_ignore_ascii_case(name));
    head.lines().filter_map(named).map(|(_, value)| value).collect()
}

fn status(head: &str) -> (&str, &str) {
    (&head[9..12], fields(head, "x-towpath-reason").first().copied().unwrap_or("-"))
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: h.example\r\n{fields}\r\n")
}

#[test]
fn only_what_the_asked_server_lets_through_arrives() {
    let bed = bed(&[("auth-url", SERVICE)]);
    let mut client = bed.client();
    for (cookie, wanted, arrives) in [
        ("good", ("200", "-"), true),
        ("204", ("200", "-"), true),
        ("401", ("401", "auth_denied"), false),
        ("403", ("403", "auth_denied"), false),
        ("302", ("500", "auth_failed"), false),
        ("404", ("500", "auth_failed"), false),
        ("500", ("500", "auth_failed"), false),
        ("junk", ("500", "auth_failed"), false),
    ] {
        let before = bed.backend().heads().len();
        let (head, _) =
            ask(&mut client, &request("GET", "/", &format!("Cookie: session={cookie}\r\n")));
        assert_eq!(status(&head), wanted, "{cookie}");
        assert_eq!(bed.backend().heads().len() - before, usize::from(arrives), "{cookie}");
        // A challenge goes with its status only; cookies with an answer that is none of an error.
        let challenges = fields(&head, "www-authenticate").len();
        assert_eq!(challenges, usize::from(wanted.0 == "401"), "{cookie}");
        let cookies = if arrives { &["a=1", "b=2"][..] } else { &[] };
        assert_eq!(fields(&head, "set-cookie"), cookies, "{cookie}");
    }
    let (head, _) = ask(&mut client, &request("GET", "/", ""));
    assert_eq!(status(&head), ("401", "auth_denied"));
}

#[test]
fn the_server_is_told_of_the_request_and_gets_no_body() {
    let bed = bed(&[("auth-url", SERVICE)]);
    let fields_sent = "Cookie: session=good\r\nContent-Length: 4\r\nX-Original-URL: lie\r\nX-Forwarded-For: 1.2.3.4\r\n";
    let post = request("POST", "/a/b?c=d e".replace(' ', "%20").as_str(), fields_sent) + "body";
    let (head, body) = ask(&mut bed.client(), &post);
    assert_eq!(status(&head), ("200", "-"));
    assert!(body.starts_with("POST /a/b?c=d%20e HTTP/1.1\r\n"), "{body}");
    assert_eq!(fields(&body, "content-length"), ["4"]);
    let asked = &judge(&bed)[0];
    assert!(asked.starts_with("GET /auth?to=%2Fa%2Fb%3Fc%3Dd%2520e HTTP/1.1\r\n"), "{asked}");
    for (name, value) in [
        ("host", "judge.n.svc.cluster.local"),
        ("x-original-url", "http://h.example/a/b?c=d%20e"),
        ("x-original-method", "POST"),
        ("x-auth-request-redirect", "/a/b?c=d%20e"),
        ("x-sent-from", "nginx-ingress-controller"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
    ] {
        assert_eq!(fields(asked, name), [value], "{name}: {asked}");
    }
    for name in ["content-length", "transfer-encoding", "x-forwarded-proto"] {
        assert!(fields(asked, name).is_empty(), "{name}: {asked}");
    }
    assert_eq!(fields(asked, "x-request-id"), fields(&body, "x-request-id"));
}

#[test]
fn what_the_server_says_of_the_client_the_client_cannot_say() {
    let named = ("auth-response-headers", "X-Auth-User, X-Auth-Group");
    let bed = bed(&[("auth-url", SERVICE), named]);
    let lies = "Cookie: session=good\r\nX-Auth-User: root\r\nX-Auth-Group: wheel\r\nX-Other: x\r\nConnection: X-Auth-User\r\n";
    let (_, body) = ask(&mut bed.client(), &request("GET", "/", lies));
    assert_eq!(fields(&body, "x-auth-user"), ["alice"]);
    assert!(fields(&body, "x-auth-group").is_empty(), "{body}");
    assert_eq!(fields(&body, "x-other"), ["x"]);
}

#[test]
fn a_client_that_is_unknown_is_sent_to_sign_in() {
    for (signin, param, location) in [
        ("https://$host/start", "", "https://h.example/start?rd=http://h.example%2Fa%3Fb%3Dc"),
        (
            "https://sso.example/start?x=y",
            "back",
            "https://sso.example/start?x=y&back=http://h.example%2Fa%3Fb%3Dc",
        ),
        (
            "https://sso.example/start?rd=$escaped_request_uri",
            "",
            "https://sso.example/start?rd=%2Fa%3Fb%3Dc",
        ),
    ] {
        let all =
            [("auth-url", SERVICE), ("auth-signin", signin), ("auth-signin-redirect-param", param)];
        let bed = bed(&all);
        let (head, _) = ask(&mut bed.client(), &request("GET", "/a?b=c", ""));
        assert_eq!(status(&head), ("302", "-"));
        assert_eq!(fields(&head, "location"), [location]);
        assert_eq!(fields(&head, "set-cookie"), ["a=1", "b=2"]);
        // Who is known and not allowed is not.
        let (head, _) = ask(&mut bed.client(), &request("GET", "/", "Cookie: session=403\r\n"));
        assert_eq!(status(&head), ("403", "auth_denied"));
        assert!(bed.backend().heads().is_empty());
    }
}

#[test]
fn a_server_behind_a_route_of_ours_is_asked_itself() {
    let route = |name: &str, host: &str, service: &str, path: &str, annotations: Value| {
        json!({ "metadata": { "name": name, "namespace": "n", "annotations": annotations },
            "spec": { "ingressClassName": "c", "rules": [{ "host": host, "http": { "paths": [
                { "path": path, "pathType": "Prefix",
                  "backend": { "service": { "name": service, "port": { "number": 80 } } } }] } }] } })
    };
    for (url, host) in [
        ("https://$host/oauth2/auth", "h.example"),
        ("https://h.example/oauth2/auth", "h.example"),
        ("https://sso.example/oauth2/auth", "sso.example"),
    ] {
        let mut bed = bed(&[("auth-url", url)]);
        let get = request("GET", "/x", "Cookie: session=good\r\n");
        // It is not there, or leads back to what asks.
        let (head, _) = ask(&mut bed.client(), &get);
        assert_eq!(status(&head), ("500", "auth_failed"), "{url}");
        assert!(bed.backend().heads().is_empty() && judge(&bed).is_empty());
        bed.apply(Kind::Ingress, &route("sso", host, "judge", "/oauth2", json!({})));
        let (head, _) = ask(&mut bed.client(), &get);
        assert_eq!(status(&head), ("200", "-"), "{url}");
        let (head, _) = ask(&mut bed.client(), &request("GET", "/x", ""));
        assert_eq!(status(&head), ("401", "auth_denied"), "{url}");
        let asked = judge(&bed);
        assert!(asked[0].starts_with("GET /oauth2/auth HTTP/1.1\r\n"), "{asked:?}");
        assert_eq!(fields(&asked[0], "host"), [host]);
        bed.backends.remove("judge");
        bed.publish();
        let (head, _) = ask(&mut bed.client(), &get);
        assert_eq!(status(&head), ("500", "auth_failed"), "{url}");
    }
}

#[test]
fn what_another_namespace_keeps_to_some_clients_is_not_asked() {
    let mut bed = bed(&[("auth-url", "https://sso.example/oauth2/auth")]);
    let get = request("GET", "/x", "Cookie: session=good\r\n");
    let route = |namespace: &str, ranges: &str| {
        let name = "nginx.ingress.kubernetes.io/whitelist-source-range";
        let annotations = if ranges.is_empty() { json!({}) } else { json!({ name: ranges }) };
        json!({ "metadata": { "name": "sso", "namespace": namespace, "annotations": annotations },
            "spec": { "ingressClassName": "c", "rules": [{ "host": "sso.example", "http": { "paths": [
                { "path": "/oauth2", "pathType": "Prefix",
                  "backend": { "service": { "name": "judge", "port": { "number": 80 } } } }] } }] } })
    };
    bed.apply(Kind::Ingress, &route("n", "192.0.2.0/24"));
    let (head, _) = ask(&mut bed.client(), &get);
    assert_eq!(status(&head), ("200", "-"), "its own namespace's");
    bed.delete("sso");
    bed.apply(Kind::Ingress, &route("other", "192.0.2.0/24"));
    let (head, _) = ask(&mut bed.client(), &get);
    assert_eq!(status(&head), ("500", "auth_failed"));
}

#[test]
fn paths_of_a_proof_are_not_asked_about_and_nothing_else_is_reached_by_them() {
    let mut bed = bed(&[("auth-url", SERVICE)]);
    let solver = "/.well-known/acme-challenge";
    bed.apply(
        Kind::Ingress,
        &json!({
        "metadata": { "name": "solver", "namespace": "n",
            "annotations": { "nginx.ingress.kubernetes.io/auth-url": SERVICE } },
        "spec": { "ingressClassName": "c", "rules": [{ "host": "h.example", "http": { "paths": [
            { "path": solver, "pathType": "Prefix",
              "backend": { "service": { "name": "s", "port": { "number": 80 } } } },
            { "path": "/.well-known/acme-challenge-admin", "pathType": "Prefix",
              "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } }),
    );
    let get = |path: &str| {
        let (head, _) = ask(&mut bed.client(), &request("GET", path, ""));
        let (status, reason) = status(&head);
        format!("{status} {reason}")
    };
    assert_eq!(get(&format!("{solver}/t")), "200 -");
    assert_eq!(get(&format!("{solver}-admin")), "401 auth_denied");
    assert_eq!(get(&format!("{solver}/..%2F..%2Fadmin")), "400 ambiguous_path");
    assert_eq!(get("/%40admin"), "401 auth_denied");
}

#[test]
fn settings_of_the_question() {
    let bed = bed(&[
        ("auth-url", SERVICE),
        ("auth-method", "POST"),
        ("auth-request-redirect", "https://$http_host/back"),
        ("auth-always-set-cookie", "true"),
    ]);
    let (head, _) = ask(&mut bed.client(), &request("GET", "/x?y", "Cookie: session=403\r\n"));
    assert_eq!(status(&head), ("403", "auth_denied"));
    assert_eq!(fields(&head, "set-cookie"), ["a=1", "b=2"]);
    let asked = &judge(&bed)[0];
    assert!(asked.starts_with("POST /auth?to=%2Fx%3Fy HTTP/1.1\r\n"), "{asked}");
    assert_eq!(fields(asked, "x-auth-request-redirect"), ["https://h.example/back"]);
    assert_eq!(fields(asked, "x-original-uri"), ["/x?y"]);
}
