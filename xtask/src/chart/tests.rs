//! What the checked-in renders promise, and which values the chart refuses.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Pod, ResourceQuota, Service, ServiceAccount},
        networking::v1::IngressClass,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    serde::{Serialize, de::DeserializeOwned},
};
use serde_json::{Value, json};

use super::*;

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The objects of a render.
fn objects(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(paths(&root(), name).1).unwrap();
    let written = |part: &&str| part.lines().any(|line| !line.is_empty() && !line.starts_with('#'));
    text.split("\n---\n").filter(written).map(yaml).collect()
}

fn each(mut judge: impl FnMut(&str, &[Value])) {
    let names = names(&root()).unwrap();
    assert!(names.len() >= 7, "{names:?}");
    for name in names {
        judge(&name, &objects(&name));
    }
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The pod template of the DaemonSet.
fn pod(objects: &[Value]) -> &Value {
    let found = of_kind(objects, "DaemonSet");
    assert_eq!(found.len(), 1);
    &found[0]["spec"]["template"]
}

/// What is switched on in a render: the headings of docs/operate.md. Those with ports of their own bind
/// below 1024.
fn switched_on(name: &str) -> Option<(&'static str, bool)> {
    match name {
        "dns" => Some(("DNS", true)),
        "policy" => Some(("NetworkPolicy", false)),
        "ingress" => Some(("Ingress", true)),
        _ => None,
    }
}

fn serves(name: &str) -> bool {
    name != "cleanup"
}

#[test]
fn the_renders_are_of_this_chart() {
    for name in names(&root()).unwrap() {
        let render = fs::read_to_string(paths(&root(), &name).1).unwrap();
        let wanted = format!("# chart {}\n", hash(&root(), &name).unwrap());
        assert!(render.starts_with(&wanted), "{name}: run `cargo xtask chart` (it needs helm)");
    }
}

#[test]
fn every_profile_is_rendered() {
    let schema: Value = serde_json::from_str(&text("charts/towpath/values.schema.json")).unwrap();
    let names = names(&root()).unwrap();
    for profile in schema["properties"]["profile"]["enum"].as_array().unwrap() {
        let profile = profile.as_str().unwrap();
        assert!(names.iter().any(|name| name == profile), "{profile}");
        let values = yaml(&fs::read_to_string(paths(&root(), profile).0).unwrap());
        assert_eq!(values["profile"], profile);
    }
}

/// Read as the API server reads it, and written again: a misspelt field would be gone.
fn survives<T: Serialize + DeserializeOwned>(object: &Value) {
    let read: T =
        serde_json::from_value(object.clone()).unwrap_or_else(|e| panic!("{e}: {object}"));
    let again = serde_json::to_value(read).unwrap();
    let mut lost = Vec::new();
    differences("", object, &again, &mut lost);
    assert_eq!(lost, [""; 0], "{} {}", object["kind"], object["metadata"]["name"]);
}

fn differences(path: &str, wanted: &Value, found: &Value, out: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                differences(
                    &format!("{path}.{key}"),
                    value,
                    found.get(key).unwrap_or(&Value::Null),
                    out,
                );
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (nth, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                differences(&format!("{path}[{nth}]"), wanted, found, out);
            }
        }
        _ if wanted == found => {}
        _ => out.push(format!("{path}: {wanted} became {found}")),
    }
}

#[test]
fn no_field_is_lost_by_the_types_of_the_api() {
    let mut seen = BTreeSet::new();
    each(|name, objects| {
        for object in objects {
            let kind = object["kind"].as_str().unwrap_or_else(|| panic!("{name}: {object}"));
            seen.insert(kind.to_owned());
            match kind {
                "DaemonSet" => survives::<DaemonSet>(object),
                "Pod" => survives::<Pod>(object),
                "ResourceQuota" => survives::<ResourceQuota>(object),
                "Service" => survives::<Service>(object),
                "ServiceAccount" => survives::<ServiceAccount>(object),
                "ClusterRole" => survives::<ClusterRole>(object),
                "IngressClass" => survives::<IngressClass>(object),
                "ClusterRoleBinding" => survives::<ClusterRoleBinding>(object),
                "Role" => survives::<Role>(object),
                "RoleBinding" => survives::<RoleBinding>(object),
                "PodMonitor" | "ServiceMonitor" | "PrometheusRule" => {
                    assert_eq!(object["apiVersion"], "monitoring.coreos.com/v1");
                }
                other => panic!("{name}: no type for {other}"),
            }
        }
    });
    assert_eq!(seen.len(), 13, "{seen:?}");
}

