//! The reference: from objects straight to an answer, slowly. Written from services.md 1.1 to 1.3,
//! without a look at `proxy` or `model::select`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use towpath_model::{
    Endpoint, Family, ObjectName, Protocol, Service,
    service::{ServicePort, ServiceType, TrafficPolicy},
};

use crate::world::{Probe, World};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    NotAService,
    UnknownPort,
    Refused,
    Left,
    Damaged,
    OneOf(BTreeSet<(IpAddr, u16)>),
}

/// How often each branch of services.md 1.2 was taken.
#[derive(Default, Debug)]
pub(crate) struct Branches(BTreeMap<&'static str, u64>);

impl Branches {
    fn took(&mut self, branch: &'static str) {
        *self.0.entry(branch).or_default() += 1;
    }

    pub(crate) fn assert_all_were_taken(&self) {
        const ALL: [&str; 10] = [
            "same node",
            "same zone",
            "no topology",
            "cluster falls back to terminating",
            "nothing usable anywhere",
            "local ready",
            "local falls back to terminating",
            "local has none",
            "remote node's own",
            "remote node has none",
        ];
        let missing: Vec<_> = ALL.iter().filter(|branch| !self.0.contains_key(*branch)).collect();
        assert!(missing.is_empty(), "never taken: {missing:?} of {:?}", self.0);
    }
}

/// Something a probe can hit.
struct Hit<'a> {
    service: &'a Arc<Service>,
    port: &'a ServicePort,
    internal: bool,
    ranges: bool,
}

pub(crate) fn answer(world: &World, probe: &Probe, branches: &mut Branches) -> Answer {
    let family = Family::of(probe.addr);
    if let Some(hit) = vip(world, probe) {
        return through(world, family, &hit, None, branches);
    }
    if let Some(node) = whose(world, probe.addr)
        && (!probe.addr.is_loopback() || probe.host)
        && let Some(hit) = node_port(world, probe)
    {
        let remote = &*node.name != "n0";
        let local = hit.service.external_policy == TrafficPolicy::Local;
        let node = (remote && local).then_some(node);
        return through(world, family, &hit, node.as_ref(), branches);
    }
    let guarded = proxied(world).any(|service| service.cluster_ips.contains(&probe.addr));
    if guarded { Answer::UnknownPort } else { Answer::NotAService }
}

fn proxied(world: &World) -> impl Iterator<Item = &Arc<Service>> {
    world.services.values().filter(|s| {
        s.proxy_name.is_none()
            && !s.headless_label
            && !s.headless
            && s.service_type != ServiceType::ExternalName
            && !s.cluster_ips.is_empty()
    })
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// Where a VIP frontend comes from, how it ranks, and what it needs.
fn vip<'a>(world: &'a World, probe: &Probe) -> Option<Hit<'a>> {
    let mut claims: Vec<((u8, String, ObjectName), Hit<'a>)> = Vec::new();
    for service in proxied(world) {
        let family = Family::of(probe.addr);
        if !service.cluster_ips.iter().any(|ip| Family::of(*ip) == family) {
            continue;
        }
        for port in &service.ports {
            if port.port != probe.port || number(port.protocol) != probe.protocol {
                continue;
            }
            let rank = |n| (n, service.meta.created.to_string(), service.meta.name.clone());
            let hit = |internal, ranges| Hit { service, port, internal, ranges };
            if service.cluster_ips.contains(&probe.addr) {
                claims.push((rank(0), hit(true, false)));
            }
            let ranges = service.source_ranges.iter().any(|r| Family::of(r.base) == family);
            if service.load_balancer.iter().any(|i| i.ip == probe.addr && !i.proxied) {
                claims.push((rank(2), hit(false, ranges)));
            }
            let allowed = |ip: IpAddr| ip.to_string().starts_with("2.2.2.");
            if service.external_ips.contains(&probe.addr) && allowed(probe.addr) {
                claims.push((rank(3), hit(false, false)));
            }
        }
    }
    claims.sort_by(|a, b| a.0.cmp(&b.0));
    claims.into_iter().next().map(|(_, hit)| hit)
}

fn node_port<'a>(world: &'a World, probe: &Probe) -> Option<Hit<'a>> {
    let family = Family::of(probe.addr);
    let mut claims = Vec::new();
    for service in proxied(world) {
        if !service.cluster_ips.iter().any(|ip| Family::of(*ip) == family) {
            continue;
        }
        for port in &service.ports {
            if port.node_port == probe.port && number(port.protocol) == probe.protocol {
                let rank = (service.meta.created.to_string(), service.meta.name.clone());
                claims.push((rank, Hit { service, port, internal: false, ranges: false }));
            }
        }
    }
    claims.sort_by(|a, b| a.0.cmp(&b.0));
    claims.into_iter().next().map(|(_, hit)| hit)
}

