//! The records of one Service.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use towpath_model::{EndpointSlice, ObjectName, Problem, Protocol, Service, service::ServiceType};

use crate::{
    name::{MAX_NAME, Name, label},
    problems,
    settings::Settings,
};

/// Everything below and at the name of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Records {
    /// Name and namespace as labels.
    pub(crate) key: Box<[u8]>,
    pub(crate) kind: ServiceKind,
    /// At the Service's own name: its ClusterIPs, or the endpoints of a headless one.
    pub(crate) own: Addresses,
    /// Endpoints that are ready, by their label.
    pub(crate) hosts: Box<[Host]>,
    /// Ports, by protocol and name.
    pub(crate) ports: Box<[Port]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ServiceKind {
    ClusterIp,
    Headless,
    External(Name),
}

/// Addresses of both families, ready to be copied, without repetition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) v4: Box<[[u8; 4]]>,
    pub(crate) v6: Box<[[u8; 16]]>,
}

impl Addresses {
    pub(crate) fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(address.octets()),
                IpAddr::V6(address) => v6.push(address.octets()),
            }
        }
        v4.sort_unstable();
        v4.dedup();
        v6.sort_unstable();
        v6.dedup();
        Self { v4: v4.into(), v6: v6.into() }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.v4.iter().map(|octets| IpAddr::from(*octets));
        v4.chain(self.v6.iter().map(|octets| IpAddr::from(*octets)))
    }

    pub(crate) fn count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

/// An endpoint's name; several endpoints may share one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Host {
    /// The label in wire form.
    pub(crate) label: Box<[u8]>,
    /// It is the endpoint's hostname; else its address with dashes.
    pub(crate) named: bool,
    pub(crate) addresses: Addresses,
}

/// A port, as SRV records have it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Port {
    pub(crate) protocol: Protocol,
    /// The name without its underscore; empty when it has none.
    pub(crate) name: Box<[u8]>,
    pub(crate) number: u16,
    /// Hosts that have it, by their place; `None`: the Service itself.
    pub(crate) hosts: Option<Box<[u32]>>,
}

/// Compiles a Service; `None` when it has no name in DNS.
pub(crate) fn compile<'a>(
    settings: &Settings,
    service: &Service,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
    found: &mut Vec<Problem>,
) -> Option<Records> {
    let name = &service.meta.name;
    let Some(key) = key(settings, name) else {
        let why = "no name of DNS can be made of it: a label has at most 63 bytes, a name 255";
        found.push(problems::service(name, "metadata.name", why, "use a shorter name"));
        return None;
    };
    if service.service_type == ServiceType::ExternalName {
        let kind = ServiceKind::External(external(service, found)?);
        let own = Addresses::default();
        return Some(Records { key, kind, own, hosts: [].into(), ports: [].into() });
    }
    let mut hosts = Hosts::default();
    for slice in slices.filter(|slice| slice.family.is_some()) {
        hosts.take(slice, service.headless);
    }
    let longest = longest_host(settings, &key);
    hosts.0.retain(|label, _| label.len() <= longest);
    if service.headless {
        return hosts.headless(key);
    }
    if service.cluster_ips.is_empty() {
        return None; // not allocated yet
    }
    let mut ports: Vec<_> =
        service.ports.iter().map(|p| port(&p.name, p.protocol, p.port)).collect();
    ports.sort_unstable();
    ports.dedup();
    let own = Addresses::of(service.cluster_ips.iter().copied());
    let (hosts, _) = hosts.finish();
    Some(Records { key, kind: ServiceKind::ClusterIp, own, hosts, ports: ports.into() })
}

/// A Service's key, when `_port._proto` of every port name fits before it.
pub(crate) fn key(settings: &Settings, name: &ObjectName) -> Option<Box<[u8]>> {
    let key = Settings::key(name)?;
    // The longest name of a port is 15 bytes, of a protocol 4; with lengths and underscores 23.
    let rest = settings.domain.wire().len() + b"\x03svc".len() + 23;
    (key.len() + rest <= MAX_NAME).then_some(key)
}

/// How long the label of an endpoint may be, with its length.
pub(crate) fn longest_host(settings: &Settings, key: &[u8]) -> usize {
    MAX_NAME.saturating_sub(settings.domain.wire().len() + key.len() + b"\x03svc".len())
}

