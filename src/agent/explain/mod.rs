//! `towpath explain`: what becomes of a connection, hop by hop. What each area decides is the area's;
//! here the ends are found, and the hops are put together.

mod asked;
mod offline;
mod party;
mod route;
mod target;

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use towpath_ebpf::MapsReader;
use towpath_image::{PolicyImage, ServiceImage};
use towpath_model::{ObjectName, Protocol};

pub use offline::{Manifests, explain_manifests};

use self::{
    asked::NotUnderstood,
    party::{Party, World},
    route::{result, route},
    target::{Target, resolve},
};
use super::Daemon;
use crate::{
    admin::Parameters,
    api::{
        VERSION,
        explain::{
            ExplainAnswer, ExplainReply, NameReply, NotUnderstoodReply, Outcome, ResultReply,
            RouteReply,
        },
    },
    dns::Dns,
    policy::Policy,
    reconcile::{Area as _, Asker, State},
    services::Services,
};

/// Who is meant when no source is named.
const HOST: &str = "host";
/// The port of DNS.
const DNS: u16 = 53;
/// Addresses of a name that are followed at most: a headless Service has one for each endpoint.
const ROUTES_MAX: usize = 16;
/// The areas that decide about connections.
const DECIDING: [&str; 3] = [Services::NAME, Policy::NAME, Dns::NAME];
/// A change that is being written makes the maps differ from the plan for a moment: so often it is
/// looked again, and so long is waited in between.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_millis(150);

/// Answers from the loop, and from the maps.
pub(super) struct Explainer {
    pub(super) asker: Asker<Daemon>,
    pub(super) services: MapsReader<ServiceImage>,
    pub(super) policy: Option<MapsReader<PolicyImage>>,
}

/// What was read back of the maps; `None`: it cannot be read.
#[derive(Clone)]
struct Held {
    services: Option<Arc<ServiceImage>>,
    policy: Option<Arc<PolicyImage>>,
}

impl Explainer {
    /// `None`: the loop did not answer.
    pub(super) fn explain(&self, asked: Parameters<'_>) -> Option<ExplainAnswer> {
        let from = asked.get("from").unwrap_or_else(|| HOST.to_owned());
        let to = asked.get("to").unwrap_or_default();
        for look in 1.. {
            // Not on the loop's thread: that takes as long as the maps are large.
            let held = self.read();
            let (own, from, to) = (held.clone(), from.clone(), to.clone());
            let reply = self.asker.ask(move |state| explain(state, &own, &from, &to))?;
            // The last of its owners lets go of it here, not in the loop.
            drop(held);
            if look == LOOKS || !differs(&reply) {
                return Some(reply);
            }
            thread::sleep(PAUSE);
        }
        None
    }

    fn read(&self) -> Held {
        let services = self.services.read().inspect_err(|error| {
            tracing::warn!(%error, "the maps of Services cannot be read");
        });
        let policy = self.policy.as_ref().map(MapsReader::read).transpose().inspect_err(|error| {
            tracing::warn!(%error, "the maps of policies cannot be read");
        });
        Held { services: services.ok().map(Arc::new), policy: policy.ok().flatten().map(Arc::new) }
    }
}

/// Do the maps say something else than what was written?
fn differs(answer: &ExplainAnswer) -> bool {
    let ExplainAnswer::Explained(reply) = answer else { return false };
    reply.routes.iter().any(|route| {
        let service = route.service.as_ref().and_then(|hop| hop.kernel_agrees);
        let destinations = route.destinations.iter();
        let mut hops = destinations.flat_map(|one| [&one.egress, &one.ingress]).flatten();
        service == Some(false)
            || hops.any(|hop| hop.kernel.as_ref().is_some_and(|kernel| !kernel.agrees))
    })
}

/// In one piece, between two turns of the loop.
fn explain(state: &State<Daemon>, held: &Held, from: &str, to: &str) -> ExplainAnswer {
    let (view, areas) = (state.view(), state.areas());
    // An area that decides nothing here, and is not listed, holds up no answer.
    let states = state.area_states();
    let unlisted: Vec<String> = states
        .iter()
        .filter(|area| DECIDING.contains(&area.name))
        .flat_map(|area| area.unlisted.iter().map(ToString::to_string).collect::<Vec<_>>())
        .collect();
    let Some(services) = areas.services.as_ref().filter(|_| unlisted.is_empty()) else {
        let why = format!("not listed yet: {}", unlisted.join(", "));
        let action = "`towpath status` says how well the daemon hears the API server";
        return ExplainAnswer::Explained(unsynced(view.own_node_name(), from, to, &why, action));
    };
    let policy = areas.policy.as_ref().map(|runner| runner.area());
    let names = areas.dns.as_ref().map(|runner| runner.area().names());
    let world = World {
        view,
        router: services.area().router(view, held.services.as_deref()),
        judge: policy.map(|policy| policy.judge(view, held.policy.as_deref())),
        names: names.as_ref(),
        packets: areas.packets.is_some(),
        offline: false,
    };
    let mut answer = answer(&world, from, to);
    if let ExplainAnswer::Explained(reply) = &mut answer {
        reply.drops = policy.map(Policy::drops);
    }
    answer
}

