//! Every endpoint of a service port, and why it is used or not. Whether it is used is what the set
//! holds; the reason is read off its conditions and off what the selection said of the whole set.

use std::{collections::BTreeSet, net::IpAddr};

use towpath_image::datapath::SetChoice;
use towpath_model::{
    EndpointSlice, ObjectName, View,
    select::{Candidate, Why, candidates},
    why_unroutable,
};

use crate::{plan::slices_of, planned::PlannedPort};

/// An endpoint of a service port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointFact<'a> {
    /// What is known of it.
    pub endpoint: Candidate<'a>,
    /// Its node's zone.
    pub zone: Option<&'a str>,
    /// It is in the set.
    pub used: bool,
    /// Why it is, or is not.
    pub why: String,
}

/// The endpoints of a port, by address. `set`: the one whose reasons are told, of which `used` are.
/// `of`: the remote node whose own set it is.
#[must_use]
pub fn endpoints<'a>(
    view: &View<'a>,
    port: &PlannedPort,
    (set, of): (SetChoice, Option<&str>),
    used: &BTreeSet<(IpAddr, u16)>,
) -> Vec<EndpointFact<'a>> {
    let id = &port.id;
    let slices: Vec<&EndpointSlice> = slices_of(view, &id.service).collect();
    let all = candidates(slices, &id.port, id.protocol, id.family);
    let why = match of {
        Some(_) => Why::ReadyLocal,
        None => port.why[usize::from(set == SetChoice::Local)],
    };
    let own = of.unwrap_or_else(|| view.own_node_name());
    let fact = |endpoint: Candidate<'a>| {
        let used = used.contains(&(endpoint.addr, endpoint.port));
        let zone = endpoint.node.and_then(|node| {
            let name = ObjectName::new("", node);
            view.node(&name)?.zone.as_deref()
        });
        let why = if used { chosen(why).to_owned() } else { left_out(&endpoint, set, why, own) };
        EndpointFact { endpoint, zone, used, why }
    };
    all.into_iter().map(fact).collect()
}

const fn chosen(why: Why) -> &'static str {
    match why {
        Why::ReadySameZone => "ready, and meant for this zone",
        Why::ReadySameNode => "ready, and meant for this node",
        Why::ReadyLocal => "ready, and on the node that is asked",
        Why::Terminating => "terminating and still serving: none is ready",
        _ => "ready",
    }
}

fn left_out(endpoint: &Candidate<'_>, set: SetChoice, why: Why, own: &str) -> String {
    if let Some(wrong) = why_unroutable(endpoint.addr) {
        return format!("its address is {wrong}: never used");
    }
    let local = set == SetChoice::Local;
    match (endpoint.ready, endpoint.terminating) {
        _ if local && endpoint.node != Some(own) => {
            "not on the node that is asked, and the policy is Local"
        }
        (false, true) if endpoint.serving => {
            "terminating and still serving: used only where none is ready"
        }
        (false, true) => "terminating, and not serving any more",
        (false, false) => "not ready",
        (true, _) => match why {
            Why::ReadySameZone => "meant for another zone",
            Why::ReadySameNode => "meant for another node",
            _ => "left out: the Service has more endpoints than one may have",
        },
    }
    .to_owned()
}
