//! Ingress, IngressClass and Secret: what is kept, and what no message shows.
#![expect(clippy::unwrap_used, reason = "a test")]

use towpath_model::{
    Kind, Object, decode,
    ingress::{Backend, BackendPort, PathType},
};

fn read(kind: Kind, json: &str) -> Object {
    decode(kind, json.as_bytes()).unwrap()
}

#[test]
fn an_ingress_keeps_rules_tls_and_annotations() {
    let json = r#"{"metadata": {"name": "i", "namespace": "n", "annotations": {
            "kubernetes.io/ingress.class": "nginx", "other": "x",
            "nginx.ingress.kubernetes.io/ssl-redirect": "false"}},
        "spec": {"ingressClassName": "c",
            "rules": [{"host": "a.example", "http": {"paths": [
                {"path": "/x", "pathType": "Exact", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
                {"path": "/y", "pathType": "Odd", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
                {"pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"name": "web"}}}}]}}],
            "tls": [{"hosts": ["a.example"], "secretName": "t"}]},
        "status": {"loadBalancer": {"ingress": [{"hostname": "b.example"}, {"ip": "10.0.0.2"},
            {"ip": "10.0.0.1", "ports": [{"port": 80}]}, {}]}}}"#;
    let Object::Ingress(ingress) = read(Kind::Ingress, json) else { panic!("another kind") };
    assert_eq!(ingress.class.as_deref(), Some("c"));
    assert_eq!(ingress.class_annotation.as_deref(), Some("nginx"));
    assert_eq!(ingress.annotation("ssl-redirect"), Some("false"));
    assert_eq!(ingress.annotations.len(), 1);
    let paths = &ingress.rules[0].paths;
    let kinds: Vec<_> = paths.iter().map(|path| (&*path.path, path.path_type)).collect();
    assert_eq!(kinds, [("/x", PathType::Exact), ("/y", PathType::Prefix), ("", PathType::Prefix)]);
    let port = BackendPort::Name("web".into());
    assert_eq!(paths[1].backend, Backend::Other, "closed, not left to a wider path");
    assert_eq!(paths[2].backend, Backend::Service { name: "s".into(), port });
    assert_eq!(ingress.tls[0].secret.as_deref(), Some("t"));
    let published = ingress.published.iter().map(|it| format!("{}{} ", it.hostname, it.ip));
    assert_eq!(published.collect::<String>(), " 10.0.0.1 10.0.0.2 b.example ");
    let problems = &ingress.meta.problems;
    assert!(problems.len() == 1 && problems[0].to_string().contains("paths[1].pathType"));
}

/// A list of ranges that was cut would name other ranges.
#[test]
fn a_long_annotation_is_kept_whole() {
    let list = vec!["203.0.113.0/24"; 4_000].join(",");
    let json = format!(
        r#"{{"metadata": {{"name": "i", "namespace": "n", "annotations": {{
            "nginx.ingress.kubernetes.io/denylist-source-range": "{list}"}}}}}}"#
    );
    let Object::Ingress(ingress) = read(Kind::Ingress, &json) else { panic!("an Ingress") };
    assert_eq!(ingress.annotation("denylist-source-range"), Some(&*list));
}

#[test]
fn a_class_names_its_controller() {
    let json = r#"{"metadata": {"name": "c", "annotations": {
        "ingressclass.kubernetes.io/is-default-class": "true"}}, "spec": {"controller": "x.y/z"}}"#;
    let Object::IngressClass(class) = read(Kind::IngressClass, json) else { panic!("another") };
    assert_eq!((&*class.controller, class.is_default), ("x.y/z", true));
}

#[test]
fn what_a_secret_holds_is_never_shown() {
    for json in [
        r#"{"metadata": {"name": "s", "namespace": "n"}, "data": {"tls.key": "aHVzaA==", "more": "x"}}"#,
        r#"{"metadata": {"name": "s", "namespace": "n"}, "stringData": {"tls.key": "hush"}}"#,
    ] {
        let Object::Secret(secret) = read(Kind::Secret, json) else { panic!("another kind") };
        assert_eq!(secret.key.reveal(), b"hush");
        assert!(!format!("{secret:?}").contains("hush"), "{secret:?}");
    }
    for data in
        [r#""hush""#, r#"["hush"]"#, r#"{"tls.key": "hush!"}"#, r#"{"tls.key": {"hush": 1}}"#]
    {
        let json = format!(r#"{{"metadata": {{"name": "s", "namespace": "n"}}, "data": {data}}}"#);
        let Object::Secret(secret) = read(Kind::Secret, &json) else { panic!("another kind") };
        assert!(secret.key.reveal().is_empty());
        assert!(secret.meta.problems.len() == 1 && !format!("{secret:?}").contains("hush"));
    }
}