fn answer(world: &World<'_>, from: &str, to: &str) -> ExplainAnswer {
    match explained(world, from, to) {
        Ok(reply) => ExplainAnswer::Explained(reply),
        Err(NotUnderstood { error, action }) => {
            let api_version = VERSION.to_owned();
            ExplainAnswer::NotUnderstood(NotUnderstoodReply { api_version, error, action })
        }
    }
}

fn unsynced(node: &str, from: &str, to: &str, why: &str, action: &str) -> ExplainReply {
    ExplainReply {
        api_version: VERSION.to_owned(),
        node: node.to_owned(),
        offline: false,
        from: crate::api::explain::PartyReply {
            kind: "unknown".to_owned(),
            name: Some(from.to_owned()),
            node: None,
            addresses: Vec::new(),
            notes: Vec::new(),
        },
        to: to.to_owned(),
        protocol: String::new(),
        name: None,
        routes: Vec::new(),
        more_routes: 0,
        drops: None,
        result: result(Outcome::Unknown, why, action),
    }
}

fn explained(world: &World<'_>, from: &str, to: &str) -> Result<ExplainReply, NotUnderstood> {
    let source = world.source(from)?;
    let mut target = resolve(world, &source, to)?;
    if let Some(name) = &mut target.name {
        asks(world, &source, &target.service.map(|one| one.meta.name.clone()), name);
    }
    let fits = |ip: &&std::net::IpAddr| source.ips.is_empty() || source.ip(ip.is_ipv4()).is_some();
    let addresses: Vec<_> = target.addresses.iter().filter(fits).collect();
    let routes: Vec<RouteReply> = addresses
        .iter()
        .take(ROUTES_MAX)
        .map(|ip| {
            let to = SocketAddr::new(**ip, target.port);
            let mut route = route(world, &source, to, target.protocol);
            without_frontend(&target, &mut route);
            route
        })
        .collect();
    let result = conclude(&source, &target, &routes);
    Ok(ExplainReply {
        api_version: VERSION.to_owned(),
        node: world.own().to_owned(),
        offline: world.offline,
        from: source.reply(),
        to: to.to_owned(),
        protocol: target.protocol.as_str().to_owned(),
        name: target.name,
        more_routes: addresses.len().saturating_sub(routes.len()) as u64,
        routes,
        drops: None,
        result,
    })
}

/// A pod must reach the cluster's DNS before it has an address to connect to.
fn asks(world: &World<'_>, source: &Party<'_>, target: &Option<ObjectName>, name: &mut NameReply) {
    let dns = match world.names {
        Some(names) => names.service.clone(),
        None => ObjectName::new("kube-system", "kube-dns"),
    };
    let judged = source.pod().is_some() && world.judge.is_some();
    if !judged || target.as_ref() == Some(&dns) {
        return;
    }
    let Some(service) = world.view.service(&dns) else { return };
    let fits = |ip: &&std::net::IpAddr| source.ip(ip.is_ipv4()).is_some();
    let Some(ip) = service.cluster_ips.iter().find(fits) else { return };
    let question = route(world, source, SocketAddr::new(*ip, DNS), Protocol::Udp);
    if question.result.outcome == Outcome::Dies {
        name.outcome = Outcome::Dies;
        name.why = format!("the cluster's DNS ({dns}) cannot be asked: {}", question.result.why);
    }
    name.question = Some(Box::new(question));
}

/// The Service is known, and its address leads nowhere.
fn without_frontend(target: &Target<'_>, route: &mut RouteReply) {
    let Some(service) = target.service else { return };
    if route.service.is_none() && !route.destinations.is_empty() {
        let name = &service.meta.name;
        route.result = result(
            Outcome::Unknown,
            format!(
                "Service {name} is known, and its address {} is not in force here",
                route.address
            ),
            format!("`towpath services {name}` says why"),
        );
    }
}

fn conclude(source: &Party<'_>, target: &Target<'_>, routes: &[RouteReply]) -> ResultReply {
    if let Some(name) = target.name.as_ref().filter(|name| name.outcome == Outcome::Dies) {
        let action = name.question.as_ref().map(|one| one.result.action.clone());
        let why = format!("the name {} does not resolve: {}", name.name, name.why);
        return result(Outcome::Dies, why, action.unwrap_or_default());
    }
    let several = routes.len() > 1;
    let of = |outcome: Outcome| routes.iter().find(|route| route.result.outcome == outcome);
    let told = |route: &RouteReply| {
        let at = if several { format!("by {}: ", route.address) } else { String::new() };
        let ResultReply { outcome, why, action } = route.result.clone();
        ResultReply { outcome, why: format!("{at}{why}"), action }
    };
    if let Some(worst) = of(Outcome::Dies).or_else(|| of(Outcome::Unknown)) {
        return told(worst);
    }
    match (routes.first(), &target.name) {
        (Some(first), _) => told(first),
        (None, Some(name)) if target.addresses.is_empty() && name.outcome == Outcome::Unknown => {
            result(Outcome::Unknown, format!("{}: {}", name.name, name.why), "")
        }
        (None, _) if target.addresses.is_empty() => {
            let action = "a headless Service has one for each ready endpoint";
            result(Outcome::Dies, "the name has no address", action)
        }
        (None, _) => {
            let why =
                format!("{} has no address of the family of what is asked for", source.text());
            result(Outcome::Dies, why, "")
        }
    }
}

#[cfg(test)]
mod tests;
