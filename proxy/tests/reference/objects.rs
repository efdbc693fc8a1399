//! Objects at random, as an API server sends them: with fields that are absent, null or there.

use serde_json::{Value, json};

use super::{BALANCER, CLUSTER, CLUSTER6, EXTERNAL, NODE_PORTS, NODES, Random, SPECIAL, SPECIAL6};

/// Sets a field to one of these, or to null, or leaves it out.
fn maybe(random: &mut Random, object: &mut Value, field: &str, values: &[Value]) {
    match random.below(values.len() + 2) {
        0 => {}
        1 => object[field] = Value::Null,
        at => object[field] = values[at - 2].clone(),
    }
}

/// One time in `of` an address that is no host's takes the place of this one.
fn or_special(random: &mut Random, of: usize, ip: String) -> String {
    if !random.chance(of) {
        return ip;
    }
    if ip.contains(':') { random.pick(&SPECIAL6) } else { random.pick(&SPECIAL) }.to_owned()
}

pub(super) fn service(name: &str, random: &mut Random) -> Value {
    let kind =
        random.pick(&["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ExternalName"]);
    let mut json = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name, "namespace": "d",
            "creationTimestamp": random.pick(&["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
        },
        "spec": { "type": kind, "ports": service_ports(random) },
        "status": { "loadBalancer": {} },
    });
    if random.chance(8) {
        json["spec"].as_object_mut().unwrap().remove("type");
    }
    cluster_ips(name, random, &mut json["spec"]);
    let spec = &mut json["spec"];
    let policies = ["Cluster", "Local", "Local"].map(Value::from);
    maybe(random, spec, "internalTrafficPolicy", &policies);
    maybe(random, spec, "externalTrafficPolicy", &policies);
    maybe(random, spec, "publishNotReadyAddresses", &[true.into(), false.into()]);
    maybe(random, spec, "healthCheckNodePort", &[0, 32001, 32002].map(Value::from));
    affinity(random, spec);
    let external = random.pick(&EXTERNAL).to_owned();
    let external = or_special(random, 8, external);
    maybe(random, spec, "externalIPs", &[json!([]), json!([external])]);
    if random.chance(4) {
        let all = [
            json!(["10.0.0.0/8"]),
            json!([" fd00::/8 "]),
            json!(["fd00::/8", "10.0.0.0/8\t"]),
            json!(["192.168.0.0/24", "10.9.0.0/16", "10.0.0.0/8"]),
            json!([format!("{}/32", NODES[0]), "172.16.0.0/12"]),
            json!(["10.0.0.0/8", "0.0.0.0/0"]),
        ];
        maybe(random, spec, "loadBalancerSourceRanges", &all);
    }
    if random.chance(2) {
        let entries: Vec<Value> = (0..random.below(3)).map(|_| balancer(random)).collect();
        maybe(random, &mut json["status"]["loadBalancer"], "ingress", &[entries.into()]);
    }
    match random.below(30) {
        0 => {
            json["metadata"]["labels"] = json!({ "service.kubernetes.io/service-proxy-name": "x" })
        }
        1 => json["metadata"]["labels"] = json!({ "service.kubernetes.io/headless": "" }),
        2..=10 => json["metadata"]["labels"] = Value::Null,
        11..=20 => json["metadata"]["labels"] = json!({ "app": "x" }),
        _ => {}
    }
    json
}

/// As the API server keeps both fields: the first of `clusterIPs` is `clusterIP`. Before 1.20 there
/// was only the latter.
fn cluster_ips(name: &str, random: &mut Random, spec: &mut Value) {
    let own = usize::from(name.as_bytes()[1] - b'0');
    let mut ips = vec![if random.chance(8) { random.pick(&CLUSTER) } else { CLUSTER[own] }];
    if random.chance(2) {
        ips.push(random.pick(&CLUSTER6));
    }
    if random.chance(10) {
        ips.rotate_right(1);
        ips.truncate(1);
    }
    match random.below(24) {
        0 | 1 => ips = vec!["None"],
        2 => ips.clear(),
        _ => {}
    }
    spec["clusterIP"] = ips.first().copied().unwrap_or_default().into();
    if ips.len() > 1 || !random.chance(4) {
        let families = ips.iter().filter(|ip| **ip != "None");
        let families = families.map(|ip| if ip.contains(':') { "IPv6" } else { "IPv4" });
        spec["ipFamilies"] = families.collect::<Vec<_>>().into();
        spec["clusterIPs"] = ips.into();
    } else {
        maybe(random, spec, "clusterIPs", &[json!([])]);
    }
}

