//! Who an address or a name is.

use std::{net::IpAddr, sync::Arc};

use towpath_model::{Node, ObjectName, Pod, View};

use super::asked::{NotUnderstood, is_name};
use crate::{api::explain::PartyReply, dns::Names, policy::Judge, services::Router};

/// What explanations are made of: one moment of the cluster, and what the areas say of it.
#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) view: View<'a>,
    pub(super) router: Router<'a>,
    /// `None`: policies are not enforced.
    pub(super) judge: Option<Judge<'a>>,
    /// `None`: names are not answered here.
    pub(super) names: Option<&'a Names>,
    /// Packets from outside are translated.
    pub(super) packets: bool,
    pub(super) offline: bool,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Party<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) name: Option<String>,
    /// Its node.
    pub(super) node: Option<String>,
    /// Its addresses; at most one of each family.
    pub(super) ips: Vec<IpAddr>,
    pub(super) notes: Vec<String>,
}

/// What sort of end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'a> {
    /// A pod; `None`: its object is not known here.
    Pod(Option<&'a Arc<Pod>>),
    /// This node itself.
    Host,
    /// Another node.
    Node,
    /// Not of the cluster, as far as is known.
    Outside,
}

impl<'a> Party<'a> {
    pub(super) fn reply(&self) -> PartyReply {
        PartyReply {
            kind: match self.kind {
                Kind::Pod(_) => "pod",
                Kind::Host => "host",
                Kind::Node => "node",
                Kind::Outside => "outside",
            }
            .to_owned(),
            name: self.name.clone(),
            node: self.node.clone(),
            addresses: self.ips.iter().map(ToString::to_string).collect(),
            notes: self.notes.clone(),
        }
    }

    /// Its address of a family.
    pub(super) fn ip(&self, v4: bool) -> Option<IpAddr> {
        self.ips.iter().copied().find(|ip| ip.is_ipv4() == v4)
    }

    /// The pod that policies are about.
    pub(super) const fn pod(&self) -> Option<&'a Arc<Pod>> {
        match self.kind {
            Kind::Pod(pod) => pod,
            _ => None,
        }
    }

    /// In a sentence.
    pub(super) fn text(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let ips: Vec<_> = self.ips.iter().map(ToString::to_string).collect();
        match self.kind {
            Kind::Pod(Some(_)) => format!("pod {name}"),
            Kind::Pod(None) => format!("the pod with address {}", ips.join(", ")),
            Kind::Host => format!("node {name} itself"),
            Kind::Node => format!("node {name}"),
            Kind::Outside => format!("{}, outside the cluster", ips.join(", ")),
        }
    }
}

