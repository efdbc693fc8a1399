//! EndpointSlice.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;

use super::{
    map::{Text, map, map_or_null, maps_or_null},
    meta::{Notes, WireMeta, protocol, shown},
};
use crate::{
    EndpointSlice, Family, Kind, ObjectName, Problem,
    slice::{Endpoint, SlicePort},
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WireSlice<'a> {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta,
    address_type: Option<String>,
    #[serde(borrow, deserialize_with = "maps_or_null")]
    endpoints: Option<Vec<WireEndpoint<'a>>>,
    #[serde(deserialize_with = "maps_or_null")]
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireEndpoint<'a> {
    #[serde(borrow)]
    addresses: Option<Vec<Text<'a>>>,
    #[serde(deserialize_with = "map_or_null")]
    conditions: Option<Conditions>,
    #[serde(borrow)]
    hostname: Option<Text<'a>>,
    #[serde(borrow)]
    node_name: Option<Text<'a>>,
    #[serde(borrow, deserialize_with = "map_or_null")]
    hints: Option<Hints<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hints<'a> {
    #[serde(borrow, deserialize_with = "maps_or_null")]
    for_zones: Option<Vec<Named<'a>>>,
    #[serde(borrow, deserialize_with = "maps_or_null")]
    for_nodes: Option<Vec<Named<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: Option<Box<str>>,
    protocol: Option<String>,
    port: Option<i64>,
}

/// The field of a slice's problem that it belongs to no Service.
pub(crate) const SERVICE_LABEL: &str = "metadata.labels";

pub(crate) fn convert(wire: WireSlice<'_>) -> Result<EndpointSlice, Problem> {
    let WireSlice { metadata, address_type, endpoints, ports } = wire;
    let mut notes = Notes::begin(Kind::EndpointSlice, &metadata)?;
    let Some(service) = metadata.label("kubernetes.io/service-name").filter(|s| !s.is_empty())
    else {
        return Err(notes.problem(
            SERVICE_LABEL,
            "no label kubernetes.io/service-name: it belongs to no Service",
            "name the Service with that label",
        ));
    };
    let service = ObjectName::new(&notes.name().namespace, service);
    let family = match address_type.as_deref() {
        Some("IPv4") => Some(Family::V4),
        Some("IPv6") => Some(Family::V6),
        Some("FQDN") => None,
        other => {
            let why = match other {
                None | Some("") => "is missing; no endpoint is used".to_owned(),
                Some(other) => format!("unknown type {:?}; no endpoint is used", shown(other)),
            };
            notes.note("addressType", &why, "use IPv4 or IPv6");
            None
        }
    };
    let ports = slice_ports(ports.unwrap_or_default(), &mut notes);
    let endpoints = match family {
        Some(family) => self::endpoints(endpoints.unwrap_or_default(), family, &mut notes),
        None => Vec::new(),
    };
    let label = metadata.label("service.kubernetes.io/service-proxy-name");
    let triggered = metadata.annotation("endpoints.kubernetes.io/last-change-trigger-time");
    Ok(EndpointSlice {
        service,
        proxy_name: label.map(Box::from),
        headless_label: metadata.label("service.kubernetes.io/headless").is_some(),
        family,
        ports: ports.into(),
        endpoints: endpoints.into(),
        triggered: triggered.map(Box::from),
        meta: notes.finish(metadata),
    })
}

fn slice_ports(wire: Vec<Port>, notes: &mut Notes) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for (at, port) in wire.into_iter().enumerate() {
        let field = |name: &str| format!("ports[{at}].{name}");
        // No name or no number: legal, and nothing to route to (services.md 1.1).
        let Some(name) = port.name else {
            let why = "a port without a name belongs to no port of the Service";
            notes.note(
                &field("name"),
                why,
                "name it as the Service's port, \"\" for the unnamed one",
            );
            continue;
        };
        let Some(number) = port.port else {
            let why = "a port without a number is not routed";
            notes.note(&field("port"), why, "use a number from 1 to 65535");
            continue;
        };
        let Some(protocol) = protocol(port.protocol.as_deref()) else {
            let shown = shown(&port.protocol.unwrap_or_default());
            let why = format!("unknown protocol {shown:?}; the port is not routed");
            notes.note(&field("protocol"), &why, "use TCP, UDP or SCTP");
            continue;
        };
        if let Some(number) = notes.port(&field("port"), number) {
            ports.push(SlicePort { name, protocol, port: number });
        }
    }
    ports
}

fn endpoints(wire: Vec<WireEndpoint<'_>>, family: Family, notes: &mut Notes) -> Vec<Endpoint> {
    let mut names = Names::default();
    let mut endpoints = Vec::with_capacity(wire.len());
    for (at, endpoint) in wire.into_iter().enumerate() {
        let field = format!("endpoints[{at}].addresses[0]");
        let addresses = endpoint.addresses.unwrap_or_default();
        let Some(Text(text)) = addresses.first() else { continue };
        let Some(addr) = notes.address(&field, text) else { continue };
        if Family::of(addr) != family {
            let why = format!("{addr} is no {} address and is not used", family.as_str());
            notes.note(&field, &why, "put each family into slices of its own addressType");
            continue;
        }
        let conditions = endpoint.conditions.unwrap_or_default();
        let hints = endpoint.hints.unwrap_or_default();
        endpoints.push(Endpoint {
            addr,
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            hostname: endpoint
                .hostname
                .filter(|n| !n.0.is_empty())
                .map(|n| Box::new((*n.0).into())),
            node: endpoint.node_name.filter(|n| !n.0.is_empty()).map(|n| names.share(&n.0)),
            zone_hints: names.share_all(hints.for_zones),
            node_hints: names.share_all(hints.for_nodes),
        });
    }
    endpoints
}

/// Node and zone names repeat within a slice: kept once.
#[derive(Default)]
struct Names(BTreeSet<Arc<str>>);

impl Names {
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }

    fn share_all(&mut self, names: Option<Vec<Named<'_>>>) -> Option<Box<[Arc<str>]>> {
        let names = names.unwrap_or_default();
        let shared: Box<[_]> =
            names.iter().filter_map(|n| n.name.as_ref()).map(|n| self.share(&n.0)).collect();
        (!shared.is_empty()).then_some(shared)
    }
}
