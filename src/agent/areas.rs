//! The areas of the daemon. The order of the fields is the order in which they write: a later one may
//! lead traffic to what an earlier one decides about.

use std::collections::BTreeSet;

use towpath_model::Stream;

use crate::{
    config::Config,
    dns::{self, Dns},
    reconcile::{Areas, Has, Runner, Running},
    services::{self, Services},
};

/// Every area; `None`: switched off.
pub struct Daemon {
    /// Service routing for sockets.
    pub services: Option<Runner<Services>>,
    /// The cluster's DNS.
    pub dns: Option<Runner<Dns>>,
}

/// What the areas of this configuration need before they plan.
pub(super) fn needs(config: &Config) -> BTreeSet<Stream> {
    let names = config.dns.as_ref().map(|_on| dns::NEEDS);
    services::NEEDS.into_iter().chain(names.into_iter().flatten()).collect()
}

impl Areas for Daemon {
    fn each(&self, each: &mut dyn FnMut(&dyn Running)) {
        let Self { services, dns } = self;
        if let Some(services) = services {
            each(services);
        }
        if let Some(dns) = dns {
            each(dns);
        }
    }

    fn each_mut(&mut self, each: &mut dyn FnMut(&mut dyn Running)) {
        let Self { services, dns } = self;
        if let Some(services) = services {
            each(services);
        }
        if let Some(dns) = dns {
            each(dns);
        }
    }
}

impl Has<Services> for Daemon {
    fn runner(&self) -> Option<&Runner<Services>> {
        self.services.as_ref()
    }
}