fn service_ports(random: &mut Random) -> Vec<Value> {
    let mut ports = Vec::new();
    if random.chance(6) {
        // The only port needs no name.
        let mut only = json!({ "port": 80 });
        maybe(random, &mut only, "name", &["".into()]);
        maybe(random, &mut only, "protocol", &["TCP".into(), "SCTP".into()]);
        ports.push(only);
    } else {
        for (name, protocol, number) in [("a", "TCP", 80), ("b", "UDP", 53), ("c", "SCTP", 80)] {
            if !random.chance(4) {
                let mut port = json!({ "name": name, "protocol": protocol, "port": number });
                if protocol == "TCP" {
                    maybe(random, &mut port, "protocol", &["TCP".into()]);
                }
                ports.push(port);
            }
        }
    }
    for port in &mut ports {
        maybe(
            random,
            port,
            "nodePort",
            &[0, NODE_PORTS[0], NODE_PORTS[0], NODE_PORTS[1]].map(Value::from),
        );
        maybe(random, port, "targetPort", &[8080.into(), "web".into()]);
    }
    ports
}

fn affinity(random: &mut Random, spec: &mut Value) {
    maybe(random, spec, "sessionAffinity", &["None", "ClientIP", "ClientIP"].map(Value::from));
    if spec["sessionAffinity"] == "ClientIP" {
        let mut client = json!({});
        maybe(random, &mut client, "timeoutSeconds", &[1, 30, 86_400].map(Value::from));
        let mut config = json!({});
        maybe(random, &mut config, "clientIP", &[client.clone(), client]);
        maybe(random, spec, "sessionAffinityConfig", &[config.clone(), config.clone(), config]);
    }
}

fn balancer(random: &mut Random) -> Value {
    if random.chance(8) {
        return json!({ "hostname": "lb.example.com" });
    }
    let ip = random.pick(&BALANCER).to_owned();
    let mut entry = json!({ "ip": or_special(random, 8, ip) });
    maybe(random, &mut entry, "ipMode", &["VIP", "VIP", "Proxy"].map(Value::from));
    maybe(random, &mut entry, "ports", &[json!([{ "port": 81, "protocol": "TCP" }])]);
    entry
}

pub(super) fn slice(name: &str, random: &mut Random) -> Value {
    let kind =
        random.pick(&["IPv4", "IPv4", "IPv4", "IPv4", "IPv4", "IPv4", "IPv6", "IPv6", "FQDN"]);
    // Hints do nothing unless every ready endpoint has one.
    let hinted = random.below(4);
    let endpoints: Vec<Value> =
        (0..random.below(5)).map(|_| endpoint(kind, hinted, random)).collect();
    let ports = slice_ports(random);
    let mut json = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name, "namespace": "d",
            "labels": { "kubernetes.io/service-name": format!("s{}", random.below(4)) },
        },
        "addressType": kind, "ports": ports, "endpoints": endpoints,
    });
    match random.below(40) {
        0 | 1 => json["metadata"]["labels"]["service.kubernetes.io/headless"] = "".into(),
        2 => json["ports"] = Value::Null,
        3 => json["endpoints"] = Value::Null,
        _ => {}
    }
    json
}

