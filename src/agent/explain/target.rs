//! What is asked for: addresses and a port, by whichever name.

use std::{net::IpAddr, sync::Arc};

use towpath_model::{
    ObjectName, Pod, Protocol, Service,
    service::{ServicePort, ServiceType},
};

use super::{
    asked::{Host, NotUnderstood, PortWanted, Wanted},
    party::{Party, World, several},
};
use crate::api::explain::{NameReply, Outcome};

/// What a target comes to.
pub(super) struct Target<'a> {
    pub(super) service: Option<&'a Arc<Service>>,
    pub(super) name: Option<NameReply>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

enum Found<'a> {
    Address(IpAddr),
    Pod(&'a Arc<Pod>),
    Service(&'a Arc<Service>),
    Name(String),
}

/// Resolves what was typed, as the source would.
pub(super) fn resolve<'a>(
    world: &World<'a>,
    source: &Party<'a>,
    text: &str,
) -> Result<Target<'a>, NotUnderstood> {
    let wanted = Wanted::parse(text)?;
    let plain = |name, addresses| {
        let port = number(text, wanted.port)?;
        let protocol = wanted.protocol.unwrap_or(Protocol::Tcp);
        Ok(Target { service: None, name, addresses, port, protocol })
    };
    match find(world, source, wanted.host)? {
        Found::Address(ip) => plain(None, vec![ip]),
        Found::Pod(pod) if pod.state().finished => Err(NotUnderstood::new(
            format!("pod {} has ended: nothing reaches it", pod.name),
            "ask for one that runs",
        )),
        Found::Pod(pod) if pod.ips().next().is_none() => Err(NotUnderstood::new(
            format!("pod {} has no address yet: nothing reaches it", pod.name),
            "wait until it has started",
        )),
        Found::Pod(pod) => plain(None, pod.ips().collect()),
        Found::Name(name) => {
            let (reply, addresses) = named(world, &name);
            plain(Some(reply), addresses)
        }
        Found::Service(service) => of_service(world, service, &wanted, text),
    }
}

fn find<'a>(
    world: &World<'a>,
    source: &Party<'a>,
    host: Host<'_>,
) -> Result<Found<'a>, NotUnderstood> {
    let name = match host {
        Host::Address(ip) => return Ok(Found::Address(ip)),
        Host::Name(name) => name.strip_suffix('.').unwrap_or(name),
    };
    let view = &world.view;
    if let Some((namespace, own)) = name.split_once('/') {
        let object = ObjectName::new(namespace, own);
        let service = view.service(&object).map(Found::Service);
        let found = service.or_else(|| view.pod(&object).map(Found::Pod));
        return found.ok_or_else(|| missing(name));
    }
    if !name.contains('.') {
        return bare(world, source, name);
    }
    let of =
        |(service, namespace): (&str, &str)| view.service(&ObjectName::new(namespace, service));
    let suffix = format!(".svc.{}", domain(world));
    let short = name.strip_suffix(&suffix).or_else(|| name.strip_suffix(".svc")).unwrap_or(name);
    let service = short.split_once('.').filter(|(_, rest)| !rest.contains('.')).and_then(of);
    Ok(service.map_or_else(|| Found::Name(name.to_owned()), Found::Service))
}

/// A name without a dot: of the source's own namespace first, as its resolv.conf says.
fn bare<'a>(world: &World<'a>, source: &Party<'a>, name: &str) -> Result<Found<'a>, NotUnderstood> {
    let own = source.pod().map(|pod| ObjectName::new(&pod.name.namespace, name));
    if let Some(service) = own.and_then(|own| world.view.service(&own)) {
        return Ok(Found::Service(service));
    }
    let mut all = world.view.services().filter(|service| *service.meta.name.name == *name);
    match (all.next(), all.next()) {
        (Some(one), Some(other)) => {
            Err(several("Service", name, &[&one.meta.name, &other.meta.name]))
        }
        (Some(one), None) => Ok(Found::Service(one)),
        (None, _) => world.named_pod(name)?.map(Found::Pod).ok_or_else(|| missing(name)),
    }
}

fn missing(name: &str) -> NotUnderstood {
    NotUnderstood::new(
        format!("no Service and no pod {name} is known here"),
        "`towpath services` lists Services; of pods this node knows its own, and others where a policy of \
         its pods may select them: give the address of another one",
    )
}

fn domain<'a>(world: &World<'a>) -> &'a str {
    world.names.map_or("cluster.local", |names| names.domain())
}

fn number(text: &str, port: Option<PortWanted<'_>>) -> Result<u16, NotUnderstood> {
    match port {
        Some(PortWanted::Number(number)) => Ok(number),
        Some(PortWanted::Name(name)) => Err(NotUnderstood::new(
            format!("{text:?}: only a Service has ports with names such as {name:?}"),
            "give the number of the port",
        )),
        None => Err(NotUnderstood::new(
            format!("{text:?} says no port"),
            "write it behind a colon, as in 10.0.0.1:80",
        )),
    }
}

