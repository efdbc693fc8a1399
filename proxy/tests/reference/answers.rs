//! The reference: from facts straight to an answer, slowly. Written from services.md 1.1 to 1.6 and
//! DESIGN 4, without a look at `proxy` or `model::select`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    facts::{Endpoint, Facts, Port, Service},
    question::{Answer, Probe, When},
    world::OWN_NODE,
};

/// The answers that are right: more than one where the rules leave something open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Right(Vec<Answer>);

impl Right {
    pub(crate) fn allows(&self, answer: &Answer) -> bool {
        self.0.contains(answer)
    }
}

/// How often each branch of the rules was taken: what never happens proves nothing.
#[derive(Default, Debug)]
pub(crate) struct Branches(BTreeMap<&'static str, u64>);

impl Branches {
    pub(crate) fn took(&mut self, branch: &'static str) {
        *self.0.entry(branch).or_default() += 1;
    }

    #[track_caller]
    pub(crate) fn assert_all_were_taken(&self, all: &[&str]) {
        let missing: Vec<_> = all.iter().filter(|branch| !self.0.contains_key(*branch)).collect();
        assert!(missing.is_empty(), "never taken: {missing:?} of {:?}", self.0);
    }
}

/// The branches of this file.
pub(crate) const ALL: [&str; 31] = [
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
    "host only",
    "unknown port",
    "source ranges",
    "source ranges hold this node",
    "clusterIP",
    "balancer",
    "externalIP",
    "nodePort",
    "nodePort on loopback",
    "several entries may be kept",
    "ready and terminating",
    "SCTP",
    "refused at once",
    "refused later",
    "left to the default: ready",
    "left to the default: serving",
    "left to the default: terminating",
    "left to the default: internalTrafficPolicy",
    "left to the default: externalTrafficPolicy",
    "left to the default: protocol",
    "left to the default: ipMode",
];

/// Where a probe arrives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Via {
    ClusterIp,
    Balancer,
    ExternalIp,
    NodePort,
}

/// What a probe hits.
pub(crate) struct Hit<'a> {
    pub(crate) service: &'a Service,
    pub(crate) port: &'a Port,
    pub(crate) via: Via,
    /// Another node, whose own endpoints are the only right ones.
    pub(crate) remote: Option<&'a str>,
}

pub(crate) fn answer(facts: &Facts, probe: &Probe, branches: &mut Branches) -> Right {
    // DESIGN 4: with `socketLB: hostOnly` the sockets of pods are left to a mesh.
    if facts.host_only && !probe.host {
        branches.took("host only");
        return Right(vec![Answer::HostOnly]);
    }
    if let Some(hit) = hit(facts, probe) {
        note(&hit, probe, branches);
        return through(facts, probe, &hit, branches);
    }
    // 1.3: "active clusterIP, port/proto with no service": reject.
    if facts.services.iter().any(|service| service.cluster.contains(&probe.addr)) {
        branches.took("unknown port");
        return Right(vec![Answer::UnknownPort(when(probe, branches))]);
    }
    Right(vec![Answer::NotAService])
}

fn note(hit: &Hit<'_>, probe: &Probe, branches: &mut Branches) {
    branches.took(match hit.via {
        Via::ClusterIp => "clusterIP",
        Via::Balancer => "balancer",
        Via::ExternalIp => "externalIP",
        Via::NodePort if probe.addr.is_loopback() => "nodePort on loopback",
        Via::NodePort => "nodePort",
    });
    let defaults = [
        (hit.port.protocol == 132, "SCTP"),
        (hit.port.protocol_unsaid, "left to the default: protocol"),
        (hit.via == Via::Balancer && hit.service.left_out("ipMode"), "left to the default: ipMode"),
        (
            hit.via == Via::ClusterIp && hit.service.left_out("internalTrafficPolicy"),
            "left to the default: internalTrafficPolicy",
        ),
        (
            hit.via == Via::NodePort && hit.service.left_out("externalTrafficPolicy"),
            "left to the default: externalTrafficPolicy",
        ),
    ];
    for (_, branch) in defaults.iter().filter(|(applies, _)| *applies) {
        branches.took(branch);
    }
}

