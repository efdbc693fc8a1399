//! Services' hop of `towpath explain`: which frontend an address is, which set is in force and why, and
//! what becomes of each endpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use towpath_image::{
    Capacities, Image as _, ServiceImage,
    datapath::{FrontendKey, FrontendKind, FrontendWord, SetChoice},
};
use towpath_model::{Changes, Protocol, View};
use towpath_proxy::{
    Answer, EndpointFact, FrontendSource, Layout, PlannedFrontend, PlannedPort, PlannedService,
    ProxyConfig, ServicePlan, Trace, Via, endpoints, plan, trace,
};

use super::super::{NEEDS, Services};
use crate::api::explain::{EndpointReply, FrontendHop};

/// Endpoints that a hop spells out at most.
const ENDPOINTS_MAX: usize = 200;

/// Answers where connections to an address go.
#[derive(Clone, Copy)]
pub struct Router<'a> {
    view: View<'a>,
    plan: &'a ServicePlan,
    /// What was written.
    written: &'a ServiceImage,
    /// What was read back.
    held: Option<&'a ServiceImage>,
}

/// What is planned and laid out without a daemon.
#[derive(Debug)]
pub struct Planned {
    plan: ServicePlan,
    image: ServiceImage,
}

impl Planned {
    /// From what is known, with no kernel.
    #[must_use]
    pub fn of(view: &View<'_>, config: ProxyConfig) -> Self {
        let mut services = ServicePlan::new(config);
        plan(view, &Changes::default(), &mut services);
        let mut image = ServiceImage::with_capacities(Capacities::default());
        let mut layout = Layout::adopt(image.clone());
        let synced = view.synced(&NEEDS);
        let batch = layout.lay_out(&services.everything(), synced.as_ref(), 0);
        for op in &batch.ops {
            // What does not fit is not there, as in a kernel.
            let _full = image.apply(op);
        }
        Self { plan: services, image }
    }

    /// A router that knows no kernel.
    #[must_use]
    pub const fn router<'a>(&'a self, view: View<'a>) -> Router<'a> {
        Router { view, plan: &self.plan, written: &self.image, held: None }
    }
}

impl Services {
    /// A router over what was written; `held`: what was read back of the maps.
    #[must_use]
    pub const fn router<'a>(
        &'a self,
        view: View<'a>,
        held: Option<&'a ServiceImage>,
    ) -> Router<'a> {
        Router { view, plan: &self.plan, written: self.layout.image(), held }
    }
}

/// By which way a connection begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A socket of a pod.
    Pod,
    /// A socket of the host.
    Host,
    /// A packet that comes in by a device of the node's own, from this address.
    Packet(IpAddr),
}

/// An endpoint that a connection may be led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backend {
    /// Where it is.
    pub at: SocketAddr,
    /// Its node.
    pub node: Option<String>,
    /// It sees an address of the node's in place of the client's.
    pub masqueraded: bool,
}

/// What becomes of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// No Service has the address.
    Untouched,
    /// It is led to one of these.
    Led(Vec<Backend>),
    /// It ends: why, and what to do.
    Dies(String, String),
    /// What becomes of it is not Towpath's: why, and what to do.
    Unknown(String, String),
}

impl<'a> Router<'a> {
    /// Where a connection to this address goes.
    #[must_use]
    pub fn route(
        &self,
        to: SocketAddr,
        protocol: Protocol,
        way: Way,
    ) -> (Option<FrontendHop>, Fate) {
        let none = BTreeSet::new();
        let asked = |image, here| trace(image, self.plan, to, protocol, via(way, here));
        let first = asked(self.written, &none);
        let Some((service, port, frontend)) = first.frontend.and_then(|key| self.planned(&key))
        else {
            return (None, self.unplanned(&first));
        };
        let nodes = self.nodes_of(port);
        let own = self.view.own_node_name();
        let here = nodes.iter().filter(|(_, node)| **node == own).map(|(at, _)| at.ip()).collect();
        let told = asked(self.written, &here);
        let agrees = self.held.map(|held| asked(held, &here) == told);
        let mut hop = self.hop((service, port, frontend), &told, way);
        hop.kernel_agrees = agrees;
        let fate = match &told.answer {
            _ if agrees == Some(false) => Fate::Unknown(
                format!("the kernel's maps do not say of {to} what was written"),
                "ask again; if it stays so, the next audit repairs it: `towpath status`".to_owned(),
            ),
            Answer::Translated { .. } if protocol == Protocol::Sctp => Fate::Dies(
                "SCTP is not served yet".to_owned(),
                "use the addresses of the endpoints".to_owned(),
            ),
            Answer::Translated { backends, .. } => Fate::Led(
                backends
                    .iter()
                    .map(|(ip, port)| Backend {
                        at: SocketAddr::new(*ip, *port),
                        node: nodes
                            .get(&SocketAddr::new(*ip, *port))
                            .map(|node| (*node).to_owned()),
                        masqueraded: told.masqueraded.contains(&(*ip, *port)),
                    })
                    .collect(),
            ),
            other => ends(other, (service, frontend), &hop, way),
        };
        (Some(hop), fate)
    }

