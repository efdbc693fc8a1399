//! What is done with a document, by its kind. An API server refuses kinds that it does not know;
//! without one, a typing error would silently take a whole object away.

use serde_json::Value;
use towpath_model::{ROWS, nearest};

use super::names;

/// The kind of this name that is read, and its `apiVersion`.
fn read(name: &str) -> Option<(&'static str, &'static str)> {
    ROWS.iter().find(|row| row.name == name).map(|row| (row.name, row.api_version))
}

/// Kinds that a controller would turn into Pods: there is none here.
const CONTROLLED: [&str; 7] = [
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
];

/// Kinds of Kubernetes itself that say nothing about where traffic goes.
const UNUSED: [&str; 29] = [
    "APIService",
    "Binding",
    "CSIDriver",
    "CSINode",
    "CSIStorageCapacity",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ControllerRevision",
    "CustomResourceDefinition",
    "Event",
    "FlowSchema",
    "HorizontalPodAutoscaler",
    "IPAddress",
    "Lease",
    "LimitRange",
    "MutatingWebhookConfiguration",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "PodTemplate",
    "PriorityClass",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "ServiceAccount",
    "StorageClass",
    "ValidatingWebhookConfiguration",
];

/// Groups of the kinds that are read or need a controller, apart from the core group.
fn groups() -> Vec<&'static str> {
    let read = ROWS.iter().filter_map(|row| Some(row.api_version.split_once('/')?.0));
    ["apps", "batch"].into_iter().chain(read).collect()
}

/// Other groups without a dot. There are no more: a custom resource's group is a domain.
const PLAIN_GROUPS: [&str; 3] = ["autoscaling", "extensions", "policy"];

/// Longest part of a kind or group that is repeated in a problem.
const SHOWN_MAX: usize = 64;

/// What is wrong with a document's kind, and what to do.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Wrong {
    pub(super) why: String,
    pub(super) action: String,
}

