//! The areas of the daemon. The order of the fields is the order in which they write: a later one may
//! lead traffic to what an earlier one decides about.

use std::collections::BTreeSet;

use towpath_model::Stream;

use crate::{
    config::Config,
    dns::{self, Dns},
    ingress::{self, Ingress},
    packets::{self, Packets},
    policy::{self, Policy},
    reconcile::{Areas, Has, Runner, Running},
    services::{self, Services},
};

/// Every area; `None`: switched off.
pub struct Daemon {
    /// What pods may reach, and be reached by.
    pub policy: Option<Runner<Policy>>,
    /// Service routing for sockets.
    pub services: Option<Runner<Services>>,
    /// Service routing for packets from outside.
    pub packets: Option<Runner<Packets>>,
    /// The cluster's DNS.
    pub dns: Option<Runner<Dns>>,
    /// Requests from outside, by host and path.
    pub ingress: Option<Runner<Ingress>>,
}

/// What the areas of this configuration need before they plan.
pub(super) fn needs(config: &Config) -> BTreeSet<Stream> {
    let names = config.dns.as_ref().map(|_on| dns::NEEDS);
    let policies = config.network_policy.then_some(&policy::NEEDS);
    let packets = config.packets.then_some(&packets::NEEDS);
    let routes = config.ingress.as_ref().map(|_on| ingress::NEEDS);
    let optional = names.into_iter().flatten().chain(policies.into_iter().flatten().cloned());
    let optional = optional.chain(packets.into_iter().flatten().cloned());
    let optional = optional.chain(routes.into_iter().flatten());
    services::NEEDS.into_iter().chain(optional).collect()
}

impl Areas for Daemon {
    fn each(&self, each: &mut dyn FnMut(&dyn Running)) {
        let Self { policy, services, packets, dns, ingress } = self;
        if let Some(policy) = policy {
            each(policy);
        }
        if let Some(services) = services {
            each(services);
        }
        if let Some(packets) = packets {
            each(packets);
        }
        if let Some(dns) = dns {
            each(dns);
        }
        if let Some(ingress) = ingress {
            each(ingress);
        }
    }

    fn each_mut(&mut self, each: &mut dyn FnMut(&mut dyn Running)) {
        let Self { policy, services, packets, dns, ingress } = self;
        if let Some(policy) = policy {
            each(policy);
        }
        if let Some(services) = services {
            each(services);
        }
        if let Some(packets) = packets {
            each(packets);
        }
        if let Some(dns) = dns {
            each(dns);
        }
        if let Some(ingress) = ingress {
            each(ingress);
        }
    }
}

impl Has<Services> for Daemon {
    fn runner(&self) -> Option<&Runner<Services>> {
        self.services.as_ref()
    }
}

impl Has<Policy> for Daemon {
    fn runner(&self) -> Option<&Runner<Policy>> {
        self.policy.as_ref()
    }
}

impl Has<Packets> for Daemon {
    fn runner(&self) -> Option<&Runner<Packets>> {
        self.packets.as_ref()
    }
}
