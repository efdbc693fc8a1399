//! Objects as people write them: with fields left out, of a wrong type, or that an API server refuses.

use towpath_model::{Family, Protocol, select};

use super::*;

fn service(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n")
}

fn services(store: &Store) -> Vec<String> {
    store.view().services().map(|s| s.meta.name.name.to_string()).collect()
}

fn node_ports(store: &Store, name: &str) -> Vec<u16> {
    let view = store.view();
    let service = view.service(&ObjectName::new("default", name));
    service.into_iter().flat_map(|s| &s.ports).map(|port| port.node_port).collect()
}

/// The addresses and ports that a port of a Service leads to.
fn candidates(store: &Store, service: &str, port: &str) -> Vec<String> {
    let name = ObjectName::new("default", service);
    let view = store.view();
    let slices = view.slices_of(&name).map(|slice| &**slice);
    let found = select::candidates(slices, port, Protocol::Tcp, Family::V4);
    found.iter().map(|c| format!("{}:{}", c.addr, c.port)).collect()
}

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outside-1, labels: {kubernetes.io/service-name: outside}}
addressType: IPv4
ports: [{port: 9999}]
endpoints: [{addresses: [192.0.2.7]}]
";

#[tokio::test]
async fn a_port_without_a_name_is_the_unnamed_port_of_the_service_and_of_its_slice() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = service("outside", "ports: [{port: 80}]") + SLICE;
    fs::write(dir.path().join("outside.yaml"), text).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the endpoint, and no problem", |s, problems| {
        problems.is_empty() && candidates(s, "outside", "") == ["192.0.2.7:9999"]
    })
    .await;
}

#[tokio::test]
async fn a_field_of_a_wrong_type_is_said_and_nothing_is_given_in_its_place() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port =
        |text: &str| service("web", &format!("type: NodePort, ports: [{{port: 80, {text}}}]"));
    let documents = [
        port("nodePort: \"30024\""),
        service("policy", "ipFamilyPolicy: 4, ports: [{port: 80}]"),
        service("without", "type: LoadBalancer, allocateLoadBalancerNodePorts: \"no\""),
        service("spread", "trafficDistribution: Close, ports: [{port: 80}]"),
        service("y", "ports: [{port: 80}]"),
        service("n1", "ports: [{port: 80}]").replace("{name: n1}", "{name: n1, namespace: n}"),
        service("labels", "ports: [{port: 80}]").replace("labels}", "labels, labels: {tier: 1}}"),
        SLICE.replace("outside", "yes") + "---\n",
        "kind: Pod\nmetadata: {name: pod, labels: {app: 1}}\n---\n".to_owned(),
    ];
    fs::write(dir.path().join("all.yaml"), documents.concat()).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    let never = "; no good version of it was read since the start";
    bed.until("every problem", |s, problems| {
        let all = problems.join("\n");
        s.view().synced(&NEEDS).is_some()
            && services(s).is_empty()
            && problems.len() == documents.len()
            && [
                format!(
                    "Service default/web: spec.ports[0].nodePort: expected a number, found string \
                     \"30024\"; correct the field: true, false and numbers are written without \
                     quotes{never}"
                ),
                "Service default/policy: spec.ipFamilyPolicy: ".to_owned(),
                "Service default/without: spec.allocateLoadBalancerNodePorts: ".to_owned(),
                "Service default/spread: spec.trafficDistribution: unknown variant".to_owned(),
                "all.yaml: Service: metadata.name: expected a string, found boolean `true`; it has no \
                 effect; put it in quotes"
                    .to_owned(),
                "all.yaml: Service: metadata.namespace: expected a string, found boolean".to_owned(),
                format!(
                    "Service default/labels: metadata.labels.tier: expected a string, found integer \
                     `1`; put it in quotes{never}"
                ),
                "EndpointSlice default/yes-1: metadata.labels.kubernetes.io/service-name: ".to_owned(),
                format!(
                    "Pod default/pod: metadata.labels.app: expected a string, found integer `1`; put \
                     it in quotes{never}"
                ),
            ]
            .iter()
            .all(|part| all.contains(part))
    })
    .await;
    assert!(!fs::read_to_string(run.path().join("allocations.json")).unwrap().contains("default/"));
    fs::write(dir.path().join("all.yaml"), port("nodePort: 30024")).unwrap();
    bed.until("the port that was meant", |s, _| node_ports(s, "web") == [30024]).await;
    // Its last good version stays in force, with its port; a new daemon knows of none, and of the port.
    fs::write(dir.path().join("all.yaml"), port("nodePort: \"30025\"")).unwrap();
    bed.until("the problem", |s, problems| {
        let stays = |p: &String| p.ends_with("; its last good version stays in force");
        node_ports(s, "web") == [30024] && problems.iter().any(stays)
    })
    .await;
    let thief = service("api", "type: NodePort, ports: [{port: 80, nodePort: 30024}]");
    fs::write(dir.path().join("b.yaml"), thief).unwrap();
    let held = |problems: &[String]| {
        problems.iter().any(|p| p.contains("nodePort 30024 already belongs to Service default/web"))
    };
    bed.until("nothing for another", |s, problems| services(s) == ["web"] && held(problems)).await;
    drop(bed);
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the same", |s, problems| {
        s.view().synced(&NEEDS).is_some() && services(s).is_empty() && held(problems)
    })
    .await;
    fs::remove_file(dir.path().join("all.yaml")).unwrap();
    bed.until("the heir", |s, _| node_ports(s, "api") == [30024]).await;
}

