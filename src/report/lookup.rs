//! What else is asked for: the Service whose addresses are published, or the daemons' pods.

use std::collections::BTreeSet;

use serde::Deserialize;
use towpath_model::{ObjectName, ingress::Published, wire::ListMeta};

use super::serving::ADDRESSES_MAX;
use crate::source::kube::{CallError, Calls, escaped};

/// Pods in one answer.
const PAGE: usize = 250;
/// More nodes than a cluster has.
const PODS_MAX: usize = 20_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pods {
    metadata: ListMeta,
    items: Vec<Pod>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: Option<String>,
    status: Option<String>,
}

impl Pod {
    fn is_ready(&self) -> bool {
        let ready = |it: &Condition| {
            it.r#type.as_deref() == Some("Ready") && it.status.as_deref() == Some("True")
        };
        self.status.phase.as_deref() == Some("Running")
            && self.status.conditions.iter().flatten().any(ready)
    }
}

/// The nodes on which a pod of this selector is ready, in the daemon's own namespace.
pub(super) async fn nodes_of_pods(
    calls: &Calls,
    selector: &str,
) -> Result<BTreeSet<ObjectName>, CallError> {
    let base = format!(
        "/api/v1/namespaces/{}/pods?labelSelector={}&limit={PAGE}",
        escaped(calls.namespace()),
        escaped(selector)
    );
    let (mut nodes, mut token) = (BTreeSet::new(), String::new());
    for _ in 0..PODS_MAX / PAGE {
        let path = match token.as_str() {
            "" => base.clone(),
            token => format!("{base}&continue={}", escaped(token)),
        };
        let page: Pods = readable(&calls.get(&path).await?)?;
        let ready = page.items.into_iter().filter(Pod::is_ready);
        nodes.extend(ready.filter_map(|pod| pod.spec.node_name).map(|n| ObjectName::new("", &n)));
        token = page.metadata.r#continue;
        if token.is_empty() {
            break;
        }
    }
    Ok(nodes)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    spec: ServiceSpec,
    status: ServiceStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    r#type: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    #[serde(rename = "externalName")]
    external_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: Option<LoadBalancer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Option<Vec<Entry>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    ip: Option<String>,
    hostname: Option<String>,
}

/// Where a Service is reached from outside.
pub(super) async fn addresses_of_service(
    calls: &Calls,
    name: &ObjectName,
) -> Result<Vec<Published>, CallError> {
    let (namespace, name) = (escaped(&name.namespace), escaped(&name.name));
    let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
    Ok(addresses(readable(&calls.get(&path).await?)?))
}

/// As ingress-nginx's `--publish-service` reads it (`internal/ingress/status/status.go`), but that
/// externalIPs count for a Service of type ClusterIP, too: of a load
/// balancer its addresses or else names, and externalIPs; of other types externalIPs, or else the
/// clusterIP; the name of an ExternalName.
fn addresses(service: Service) -> Vec<Published> {
    let Service { spec, status } = service;
    let ip = |ip: String| Published { hostname: "".into(), ip: ip.into() };
    let name = |name: String| Published { hostname: name.into(), ip: "".into() };
    let external = spec.external_ips.into_iter().flatten();
    let mut all: BTreeSet<Published> = match spec.r#type.as_deref() {
        Some("ExternalName") => spec.external_name.into_iter().map(name).collect(),
        Some("LoadBalancer") => {
            let entries = status.load_balancer.and_then(|it| it.ingress).into_iter().flatten();
            let entry = |entry: Entry| match entry.ip.filter(|ip| !ip.is_empty()) {
                Some(address) => Some(ip(address)),
                None => entry.hostname.map(name),
            };
            entries.filter_map(entry).chain(external.map(ip)).collect()
        }
        _ => {
            let all: BTreeSet<_> = external.map(ip).collect();
            let own = spec.cluster_ip.filter(|_| all.is_empty()).filter(|ip| ip != "None");
            all.into_iter().chain(own.map(ip)).collect()
        }
    };
    all.retain(|it| !(it.ip.is_empty() && it.hostname.is_empty()));
    all.into_iter().take(ADDRESSES_MAX).collect()
}

pub(super) fn readable<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| CallError::Unreached(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> String {
        let all = addresses(serde_json::from_str(json).unwrap());
        all.iter().map(|it| format!("{}{} ", it.hostname, it.ip)).collect::<String>()
    }

    #[test]
    fn a_service_is_published_as_users_of_ingress_nginx_expect() {
        let status = r#""status":{"loadBalancer":{"ingress":[{"hostname":"b.example"},
            {"ip":"192.0.2.9","hostname":"also.example"},{"ip":"192.0.2.1"},{},{"hostname":""}]}}"#;
        for (spec, expected) in [
            (r#""type":"LoadBalancer""#, "192.0.2.1 192.0.2.9 b.example "),
            (
                r#""type":"LoadBalancer","externalIPs":["198.51.100.1","192.0.2.1"]"#,
                "192.0.2.1 192.0.2.9 198.51.100.1 b.example ",
            ),
            (r#""type":"NodePort","clusterIP":"10.0.0.1""#, "10.0.0.1 "),
            (
                r#""type":"NodePort","clusterIP":"10.0.0.1","externalIPs":["198.51.100.1"]"#,
                "198.51.100.1 ",
            ),
            (r#""clusterIP":"10.0.0.1""#, "10.0.0.1 "),
            (r#""clusterIP":"None""#, ""),
            (r#""type":"ExternalName","externalName":"front.example""#, "front.example "),
            (r#""type":"ExternalName""#, ""),
        ] {
            assert_eq!(of(&format!("{{\"spec\":{{{spec}}},{status}}}")), expected, "{spec}");
        }
        assert_eq!(of("{}"), "");
        assert_eq!(of(r#"{"spec":{"type":"LoadBalancer"},"status":{"loadBalancer":null}}"#), "");
    }

    #[test]
    fn a_pod_serves_when_it_runs_and_is_ready() {
        for (status, ready) in [
            (r#"{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}"#, true),
            (r#"{"phase":"Running","conditions":[{"type":"Ready","status":"False"}]}"#, false),
            (r#"{"phase":"Succeeded","conditions":[{"type":"Ready","status":"True"}]}"#, false),
            (r#"{"phase":"Running","conditions":null}"#, false),
        ] {
            let pod: Pod = serde_json::from_str(&format!("{{\"status\":{status}}}")).unwrap();
            assert_eq!(pod.is_ready(), ready, "{status}");
        }
    }
}
