//! The audit of Services: what the maps hold is what was written, and what was planned by increments
//! is what a plan from scratch has.

use std::{collections::BTreeSet, sync::Arc};

use towpath_image::{KernelError, ServiceImage, datapath::FrontendKey};
use towpath_model::ObjectName;

use super::Services;
use crate::reconcile::{Area as _, AreaAsker, Asked, Audit, Part, SPELLED_OUT, portion};

/// Reads what the kernel holds, beside the one that writes.
pub type Reader = Box<dyn FnMut() -> Result<ServiceImage, KernelError> + Send>;

/// Compares what the kernel holds with the area's books.
pub struct ServiceAudit {
    /// The area.
    pub asker: AreaAsker<Services>,
    /// What the kernel holds.
    pub read: Reader,
}

impl std::fmt::Debug for ServiceAudit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAudit").finish_non_exhaustive()
    }
}

type Look<C> = fn(&Asked<'_, Services>, &ServiceImage, Option<C>) -> Part<Vec<String>, C>;

impl Audit for ServiceAudit {
    fn area(&self) -> &'static str {
        Services::NAME
    }

    fn is_planned(&self) -> bool {
        self.asker.ask(|asked| asked.runner.is_planned()) == Some(true)
    }

    fn look(&mut self) -> Option<BTreeSet<String>> {
        let held = match (self.read)() {
            Ok(image) => Arc::new(image),
            Err(error) => {
                tracing::error!(%error, "the audit could not read the kernel");
                return None;
            }
        };
        let mut found = BTreeSet::new();
        self.compare(frontends, &held, &mut found)?;
        self.compare(frontends_too_many, &held, &mut found)?;
        self.compare(services, &held, &mut found)?;
        self.compare(services_too_many, &held, &mut found)?;
        self.compare(addresses, &held, &mut found)?;
        self.compare(plan, &held, &mut found)?;
        self.compare(plan_too_much, &held, &mut found)?;
        self.compare(claims_too_many, &held, &mut found)?;
        // The last of its owners lets go of it here: on the loop's thread that would take long.
        drop(held);
        Some(found)
    }
}

impl ServiceAudit {
    fn compare<C: Send + 'static>(
        &self,
        look: Look<C>,
        held: &Arc<ServiceImage>,
        found: &mut BTreeSet<String>,
    ) -> Option<()> {
        let image = Arc::clone(held);
        self.asker.walk(
            move |asked, from| look(asked, &image, from),
            |part| {
                // Enough is enough: a kernel that was emptied differs in everything.
                if found.len() < SPELLED_OUT {
                    found.extend(part);
                }
            },
        )
    }
}

/// Everything that differs, in one piece: for a loop that stands still.
#[must_use]
pub fn differences(asked: &Asked<'_, Services>, held: &ServiceImage) -> Vec<String> {
    fn all<C>(
        look: Look<C>,
        asked: &Asked<'_, Services>,
        held: &ServiceImage,
        found: &mut Vec<String>,
    ) {
        let mut from = None;
        loop {
            let (part, next) = look(asked, held, from);
            found.extend(part);
            if next.is_none() {
                return;
            }
            from = next;
        }
    }
    let mut found = Vec::new();
    all(frontends, asked, held, &mut found);
    all(frontends_too_many, asked, held, &mut found);
    all(services, asked, held, &mut found);
    all(services_too_many, asked, held, &mut found);
    all(addresses, asked, held, &mut found);
    all(plan, asked, held, &mut found);
    all(plan_too_much, asked, held, &mut found);
    all(claims_too_many, asked, held, &mut found);
    found
}

fn frontends(
    asked: &Asked<'_, Services>,
    held: &ServiceImage,
    from: Option<FrontendKey>,
) -> Part<Vec<String>, FrontendKey> {
    let mut found = Vec::new();
    let wanted = asked.runner.area().layout.image().frontends.range(after(from));
    let next = portion(wanted, |(key, word)| {
        if held.frontends.get(key) != Some(word) {
            found.push(format!("FRONTENDS: {key:?} should be {word:?}"));
        }
        *key
    });
    (found, next)
}

