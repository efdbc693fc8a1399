//! Streams that begin and end while the source runs.

use super::*;

fn write(dir: &Path, namespace: &str, version: u32, ip: &str) {
    let text = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: {namespace}, resourceVersion: '{version}'}}, \
         spec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}}}"
    );
    fs::write(dir.join(format!("{namespace}.yaml")), text).unwrap();
}

fn services(store: &Store) -> Vec<String> {
    let view = store.view();
    view.services().map(|s| format!("{} {}", s.meta.name, s.cluster_ips[0])).collect()
}

#[tokio::test]
async fn a_stream_brings_its_scope_and_takes_it_away_when_it_ends() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(dir.path(), "bank", 1, "10.96.0.1");
    write(dir.path(), "shop", 7, "10.96.0.2");
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("both", |s, _| services(s) == ["bank/web 10.96.0.1", "shop/web 10.96.0.2"]).await;
    let in_shop = Stream::in_namespace(Kind::Service, "shop");
    bed.wants.send_replace(NEEDS.into_iter().chain([in_shop.clone()]).collect());
    bed.until("the second one", |s, _| s.view().listed(&in_shop)).await;
    bed.wants.send_replace(BTreeSet::from([in_shop.clone()]));
    bed.until("what is left", |s, _| {
        services(s) == ["shop/web 10.96.0.2"] && s.view().nodes().len() == 0
    })
    .await;
    assert_eq!(bed.health.all().len(), 1);
    write(dir.path(), "bank", 2, "10.96.0.3");
    write(dir.path(), "shop", 3, "10.96.0.4");
    bed.until("the change, older as it looks", |s, _| services(s) == ["shop/web 10.96.0.4"]).await;
    bed.wants.send_replace(NEEDS.into());
    bed.until("everything", |s, _| {
        services(s) == ["bank/web 10.96.0.3", "shop/web 10.96.0.4"]
            && s.view().synced(&NEEDS).is_some()
    })
    .await;
}

#[tokio::test]
async fn kinds_that_come_to_be_wanted_are_read_from_what_is_there() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let more = "
apiVersion: v1
kind: ConfigMap
metadata: {name: dns}
data: {Corefile: '.:53 {}'}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {tier: front}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: far}, spec: {nodeName: there}}
";
    fs::write(dir.path().join("web.yaml"), format!("{SERVICE}---{more}")).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service", |s, _| endpoints(s, "web") == 1).await;
    let view = bed.store.view();
    let others = (view.config_maps().len(), view.namespaces().len(), view.pods().len());
    assert_eq!(others, (0, 0, 0), "nothing asks for them");
    let kept = fs::read_dir(run.path().join("manifests")).unwrap().next().unwrap().unwrap();
    assert!(!fs::read_to_string(kept.path()).unwrap().contains("Corefile"), "nor are they kept");
    let dns = Stream::named(Kind::ConfigMap, ObjectName::new("default", "dns"));
    let pods = Stream::of_this_node(Kind::Pod);
    let wanted = [dns, pods, Stream::all(Kind::Namespace)];
    bed.wants.send_replace(NEEDS.into_iter().chain(wanted.clone()).collect());
    bed.until("all of them", |s, _| s.view().synced(&wanted).is_some()).await;
    let view = bed.store.view();
    let names = |names: Vec<&ObjectName>| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(view.config_maps().map(|map| &map.meta.name).collect()), ["default/dns"]);
    assert_eq!(names(view.pods().map(|pod| &pod.name).collect()), ["default/web-1"]);
    let namespace = view.namespaces().next().unwrap();
    assert_eq!(namespace.label("tier"), Some("front"));
}