fn endpoint(kind: &str, hinted: usize, random: &mut Random) -> Value {
    let last = 1 + random.below(5);
    let mut addresses = vec![match kind {
        "IPv4" => or_special(random, 20, format!("10.0.0.{last}")),
        "IPv6" => or_special(random, 20, format!("fd00::{last}")),
        // Either is a name to the API server.
        _ if random.chance(2) => format!("10.0.0.{last}"),
        _ => format!("host{last}.example.com"),
    }];
    if random.chance(10) {
        // Only the first counts.
        addresses.push(if kind == "IPv6" { "fd00::99" } else { "10.0.0.99" }.to_owned());
    }
    let mut json = json!({ "addresses": addresses });
    let [yes, no] = [true, false].map(Value::from);
    let mut conditions = json!({});
    maybe(random, &mut conditions, "ready", &[yes.clone(), no.clone(), no.clone(), no.clone()]);
    maybe(random, &mut conditions, "serving", &[yes.clone(), no.clone()]);
    maybe(random, &mut conditions, "terminating", &[yes.clone(), yes, no]);
    maybe(random, &mut json, "conditions", &vec![conditions; 8]);
    maybe(random, &mut json, "nodeName", &["n0", "n0", "n1", "n1", "n2"].map(Value::from));
    maybe(random, &mut json, "zone", &["z0".into(), "z1".into()]);
    let name = |random: &mut Random, of: [&str; 3]| json!({ "name": random.pick(&of) });
    let zones: Vec<Value> =
        (0..1 + random.below(2)).map(|_| name(random, ["z0", "z1", "z0"])).collect();
    let nodes: Vec<Value> =
        (0..1 + random.below(2)).map(|_| name(random, ["n0", "n1", "n2"])).collect();
    match hinted {
        1 => json["hints"] = json!({ "forZones": zones }),
        2 => json["hints"] = json!({ "forNodes": nodes }),
        3 => json["hints"] = json!({ "forNodes": nodes, "forZones": zones }),
        _ => maybe(random, &mut json, "hints", &[json!({})]),
    }
    if random.chance(12) {
        let field = random.pick(&["forZones", "forNodes"]);
        json["hints"][field] = random.pick(&[Value::Null, json!([])]);
    }
    json
}

fn slice_ports(random: &mut Random) -> Vec<Value> {
    let mut ports = Vec::new();
    let tcp = random.pick(&[8080, 8080, 9090]);
    for (name, protocol, number, of) in [
        (Some("a"), "TCP", Some(tcp), 8),
        (Some("b"), "UDP", Some(5353), 6),
        (Some("c"), "SCTP", Some(3868), 6),
        (Some(""), "TCP", Some(7070), 6),
        // Of another protocol than the Service's port of that name.
        (Some("a"), "UDP", Some(6060), 2),
        // Legal, and led nowhere.
        (None, "TCP", Some(5050), 1),
        (Some("a"), "TCP", None, 1),
    ] {
        if random.below(10) >= of {
            continue;
        }
        let mut port = json!({ "protocol": protocol });
        if protocol == "TCP" {
            maybe(random, &mut port, "protocol", &["TCP".into()]);
        }
        match name {
            Some(name) => port["name"] = name.into(),
            None => maybe(random, &mut port, "name", &[]),
        }
        match number {
            Some(number) => port["port"] = number.into(),
            None => maybe(random, &mut port, "port", &[0.into()]),
        }
        maybe(random, &mut port, "appProtocol", &["kubernetes.io/h2c".into()]);
        ports.push(port);
    }
    ports
}

pub(super) fn node(name: &str, random: &mut Random) -> Value {
    let number = usize::from(name.as_bytes()[1] - b'0');
    let mut addresses = vec![
        json!({ "type": "InternalIP", "address": NODES[number] }),
        json!({ "type": "Hostname", "address": name }),
    ];
    if random.chance(8) {
        addresses.remove(0);
    }
    match random.below(8) {
        0 => addresses.push(json!({ "type": "InternalIP", "address": SPECIAL[0] })),
        // As every type but two: not an address that packets are sent to.
        1 => addresses.push(json!({ "type": "InternalDNS", "address": "192.168.9.9" })),
        2 if number == 1 => addresses.push(json!({ "type": "ExternalIP", "address": "fd16::1" })),
        _ => {}
    }
    let mut json = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name },
        "status": { "addresses": addresses },
    });
    let zone = |zone: &str| json!({ "topology.kubernetes.io/zone": zone });
    let zones = [zone("z0"), zone("z0"), zone("z1"), zone("z1"), json!({})];
    maybe(random, &mut json["metadata"], "labels", &zones);
    json
}
