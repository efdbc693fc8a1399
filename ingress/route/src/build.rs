//! Puts routes into tables.

use std::sync::Arc;

use towpath_model::{Code, Problem};

use crate::{
    Asked, BackendRef, HostTable, Origin, Policy, Refusal, Route, Slot, Target,
    read::{PathRule, Served},
    slots::Slots,
};

/// Where an authority asks for a proof that a host is its owner's (RFC 8555, 8.3).
const SOLVER: &str = "/.well-known/acme-challenge";

fn is_solver(path: &str) -> bool {
    path.strip_prefix(SOLVER).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// One table being built.
pub(crate) struct Build<'s> {
    slots: &'s mut Slots,
    /// What its routes lead to.
    pub(crate) uses: Vec<BackendRef>,
    /// Routes whose place an older Ingress has.
    pub(crate) conflicts: Vec<Problem>,
}

impl<'s> Build<'s> {
    pub(crate) const fn new(slots: &'s mut Slots) -> Self {
        Self { slots, uses: Vec::new(), conflicts: Vec::new() }
    }

    pub(crate) fn add(
        &mut self,
        table: &mut HostTable,
        served: &Served,
        host: &str,
        path: &PathRule,
    ) {
        if let Some(older) = table.taken(path.exact, path.pattern.as_deref(), &path.path) {
            let (rule, number) = path.at;
            let field = format!("spec.rules[{rule}].http.paths[{number}]");
            let why = taken(&older.origin);
            let action = "remove one of the two";
            self.conflicts.push(served.problem(Code::RouteTaken, &field, &why, action));
            return;
        }
        let backend = path.backend.clone().filter(|_| !path.closed);
        let mut route = self.route(served, host, Arc::clone(&path.path), backend);
        route.pattern = path.pattern.clone();
        if path.pattern.is_none() && is_solver(&path.path) && route.policy.auth.is_some() {
            // A proof that the host is its owner's is asked for by a stranger.
            (route.asked, route.policy) =
                (None, Arc::new(Policy { auth: None, ..(*route.policy).clone() }));
        }
        if path.closed {
            route.target = Target::Closed(Refusal::Changes);
        }
        table.add(path.exact, route);
    }

    pub(crate) fn route(
        &mut self,
        served: &Served,
        host: &str,
        path: Arc<str>,
        backend: Option<BackendRef>,
    ) -> Route {
        let read = &served.read;
        let target = match (read.closed, backend) {
            (Some(refusal), _) => Target::Closed(refusal),
            (None, None) => Target::NoBackend,
            (None, Some(backend)) => Target::Service(self.slot(backend)),
        };
        let asked = read.policy.auth.as_ref().and_then(|auth| match &auth.asked {
            Asked::Service(service, _) => Some(service.clone()),
            Asked::OwnHost | Asked::Host(_) => None,
        });
        let asked = asked.map(|service| self.slot(service));
        Route {
            origin: Origin { ingress: served.name().clone(), path },
            pattern: None,
            target,
            asked,
            policy: Arc::clone(&read.policy),
            to_https: read.force_ssl_redirect || (read.ssl_redirect && served.has_tls(host)),
        }
    }

    pub(crate) fn slot(&mut self, backend: BackendRef) -> Slot {
        let slot = self.slots.take(backend.clone());
        self.uses.push(backend);
        slot
    }
}

/// The place is another one's, in words.
pub(crate) fn taken(older: &Origin) -> String {
    format!("Ingress {} is older and has this already; this one gets no requests", older.ingress)
}