/// 1.3: "a connecting TCP client sees ECONNREFUSED at once; a connected UDP socket sees it on the next
/// call", which a datagram with a destination of its own is. SCTP sockets meet no hook (DESIGN 4, the
/// table of hooks): the packet path refuses.
fn when(probe: &Probe, branches: &mut Branches) -> When {
    if probe.protocol == 6 || probe.datagram {
        branches.took("refused at once");
        return When::AtOnce;
    }
    branches.took("refused later");
    When::Later
}

/// 1.3: "VIP lookup comes first, NodePort second".
pub(crate) fn hit<'a>(facts: &'a Facts, probe: &Probe) -> Option<Hit<'a>> {
    vip(facts, probe).or_else(|| node_port(facts, probe))
}

/// The ports of Services that are proxied in the probe's family: those with a clusterIP of it (1.1).
fn ports<'a>(
    facts: &'a Facts,
    probe: &Probe,
) -> impl Iterator<Item = (&'a Service, &'a Port)> + use<'a> {
    let (v6, protocol) = (probe.addr.is_ipv6(), probe.protocol);
    let services = facts.services.iter();
    let proxied = services.filter(move |s| s.cluster.iter().any(|ip| ip.is_ipv6() == v6));
    let ports = proxied.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    ports.filter(move |(_, port)| port.protocol == protocol)
}

/// Which of several claims counts: Kubernetes does not say. Towpath's own rule: an address that the
/// API server allocates before one that anybody may write, then the older Service, then the name.
fn first<'a>(claims: impl Iterator<Item = Hit<'a>>) -> Option<Hit<'a>> {
    claims.min_by_key(|claim| (claim.via, &claim.service.created, &claim.service.name))
}

fn vip<'a>(facts: &'a Facts, probe: &Probe) -> Option<Hit<'a>> {
    // The setting of the daemon under test; outside of it none is served (CVE-2020-8554).
    let allowed = matches!(probe.addr, IpAddr::V4(v4) if v4.octets()[..3] == [2, 2, 2]);
    let ports = ports(facts, probe).filter(|(_, port)| port.number == probe.port);
    first(ports.flat_map(|(service, port)| {
        let ways = [
            (Via::ClusterIp, service.cluster.contains(&probe.addr)),
            (Via::Balancer, service.balancers.contains(&probe.addr)),
            (Via::ExternalIp, allowed && service.external.contains(&probe.addr)),
        ];
        let claim = move |(via, _)| Hit { service, port, via, remote: None };
        ways.into_iter().filter(|(_, claims)| *claims).map(claim)
    }))
}

fn node_port<'a>(facts: &'a Facts, probe: &Probe) -> Option<Hit<'a>> {
    let node = facts.addresses.get(&probe.addr)?;
    // DESIGN 4: loopback is for sockets of the host's namespace; a pod has a loopback of its own.
    if probe.addr.is_loopback() && !probe.host {
        return None;
    }
    let ports = ports(facts, probe).filter(|(_, port)| port.node_port == Some(probe.port));
    let claim = |(service, port)| Hit { service, port, via: Via::NodePort, remote: None };
    let mut hit = first(ports.map(claim))?;
    // 1.3: with externalTrafficPolicy Local "use the addressed node's endpoints".
    hit.remote = (node != OWN_NODE && hit.service.external_local).then_some(node);
    Some(hit)
}

/// An endpoint and its port's number in its slice.
type Target<'a> = (&'a Endpoint, u16);

/// The union of all slices by port name and protocol, one entry for each address and port. Of
/// several "a non-terminating entry wins over a terminating one; otherwise arbitrary" (1.1): every
/// way to keep one of each.
fn readings<'a>(
    facts: &'a Facts,
    v6: bool,
    service: &Service,
    port: &Port,
) -> Vec<Vec<Target<'a>>> {
    let mut entries: BTreeMap<(IpAddr, u16), Vec<&Endpoint>> = BTreeMap::new();
    for slice in facts.slices.iter().filter(|s| s.service == service.name && s.v6 == v6) {
        for (name, protocol, number) in &slice.ports {
            if *name == port.name && *protocol == port.protocol {
                for endpoint in &slice.endpoints {
                    entries.entry((endpoint.addr, *number)).or_default().push(endpoint);
                }
            }
        }
    }
    let mut readings: Vec<Vec<Target<'a>>> = vec![Vec::new()];
    for ((_, number), all) in entries {
        let lasting = all.iter().any(|endpoint| !endpoint.terminating);
        let mut kept: Vec<&Endpoint> = Vec::new();
        for endpoint in all.into_iter().filter(|e| !(lasting && e.terminating)) {
            if !kept.contains(&endpoint) {
                kept.push(endpoint);
            }
        }
        let more = kept.len() - 1;
        let mut branched = Vec::with_capacity(readings.len() * more);
        for endpoint in &kept[1..] {
            for reading in &readings {
                branched.push(reading.iter().copied().chain([(*endpoint, number)]).collect());
            }
        }
        readings.iter_mut().for_each(|reading| reading.push((kept[0], number)));
        readings.extend(branched);
    }
    readings
}

