//! The other end, as rules see it: a pod, or the address at which this node answers DNS.

use std::{net::IpAddr, sync::Arc};

use towpath_model::{
    Change, ObjectName, Pod, Protocol, Service, View,
    service::{ServicePort, TargetPort},
};

/// The label by which policies allow DNS, where its Service has no selector to go by.
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");

/// What selectors and named ports are asked about.
pub(crate) trait Peer {
    /// Its namespace.
    fn namespace(&self) -> &Arc<str>;

    /// The value of a label.
    fn label(&self, name: &str) -> Option<&str>;

    /// Ports that have this name.
    fn named(&self, protocol: Protocol, name: &str) -> impl Iterator<Item = u16>;

    /// Ports that stand for others: protocol, the port that rules are about, the port that packets have.
    fn stands_for(&self) -> Vec<(Protocol, u16, u16)>;
}

impl Peer for Pod {
    fn namespace(&self) -> &Arc<str> {
        &self.name.namespace
    }

    fn label(&self, name: &str) -> Option<&str> {
        Self::label(self, name)
    }

    fn named(&self, protocol: Protocol, name: &str) -> impl Iterator<Item = u16> {
        let ports = self.template.ports.iter();
        ports
            .filter(move |port| port.protocol == protocol && port.name == *name)
            .map(|port| port.port)
    }

    fn stands_for(&self) -> Vec<(Protocol, u16, u16)> {
        Vec::new()
    }
}

/// The Service at whose addresses this node answers DNS itself. Packets to it are not translated, so
/// rules that allow its pods, at the ports where those listen, would never match: its addresses are
/// judged as its pods are, and as blocks say of them (kubernetes/kubernetes#70555).
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnDns {
    name: Option<ObjectName>,
    service: Option<Arc<Service>>,
}

impl OwnDns {
    pub(crate) fn of(name: Option<&ObjectName>, view: &View<'_>) -> Self {
        let service = name.and_then(|name| view.service(name)).cloned();
        Self { name: name.cloned(), service }
    }

    /// Follows the Service; answers the addresses to judge anew. One that goes, or has no address any
    /// more, keeps its own: pods have them in their `resolv.conf` as long as they live.
    pub(crate) fn follow(&mut self, changes: &[Change<Service>]) -> Vec<IpAddr> {
        let own = changes.iter().find(|change| Some(&change.name) == self.name.as_ref());
        let new = own.and_then(|change| change.new.as_ref());
        let Some(new) = new.filter(|service| !service.cluster_ips.is_empty()) else {
            return Vec::new();
        };
        let before = self.service.replace(Arc::clone(new));
        let all = before.iter().chain([new]).flat_map(|service| &service.cluster_ips);
        all.copied().collect()
    }

    /// Its addresses.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        self.service.as_ref().map(|service| &*service.cluster_ips).unwrap_or_default()
    }

    /// What is at an address of it.
    pub(crate) fn at(&self, ip: IpAddr) -> Option<&Service> {
        self.service.as_deref().filter(|service| service.cluster_ips.contains(&ip))
    }
}

impl Peer for Service {
    fn namespace(&self) -> &Arc<str> {
        &self.meta.name.namespace
    }

    fn label(&self, name: &str) -> Option<&str> {
        let (key, value) = DNS_LABEL;
        if self.selector.is_empty() {
            return (name == key).then_some(value);
        }
        let mut labels = self.selector.iter();
        labels.find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    fn named(&self, protocol: Protocol, name: &str) -> impl Iterator<Item = u16> {
        let is = move |port: &&ServicePort| match &port.target {
            TargetPort::Name(target) => port.protocol == protocol && **target == *name,
            TargetPort::Number(_) => false,
        };
        self.ports.iter().filter(is).map(|port| port.port)
    }

    fn stands_for(&self) -> Vec<(Protocol, u16, u16)> {
        let other = |port: &ServicePort| match port.target {
            TargetPort::Number(target) if target != port.port => {
                Some((port.protocol, target, port.port))
            }
            _ => None,
        };
        self.ports.iter().filter_map(other).collect()
    }
}
