//! Whose healthCheckNodePort is served when more than one Service has the same.
//!
//! The API server allocates these ports, but two of them can agree before it notices; kept current
//! by increments, because everybody who asks for problems asks for these too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use towpath_model::{Code, Key, Kind, ObjectName, Problem};

use crate::planned::PlannedService;

/// Who wants a port: the older Service comes first, as with frontends.
type Wish = (Arc<str>, ObjectName);

/// All wishes by port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct HealthPorts {
    by_port: BTreeMap<u16, BTreeSet<Wish>>,
    contested: BTreeSet<u16>,
}

impl HealthPorts {
    /// Replaces one Service's wish.
    pub(crate) fn replace(&mut self, old: Option<&PlannedService>, new: Option<&PlannedService>) {
        let (old, new) = (old.and_then(wish), new.and_then(wish));
        if let Some((port, wish)) = &old
            && let Some(wishes) = self.by_port.get_mut(port)
        {
            wishes.remove(wish);
        }
        if let Some((port, wish)) = &new {
            self.by_port.entry(*port).or_default().insert(wish.clone());
        }
        for (port, _) in old.iter().chain(&new) {
            let wishes = self.by_port.get(port).map_or(0, BTreeSet::len);
            if wishes == 0 {
                self.by_port.remove(port);
            }
            if wishes > 1 {
                self.contested.insert(*port);
            } else {
                self.contested.remove(port);
            }
        }
    }

    /// Is the wish of this Service among them, if it has one?
    pub(crate) fn hold(&self, service: &PlannedService) -> bool {
        wish(service).is_none_or(|(port, wish)| {
            self.by_port.get(&port).is_some_and(|wishes| wishes.contains(&wish))
        })
    }

    /// The Service that each port is served for.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &ObjectName> {
        self.by_port.values().filter_map(|wishes| wishes.first()).map(|(_, service)| service)
    }

    /// One problem for each Service whose port is another's.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for port in &self.contested {
            let mut wishes = self.by_port.get(port).into_iter().flatten();
            let Some((_, winner)) = wishes.next() else { continue };
            problems.extend(wishes.map(|(_, loser)| {
                Problem::new(
                    Code::HealthPortTaken,
                    Some(Key { kind: Kind::Service, name: loser.clone() }),
                    "spec.healthCheckNodePort",
                    &format!("{port} already belongs to Service {winner}"),
                    "choose another port; the older Service keeps it",
                )
            }));
        }
        problems
    }
}

fn wish(service: &PlannedService) -> Option<(u16, Wish)> {
    let check = service.health_check.as_ref()?;
    Some((check.port, (Arc::clone(&service.created), service.name.clone())))
}
