//! Whose healthCheckNodePort is served when more than one Service has the same.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use towpath_model::{Key, Kind, ObjectName, Problem};

use crate::planned::{HealthCheck, PlannedService};

/// The Services that serve their healthCheckNodePort: the older one, as with frontends. The API
/// server allocates these ports, but two of them can agree before it notices.
pub(crate) fn served(
    services: &BTreeMap<ObjectName, Arc<PlannedService>>,
) -> impl Iterator<Item = &HealthCheck> {
    let owners = owners(services);
    let checks = services.values().filter_map(|service| service.health_check.as_ref());
    checks.filter(move |check| {
        owners.get(&check.port).is_some_and(|owner| owner.name == check.service)
    })
}

/// One problem for each Service whose port is another's.
pub(crate) fn problems(services: &BTreeMap<ObjectName, Arc<PlannedService>>) -> Vec<Problem> {
    let owners = owners(services);
    let checks = services.values().filter_map(|service| service.health_check.as_ref());
    let lost = |check: &HealthCheck| {
        let winner = owners.get(&check.port).filter(|owner| owner.name != check.service)?;
        Some(Problem::new(
            Some(Key { kind: Kind::Service, name: check.service.clone() }),
            "spec.healthCheckNodePort",
            &format!("{} already belongs to Service {}", check.port, winner.name),
            "choose another port; the older Service keeps it",
        ))
    };
    checks.filter_map(lost).collect()
}

fn owners(services: &BTreeMap<ObjectName, Arc<PlannedService>>) -> BTreeMap<u16, &PlannedService> {
    let mut owners: BTreeMap<u16, &PlannedService> = BTreeMap::new();
    for service in services.values() {
        let Some(check) = &service.health_check else { continue };
        match owners.entry(check.port) {
            Entry::Vacant(free) => {
                free.insert(service);
            }
            Entry::Occupied(mut taken) => {
                let owner = taken.get();
                if (&service.created, &service.name) < (&owner.created, &owner.name) {
                    taken.insert(service);
                }
            }
        }
    }
    owners
}
