//! The way to one address: the frontend, the endpoints, and the policies at both ends.

use std::net::{IpAddr, SocketAddr};

use towpath_image::datapath::policy::Direction;
use towpath_model::Protocol;

use super::party::{Kind, Party, World};
use crate::{
    api::explain::{DestinationReply, Lacks, Outcome, PolicyHop, ResultReply, RouteReply},
    policy::End,
    services::{Backend, Fate, Way},
};

/// Destinations that are judged at most.
const DESTINATIONS_MAX: usize = 64;

pub(super) fn result(
    outcome: Outcome,
    why: impl Into<String>,
    action: impl Into<String>,
) -> ResultReply {
    ResultReply { outcome, why: why.into(), action: action.into() }
}

/// The way of a connection of `source` to an address.
pub(super) fn route(
    world: &World<'_>,
    source: &Party<'_>,
    to: SocketAddr,
    protocol: Protocol,
) -> RouteReply {
    let mut reply = RouteReply {
        address: to.ip().to_string(),
        port: to.port(),
        service: None,
        destinations: Vec::new(),
        more_destinations: 0,
        result: result(Outcome::Unknown, "", ""),
    };
    let way = match source.kind {
        Kind::Pod(_) => Way::Pod,
        // Another node's sockets are its own daemon's: it decides as this one would.
        Kind::Host | Kind::Node => Way::Host,
        Kind::Outside => {
            // Without an address of its own nothing is masqueraded, and no affinity is read anyway.
            Way::Packet(source.ip(to.is_ipv4()).unwrap_or_else(|| to.ip()))
        }
    };
    let (hop, fate) = world.router.route(to, protocol, way);
    reply.service = hop;
    let direct = || Backend { at: to, node: None, masqueraded: false };
    let backends = match fate {
        Fate::Dies(why, action) => {
            reply.result = result(Outcome::Dies, why, action);
            return reply;
        }
        Fate::Unknown(why, action) => {
            reply.result = result(Outcome::Unknown, why, action);
            return reply;
        }
        Fate::Led(_) if matches!(way, Way::Packet(_)) && !world.packets => {
            let why =
                "packets from outside are not translated by Towpath (features.packets is off)";
            reply.result = result(Outcome::Unknown, why, "switch it on, or ask what serves them");
            return reply;
        }
        Fate::Untouched
            if matches!(source.kind, Kind::Outside)
                && matches!(world.at(to.ip(), None).kind, Kind::Node) =>
        {
            let why = "the node with that address decides";
            reply.result = result(Outcome::Unknown, why, "ask the daemon of that node");
            return reply;
        }
        Fate::Led(backends) => backends,
        Fate::Untouched => vec![direct()],
    };
    reply.more_destinations = backends.len().saturating_sub(DESTINATIONS_MAX) as u64;
    let judged = backends.iter().take(DESTINATIONS_MAX);
    reply.destinations = judged.map(|one| destination(world, source, one, protocol)).collect();
    reply.result = conclude(&reply.destinations, reply.service.is_some());
    reply
}

fn destination(
    world: &World<'_>,
    source: &Party<'_>,
    backend: &Backend,
    protocol: Protocol,
) -> DestinationReply {
    let (ip, port) = (backend.at.ip(), backend.at.port());
    let party = world.at(ip, backend.node.as_deref());
    let mut reply = DestinationReply {
        address: ip.to_string(),
        port,
        party: party.reply(),
        egress: None,
        ingress: None,
    };
    if source.ips.contains(&ip) {
        reply.party.notes.push("that is the source itself: it does not leave it".to_owned());
        return reply;
    }
    let asked = Asked { carried: (protocol, port), to: ip, masqueraded: backend.masqueraded };
    reply.egress = egress(world, source, &asked);
    reply.ingress = ingress(world, source, &party, &asked);
    reply
}

struct Asked {
    carried: (Protocol, u16),
    to: IpAddr,
    /// The destination sees an address of this node's in place of the source's.
    masqueraded: bool,
}

/// What the policies of the source say.
fn egress(world: &World<'_>, source: &Party<'_>, asked: &Asked) -> Option<PolicyHop> {
    let Kind::Pod(pod) = source.kind else { return None };
    let judge = world.judge?;
    let direction = Direction::Egress;
    match pod {
        Some(pod) => {
            Some(judge.hop(&End { pod, direction, peer: asked.to, carried: asked.carried }))
        }
        None if judge.any(direction) => Some(unknown(source, "its labels are not known here")),
        None => None,
    }
}