fn external(service: &Service, found: &mut Vec<Problem>) -> Option<Name> {
    let text = service.external_name.as_deref().unwrap_or_default();
    let mut refuse = |why: &str, action| {
        found.push(problems::service(&service.meta.name, "spec.externalName", why, action));
    };
    if text.parse::<IpAddr>().is_ok() {
        let why = "an address is no name: the Service has no record";
        refuse(why, "use a headless Service with an EndpointSlice of your own");
        return None;
    }
    let name = Name::parse(text).filter(|name| name.wire() != [0]);
    if name.is_none() {
        refuse(
            "is no name of DNS: the Service has no record",
            "write a name such as db.example.com",
        );
    }
    name
}

fn port(name: &str, protocol: Protocol, number: u16) -> Port {
    let name = name.to_ascii_lowercase().into_bytes().into();
    Port { protocol, name, number, hosts: None }
}

/// A port of endpoints: protocol, name, number.
type PortKey = (Protocol, Box<[u8]>, u16);

/// Endpoints by label.
#[derive(Default)]
struct Hosts(BTreeMap<Box<[u8]>, Gathered>);

#[derive(Default)]
struct Gathered {
    named: bool,
    addresses: Vec<IpAddr>,
    ports: Vec<PortKey>,
}

impl Hosts {
    fn take(&mut self, slice: &EndpointSlice, with_ports: bool) {
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
            let hostname = endpoint.hostname.as_deref().and_then(|name| label(name));
            let named = hostname.is_some();
            let Some(label) = hostname.or_else(|| label(&dashed(endpoint.addr))) else { continue };
            let host = self.0.entry(label).or_default();
            host.named |= named;
            host.addresses.push(endpoint.addr);
            if with_ports {
                let ports = slice.ports.iter().map(|p| port(&p.name, p.protocol, p.port));
                host.ports.extend(ports.map(|p| (p.protocol, p.name, p.number)));
            }
        }
    }

    fn headless(self, key: Box<[u8]>) -> Option<Records> {
        if self.0.is_empty() {
            return None; // no ready endpoint: the name does not exist (specification 2.3.1)
        }
        let own = Addresses::of(self.0.values().flat_map(|host| host.addresses.iter().copied()));
        let (hosts, ports) = self.finish();
        Some(Records { key, kind: ServiceKind::Headless, own, hosts, ports })
    }

    fn finish(self) -> (Box<[Host]>, Box<[Port]>) {
        let mut of_port: BTreeMap<PortKey, Vec<u32>> = BTreeMap::new();
        let mut hosts = Vec::with_capacity(self.0.len());
        for (at, (label, mut host)) in (0u32..).zip(self.0) {
            host.ports.sort_unstable();
            host.ports.dedup();
            host.ports.into_iter().for_each(|port| of_port.entry(port).or_default().push(at));
            let addresses = Addresses::of(host.addresses);
            hosts.push(Host { label, named: host.named, addresses });
        }
        let ports = of_port.into_iter().map(|((protocol, name, number), hosts)| Port {
            protocol,
            name,
            number,
            hosts: Some(hosts.into()),
        });
        (hosts.into(), ports.collect())
    }
}

/// The label of an endpoint without a hostname, as CoreDNS makes it.
fn dashed(address: IpAddr) -> String {
    let mut text = address.to_string().replace(['.', ':'], "-");
    if text.ends_with('-') {
        text.push('0'); // a label does not end with a dash
    }
    text
}

impl Records {
    /// The host of this label (without its length).
    pub(crate) fn host(&self, label: &[u8]) -> Option<usize> {
        let found = self.hosts.binary_search_by(|host| {
            let (_, known) = host.label.split_first().unwrap_or((&0, &[]));
            // Ordered by wire form, that is by length first.
            known.len().cmp(&label.len()).then_with(|| known.cmp(label))
        });
        found.ok()
    }

    /// Each address that has a reverse name, and which endpoint it is; `None`: a ClusterIP.
    pub(crate) fn reverse(&self) -> impl Iterator<Item = (IpAddr, Option<u32>)> + '_ {
        let own = match self.kind {
            ServiceKind::ClusterIp => Some(&self.own),
            _ => None,
        };
        let own = own.into_iter().flat_map(Addresses::each).map(|address| (address, None));
        let hosts = (0u32..).zip(&self.hosts);
        own.chain(hosts.flat_map(|(at, h)| h.addresses.each().map(move |a| (a, Some(at)))))
    }
}