#[test]
fn a_field_that_does_not_exist_is_found_out() {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "imagee": "b"}]}});
    let found = std::panic::catch_unwind(|| survives::<Pod>(&object)).unwrap_err();
    assert!(found.downcast_ref::<String>().unwrap().contains(".imagee"));
}

#[test]
fn rights_are_those_of_the_operators_page_and_only_read_but_for_statuses() {
    let page = text("docs/operate.md");
    let (_, rest) = page.split_once("kind: ClusterRole\n").unwrap();
    let (block, rest) = rest.split_once("```").unwrap();
    let always = yaml(block)["rules"].as_array().unwrap().clone();
    let of = |feature: &str| {
        let (_, rest) = rest.split_once(&format!("```yaml\n# {feature}\n")).unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        yaml(block).as_array().unwrap().clone()
    };
    each(|name, objects| {
        let roles = of_kind(objects, "ClusterRole");
        assert_eq!(roles.len(), 1, "{name}");
        let mut documented = always.clone();
        documented.extend(switched_on(name).into_iter().flat_map(|(feature, _)| of(feature)));
        assert_eq!(roles[0]["rules"], Value::Array(documented.clone()), "{name}");
        for rule in &documented {
            let reads = |verb: &Value| ["get", "list", "watch"].contains(&verb.as_str().unwrap());
            let writes = rule["verbs"] == json!(["patch"])
                && rule["resources"] == json!(["ingresses/status"]);
            assert!(writes || rule["verbs"].as_array().unwrap().iter().all(reads), "{rule}");
        }
        // In the daemon's own namespace, where an Ingress has a status: one Lease, by its name.
        let own = of_kind(objects, "Role");
        let served = switched_on(name).is_some_and(|(feature, _)| feature == "Ingress");
        assert_eq!(
            (own.len(), of_kind(objects, "RoleBinding").len()),
            (served.into(), served.into())
        );
        for role in own {
            assert_eq!(role["rules"], Value::Array(of("Ingress, in its namespace")), "{name}");
            let config = &pod(objects)["metadata"]["annotations"]["towpath.io/config"];
            let lease = &yaml(config.as_str().unwrap())["ingress"]["lease"];
            assert_eq!(role["rules"][1]["resourceNames"], json!([lease]));
        }
    });
}

#[test]
fn the_pods_that_statuses_go_by_are_the_daemons() {
    let objects = objects("ingress");
    let template = pod(&objects);
    let config = yaml(template["metadata"]["annotations"]["towpath.io/config"].as_str().unwrap());
    let labels = &template["metadata"]["labels"];
    let selector = config["ingress"]["pods"].as_str().unwrap();
    for pair in selector.split(',') {
        let (name, value) = pair.split_once('=').unwrap();
        assert_eq!(labels[name], value, "{labels}");
    }
}