/// What the policies of the destination say.
fn ingress(
    world: &World<'_>,
    source: &Party<'_>,
    party: &Party<'_>,
    asked: &Asked,
) -> Option<PolicyHop> {
    let Kind::Pod(pod) = party.kind else { return None };
    let judge = world.judge?;
    let Some(pod) = pod else {
        return judge
            .any(Direction::Ingress)
            .then(|| unknown(party, "its labels are not known here: ask the daemon of its node"));
    };
    let beside = pod.node.is_some() && pod.node.as_deref() == source.node.as_deref();
    if matches!(source.kind, Kind::Host | Kind::Node) && beside {
        let mut hop = unknown(party, "the node itself begins it: no policy judges that");
        hop.here = pod.node.as_deref() == Some(world.own());
        hop.outcome = Outcome::Passes;
        return Some(hop);
    }
    let v4 = asked.to.is_ipv4();
    let seen = if asked.masqueraded { world.host().ip(v4) } else { source.ip(v4) };
    let Some(peer) = seen else {
        return Some(unknown(party, "the address that it would see is not known here"));
    };
    let end = End { pod, direction: Direction::Ingress, peer, carried: asked.carried };
    Some(judge.hop(&end))
}

fn unknown(party: &Party<'_>, why: &str) -> PolicyHop {
    PolicyHop {
        pod: party.name.clone().unwrap_or_else(|| party.text()),
        node: party.node.clone().unwrap_or_default(),
        here: false,
        outcome: Outcome::Unknown,
        why: why.to_owned(),
        policies: Vec::new(),
        more_policies: 0,
        kernel: None,
    }
}

/// The first end that does not let it through.
fn stops(of: &DestinationReply, outcome: Outcome) -> Option<(&'static str, &PolicyHop)> {
    let both = [("egress", &of.egress), ("ingress", &of.ingress)];
    let mut hops = both.into_iter().filter_map(|(way, hop)| Some((way, hop.as_ref()?)));
    hops.find(|(_, hop)| hop.outcome == outcome)
}

fn conclude(all: &[DestinationReply], service: bool) -> ResultReply {
    let dies = |one: &&DestinationReply| stops(one, Outcome::Dies).is_some();
    let dead: Vec<&DestinationReply> = all.iter().filter(dies).collect();
    if let Some((way, hop)) = dead.first().and_then(|first| stops(first, Outcome::Dies)) {
        let some = match dead.len() < all.len() {
            true => format!("{} of {} endpoints: ", dead.len(), all.len()),
            false => String::new(),
        };
        let why =
            format!("{some}{way} of pod {} is denied on node {}: {}", hop.pod, hop.node, hop.why);
        return result(Outcome::Dies, why, allow(way, hop, service));
    }
    let doubt = |one| stops(one, Outcome::Unknown);
    if let Some((way, hop)) = all.iter().find_map(doubt) {
        let why = format!("{way} of {}: {}", hop.pod, hop.why);
        let action = match hop.kernel {
            Some(_) => "ask again; if it stays so, `towpath status` says what is not in force",
            None => "",
        };
        return result(Outcome::Unknown, why, action);
    }
    let arrives: Vec<_> = all
        .iter()
        .take(3)
        .map(|one| match one.address.contains(':') {
            true => format!("[{}]:{}", one.address, one.port),
            false => format!("{}:{}", one.address, one.port),
        })
        .collect();
    let more = if all.len() > 3 { ", ..." } else { "" };
    result(Outcome::Passes, format!("it arrives at {}{more}", arrives.join(", ")), "")
}

/// What would let it through: the rule that lacks least.
fn allow(way: &str, hop: &PolicyHop, service: bool) -> String {
    let near = |lacks: Lacks| {
        let policies = hop.policies.iter();
        let mut rules = policies.flat_map(|one| one.rules.iter().map(move |rule| (one, rule)));
        rules.find(|(_, rule)| rule.lacks == lacks)
    };
    let nearest = match (near(Lacks::Port), near(Lacks::Peer)) {
        (Some((policy, rule)), _) => {
            let hint = match service {
                true => "; policies see the port of the pod, not the Service's",
                false => "",
            };
            format!(" (nearest: {}, {}, lacks only the port{hint})", policy.name, rule.rule)
        }
        (None, Some((policy, rule))) => {
            format!(" (nearest: {}, {}, lacks only the other end)", policy.name, rule.rule)
        }
        (None, None) => String::new(),
    };
    format!("add a rule for it to the {way} of one of these policies{nearest}")
}