/// What the zone says of a name that is no Service's own.
fn named(world: &World<'_>, name: &str) -> (NameReply, Vec<IpAddr>) {
    let mut reply = NameReply {
        name: format!("{name}."),
        answered_by: "another DNS server (features.dns is off)".to_owned(),
        records: Vec::new(),
        outcome: Outcome::Unknown,
        why: "what it answers is not known here: ask with the address".to_owned(),
        question: None,
    };
    let Some(names) = world.names else { return (reply, Vec::new()) };
    let Some(told) = names.ask(name) else {
        (reply.outcome, reply.why) = (Outcome::Dies, "no name can be like that".to_owned());
        return (reply, Vec::new());
    };
    reply.answered_by = "the cluster's zone on this node".to_owned();
    reply.records = told.iter().flat_map(|one| one.records.iter().cloned()).collect();
    reply.records.dedup();
    let addresses: Vec<IpAddr> =
        told.iter().flat_map(|one| one.addresses.iter().copied()).collect();
    let upstream = told.iter().find_map(|one| one.upstream.as_ref());
    let code = told.iter().find_map(|one| one.code.as_deref()).unwrap_or_default();
    (reply.outcome, reply.why) = match (addresses.is_empty(), upstream) {
        (false, _) => (Outcome::Passes, String::new()),
        (true, Some(upstream)) => (
            Outcome::Unknown,
            format!("{upstream} is not the cluster's: an upstream is asked. Ask with its address"),
        ),
        (true, None) if code == "NXDOMAIN" => (Outcome::Dies, "there is no such name".to_owned()),
        (true, None) => (Outcome::Dies, "the name has no address".to_owned()),
    };
    (reply, addresses)
}

fn of_service<'a>(
    world: &World<'a>,
    service: &'a Arc<Service>,
    wanted: &Wanted<'_>,
    text: &str,
) -> Result<Target<'a>, NotUnderstood> {
    let own = &service.meta.name;
    let full = format!("{}.{}.svc.{}", own.name, own.namespace, domain(world));
    let (mut name, mut addresses) = named(world, &full);
    if service.service_type == ServiceType::ExternalName {
        let outside = service.external_name.as_deref().unwrap_or_default();
        name.records.extend(world.names.is_none().then(|| format!("{full}. CNAME {outside}.")));
        let port = number(text, wanted.port)?;
        let protocol = wanted.protocol.unwrap_or(Protocol::Tcp);
        return Ok(Target { service: None, name: Some(name), addresses, port, protocol });
    }
    if world.names.is_none() {
        // Whichever server answers, it answers from this object.
        let made: Vec<IpAddr> = match service.headless {
            true => headless(world, service),
            false => service.cluster_ips.clone(),
        };
        (addresses, name.outcome, name.why) = (made, Outcome::Passes, String::new());
        name.records = addresses.iter().map(|ip| format!("{full}. {} {ip}", kind(*ip))).collect();
    }
    let (port, protocol) = match service.headless {
        true => (number(text, wanted.port)?, wanted.protocol.unwrap_or(Protocol::Tcp)),
        false => port_of(service, wanted, text)?,
    };
    let service = (!service.headless).then_some(service);
    Ok(Target { service, name: Some(name), addresses, port, protocol })
}

const fn kind(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "A" } else { "AAAA" }
}

/// Endpoints that DNS names.
fn headless(world: &World<'_>, service: &Service) -> Vec<IpAddr> {
    let endpoints = world.view.slices_of(&service.meta.name).flat_map(|slice| &slice.endpoints);
    let named = endpoints.filter(|one| one.ready || service.publish_not_ready);
    let mut all: Vec<IpAddr> = named.map(|one| one.addr).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The port of a Service that is meant: by number, by name, or the only one.
fn port_of(
    service: &Service,
    wanted: &Wanted<'_>,
    text: &str,
) -> Result<(u16, Protocol), NotUnderstood> {
    let fits = |port: &&ServicePort| {
        let named = match wanted.port {
            None => true,
            Some(PortWanted::Number(number)) => port.port == number,
            Some(PortWanted::Name(name)) => *port.name == *name,
        };
        named && wanted.protocol.is_none_or(|protocol| port.protocol == protocol)
    };
    let mut found: Vec<&ServicePort> = service.ports.iter().filter(fits).collect();
    // Without a protocol TCP is meant, where there is a choice.
    if wanted.port.is_some() && found.len() > 1 {
        found.retain(|port| port.protocol == Protocol::Tcp);
    }
    match (&*found, wanted.port) {
        ([one], _) => Ok((one.port, one.protocol)),
        // No such port: what becomes of that is worth knowing, too.
        (_, Some(PortWanted::Number(number))) => {
            Ok((number, wanted.protocol.unwrap_or(Protocol::Tcp)))
        }
        _ => {
            let title = |port: &ServicePort| {
                let name =
                    if port.name.is_empty() { String::new() } else { format!("{} ", port.name) };
                format!("{name}{}/{}", port.port, port.protocol.as_str())
            };
            let ports: Vec<_> = service.ports.iter().map(title).collect();
            Err(NotUnderstood::new(
                format!("{text:?} does not say which port of Service {}", service.meta.name),
                format!("its ports are {}", ports.join(", ")),
            ))
        }
    }
}
