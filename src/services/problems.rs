//! Everything that is wrong with Services as a whole, kept current by what changed: `status` and
//! metrics must not walk the cluster to find the few that have a problem.

use std::collections::BTreeMap;

use towpath_model::{Code, Key, Kind, ObjectName, Problem};
use towpath_proxy::PlannedService;

use super::Services;

/// Problems that planning found, by Service; a Service without any has no entry.
#[derive(Debug, Default)]
pub(super) struct PlanProblems(BTreeMap<ObjectName, Box<[Problem]>>);

impl PlanProblems {
    /// A Service was planned again, or is not proxied any more.
    pub(super) fn planned(&mut self, name: &ObjectName, service: Option<&PlannedService>) {
        match service.map(|service| &service.problems).filter(|problems| !problems.is_empty()) {
            Some(problems) => self.0.insert(name.clone(), problems.as_slice().into()),
            None => self.0.remove(name),
        };
    }

    /// Of one Service.
    pub(super) fn of(&self, name: &ObjectName) -> impl Iterator<Item = &Problem> {
        self.0.get(name).into_iter().flatten()
    }

    fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.values().flatten()
    }
}

impl Services {
    /// Found by planning, contested between Services, without room, kept from before the start.
    pub(super) fn list_problems(&self, out: &mut Vec<Problem>) {
        out.extend(self.problems.iter().cloned());
        out.extend(self.plan.contested());
        let nodes = self.layout.addresses_without_room();
        if nodes > 0 {
            let why = format!(
                "the map is full: NodePorts are not reached on {nodes} address(es) of nodes"
            );
            let action = "raise its capacity in the configuration and restart";
            out.push(Problem::new(
                Code::NodeAddressesFull,
                None,
                "map NODE_ADDRESSES",
                &why,
                action,
            ));
        }
        out.extend(self.startup.problems());
        let held = self.layout.held_frontends();
        let unread = self.unread.iter().filter(|key| key.kind == Kind::Service && held > 0);
        out.extend(unread.map(|key| unread_service(key, held)));
    }
}

/// A Service that cannot be read since the start may own any frontend that no other claims.
fn unread_service(key: &Key, held: usize) -> Problem {
    let why = format!(
        "it could not be read since the start, so it is not known which entries of the kernel are its \
         own: {held} frontends that no Service claims stay in force"
    );
    Problem::new(Code::ServiceUnread, Some(key.clone()), "", &why, "correct it or delete it")
}
