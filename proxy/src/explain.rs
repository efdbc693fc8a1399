//! What a socket on this node would get: the same plan that is laid out, asked one question.

use std::{fmt, net::IpAddr};

use towpath_image::datapath::{
    BackendRecord, Empty, FrontendKey, FrontendWord, NodeAddressValue, SetChoice,
};
use towpath_model::{ObjectName, Protocol};

use crate::{claims::Claim, plan::ServicePlan, planned::PlannedRecord};

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// No Service has this address: the socket is left alone.
    NotAService,
    /// The address is a clusterIP, but the Service has no such port: refused.
    UnknownPort,
    /// Left alone, and why.
    Left {
        /// Service.
        service: ObjectName,
        /// Why.
        why: &'static str,
    },
    /// Refused: no endpoint is usable.
    Refused {
        /// Service.
        service: ObjectName,
    },
    /// One of these.
    Translated {
        /// Service.
        service: ObjectName,
        /// Backends.
        backends: Vec<(IpAddr, u16)>,
        /// Seconds that a client keeps its backend.
        affinity_seconds: Option<u32>,
    },
}

/// Asks the plan. `host`: the socket is in the host's network namespace.
#[must_use]
pub fn explain(
    plan: &ServicePlan,
    addr: IpAddr,
    port: u16,
    protocol: Protocol,
    host: bool,
) -> Answer {
    let number = protocol.number();
    let vip = FrontendKey::vip(addr.into(), port, number);
    if let Some(claim) = plan.owner(&vip) {
        return through(plan, claim);
    }
    if let Some(node) = plan.node_address(addr) {
        let key = FrontendKey::node(addr.into(), port, number);
        if node.flags & NodeAddressValue::LOOPBACK != 0 && !host {
            return Answer::NotAService;
        }
        if let Some(claim) = plan.owner(&key) {
            let remote = node.flags & NodeAddressValue::OWN == 0;
            if !remote || claim.flags & FrontendWord::PER_NODE == 0 {
                return through(plan, claim);
            }
            let local = FrontendKey::node_local(addr.into(), node.node, port, number);
            return plan.owner(&local).map_or_else(
                || Answer::Left {
                    service: claim.service.clone(),
                    why: "externalTrafficPolicy Local, and that node has no usable endpoint",
                },
                |claim| through(plan, claim),
            );
        }
    }
    if plan.owner(&FrontendKey::guard(addr.into())).is_some() {
        return Answer::UnknownPort;
    }
    Answer::NotAService
}

fn through(plan: &ServicePlan, claim: &Claim) -> Answer {
    let service = claim.service.clone();
    if claim.flags & FrontendWord::SOURCE_RANGES != 0 {
        let why = "the frontend has source ranges, which sockets cannot check";
        return Answer::Left { service, why };
    }
    let Some(record) = record(plan, claim) else { return Answer::NotAService };
    let choice = if claim.flags & FrontendWord::LOCAL_SET != 0 {
        SetChoice::Local
    } else {
        SetChoice::Cluster
    };
    let set = &record.sets[choice as usize];
    if set.backends.is_empty() {
        return match set.empty {
            Empty::Refuse => Answer::Refused { service },
            Empty::Leave => {
                Answer::Left { service, why: "its policy is Local, and no endpoint is on the node" }
            }
        };
    }
    let target = |backend: &BackendRecord| (backend.addr.into(), u16::from_be(backend.port));
    Answer::Translated {
        service,
        backends: set.backends.iter().map(target).collect(),
        affinity_seconds: record.affinity_seconds,
    }
}

fn record<'a>(plan: &'a ServicePlan, claim: &Claim) -> Option<&'a PlannedRecord> {
    let service = plan.service(&claim.service)?;
    let mut records = service.ports.iter().flat_map(|port| port.records());
    records.find(|record| record.identity == claim.identity)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAService => f.write_str("not the address of a Service: left alone"),
            Self::UnknownPort => f.write_str("refused: the Service has no such port"),
            Self::Left { service, why } => write!(f, "Service {service}: left alone: {why}"),
            Self::Refused { service } => {
                write!(f, "Service {service}: refused: no endpoint is usable")
            }
            Self::Translated { service, backends, .. } => {
                write!(f, "Service {service}: one of {} endpoints", backends.len())
            }
        }
    }
}