/// 1.1 and 1.3: source ranges apply to addresses of load balancers alone, those of the family, if there are
/// any. "If any range contains the node's IP then the LB VIPs themselves are added as allowed sources".
/// `None`: an address that is not known.
pub(crate) fn may_come_in(facts: &Facts, hit: &Hit<'_>, v6: bool, from: Option<IpAddr>) -> bool {
    let ranges: Vec<_> =
        hit.service.ranges.iter().filter(|(base, _)| base.is_ipv6() == v6).collect();
    if hit.via != Via::Balancer || ranges.is_empty() || ranges.iter().any(|(_, bits)| *bits == 0) {
        return true;
    }
    let inside = |ip: IpAddr| ranges.iter().any(|(base, bits)| shares(*base, ip, *bits));
    let looped = facts.node_ips[usize::from(v6)].is_some_and(inside);
    from.is_some_and(|ip| inside(ip) || (looped && hit.service.balancers.contains(&ip)))
}

/// Are so many first bits the same?
fn shares(a: IpAddr, b: IpAddr, bits: u32) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros() >= bits,
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros() >= bits,
        _ => false,
    }
}

fn through(facts: &Facts, probe: &Probe, hit: &Hit<'_>, branches: &mut Branches) -> Right {
    // A socket of the host's has the node's address, a pod's has none yet: its packets are judged.
    let from = facts.node_ips[usize::from(probe.addr.is_ipv6())].filter(|_| probe.host);
    if !may_come_in(facts, hit, probe.addr.is_ipv6(), from) {
        branches.took("source ranges");
        return Right(vec![Answer::SourceRanges]);
    }
    if hit.via == Via::Balancer && probe.host && !hit.service.ranges.is_empty() {
        branches.took("source ranges hold this node");
    }
    let readings = readings(facts, probe.addr.is_ipv6(), hit.service, hit.port);
    let mut right = Vec::new();
    for all in &readings {
        let answer = match chosen(facts, hit, all, branches) {
            Chosen::Nothing => Answer::NoEndpoint(when(probe, branches)),
            Chosen::NoneHere => Answer::NoLocalEndpoint,
            Chosen::Set(set) => {
                note_defaults(all, &set, branches);
                let targets = set.iter().map(|(endpoint, port)| (endpoint.addr, *port));
                Answer::OneOf(targets.collect(), hit.service.affinity)
            }
        };
        if !right.contains(&answer) {
            right.push(answer);
        }
    }
    if right.len() > 1 {
        branches.took("several entries may be kept");
    }
    Right(right)
}

/// Which conditions decided although they were not there.
fn note_defaults(all: &[Target<'_>], set: &[Target<'_>], branches: &mut Branches) {
    for (endpoint, _) in set {
        let [ready, serving, _] = endpoint.unsaid;
        if endpoint.ready && ready {
            branches.took("left to the default: ready");
        }
        if endpoint.ready && endpoint.terminating {
            branches.took("ready and terminating");
        }
        if !endpoint.ready && serving {
            branches.took("left to the default: serving");
        }
    }
    let idle = |e: &Endpoint| !e.ready && e.serving && e.unsaid[2];
    if set.iter().all(|(e, _)| !e.ready) && all.iter().any(|(e, _)| idle(e)) {
        branches.took("left to the default: terminating");
    }
}

enum Chosen<'a> {
    Set(Vec<Target<'a>>),
    /// Usable ones exist, but not where the policy wants them.
    NoneHere,
    Nothing,
}

