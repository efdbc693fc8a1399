//! Is what a Service should be what the kernel holds? Asked of the layout's mirror, which is what
//! was carried out, operation by operation.

use towpath_image::datapath::{FrontendKind, FrontendWord, SetWord};
use towpath_model::ObjectName;
use towpath_proxy::{Layout, PlannedRecord, PlannedSet, ServicePlan};

/// Does one set of a record say what is planned?
pub(super) fn set(layout: &Layout, record: &PlannedRecord, choice: usize) -> bool {
    let image = layout.image();
    let index = layout.index_of(record.identity);
    let held = index.and_then(|index| image.services.get(&index));
    let same = |word: SetWord, set: &PlannedSet| {
        if set.backends.is_empty() {
            word.count() == 0 && word.meaning() == set.empty
        } else {
            image.extent(word) == &*set.backends
        }
    };
    held.is_some_and(|held| same(held.sets[choice], &record.sets[choice]))
}

/// Are all used sets of a Service, and all frontends that it owns, in force? What it no longer wants
/// may still be there.
pub(super) fn service(layout: &Layout, plan: &ServicePlan, name: &ObjectName) -> bool {
    let Some(service) = plan.service(name) else { return true };
    let mut records = service.ports.iter().flat_map(|port| port.records());
    let sets = records.all(|record| {
        let used = |choice: &usize| record.sets[*choice].used;
        [0, 1].iter().filter(|choice| used(choice)).all(|choice| set(layout, record, *choice))
    });
    let own = service.ports.iter().flat_map(|port| &port.frontends).chain(&service.guards);
    sets && own.into_iter().all(|frontend| {
        let owner = plan.owner(&frontend.key);
        let owned = owner.is_some_and(|claim| claim.service == *name);
        let held = layout.image().frontends.get(&frontend.key);
        let wanted = if frontend.key.kind() == Some(FrontendKind::Guard) {
            Some(FrontendWord::new(&frontend.key, 0, 0))
        } else {
            let index = layout.index_of(frontend.identity);
            index.map(|index| FrontendWord::new(&frontend.key, index, frontend.flags))
        };
        // What another Service owns is not in its hands.
        !owned || (wanted.is_some() && held == wanted.as_ref())
    })
}