fn whose(world: &World, addr: IpAddr) -> Option<ObjectName> {
    if addr.is_loopback() {
        return Some(ObjectName::new("", "n0"));
    }
    let nodes = world.nodes.values();
    nodes.filter(|n| n.addresses.contains(&addr)).map(|n| n.meta.name.clone()).next()
}

/// The endpoints of a hit, one entry each; duplicates between slices as 1.1 says.
fn endpoints(world: &World, family: Family, hit: &Hit<'_>) -> Vec<(Endpoint, u16)> {
    let mut all: Vec<(Endpoint, u16)> = Vec::new();
    for slice in world.slices.values() {
        if slice.service != hit.service.meta.name
            || slice.family != Some(family)
            || slice.headless_label
            || slice.proxy_name.is_some()
        {
            continue;
        }
        for port in &slice.ports {
            if port.name != hit.port.name || port.protocol != hit.port.protocol {
                continue;
            }
            all.extend(slice.endpoints.iter().map(|e| (e.clone(), port.port)));
        }
    }
    // The winner among duplicates is the first by: not terminating, ready, serving, on a node.
    let order = |(e, _): &(Endpoint, u16)| (e.terminating, !e.ready, !e.serving, e.node.is_none());
    let mut kept: Vec<(Endpoint, u16)> = Vec::new();
    for candidate in all {
        if candidate.0.addr.to_string().starts_with("169.254.") {
            continue;
        }
        let same = |k: &&mut (Endpoint, u16)| (k.0.addr, k.1) == (candidate.0.addr, candidate.1);
        match kept.iter_mut().find(same) {
            Some(known) => {
                if order(&candidate) < order(known) {
                    *known = candidate;
                }
            }
            None => kept.push(candidate),
        }
    }
    kept
}

fn through(
    world: &World,
    family: Family,
    hit: &Hit<'_>,
    remote: Option<&ObjectName>,
    branches: &mut Branches,
) -> Answer {
    if hit.ranges {
        return Answer::Left;
    }
    let all = endpoints(world, family, hit);
    let draining = |e: &Endpoint| e.serving && e.terminating;
    let any = all.iter().any(|(e, _)| e.ready || draining(e));
    let set = |wanted: &dyn Fn(&Endpoint) -> bool| -> BTreeSet<(IpAddr, u16)> {
        all.iter().filter(|(e, _)| wanted(e)).map(|(e, p)| (e.addr, *p)).collect()
    };
    if let Some(node) = remote {
        let on = |e: &Endpoint| e.node.as_deref() == Some(&*node.name);
        let ready = set(&|e| on(e) && e.ready);
        let chosen = if ready.is_empty() { set(&|e| on(e) && draining(e)) } else { ready };
        if chosen.is_empty() {
            branches.took("remote node has none");
            return Answer::Left;
        }
        branches.took("remote node's own");
        return Answer::OneOf(chosen);
    }
    if !any {
        branches.took("nothing usable anywhere");
        return Answer::Refused;
    }
    if hit.internal && hit.service.internal_policy == TrafficPolicy::Local {
        let on = |e: &Endpoint| e.node.as_deref() == Some("n0");
        let ready = set(&|e| on(e) && e.ready);
        if !ready.is_empty() {
            branches.took("local ready");
            return Answer::OneOf(ready);
        }
        let rest = set(&|e| on(e) && draining(e));
        if rest.is_empty() {
            branches.took("local has none");
            return Answer::Left;
        }
        branches.took("local falls back to terminating");
        return Answer::OneOf(rest);
    }
    let ready: Vec<_> = all.iter().filter(|(e, _)| e.ready).collect();
    if ready.is_empty() {
        branches.took("cluster falls back to terminating");
        return Answer::OneOf(set(&draining));
    }
    let names = |hints: &Option<Box<[Arc<str>]>>, name: &str| {
        hints.as_ref().is_some_and(|hints| hints.iter().any(|h| **h == *name))
    };
    let zone = world.nodes.get(&ObjectName::new("", "n0")).and_then(|n| n.zone.clone());
    if ready.iter().all(|(e, _)| e.node_hints.is_some())
        && ready.iter().any(|(e, _)| names(&e.node_hints, "n0"))
    {
        branches.took("same node");
        return Answer::OneOf(set(&|e| e.ready && names(&e.node_hints, "n0")));
    }
    if let Some(zone) = zone
        && ready.iter().all(|(e, _)| e.zone_hints.is_some())
        && ready.iter().any(|(e, _)| names(&e.zone_hints, &zone))
    {
        branches.took("same zone");
        return Answer::OneOf(set(&|e| e.ready && names(&e.zone_hints, &zone)));
    }
    branches.took("no topology");
    Answer::OneOf(set(&|e| e.ready))
}