fn frontends_too_many(
    asked: &Asked<'_, Services>,
    held: &ServiceImage,
    from: Option<FrontendKey>,
) -> Part<Vec<String>, FrontendKey> {
    let mut found = Vec::new();
    let wanted = &asked.runner.area().layout.image().frontends;
    let next = portion(held.frontends.range(after(from)), |(key, _)| {
        if !wanted.contains_key(key) {
            found.push(format!("FRONTENDS: {key:?} should not be there"));
        }
        *key
    });
    (found, next)
}

/// Slots of BACKENDS count as far as a set in force points at them.
fn services(
    asked: &Asked<'_, Services>,
    held: &ServiceImage,
    from: Option<u32>,
) -> Part<Vec<String>, u32> {
    let mut found = Vec::new();
    let wanted = asked.runner.area().layout.image();
    let next = portion(wanted.services.range(after(from)), |(index, record)| {
        if held.services.get(index) != Some(record) {
            found.push(format!("SERVICES: index {index} should be {record:?}"));
            return *index;
        }
        for word in record.sets {
            if wanted.extent(word) != held.extent(word) {
                found.push(format!("BACKENDS: the set {word:?} of index {index} differs"));
            }
        }
        *index
    });
    (found, next)
}

fn services_too_many(
    asked: &Asked<'_, Services>,
    held: &ServiceImage,
    from: Option<u32>,
) -> Part<Vec<String>, u32> {
    let mut found = Vec::new();
    let wanted = &asked.runner.area().layout.image().services;
    let next = portion(held.services.range(after(from)), |(index, _)| {
        if !wanted.contains_key(index) {
            found.push(format!("SERVICES: index {index} should be unused"));
        }
        *index
    });
    (found, next)
}

/// Some for each node, in two portions: what the kernel holds, then what is planned. With 5,000 nodes
/// the second takes 2 ms, as every change of a node does.
fn addresses(
    asked: &Asked<'_, Services>,
    held: &ServiceImage,
    planned: Option<()>,
) -> Part<Vec<String>, ()> {
    let (area, mut found) = (asked.runner.area(), Vec::new());
    if planned.is_none() {
        if area.layout.image().node_addresses != held.node_addresses {
            found.push("NODE_ADDRESSES differs".to_owned());
        }
        return (found, Some(()));
    }
    if asked.runner.is_settled() && area.plan.node_addresses_differ(&asked.view) {
        found.push("the node addresses differ from fresh ones".to_owned());
    }
    (found, None)
}

/// Service by Service, by number: one that comes or goes meanwhile moves the others by one, and the
/// one that is missed has its turn at the next audit.
fn plan(
    asked: &Asked<'_, Services>,
    _held: &ServiceImage,
    from: Option<usize>,
) -> Part<Vec<String>, usize> {
    let mut found = Vec::new();
    if !asked.runner.is_settled() {
        return (found, None);
    }
    let from = from.unwrap_or(0);
    let next = portion(asked.view.services().enumerate().skip(from), |(number, service)| {
        found.extend(asked.runner.area().plan.difference(&asked.view, &service.meta.name));
        number + 1
    });
    (found, next)
}

fn plan_too_much(
    asked: &Asked<'_, Services>,
    _held: &ServiceImage,
    from: Option<ObjectName>,
) -> Part<Vec<String>, ObjectName> {
    let mut found = Vec::new();
    if !asked.runner.is_settled() {
        return (found, None);
    }
    let next = portion(asked.runner.area().plan.services_after(from.as_ref()), |service| {
        if asked.view.service(&service.name).is_none() {
            found.push(format!("Service {} is planned and gone", service.name));
        }
        service.name.clone()
    });
    (found, next)
}

fn claims_too_many(
    asked: &Asked<'_, Services>,
    _held: &ServiceImage,
    from: Option<FrontendKey>,
) -> Part<Vec<String>, FrontendKey> {
    let (plan, mut found) = (&asked.runner.area().plan, Vec::new());
    let next = portion(plan.claims_after(from.as_ref()), |(key, claim)| {
        if plan.service(&claim.service).is_none() {
            found.push(format!("{key:?} is claimed by Service {}, which is gone", claim.service));
        }
        *key
    });
    (found, next)
}

fn after<K>(key: Option<K>) -> (std::ops::Bound<K>, std::ops::Bound<K>) {
    use std::ops::Bound::{Excluded, Unbounded};
    (key.map_or(Unbounded, Excluded), Unbounded)
}

#[cfg(test)]
mod tests;