#[tokio::test]
async fn what_cannot_be_read_or_is_refused_takes_nothing_from_others() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let documents = [
        service("a-bad", "clusterIP: 10.96.0.9, ports: [{port: 80, protocol: 6}]"),
        service("good", "clusterIP: 10.96.0.9, ports: [{port: 80}]"),
        service("b-bad", "type: NodePort, ports: [{port: 80, nodePort: 30009, protocol: 6}]"),
        service("port", "type: NodePort, ports: [{port: 80, nodePort: 30009}]"),
        service("lb", "type: LoadBalancer, clusterIP: None, ports: [{port: 80}]"),
        service("np", "type: NodePort, clusterIP: None, ports: [{port: 80}]"),
    ];
    fs::write(dir.path().join("all.yaml"), documents.concat()).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the good ones, and why not the others", |s, problems| {
        let all = problems.join("\n");
        services(s) == ["good", "port"]
            && ip(s, "good").as_deref() == Some("10.96.0.9")
            && node_ports(s, "port") == [30009]
            && problems.len() == 4
            && [
                "Service default/a-bad: spec.ports[0].protocol: expected a string",
                "Service default/b-bad: spec.ports[0].protocol: expected a string",
                "Service default/lb: spec.clusterIP: a Service of type NodePort or LoadBalancer needs",
                "Service default/np: spec.clusterIP: a Service of type NodePort or LoadBalancer needs",
            ]
            .iter()
            .all(|part| all.contains(part))
    })
    .await;
}

/// Endpoints are part of it: slices made for the version that is in force, Pods as they last were.
#[tokio::test]
async fn the_last_good_version_stays_in_force_with_its_endpoints() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("web.yaml");
    fs::write(&path, SERVICE).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("one endpoint", |s, _| candidates(s, "web", "") == ["10.244.0.5:8080"]).await;
    for (wrong, what) in [
        (SERVICE.replace("8080", "9090, protocol: 6"), "a type"),
        (
            SERVICE.replace("selector: {app: web}", "selector: {app: api}\n  clusterIP: 10.96.1"),
            "refused",
        ),
        (SERVICE.replace("nodeName: here", "nodeName: 5"), "the Pod"),
    ] {
        fs::write(&path, &wrong).unwrap();
        bed.until(what, |s, problems| {
            let stays = |p: &String| p.ends_with("; its last good version stays in force");
            problems.len() == 1
                && problems.iter().all(stays)
                && candidates(s, "web", "") == ["10.244.0.5:8080"]
        })
        .await;
        // The others go on.
        fs::write(&path, wrong.replace("10.244.0.5", "10.244.0.6")).unwrap();
        let address = if what == "the Pod" { "10.244.0.5:8080" } else { "10.244.0.6:8080" };
        bed.until("a Pod that moves", |s, _| candidates(s, "web", "") == [address]).await;
        fs::write(&path, SERVICE).unwrap();
        bed.until("as before", |_, problems| problems.is_empty()).await;
    }
}
