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