#[test]
fn the_daemon_has_these_capabilities_and_no_other_privilege() {
    each(|name, objects| {
        let spec = &pod(objects)["spec"];
        let binds = switched_on(name).is_some_and(|(_, binds)| binds);
        let wanted: &[&str] = match (serves(name), binds) {
            (true, true) => &["BPF", "NET_ADMIN", "PERFMON", "NET_BIND_SERVICE"],
            (true, false) => &["BPF", "NET_ADMIN", "PERFMON"],
            (false, _) => &["BPF", "NET_ADMIN"],
        };
        let containers = spec["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1, "{name}");
        let own = &containers[0]["securityContext"];
        assert_eq!(own["capabilities"], json!({"drop": ["ALL"], "add": wanted}), "{name}");
        assert_eq!(own["privileged"], false);
        assert_eq!(own["allowPrivilegeEscalation"], false);
        assert_eq!(own["readOnlyRootFilesystem"], true);
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!((&spec["hostPID"], &spec["hostIPC"]), (&Value::Null, &Value::Null));
        assert_eq!(spec["automountServiceAccountToken"], serves(name));
        // Only where the system mounts no bpffs does anything run privileged, and it ends.
        let inits = spec["initContainers"].as_array().cloned().unwrap_or_default();
        let privileged =
            inits.iter().filter(|init| init["securityContext"]["privileged"] == true).count();
        assert_eq!(
            (inits.len(), privileged),
            if name == "kind" { (1, 1) } else { (0, 0) },
            "{name}"
        );
    });
}

#[test]
fn the_daemon_depends_on_nothing_that_it_serves_and_shares_the_node() {
    each(|name, objects| {
        let template = pod(objects);
        let spec = &template["spec"];
        assert_eq!(spec["hostNetwork"], true);
        assert_eq!(spec["dnsPolicy"], "Default");
        let container = &spec["containers"][0];
        assert_eq!(container["ports"], Value::Null, "{name}: a port would be the host's");
        assert_eq!(container["resources"]["limits"]["memory"], Value::Null, "{name}");
        let strategy = &of_kind(objects, "DaemonSet")[0]["spec"]["updateStrategy"]["rollingUpdate"];
        // The next daemon stands by; clean-up must be alone.
        let stands_by = container["args"].as_array().unwrap().contains(&Value::from("--standby"));
        assert_eq!(stands_by, serves(name), "{name}");
        assert_eq!(strategy["maxSurge"] != 0, serves(name), "{name}");
        let ended_first = if serves(name) { json!(0) } else { json!("100%") };
        assert_eq!(strategy["maxUnavailable"], ended_first, "{name}");
        if !serves(name) {
            assert!(template["metadata"]["annotations"]["towpath.io/config"].is_null());
            return;
        }
        let paths: BTreeMap<_, _> = container["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mount| (mount["mountPath"].as_str().unwrap(), mount["readOnly"] == true))
            .collect();
        let wanted = [
            ("/etc/towpath", true),
            ("/host/bpf", false),
            ("/host/cgroup", true),
            ("/host/run", false),
            ("/run/towpath", false),
        ];
        assert_eq!(paths, wanted.into(), "{name}");
        let config =
            yaml(template["metadata"]["annotations"]["towpath.io/config"].as_str().unwrap());
        assert_eq!(config["cgroupRoot"], "/host/cgroup");
        // Two daemons share what is remembered; each is asked by its own socket.
        assert_eq!(
            (&config["runDir"], &config["controlDir"]),
            (&json!("/host/run"), &json!("/run/towpath"))
        );
        let servers = config["apiServers"].as_array().unwrap();
        assert!(!servers.is_empty(), "{name}");
        let at = "metadata.annotations['towpath.io/config']";
        let volumes = spec["volumes"].as_array().unwrap();
        let from = |v: &Value| v["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"] == at;
        assert!(volumes.iter().any(from), "{name}");
    });
}

#[test]
fn metrics_leave_the_node_only_where_something_scrapes_them() {
    each(|name, objects| {
        if !serves(name) {
            return;
        }
        let annotations = &pod(objects)["metadata"]["annotations"];
        let config = yaml(annotations["towpath.io/config"].as_str().unwrap());
        let monitors =
            of_kind(objects, "PodMonitor").len() + of_kind(objects, "ServiceMonitor").len();
        assert!(monitors <= 1, "{name}");
        let open = config["metricsBindAddress"].as_str();
        assert_eq!(open.is_some(), monitors == 1, "{name}: {open:?}");
    });
}

#[test]
fn the_alerts_are_those_of_the_operators_page() {
    let page = text("docs/operate.md");
    let (_, table) = page.split_once("Worth an alert:").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let rules = yaml(&text("charts/towpath/files/alerts.yaml"));
    let rules = rules.as_object().unwrap();
    assert_eq!(rows.len(), rules.len(), "{rows:?}");
    for row in rows {
        let metric = row.split('`').nth(1).unwrap();
        let alerts = |rule: &&Value| rule["expr"].as_str().unwrap().contains(metric);
        assert_eq!(rules.values().filter(alerts).count(), 1, "{metric}");
    }
    let known = text("docs/metrics.md");
    for (name, rule) in rules {
        let expr = rule["expr"].as_str().unwrap();
        let words = expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for metric in words.filter(|w| w.starts_with("towpath_") || w.starts_with("kubeproxy_")) {
            assert!(
                known.contains(&format!("`{metric}")),
                "{name}: {metric} is not in docs/metrics.md"
            );
        }
    }
}

fn validator() -> jsonschema::Validator {
    let schema = serde_json::from_str(&text("charts/towpath/values.schema.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Values over the chart's own, as helm merges them.
fn merged(over: &Value) -> Value {
    fn merge(base: &mut Value, over: &Value) {
        match (base, over) {
            (Value::Object(base), Value::Object(over)) => {
                for (key, value) in over {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
            (base, over) => *base = over.clone(),
        }
    }
    let mut values = yaml(&text("charts/towpath/values.yaml"));
    merge(&mut values, over);
    values
}

#[test]
fn good_values_are_taken() {
    let validator = validator();
    for name in names(&root()).unwrap() {
        let values = yaml(&fs::read_to_string(paths(&root(), &name).0).unwrap());
        assert!(validator.is_valid(&merged(&values)), "{name}");
    }
    let good = [
        "{}",
        "apiServers: ['https://[fd00::1]:6443', 'https://api.example.com']",
        "config: {features: {dns: true}}",
        "config: {healthzBindAddress: 'off', metricsBindAddress: '[::]:10249'}",
        "maxSurge: 10%",
        "resources: {limits: {memory: 1Gi}}",
    ];
    for text in good {
        let errors: Vec<_> =
            validator.iter_errors(&merged(&yaml(text))).map(|e| e.to_string()).collect();
        assert_eq!(errors, [""; 0], "{text}");
    }
}

#[test]
fn wrong_values_are_refused() {
    let validator = validator();
    for text in WRONG {
        assert!(!validator.is_valid(&merged(&yaml(text))), "taken: {text}");
    }
}

/// Thirty mistakes: misspelt, of another type, out of range, unsafe, or not built yet.
const WRONG: &[&str] = &[
    "profle: kind",
    "profile: minikube",
    "mode: uninstall",
    "apiServers: https://192.0.2.10:6443",
    "apiServers: [192.0.2.10]",
    "apiServers: ['http://192.0.2.10:6443']",
    "apiServers: ['https://192.0.2.10:6443', 'https://192.0.2.10:6443']",
    "config: {socketLb: all}",
    "config: {socketLB: none}",
    "config: {externalIPs: [all]}",
    "config: {capacities: {services: 0}}",
    "config: {capacities: {services: 99999999}}",
    "config: {capacities: {policies: 5}}",
    "config: {healthzBindAddress: 'localhost:10256'}",
    "config: {log: {format: xml}}",
    "config: {log: {colour: red}}",
    "config: {features: {dns: maybe}}",
    "config: {features: {dsn: 'on'}}",
    "config: {dns: {upstreams: [resolver.example.com]}}",
    "config: {dns: {service: kube-dns}}",
    "config: {clusterDomain: 'a..b'}",
    "config: {bpffs: /sys/fs/bpf/other}",
    "config: {controlDir: /run/x}",
    "config: {nodeName: a}",
    "image: {repository: ''}",
    "image: {tag: 'a b'}",
    "image: {digest: 'sha256:123'}",
    "image: {pullPolicy: Sometimes}",
    "image: {pullSecrets: [registry]}",
    "hostPaths: {bpffs: sys/fs/bpf}",
    "hostPaths: {run: /run/../etc}",
    "hostPaths: {cgroup: '/sys/fs/cgroup:ro'}",
    "resources: {limits: {memory: lots}}",
    "tolerations: [{operator: Present}]",
    "nodeSelector: {disk: 5}",
    "maxUnavailable: 1",
    "maxSurge: 0",
    "terminationGracePeriodSeconds: 1",
    "podLabels: {team: 'a b'}",
    "serviceAccount: {name: Towpath}",
    "rbac: {create: 'yes'}",
    "rbac: {clusterAdmin: true}",
    "monitoring: {monitor: both}",
    "monitoring: {interval: often}",
    "hostNetwork: false",
    "features: {dns: on}",
];
