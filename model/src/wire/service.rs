//! Service.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    address::readable_address,
    map::{map, map_or_null, maps_or_null},
    meta::{Notes, WireMeta, protocol, shown},
    status::LoadBalancer,
};
use crate::{
    Family, Kind, Problem, Service,
    service::{
        AppProtocol, Cidr, LoadBalancerIngress, ServicePort, ServiceType, TargetPort, TrafficPolicy,
    },
};

const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
const AFFINITY_SECONDS_MAX: u32 = 86_400;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireService {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta,
    #[serde(deserialize_with = "map_or_null")]
    spec: Option<Spec>,
    #[serde(deserialize_with = "map_or_null")]
    status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    r#type: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    ip_families: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    external_name: Option<String>,
    load_balancer_source_ranges: Option<Vec<String>>,
    external_traffic_policy: Option<String>,
    internal_traffic_policy: Option<String>,
    health_check_node_port: Option<i64>,
    session_affinity: Option<String>,
    #[serde(deserialize_with = "map_or_null")]
    session_affinity_config: Option<AffinityConfig>,
    publish_not_ready_addresses: Option<bool>,
    selector: Option<BTreeMap<Box<str>, Box<str>>>,
    #[serde(deserialize_with = "maps_or_null")]
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AffinityConfig {
    #[serde(rename = "clientIP", deserialize_with = "map_or_null")]
    client_ip: Option<ClientIp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientIp {
    timeout_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<Box<str>>,
    protocol: Option<String>,
    port: Option<i64>,
    node_port: Option<i64>,
    target_port: Option<Value>,
    app_protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "map_or_null")]
    load_balancer: Option<LoadBalancer<Ingress>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ingress {
    ip: Option<String>,
    ip_mode: Option<String>,
}

pub(crate) fn convert(wire: WireService) -> Result<Service, Problem> {
    let WireService { metadata, spec, status } = wire;
    let mut notes = Notes::begin(Kind::Service, &metadata)?;
    let spec = spec.unwrap_or_default();
    let (cluster_ips, headless) = cluster_ips(&spec, &mut notes);
    let ports = ports(spec.ports.unwrap_or_default(), &mut notes);
    let ingress = status.and_then(|s| s.load_balancer).and_then(|b| b.ingress);
    let label = |name| metadata.label(name).map(Box::from);
    Ok(Service {
        proxy_name: label("service.kubernetes.io/service-proxy-name"),
        headless_label: metadata.label("service.kubernetes.io/headless").is_some(),
        service_type: service_type(spec.r#type.as_deref(), &mut notes),
        cluster_ips: fit(cluster_ips),
        headless,
        ip_families: fit(families(spec.ip_families.as_deref().unwrap_or_default(), &mut notes)),
        external_ips: fit(addresses(spec.external_ips, "spec.externalIPs", &mut notes)),
        external_name: spec.external_name.filter(|name| !name.is_empty()).map(Into::into),
        load_balancer: fit(load_balancer(ingress.unwrap_or_default(), &mut notes)),
        source_ranges: source_ranges(spec.load_balancer_source_ranges, &mut notes),
        external_policy: policy(
            spec.external_traffic_policy.as_deref(),
            "spec.externalTrafficPolicy",
            &mut notes,
        ),
        internal_policy: policy(
            spec.internal_traffic_policy.as_deref(),
            "spec.internalTrafficPolicy",
            &mut notes,
        ),
        health_check_node_port: spec
            .health_check_node_port
            .filter(|port| *port != 0)
            .and_then(|port| notes.port("spec.healthCheckNodePort", port))
            .unwrap_or(0),
        affinity_seconds: affinity(
            spec.session_affinity.as_deref(),
            spec.session_affinity_config,
            &mut notes,
        ),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        selector: spec.selector.unwrap_or_default().into_iter().collect(),
        ports: fit(ports),
        meta: notes.finish(metadata),
    })
}

fn cluster_ips(spec: &Spec, notes: &mut Notes) -> (Vec<IpAddr>, bool) {
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    let single = spec.cluster_ip.as_slice();
    let texts = if listed.is_empty() { single } else { listed };
    let headless = texts.iter().any(|text| text == "None");
    let mut ips: Vec<IpAddr> = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty() && *text != "None") {
        let Some(ip) = notes.destination("spec.clusterIPs", text) else { continue };
        if ips.iter().any(|known| Family::of(*known) == Family::of(ip)) {
            let why = format!("{ip} is a second address of its family and is not used");
            notes.note("spec.clusterIPs", &why, "keep one address of each family");
        } else {
            ips.push(ip);
        }
    }
    (ips, headless)
}

fn ports(wire: Vec<Port>, notes: &mut Notes) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    let mut names = BTreeSet::new();
    for (at, port) in wire.into_iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{at}].{name}");
        let Some(protocol) = protocol(port.protocol.as_deref()) else {
            let shown = shown(&port.protocol.unwrap_or_default());
            let why = format!("unknown protocol {shown:?}; the port is not served");
            notes.note(&field("protocol"), &why, "use TCP, UDP or SCTP");
            continue;
        };
        let Some(number) = notes.port(&field("port"), port.port.unwrap_or(0)) else { continue };
        let name = port.name.unwrap_or_default();
        if !names.insert(name.clone()) {
            let why = format!("a second port named {:?}; it is not served", shown(&name));
            notes.note(&field("name"), &why, "give every port a name of its own");
            continue;
        }
        let node_port = port
            .node_port
            .filter(|number| *number != 0)
            .and_then(|number| notes.port(&field("nodePort"), number))
            .unwrap_or(0);
        let target = target(port.target_port, number, &field("targetPort"), notes);
        let app_protocol = app_protocol(port.app_protocol.as_deref());
        ports.push(ServicePort { name, protocol, port: number, node_port, target, app_protocol });
    }
    ports
}

