//! The same from manifests: a pure compile, without a daemon and without a kernel.

use std::{collections::BTreeSet, path::Path};

use towpath_model::{Event, Kind, NodeFact, ObjectName, Problem, Store, Stream};

use super::{HOST, answer, party::World};
use crate::{
    api::explain::ExplainAnswer,
    config::cluster_ip_ranges,
    dns::Names,
    policy,
    services::{self, ProxyConfig},
    source::manifests,
};

/// The kinds that decide.
const KINDS: [Kind; 6] = [
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Node,
    Kind::Pod,
    Kind::Namespace,
    Kind::NetworkPolicy,
];
/// Most clusters' domain.
const DOMAIN: &str = "cluster.local";

/// Manifests, and the node whose decisions are asked for.
#[derive(Debug)]
pub struct Manifests<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// The node.
    pub node: &'a str,
}

/// Explains with every feature on; and what is wrong with the manifests.
#[must_use]
pub fn explain_manifests(
    manifests: &Manifests<'_>,
    from: Option<&str>,
    to: &str,
) -> (ExplainAnswer, Vec<Problem>) {
    let wanted: BTreeSet<Stream> = KINDS.map(Stream::all).into();
    let read = manifests::once(manifests.dir, &cluster_ip_ranges(), manifests.node, &wanted);
    let mut store = Store::new(manifests.node);
    for event in read.events {
        // Nothing is asked again: what is there was read.
        let _relist = store.feed(event);
    }
    let own_dns = ObjectName::new("kube-system", "kube-dns");
    store.feed(Event::Local(NodeFact::AnswersDns(Some(own_dns.clone()))));
    let (view, _changes) = store.commit();
    let services = services::Planned::of(&view, ProxyConfig::default());
    let names = Names::of(&view, DOMAIN);
    let policies = policy::Planned::of(&view, Some(&own_dns));
    let world = World {
        view,
        router: services.router(view),
        judge: Some(policies.judge(view)),
        names: names.as_ref(),
        packets: true,
        offline: true,
    };
    (answer(&world, from.unwrap_or(HOST), to), read.problems)
}