    /// Whose frontend it is.
    fn planned(
        &self,
        key: &FrontendKey,
    ) -> Option<(&PlannedService, Option<&PlannedPort>, &PlannedFrontend)> {
        let service = self.plan.service(&self.plan.owner(key)?.service)?;
        let ports = service.ports.iter();
        let mut all =
            ports.flat_map(|port| port.frontends.iter().map(move |one| (Some(port), one)));
        let own = all.find(|(_, frontend)| frontend.key == *key);
        let guard = || Some((None, service.guards.iter().find(|guard| guard.key == *key)?));
        let (port, frontend) = own.or_else(guard)?;
        Some((service, port, frontend))
    }

    /// No plan has the frontend, if there is one.
    fn unplanned(&self, told: &Trace) -> Fate {
        let again = "ask again; if it stays so, see `towpath status`".to_owned();
        match (&told.answer, told.frontend) {
            (Answer::HostOnly, _) => host_only(),
            (_, None) => Fate::Untouched,
            (answer, Some(_)) => {
                Fate::Unknown(format!("what is in force has no Service any more: {answer}"), again)
            }
        }
    }

    /// Which node each endpoint is on.
    fn nodes_of(&self, port: Option<&PlannedPort>) -> BTreeMap<SocketAddr, &'a str> {
        let none = BTreeSet::new();
        let facts = port.map(|port| endpoints(&self.view, port, (SetChoice::Cluster, None), &none));
        let place = |fact: EndpointFact<'a>| {
            let endpoint = fact.endpoint;
            Some((SocketAddr::new(endpoint.addr, endpoint.port), endpoint.node?))
        };
        facts.into_iter().flatten().filter_map(place).collect()
    }

    fn hop(
        &self,
        (service, port, frontend): (&PlannedService, Option<&PlannedPort>, &PlannedFrontend),
        told: &Trace,
        way: Way,
    ) -> FrontendHop {
        let (used, affinity_seconds) = match &told.answer {
            Answer::Translated { backends, affinity_seconds, .. } => {
                (backends.iter().copied().collect(), *affinity_seconds)
            }
            _ => (BTreeSet::new(), None),
        };
        let set = told.set.unwrap_or(SetChoice::Cluster);
        let remote = port.and_then(|port| remote(port, frontend));
        let facts = port.map(|port| endpoints(&self.view, port, (set, remote), &used));
        let mut all: Vec<EndpointReply> = facts.into_iter().flatten().map(reply).collect();
        let more = all.len().saturating_sub(ENDPOINTS_MAX);
        if told.set.is_none() {
            all.iter_mut().for_each(|one| "no set was asked".clone_into(&mut one.why));
        }
        // Those that are used, and then why others are not.
        all.sort_by_key(|endpoint| !endpoint.used);
        all.truncate(ENDPOINTS_MAX);
        let why = match (port, remote) {
            (None, _) => "",
            (Some(_), Some(_)) => "the endpoints of the node that was asked",
            (Some(port), None) => port.why[usize::from(set == SetChoice::Local)].as_str(),
        };
        FrontendHop {
            service: service.name.to_string(),
            port: port.map(title).unwrap_or_default(),
            kind: frontend.source.as_str().to_owned(),
            decided_by: match way {
                Way::Packet(_) => "packet",
                Way::Pod | Way::Host => "socket",
            }
            .to_owned(),
            set: told.set.map(|set| match set {
                SetChoice::Local => "local".to_owned(),
                SetChoice::Cluster => "cluster".to_owned(),
            }),
            policy: policy(frontend, remote, way),
            why: why.to_owned(),
            answer: told.answer.to_string(),
            affinity_seconds,
            kernel_agrees: None,
            endpoints: all,
            more_endpoints: more as u64,
        }
    }
}

/// The remote node whose own nodePort this is.
fn remote<'p>(port: &'p PlannedPort, frontend: &PlannedFrontend) -> Option<&'p str> {
    let own = frontend.key.kind() == Some(FrontendKind::NodeLocal);
    let mut nodes = port.per_node.iter().filter(|_| own);
    nodes.find(|(_, record)| record.identity == frontend.identity).map(|(node, _)| &**node)
}

