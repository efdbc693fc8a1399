//! The audit: what the kernel holds is what was written, and what was planned by increments is what
//! a compile from scratch plans. At start and every few minutes (DESIGN section 2, step 8).
//!
//! On a thread of its own. The kernel is read beside the loop, and compared with the loop's books in
//! portions (see [`Asker::walk`]), so that an audit of the largest cluster holds up no change. What is
//! compared may therefore change meanwhile: only what two audits in a row find, in the same words, is
//! a difference; the words name what should be there, so that a place that changed is not the same.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use towpath_image::{KernelError, ServiceImage, datapath::FrontendKey};
use towpath_model::ObjectName;

use super::{
    Clock, State, Wake,
    ask::{Asker, Part, portion},
};

/// Time between two audits.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// Time until an audit that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Time between two looks of one audit.
const PAUSE: Duration = Duration::from_secs(1);
/// Differences that are spelled out at most.
const SPELLED_OUT: usize = 100;

/// What an audit found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finding {
    /// When (daemon's milliseconds).
    pub at_ms: u64,
    /// What differed; empty is how it should be.
    pub differences: Vec<String>,
}

/// Reads what the kernel holds, beside the one that writes.
pub type Reader = Box<dyn FnMut() -> Result<ServiceImage, KernelError> + Send>;

/// Who audits.
pub struct Auditor {
    /// The loop.
    pub asker: Asker,
    /// What the kernel holds.
    pub read: Reader,
    /// The daemon's clock.
    pub clock: Clock,
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auditor").finish_non_exhaustive()
    }
}

impl Auditor {
    /// Starts the thread; it ends within a second of the loop.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(mut self) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("audit".into()).spawn(move || {
            let mut next = Instant::now();
            while !self.asker.is_over() {
                if Instant::now() >= next && self.asker.ask(State::is_planned) == Some(true) {
                    let finding = self.audit(PAUSE);
                    next = Instant::now() + if finding.is_some() { EVERY } else { AGAIN };
                    if let Some(finding) = finding {
                        self.asker.tell(Wake::Audited(finding));
                    }
                }
                thread::sleep(PAUSE);
            }
        })
    }

    /// One audit. `None`: it could not be made.
    pub(super) fn audit(&mut self, pause: Duration) -> Option<Finding> {
        let mut differences = self.look()?;
        if !differences.is_empty() {
            thread::sleep(pause);
            let again = self.look()?;
            differences.retain(|difference| again.contains(difference));
        }
        let differences = differences.into_iter().take(SPELLED_OUT).collect();
        Some(Finding { at_ms: self.clock.now_ms(), differences })
    }

    /// Everything that differs now, or only seems to because it changed meanwhile.
    fn look(&mut self) -> Option<BTreeSet<String>> {
        let held = match (self.read)() {
            Ok(image) => Arc::new(image),
            Err(error) => {
                tracing::error!(%error, "the audit could not read the kernel");
                return None;
            }
        };
        let mut found = BTreeSet::new();
        let mut take = |part: Vec<String>| {
            // Enough is enough: a kernel that was emptied differs in everything.
            if found.len() < SPELLED_OUT {
                found.extend(part);
            }
        };
        let image = Arc::clone(&held);
        self.asker.walk(move |state, from| frontends(state, &image, from), &mut take)?;
        let image = Arc::clone(&held);
        self.asker.walk(move |state, from| frontends_too_many(state, &image, from), &mut take)?;
        let image = Arc::clone(&held);
        self.asker.walk(move |state, from| services(state, &image, from), &mut take)?;
        let image = Arc::clone(&held);
        self.asker.walk(move |state, from| services_too_many(state, &image, from), &mut take)?;
        let image = Arc::clone(&held);
        self.asker.walk(move |state, from| addresses(state, &image, from), &mut take)?;
        self.asker.walk(plan, &mut take)?;
        self.asker.walk(plan_too_much, &mut take)?;
        self.asker.walk(claims_too_many, &mut take)?;
        // The last of its owners lets go of it here: on the loop's thread that would take long.
        drop(held);
        Some(found)
    }
}

fn frontends(
    state: &State,
    held: &ServiceImage,
    from: Option<FrontendKey>,
) -> Part<Vec<String>, FrontendKey> {
    let mut found = Vec::new();
    let wanted = state.layout.image().frontends.range(after(from));
    let next = portion(wanted, |(key, word)| {
        if held.frontends.get(key) != Some(word) {
            found.push(format!("FRONTENDS: {key:?} should be {word:?}"));
        }
        *key
    });
    (found, next)
}

fn frontends_too_many(
    state: &State,
    held: &ServiceImage,
    from: Option<FrontendKey>,
) -> Part<Vec<String>, FrontendKey> {
    let mut found = Vec::new();
    let wanted = &state.layout.image().frontends;
    let next = portion(held.frontends.range(after(from)), |(key, _)| {
        if !wanted.contains_key(key) {
            found.push(format!("FRONTENDS: {key:?} should not be there"));
        }
        *key
    });
    (found, next)
}

/// Slots of BACKENDS count as far as a set in force points at them.
fn services(state: &State, held: &ServiceImage, from: Option<u32>) -> Part<Vec<String>, u32> {
    let mut found = Vec::new();
    let wanted = state.layout.image();
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
    state: &State,
    held: &ServiceImage,
    from: Option<u32>,
) -> Part<Vec<String>, u32> {
    let mut found = Vec::new();
    let wanted = &state.layout.image().services;
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
fn addresses(state: &State, held: &ServiceImage, planned: Option<()>) -> Part<Vec<String>, ()> {
    let mut found = Vec::new();
    if planned.is_none() {
        if state.layout.image().node_addresses != held.node_addresses {
            found.push("NODE_ADDRESSES differs".to_owned());
        }
        return (found, Some(()));
    }
    if state.is_settled() && state.plan.node_addresses_differ(&state.store.view()) {
        found.push("the node addresses differ from fresh ones".to_owned());
    }
    (found, None)
}

/// Service by Service, by number: one that comes or goes meanwhile moves the others by one, and the
/// one that is missed has its turn at the next audit.
fn plan(state: &State, from: Option<usize>) -> Part<Vec<String>, usize> {
    let mut found = Vec::new();
    if !state.is_settled() {
        return (found, None);
    }
    let view = state.store.view();
    let from = from.unwrap_or(0);
    let next = portion(view.services().enumerate().skip(from), |(number, service)| {
        found.extend(state.plan.difference(&view, &service.meta.name));
        number + 1
    });
    (found, next)
}

fn plan_too_much(state: &State, from: Option<ObjectName>) -> Part<Vec<String>, ObjectName> {
    let mut found = Vec::new();
    if !state.is_settled() {
        return (found, None);
    }
    let view = state.store.view();
    let next = portion(state.plan.services_after(from.as_ref()), |service| {
        if view.service(&service.name).is_none() {
            found.push(format!("Service {} is planned and gone", service.name));
        }
        service.name.clone()
    });
    (found, next)
}

fn claims_too_many(state: &State, from: Option<FrontendKey>) -> Part<Vec<String>, FrontendKey> {
    let mut found = Vec::new();
    let next = portion(state.plan.claims_after(from.as_ref()), |(key, claim)| {
        if state.plan.service(&claim.service).is_none() {
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