impl<'a> World<'a> {
    pub(super) fn own(&self) -> &'a str {
        self.view.own_node_name()
    }

    /// This node.
    pub(super) fn host(&self) -> Party<'a> {
        let named = self.view.own_node().map_or(&[][..], |node| &node.addresses);
        let all = named.iter().chain(self.view.local_addresses()).copied();
        let of = |v4: bool| all.clone().find(|ip| ip.is_ipv4() == v4 && !ip.is_loopback());
        let name = Some(self.own().to_owned());
        Party {
            kind: Kind::Host,
            node: name.clone(),
            name,
            ips: [of(true), of(false)].into_iter().flatten().collect(),
            notes: Vec::new(),
        }
    }

    /// A pod that is known.
    pub(super) fn pod(&self, pod: &'a Arc<Pod>) -> Party<'a> {
        let node = pod.node.as_deref().map(str::to_owned);
        let mut party = Party {
            kind: Kind::Pod(Some(pod)),
            name: Some(pod.name.to_string()),
            ips: pod.ips().collect(),
            notes: Vec::new(),
            node,
        };
        if pod.state().host_network {
            let own = party.node.as_deref() == Some(self.own());
            party.kind = if own { Kind::Host } else { Kind::Node };
            party.notes.push(format!(
                "pod {} has the network of its node: no policy is about it",
                pod.name
            ));
            party.name.clone_from(&party.node);
        }
        party
    }

    /// Who has an address. `node`: where it is, as an endpoint says.
    pub(super) fn at(&self, ip: IpAddr, node: Option<&str>) -> Party<'a> {
        if let Some(pod) = self.judge.and_then(|judge| judge.pod_at(ip)) {
            return self.pod(pod);
        }
        let only = |kind, name: Option<&str>, node: Option<&str>| Party {
            kind,
            name: name.map(str::to_owned),
            node: node.map(str::to_owned),
            ips: vec![ip],
            notes: Vec::new(),
        };
        let owner = self.view.nodes().find(|node| node.addresses.contains(&ip));
        let own = |node: &&Arc<Node>| *node.meta.name.name == *self.own();
        let is_own = owner.as_ref().is_some_and(own);
        // Where this node's DNS server answers, at the Service's own address.
        let dns = self.view.answers_dns().and_then(|name| self.view.service(name));
        let is_dns = dns.is_some_and(|service| service.cluster_ips.contains(&ip));
        if is_own || is_dns || ip.is_loopback() || self.view.local_addresses().contains(&ip) {
            return only(Kind::Host, Some(self.own()), Some(self.own()));
        }
        if let Some(other) = owner {
            let name = &*other.meta.name.name;
            return only(Kind::Node, Some(name), Some(name));
        }
        let own_device = self.view.pod_devices().iter().any(|one| one.addresses.contains(&ip));
        let node = own_device.then(|| self.own()).or(node);
        if let Some(node) = node.or_else(|| self.endpoint_node(ip)) {
            return only(Kind::Pod(None), None, Some(node));
        }
        let mut outside = only(Kind::Outside, None, None);
        if self.judge.is_none() {
            outside.notes.push(
                "pods are not watched while features.networkPolicy is off: an address of a pod that is \
                 no endpoint is not told from one outside the cluster"
                    .to_owned(),
            );
        }
        outside
    }

    /// The node of an endpoint with this address, whichever Service's. Work: all endpoints.
    fn endpoint_node(&self, ip: IpAddr) -> Option<&'a str> {
        let endpoints = self.view.slices().flat_map(|slice| &slice.endpoints);
        endpoints.filter(|one| one.addr == ip).find_map(|one| one.node.as_deref())
    }

    /// SOURCE: `host`, an address, a pod.
    pub(super) fn source(&self, text: &str) -> Result<Party<'a>, NotUnderstood> {
        if text == "host" {
            return Ok(self.host());
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            let ip: IpAddr = ip;
            return Ok(self.elsewhere(self.at(ip.to_canonical(), None)));
        }
        if !is_name(text) {
            return Err(NotUnderstood::new(
                format!("{text:?} is no source"),
                "a source is a pod (NAMESPACE/NAME, or NAME), an address or host",
            ));
        }
        let pod = self.named_pod(text)?.ok_or_else(|| self.no_pod(text))?;
        if pod.state().finished {
            let why = format!("pod {} has ended: it begins nothing any more", pod.name);
            return Err(NotUnderstood::new(why, "ask for one that runs"));
        }
        if pod.ips().next().is_none() {
            let why = format!("pod {} has no address yet: it can begin nothing", pod.name);
            return Err(NotUnderstood::new(why, "wait until it has started"));
        }
        Ok(self.elsewhere(self.pod(pod)))
    }

    /// Of a source on another node not everything is known here.
    fn elsewhere(&self, mut party: Party<'a>) -> Party<'a> {
        if let Some(node) = party.node.as_ref().filter(|node| *node != self.own()) {
            party.notes.push(format!(
                "it is on node {node}: what that node decides is told as far as it is known here, and sets by \
                 node or zone may be others there"
            ));
        }
        party
    }

    /// A pod of this name; `None`: there is none.
    pub(super) fn named_pod(&self, text: &str) -> Result<Option<&'a Arc<Pod>>, NotUnderstood> {
        if let Some((namespace, name)) = text.split_once('/') {
            return Ok(self.view.pod(&ObjectName::new(namespace, name)));
        }
        let mut found = self.view.pods().filter(|pod| *pod.name.name == *text);
        match (found.next(), found.next()) {
            (Some(one), Some(other)) => Err(several("pod", text, &[&one.name, &other.name])),
            (one, _) => Ok(one),
        }
    }

    fn no_pod(&self, text: &str) -> NotUnderstood {
        let action = match (self.judge, self.offline) {
            (None, _) => {
                "pods are not watched while features.networkPolicy is off: give its address"
            }
            (Some(_), true) => "no manifest has it",
            (Some(_), false) => {
                "this node knows its own pods, and others where a policy of its pods may select them: ask \
                 the daemon of the pod's node, or give its address"
            }
        };
        NotUnderstood::new(format!("no pod {text} is known here"), action)
    }
}

/// A name is not unique.
pub(super) fn several(what: &str, text: &str, names: &[&ObjectName]) -> NotUnderstood {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    NotUnderstood::new(
        format!("there is more than one {what} {text}: {}", names.join(", ")),
        "say which: NAMESPACE/NAME",
    )
}