/// 1.2 and 1.3, for a socket on this node: from here every frontend of the outside is
/// "short-circuited" to the cluster set, so the local set is that of clusterIPs alone.
fn chosen<'a>(
    facts: &Facts,
    hit: &Hit<'_>,
    all: &[Target<'a>],
    branches: &mut Branches,
) -> Chosen<'a> {
    let only = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<Target<'a>> {
        all.iter().copied().filter(|(endpoint, _)| wanted(endpoint)).collect()
    };
    let draining = |e: &Endpoint| e.serving && e.terminating;
    if let Some(node) = hit.remote {
        let on = |e: &Endpoint| e.node.as_deref() == Some(node);
        let ready = only(&|e| on(e) && e.ready);
        let set = if ready.is_empty() { only(&|e| on(e) && draining(e)) } else { ready };
        if set.is_empty() {
            branches.took("remote node has none");
            return Chosen::NoneHere;
        }
        branches.took("remote node's own");
        return Chosen::Set(set);
    }
    // 1.2, step 5.
    if !all.iter().any(|(e, _)| e.ready || draining(e)) {
        branches.took("nothing usable anywhere");
        return Chosen::Nothing;
    }
    // Step 4.
    if hit.via == Via::ClusterIp && hit.service.internal_local {
        let on = |e: &Endpoint| e.node.as_deref() == Some(OWN_NODE);
        let ready = only(&|e| on(e) && e.ready);
        if !ready.is_empty() {
            branches.took("local ready");
            return Chosen::Set(ready);
        }
        let rest = only(&|e| on(e) && draining(e));
        if rest.is_empty() {
            branches.took("local has none");
            return Chosen::NoneHere;
        }
        branches.took("local falls back to terminating");
        return Chosen::Set(rest);
    }
    // Steps 2 and 3.
    let ready = only(&|e| e.ready);
    if ready.is_empty() {
        branches.took("cluster falls back to terminating");
        return Chosen::Set(only(&draining));
    }
    let has = |hints: &[String], name: &str| hints.iter().any(|hint| hint == name);
    if ready.iter().all(|(e, _)| !e.nodes.is_empty())
        && ready.iter().any(|(e, _)| has(&e.nodes, OWN_NODE))
    {
        branches.took("same node");
        return Chosen::Set(only(&|e| e.ready && has(&e.nodes, OWN_NODE)));
    }
    if let Some(zone) = &facts.zone
        && ready.iter().all(|(e, _)| !e.zones.is_empty())
        && ready.iter().any(|(e, _)| has(&e.zones, zone))
    {
        branches.took("same zone");
        return Chosen::Set(only(&|e| e.ready && has(&e.zones, zone)));
    }
    branches.took("no topology");
    Chosen::Set(ready)
}

/// healthCheckNodePorts and how many endpoints each may report (1.6): "distinct local endpoint IPs
/// that are ready". From the surest count to the largest that an arbitrary choice can give.
#[allow(dead_code, reason = "not every test binary that shares this file asks")]
pub(crate) fn health_checks(facts: &Facts) -> BTreeMap<u16, (&Service, [usize; 2])> {
    let mut checks: BTreeMap<u16, (&Service, [usize; 2])> = BTreeMap::new();
    let mut services: Vec<&Service> = facts.services.iter().collect();
    // Of two Services with one port the older has it, then the first name: as above.
    services.sort_by_key(|service| (&service.created, &service.name));
    for service in services {
        let Some(number) = service.health_check else { continue };
        let (mut sure, mut possible) = (BTreeSet::new(), BTreeSet::new());
        for ip in &service.cluster {
            for port in &service.ports {
                let readings = readings(facts, ip.is_ipv6(), service, port);
                let here: Vec<BTreeSet<IpAddr>> = readings.iter().map(|r| ready_here(r)).collect();
                possible.extend(here.iter().flatten().copied());
                let always = |ip: &&IpAddr| here.iter().all(|set| set.contains(*ip));
                sure.extend(here[0].iter().filter(always).copied());
            }
        }
        checks.entry(number).or_insert((service, [sure.len(), possible.len()]));
    }
    checks
}

fn ready_here(all: &[Target<'_>]) -> BTreeSet<IpAddr> {
    let here = all.iter().filter(|(e, _)| e.ready && e.node.as_deref() == Some(OWN_NODE));
    here.map(|(endpoint, _)| endpoint.addr).collect()
}