/// Names are compared as they are written: an API server keeps their case.
fn app_protocol(text: Option<&str>) -> AppProtocol {
    match text {
        Some("kubernetes.io/h2c" | "grpc") => AppProtocol::Http2,
        Some("https" | "kubernetes.io/wss") => AppProtocol::Https,
        _ => AppProtocol::Http,
    }
}

fn target(wire: Option<Value>, port: u16, field: &str, notes: &mut Notes) -> TargetPort {
    match wire {
        None | Some(Value::Null) => TargetPort::Number(port),
        // The API's default, as 0 is.
        Some(Value::String(name)) if name.is_empty() => TargetPort::Number(port),
        Some(Value::String(name)) => match name.parse::<u16>() {
            Ok(number) => {
                let why = format!("\"{number}\" is a text and is read as the number {number}");
                notes.note(field, &why, "write it without quotes");
                TargetPort::Number(if number == 0 { port } else { number })
            }
            Err(_name) => TargetPort::Name(name.into()),
        },
        Some(Value::Number(number)) if number.as_i64() == Some(0) => TargetPort::Number(port),
        Some(Value::Number(number)) => {
            TargetPort::Number(notes.port(field, number.as_i64().unwrap_or(-1)).unwrap_or(port))
        }
        Some(_) => {
            notes.note(field, "neither a number nor a name", "use the container port or its name");
            TargetPort::Number(port)
        }
    }
}

fn service_type(text: Option<&str>, notes: &mut Notes) -> ServiceType {
    match text {
        None | Some("" | "ClusterIP") => ServiceType::ClusterIp,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        Some(other) => {
            let why = format!("unknown type {:?}; it is served as ClusterIP", shown(other));
            notes.note("spec.type", &why, "use ClusterIP, NodePort, LoadBalancer or ExternalName");
            ServiceType::Unknown
        }
    }
}

fn policy(text: Option<&str>, field: &str, notes: &mut Notes) -> TrafficPolicy {
    match text {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            let why = format!("unknown policy {:?}; Cluster is in force", shown(other));
            notes.note(field, &why, "use Cluster or Local");
            TrafficPolicy::Cluster
        }
    }
}

fn affinity(text: Option<&str>, config: Option<AffinityConfig>, notes: &mut Notes) -> Option<u32> {
    match text {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            let why = format!("unknown affinity {:?}; None is in force", shown(other));
            notes.note("spec.sessionAffinity", &why, "use None or ClientIP");
            return None;
        }
    }
    let seconds = config.and_then(|config| config.client_ip).and_then(|ip| ip.timeout_seconds);
    let Some(seconds) = seconds else { return Some(DEFAULT_AFFINITY_SECONDS) };
    let fits = u32::try_from(seconds).ok().filter(|s| (1..=AFFINITY_SECONDS_MAX).contains(s));
    if fits.is_none() {
        let why = format!("{seconds} is not from 1 to {AFFINITY_SECONDS_MAX}");
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        notes.note(field, &why, "the nearest legal value is in force");
    }
    fits.or(Some(if seconds < 1 { 1 } else { AFFINITY_SECONDS_MAX }))
}

fn families(texts: &[String], notes: &mut Notes) -> Vec<Family> {
    let family = |text: &String| match text.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        other => {
            let why = format!("unknown family {:?}; it is passed over", shown(other));
            notes.note("spec.ipFamilies", &why, "use IPv4 or IPv6");
            None
        }
    };
    texts.iter().filter_map(family).collect()
}

fn addresses(texts: Option<Vec<String>>, field: &str, notes: &mut Notes) -> Vec<IpAddr> {
    let texts = texts.unwrap_or_default();
    texts.iter().filter_map(|text| notes.destination(field, text)).collect()
}

fn load_balancer(wire: Vec<Ingress>, notes: &mut Notes) -> Vec<LoadBalancerIngress> {
    let mut ingress = Vec::new();
    for entry in wire {
        // An entry with a host name only leads nowhere from here.
        let Some(text) = entry.ip.filter(|text| !text.is_empty()) else { continue };
        if let Some(ip) = notes.destination("status.loadBalancer.ingress", &text) {
            let proxied = !matches!(entry.ip_mode.as_deref(), None | Some("" | "VIP"));
            ingress.push(LoadBalancerIngress { ip, proxied });
        }
    }
    ingress
}

/// Ten thousand Services are kept, and a growing vector begins with room for four.
fn fit<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}

fn source_ranges(texts: Option<Vec<String>>, notes: &mut Notes) -> Vec<Cidr> {
    let texts = texts.unwrap_or_default();
    let mut ranges = Vec::new();
    for text in &texts {
        match cidr(text) {
            Some(range) => ranges.push(range),
            None => {
                let shown = shown(text);
                let why = format!("{shown:?} is not a block of addresses and allows no client");
                notes.note("spec.loadBalancerSourceRanges", &why, "write it as 192.0.2.0/24");
            }
        }
    }
    if ranges.is_empty() && !texts.is_empty() {
        // Without any range every client may come in. A list of nonsense alone was meant to keep some
        // out: these blocks hold no address that a packet can come from.
        let no_client = ["0.0.0.0/32", "::/128"];
        ranges.extend(no_client.iter().filter_map(|text| Cidr::parse(text)));
    }
    ranges
}

/// Leading zeros are decimal here as well.
fn cidr(text: &str) -> Option<Cidr> {
    let (base, prefix) = text.trim().split_once('/')?;
    Cidr::parse(&format!("{}/{prefix}", readable_address(base)?))
}