const fn via(way: Way, here: &BTreeSet<IpAddr>) -> Via<'_> {
    match way {
        Way::Pod => Via::Socket { host: false },
        Way::Host => Via::Socket { host: true },
        Way::Packet(from) => Via::Packet { from, here },
    }
}

fn title(port: &PlannedPort) -> String {
    let name = if port.id.port.is_empty() { String::new() } else { format!("{} ", port.id.port) };
    format!("{name}{}/{}", port.number, port.id.protocol.as_str())
}

/// Which field leads to the set.
fn policy(frontend: &PlannedFrontend, remote: Option<&str>, way: Way) -> String {
    let has = |flag: u8| frontend.flags & flag != 0;
    let said = match (frontend.source, remote) {
        (FrontendSource::Guard, _) => "",
        (_, Some(node)) => {
            return format!("externalTrafficPolicy: Local, as node {node} itself serves it");
        }
        (FrontendSource::ClusterIp, _) if has(FrontendWord::LOCAL_SET) => {
            "internalTrafficPolicy: Local"
        }
        (FrontendSource::ClusterIp, _) => "internalTrafficPolicy: Cluster",
        _ if !has(FrontendWord::LOCAL_OUTSIDE) => "externalTrafficPolicy: Cluster",
        _ => match way {
            Way::Packet(_) => "externalTrafficPolicy: Local",
            _ => {
                "externalTrafficPolicy: Local, which is for clients outside: from this node all count"
            }
        },
    };
    said.to_owned()
}

fn reply(fact: EndpointFact<'_>) -> EndpointReply {
    let endpoint = fact.endpoint;
    EndpointReply {
        address: endpoint.addr.to_string(),
        port: endpoint.port,
        node: endpoint.node.map(str::to_owned),
        zone: fact.zone.map(str::to_owned),
        ready: endpoint.ready,
        serving: endpoint.serving,
        terminating: endpoint.terminating,
        used: fact.used,
        why: fact.why,
    }
}

fn host_only() -> Fate {
    Fate::Unknown(
        "sockets of pods are left alone (socketLB: hostOnly): a service mesh decides".to_owned(),
        "ask it; or set socketLB: all".to_owned(),
    )
}

/// What the other answers come to.
fn ends(
    answer: &Answer,
    (service, frontend): (&PlannedService, &PlannedFrontend),
    hop: &FrontendHop,
    way: Way,
) -> Fate {
    let name = &service.name;
    match answer {
        Answer::UnknownPort => {
            let mut ports: Vec<String> = service.ports.iter().map(title).collect();
            ports.dedup();
            let action = format!("its ports are {}", ports.join(", "));
            Fate::Dies(format!("Service {name} has no such port: refused"), action)
        }
        Answer::Refused { .. } => {
            let action = match hop.endpoints.is_empty() {
                true => {
                    "does its selector match any pod? `kubectl get endpointslices` shows what it has"
                }
                false => "look at the endpoints above: why are they not ready?",
            };
            let why = format!("Service {name}, port {}: {}: refused", hop.port, hop.why);
            Fate::Dies(why, action.to_owned())
        }
        // This node's own DNS server answers at the address itself.
        Answer::Left { .. } if frontend.flags & FrontendWord::OWN_DNS != 0 => Fate::Untouched,
        Answer::Left { .. } if frontend.flags & FrontendWord::SOURCE_RANGES == 0 => {
            let why = format!(
                "Service {name}, port {}: {}: no usable endpoint there",
                hop.port, hop.policy
            );
            let action = "run an endpoint on the node, or set the policy to Cluster".to_owned();
            Fate::Dies(why, action)
        }
        Answer::Left { .. } => {
            let ranges = format!("Service {name} has loadBalancerSourceRanges");
            let add = "add it to them, or use the ClusterIP".to_owned();
            match way {
                Way::Packet(from) => Fate::Dies(format!("{ranges}, none with {from}"), add),
                Way::Host => Fate::Dies(format!("{ranges}, none with this node's address"), add),
                Way::Pod => Fate::Unknown(
                    format!("{ranges}: the pod's packets are judged (features.packets: on)"),
                    "do they hold the pod's address? Or use the ClusterIP".to_owned(),
                ),
            }
        }
        Answer::HostOnly => host_only(),
        other => Fate::Unknown(
            other.to_string(),
            "ask again; the next audit repairs it: `towpath status`".to_owned(),
        ),
    }
}