/// The kind to read a document as; `None`: Towpath does not need it. `name` is the object's.
pub(super) fn read_as(document: &Value, name: &str) -> Result<Option<&'static str>, Wrong> {
    let wrong = |why: String, action: &str| Err(Wrong { why, action: action.to_owned() });
    let Some(kind) = document["kind"].as_str().filter(|kind| !kind.is_empty()) else {
        let action = "give it one, such as \"kind: Service\"";
        return wrong(format!("{name} has no kind; it has no effect"), action);
    };
    let written = document["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = written.split_once('/').unwrap_or(("", written));
    let (read, whole) = read(kind).unzip();
    let groups = groups();
    let controlled = CONTROLLED.contains(&kind);
    let kind = names::shown(kind);
    if !group.is_empty() && !groups.contains(&group) {
        let meant = nearest(group, &groups).filter(|_| read.is_some() || controlled);
        let exists = group.contains('.') || PLAIN_GROUPS.contains(&group);
        let action = match meant {
            Some(meant) => format!("did you mean {meant:?}?"),
            None if exists => return Ok(None),
            None => "correct its apiVersion; Services, Pods and Nodes have \"v1\"".to_owned(),
        };
        let group: String = group.chars().take(SHOWN_MAX).collect();
        let why = format!("{kind} {name}: there is no API group {group:?}; it has no effect");
        return wrong(why, &action);
    }
    let whole = whole.unwrap_or("v1");
    // What is not written is clear; of a slice, so is the group.
    let clear = ["", "v1", whole].contains(&written);
    if read.is_some() && !clear {
        let version: String = version.chars().take(SHOWN_MAX).collect();
        let why = format!("there is no {kind} of version {version:?} in the group {group:?}");
        let why = format!("{kind} {name}: {why}; it has no effect");
        return wrong(why, &format!("write apiVersion: {whole}"));
    }
    if read.is_some() || UNUSED.contains(&kind.as_str()) {
        return Ok(read);
    }
    if controlled {
        let why = format!("{kind} {name} needs a controller, and without a cluster there is none");
        let action = "write Pods with status.podIPs, or run with a cluster (--kubeconfig)";
        return wrong(why, action);
    }
    if kind == "Endpoints" {
        let why = format!("Endpoints {name} are not read; they have no effect");
        return wrong(why, "write an EndpointSlice with the label kubernetes.io/service-name");
    }
    if kind.ends_with("List") {
        let why = format!("a {kind} has no list of items; it has no effect");
        return wrong(why, "add its items");
    }
    let mut known: Vec<&str> = [&CONTROLLED[..], &UNUSED, &["Endpoints"]].concat();
    known.extend(ROWS.iter().map(|row| row.name));
    let action = match nearest(&kind, &known) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => "correct it; a custom resource has its group in apiVersion".to_owned(),
    };
    wrong(format!("{kind} {name}: there is no such kind; it has no effect"), &action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(version: &str, kind: &str) -> Result<Option<&'static str>, Wrong> {
        read_as(&json!({ "apiVersion": version, "kind": kind }), "default/x")
    }

    #[track_caller]
    fn check(document: Value, why: &str, action: &str) {
        let wrong = read_as(&document, "default/x").unwrap_err();
        assert!(wrong.why.contains(why) && wrong.action.contains(action), "{wrong:?}");
    }

    #[test]
    fn what_a_slip_takes_away_is_said() {
        check(json!({ "kind": "Servcie" }), "no such kind", "did you mean \"Service\"?");
        check(json!({ "apiVersion": "v1", "kind": "service" }), "no such kind", "\"Service\"?");
        check(json!({ "kind": "Endpointslice" }), "no such kind", "\"EndpointSlice\"?");
        check(json!({ "apiVersion": "apps/v1", "kind": "Deploymnet" }), "", "\"Deployment\"?");
        check(json!({ "kind": "Widget" }), "Widget default/x", "group in apiVersion");
        check(json!({ "kind": "Endpoints" }), "not read", "EndpointSlice");
        check(json!({ "kind": "List", "itmes": [] }), "no list of items", "items");
        for document in [json!({}), json!({ "kind": 5 }), json!({ "kind": "" }), json!("text")] {
            check(document, "default/x has no kind", "kind: Service");
        }
        check(json!({ "apiVersion": "core/v1", "kind": "Service" }), "no API group \"core\"", "v1");
        let slice = json!({ "apiVersion": "discvery.k8s.io/v1", "kind": "EndpointSlice" });
        check(slice, "no API group", "did you mean \"discovery.k8s.io\"?");
    }

    #[test]
    fn versions_that_an_api_server_does_not_have_are_said() {
        check(json!({ "apiVersion": "v2", "kind": "Service" }), "version \"v2\"", "apiVersion: v1");
        check(json!({ "apiVersion": "apps/v1", "kind": "Service" }), "group \"apps\"", ": v1");
        let slice = json!({ "apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice" });
        check(slice, "version \"v1beta1\"", "apiVersion: discovery.k8s.io/v1");
        assert_eq!(read_as(&json!({ "kind": "Service" }), "x"), Ok(Some("Service")));
    }

    #[test]
    fn what_towpath_does_not_need_is_no_problem() {
        for kind in UNUSED {
            assert_eq!(judged("v1", kind), Ok(None), "{kind}");
        }
        for (version, kind) in [
            ("serving.knative.dev/v1", "Service"),
            ("traefik.io/v1alpha1", "IngressRoute"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("policy/v1", "PodSecurityPolicy"),
            ("cert-manager.io/v1", "Certificate"),
            ("metrics.k8s.io/v1beta1", "Node"),
            ("events.k8s.io/v1", "Event"),
            ("batch.volcano.sh/v1alpha1", "Job"),
            ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
        ] {
            assert_eq!(judged(version, kind), Ok(None), "{version} {kind}");
        }
        for row in ROWS {
            assert_eq!(judged(row.api_version, row.name), Ok(Some(row.name)));
        }
    }

    #[test]
    fn a_kind_of_megabytes_is_cut() {
        let wrong = judged("v1", &"x".repeat(1 << 20)).unwrap_err();
        assert!(wrong.why.len() < 200 && wrong.action.len() < 200);
    }
}
