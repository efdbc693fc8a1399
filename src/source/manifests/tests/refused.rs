//! What an API server would refuse.

use super::*;

#[tokio::test]
async fn a_new_file_takes_nothing_from_a_service_that_runs() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let with = |name: &str, ip: &str| {
        SERVICE.replace("web", name).replace("spec:\n", &format!("spec:\n  clusterIP: {ip}\n"))
    };
    let address = Some("10.96.0.1");
    fs::write(dir.path().join("web.yaml"), with("web", "10.96.0.1")).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service", |s, _| ip(s, "web").as_deref() == address).await;
    fs::write(dir.path().join("api.yaml"), with("api", "10.96.0.1")).unwrap();
    let refused = |problems: &[String]| {
        problems.iter().any(|p| p.contains("Service default/api") && p.contains("default/web"))
    };
    bed.until("the problem", |s, problems| {
        refused(problems) && ip(s, "api").is_none() && ip(s, "web").as_deref() == address
    })
    .await;
    // Nor for the next daemon.
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the same", |s, problems| {
        refused(problems) && ip(s, "api").is_none() && ip(s, "web").as_deref() == address
    })
    .await;
    fs::remove_file(dir.path().join("web.yaml")).unwrap();
    bed.until("the next owner", |s, problems| {
        problems.is_empty() && ip(s, "api").as_deref() == address
    })
    .await;
    // A slip of the pen leaves the last good version in force, with its address.
    fs::write(dir.path().join("api.yaml"), with("api", "10.96.1")).unwrap();
    bed.until("the problem of the slip", |s, problems| {
        ip(s, "api").as_deref() == address
            && problems.iter().any(|p| p.contains("\"10.96.1\" is not an IP address"))
    })
    .await;
    // Taken back, it is as if nothing had been.
    fs::write(dir.path().join("api.yaml"), with("api", "10.96.0.1")).unwrap();
    bed.until("no problem", |s, problems| {
        problems.is_empty() && ip(s, "api").as_deref() == address
    })
    .await;
    fs::write(dir.path().join("api.yaml"), with("api", "10.96.0.2")).unwrap();
    bed.until("the new address", |s, problems| {
        problems.is_empty() && ip(s, "api").as_deref() == Some("10.96.0.2")
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_said_and_not_served() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let service = |name: &str, spec: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
    };
    let documents = [
        service("good", "ports: [{port: 80}]"),
        service("short", "clusterIP: 10.96.1, ports: [{port: 80}]"),
        service("beyond", "clusterIP: 192.0.2.1, ports: [{port: 80}]"),
        service("health", "type: NodePort, ports: [{port: 80, nodePort: 10256}]"),
        service("empty", "ports: []"),
        service("headless", "clusterIP: None"),
        service("a/b", "ports: [{port: 80}]"),
        service("\"a\\e[31m\"", "ports: [{port: 80}]"),
        service("two", "ports: [{port: 80}]").replace("v1", "v2"),
    ];
    fs::write(dir.path().join("all.yaml"), documents.join("---\n")).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("every problem", |s, problems| {
        let all = problems.join("\n");
        let served: Vec<_> = s.view().services().map(|s| s.meta.name.name.to_string()).collect();
        served == ["empty", "good", "headless"]
            && problems.len() == 7
            && !all.contains('\u{1b}')
            && [
                "Service default/short: spec.clusterIP: \"10.96.1\" is not an IP address",
                "Service default/beyond: spec.clusterIP: 192.0.2.1 is in none of the blocks",
                "Service default/health: spec.ports[0].nodePort: 10256 is not from 30000 to 32767",
                "Service default/empty has no ports",
                "Service default/a/b: its name is no DNS name",
                "Service default/a\\u{1b}[31m: its name is no DNS name",
                "Service default/two: there is no Service of version \"v2\"",
            ]
            .iter()
            .all(|part| all.contains(part))
    })
    .await;
}
