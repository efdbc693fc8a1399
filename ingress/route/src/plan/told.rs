//! What a plan tells: its snapshots, and what is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use towpath_model::{Code, ObjectName, Problem};

use super::RoutePlan;
use crate::{
    Asked, BackendRef, Certificates, EndpointSets, EndpointTls, Missing, RouteTable, Slot,
    read::Served,
};

impl RoutePlan {
    /// The table as it is wanted.
    #[must_use]
    pub const fn table(&self) -> &Arc<RouteTable> {
        &self.table
    }

    /// The endpoint sets as they are wanted.
    #[must_use]
    pub const fn sets(&self) -> &Arc<EndpointSets> {
        &self.sets
    }

    /// The certificates that hosts want.
    #[must_use]
    pub const fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// How TLS to endpoints is to be made, with the Ingresses that ask for it so.
    #[must_use]
    pub const fn endpoint_tls(&self) -> &BTreeMap<Arc<EndpointTls>, BTreeSet<ObjectName>> {
        &self.endpoint_tls
    }

    /// What a slot stands for.
    #[must_use]
    pub fn backend(&self, slot: Slot) -> Option<&BackendRef> {
        self.slots.iter().find(|(_, known)| *known == slot).map(|(backend, _)| backend)
    }

    /// Ingresses that are served.
    pub fn served(&self) -> impl ExactSizeIterator<Item = &ObjectName> {
        self.served.keys()
    }

    /// Everything that is wrong, apart from what was wrong when the objects were read.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        out.extend(self.served.values().flat_map(|served| served.problems.iter().cloned()));
        out.extend(self.conflicts.values().flatten().cloned());
        out.extend(self.catch_all_conflicts.iter().cloned());
        for served in self.served.values() {
            if let Some(Asked::Host(host)) =
                served.read.policy.auth.as_ref().map(|auth| &auth.asked)
                && !self.table.knows(host)
            {
                let prefix = towpath_model::ingress::ANNOTATION_PREFIX;
                let field = format!("metadata.annotations[{prefix}auth-url]");
                let why =
                    format!("no Ingress here has the host {host}: requests are answered with 500");
                let action = "name a Service as NAME.NAMESPACE.svc, or a host of an Ingress here";
                out.push(served.problem(Code::BackendMissing, &field, &why, action));
            }
        }
        // A Service that is scaled to nothing is no fault of its Ingress.
        if self.missing.values().all(|missing| *missing == Missing::Endpoints) {
            return;
        }
        for served in self.served.values() {
            for (backend, field) in served.backends() {
                match self.missing.get(&backend) {
                    None | Some(Missing::Endpoints) => {}
                    Some(missing) => out.push(without(served, &backend, &field, *missing)),
                }
            }
        }
    }
}

/// A backend that is not there.
fn without(served: &Served, backend: &BackendRef, field: &str, missing: Missing) -> Problem {
    let port = match &backend.port {
        towpath_model::ingress::BackendPort::Number(number) => number.to_string(),
        towpath_model::ingress::BackendPort::Name(name) => format!("{name:?}"),
    };
    let service = &backend.service;
    let why = match missing {
        Missing::Service => format!("there is no Service {service}"),
        Missing::Port => format!("Service {service} has no TCP port {port}"),
        Missing::ExternalName => format!("Service {service} is an ExternalName, not followed"),
        Missing::Endpoints => format!("Service {service} has no endpoint"),
    };
    let why = format!("{why}: requests are answered with 503");
    let action = "name a Service and a port of it; it is served as soon as it is there";
    served.problem(Code::BackendMissing, field, &why, action)
}
