//! Why a Service port has no endpoints, told slice by slice.

use towpath_model::{EndpointSlice, Family, View, slice::SlicePort};
use towpath_proxy::ServicePortId;

/// Slices that are named at most.
const SLICES_MAX: usize = 20;
/// Ports of a slice that are named at most.
const PORTS_MAX: usize = 8;

/// What the Service's slices have in place of endpoints for this port.
pub(super) fn without_endpoints(view: &View<'_>, port: &ServicePortId) -> Vec<String> {
    let mut slices = view.slices_of(&port.service);
    let mut said: Vec<String> = slices
        .by_ref()
        .take(SLICES_MAX)
        .map(|slice| format!("EndpointSlice {}: {}", slice.meta.name.name, why_none(slice, port)))
        .collect();
    let more = slices.count();
    if more > 0 {
        said.push(format!("{more} more EndpointSlices"));
    }
    if said.is_empty() {
        said.push(format!(
            "no EndpointSlice has the label kubernetes.io/service-name: {}",
            port.service.name
        ));
    }
    said
}

fn why_none(slice: &EndpointSlice, port: &ServicePortId) -> String {
    match slice.family {
        None => return "its addressType is neither IPv4 nor IPv6".to_owned(),
        Some(family) if family != port.family => {
            return format!("its addresses are {}", family.as_str());
        }
        Some(_) => {}
    }
    let fits = |one: &SlicePort| *one.name == *port.port && one.protocol == port.protocol;
    if !slice.ports.iter().any(fits) {
        let ports: Vec<String> = slice.ports.iter().take(PORTS_MAX).map(port_name).collect();
        let has = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        let wanted = called(&port.port);
        let protocol = port.protocol.as_str();
        return format!("no port {wanted} with protocol {protocol}; its ports: {has}");
    }
    if slice.endpoints.iter().any(|endpoint| Family::of(endpoint.addr) == port.family) {
        return "its addresses cannot be routed".to_owned();
    }
    "it has no endpoints".to_owned()
}

fn port_name(port: &SlicePort) -> String {
    format!("{} {}/{}", called(&port.name), port.port, port.protocol.as_str())
}

fn called(name: &str) -> String {
    if name.is_empty() { "without a name".to_owned() } else { format!("{name:?}") }
}
