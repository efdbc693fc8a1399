//! Finding room for records: a Service comes in with everything that changed, or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use towpath_image::{
    SOURCE_RANGES_MAX, ServiceImage, ServiceOp,
    datapath::{RangeKey, ServiceRecord, SetChoice, SetWord},
};
use towpath_model::{ObjectName, service::Cidr};

use super::{Layout, Refused, books::Taken, steps::Steps};
use crate::planned::{PlannedRecord, PlannedSet};

/// No slots or no index left in this map.
pub(super) struct NoRoom(&'static str);

const CHOICES: [SetChoice; 2] = [SetChoice::Cluster, SetChoice::Local];

/// What one Service took so far, to give it back when it does not fit.
struct Attempt {
    taken: Taken,
    backends: usize,
    ranges: usize,
    records: usize,
    sets: usize,
}

impl Attempt {
    const fn begin(layout: &Layout, steps: &Steps) -> Self {
        Self {
            taken: layout.books.begin(),
            backends: steps.backends.len(),
            ranges: steps.ranges.len(),
            records: steps.records.len(),
            sets: steps.sets.len(),
        }
    }

    fn undo(self, layout: &mut Layout, steps: &mut Steps) {
        steps.backends.truncate(self.backends);
        steps.ranges.truncate(self.ranges);
        steps.records.truncate(self.records);
        steps.sets.truncate(self.sets);
        layout.books.give_back(self.taken);
    }
}

/// Records that are new, differ or go. Who does not fit is tried again at every turn.
pub(super) fn records(layout: &mut Layout, steps: &mut Steps, may_remove: bool) {
    layout.refused.clear();
    // New frontends of a record that is in force need room too.
    let fresh =
        layout.dirty_frontends.iter().filter(|key| !layout.mirror.frontends.contains_key(key));
    let targets = fresh.filter_map(|key| layout.frontends.get(key));
    let identities = targets.map(|target| target.identity);
    layout
        .dirty_records
        .extend(identities.filter(|identity| layout.records.contains_key(identity)));
    let mut by_service: BTreeMap<ObjectName, Vec<u64>> = BTreeMap::new();
    let mut unwanted = Vec::new();
    for identity in mem::take(&mut layout.dirty_records) {
        match layout.records.get(&identity) {
            Some(wanted) => match layout.keeps_set(wanted) {
                Some(why) => {
                    layout.held.services.insert(wanted.owner.clone(), why);
                    layout.held.records.insert(identity);
                }
                None => by_service.entry(wanted.owner.clone()).or_default().push(identity),
            },
            None => unwanted.push(identity),
        }
    }
    let mut room = layout.frontend_room();
    for (service, identities) in by_service {
        let mut attempt = Attempt::begin(layout, steps);
        let mut left = room;
        let placed = identities
            .iter()
            .try_for_each(|identity| place(layout, steps, *identity, &mut left, &mut attempt));
        match placed {
            Ok(()) => room = left,
            Err(NoRoom(map)) => {
                attempt.undo(layout, steps);
                layout.dirty_records.extend(identities);
                let why = format!(
                    "map {map} is full: raise its capacity in the configuration and restart, or \
                     remove Services; what was in force before stays"
                );
                let refused = Refused { service: service.clone(), why };
                layout.refused.insert(service, refused);
            }
        }
    }
    unwanted.into_iter().for_each(|identity| withdraw(layout, identity, may_remove));
}

/// A record that is no longer wanted. Of a Service that was refused everything stays, also what it
/// had and no longer wants.
fn withdraw(layout: &mut Layout, identity: u64, may_remove: bool) {
    if layout.books.index_of(identity).is_none() {
        layout.former.remove(&identity);
        return;
    }
    let owner = layout.former.get(&identity);
    if !may_remove || owner.is_some_and(|owner| layout.refused.contains_key(owner)) {
        layout.dirty_records.insert(identity);
        return;
    }
    if layout.keeps_record(identity) {
        layout.held.records.insert(identity);
        return;
    }
    layout.former.remove(&identity);
    layout.books.abandon(identity);
}

fn place(
    layout: &mut Layout,
    steps: &mut Steps,
    identity: u64,
    room: &mut usize,
    attempt: &mut Attempt,
) -> Result<(), NoRoom> {
    let Some(wanted) = layout.records.get(&identity).cloned() else { return Ok(()) };
    let keys = layout.keys_of.get(&identity).into_iter().flatten();
    let fresh = keys.filter(|key| !layout.mirror.frontends.contains_key(key)).count();
    *room = room.checked_sub(fresh).ok_or(NoRoom("FRONTENDS"))?;
    let fixed = ServiceRecord {
        identity,
        flags: if wanted.affinity_seconds.is_some() { ServiceRecord::AFFINITY } else { 0 },
        affinity_seconds: wanted.affinity_seconds.unwrap_or(0),
        ..ServiceRecord::default()
    };
    let index = layout.books.index_of(identity);
    let held = index.and_then(|index| Some((index, *layout.mirror.services.get(&index)?)));
    match held {
        // Every field but the sets: one that is damaged is replaced as a whole.
        Some((index, held))
            if held == (ServiceRecord { sets: held.sets, ..fixed })
                && ranges(&wanted, index).eq(layout.mirror.ranges(index).copied()) =>
        {
            flip_sets(layout, steps, index, &held, &wanted, attempt)
        }
        _ => place_anew(layout, steps, fixed, &wanted, attempt),
    }
}

/// A fresh index: the record is new, or more than its sets changed. Its frontends follow; the index
/// it had becomes an orphan.
fn place_anew(
    layout: &mut Layout,
    steps: &mut Steps,
    mut record: ServiceRecord,
    wanted: &PlannedRecord,
    attempt: &mut Attempt,
) -> Result<(), NoRoom> {
    for choice in CHOICES {
        let set = &wanted.sets[choice as usize];
        record.sets[choice as usize] = write_set(layout, &mut steps.backends, set, attempt)?;
    }
    let index = layout.books.place(wanted.identity, &mut attempt.taken);
    let index = index.ok_or(NoRoom("SERVICES"))?;
    // What an index had before went with its record: nothing else is there.
    let capacity = SOURCE_RANGES_MAX as usize;
    let room = capacity.saturating_sub(layout.mirror.source_ranges.len() + steps.ranges.len());
    if wanted.source_ranges.len() > room {
        return Err(NoRoom("SOURCE_RANGES"));
    }
    steps.ranges.extend(ranges(wanted, index).map(|key| ServiceOp::PutRange { key }));
    steps.records.push(ServiceOp::WriteService { index, record });
    let keys = layout.keys_of.get(&wanted.identity).into_iter().flatten();
    layout.dirty_frontends.extend(keys.copied());
    Ok(())
}

/// The blocks of a record, at an index; in the order of their keys.
fn ranges(wanted: &PlannedRecord, index: u32) -> impl Iterator<Item = RangeKey> {
    let key = move |block: &Cidr| RangeKey::new(index, block.base.into(), block.prefix);
    let keys: BTreeSet<RangeKey> = wanted.source_ranges.iter().map(key).collect();
    keys.into_iter()
}

/// Same index, other sets: the atomic case.
fn flip_sets(
    layout: &mut Layout,
    steps: &mut Steps,
    index: u32,
    held: &ServiceRecord,
    wanted: &PlannedRecord,
    attempt: &mut Attempt,
) -> Result<(), NoRoom> {
    for choice in CHOICES {
        let set = &wanted.sets[choice as usize];
        if !set.used || same(&layout.mirror, held.set(choice), set) {
            continue;
        }
        let word = write_set(layout, &mut steps.backends, set, attempt)?;
        steps.sets.push(ServiceOp::StoreSet { index, choice, word });
        layout.books.replaced(held.set(choice));
    }
    Ok(())
}

/// Does the word in force say what is wanted?
fn same(mirror: &ServiceImage, word: SetWord, set: &PlannedSet) -> bool {
    if set.backends.is_empty() {
        word.count() == 0 && word.meaning() == set.empty
    } else {
        word.count() > 0 && mirror.extent(word) == &*set.backends
    }
}

fn write_set(
    layout: &mut Layout,
    ops: &mut Vec<ServiceOp>,
    set: &PlannedSet,
    attempt: &mut Attempt,
) -> Result<SetWord, NoRoom> {
    let epoch = layout.books.next_epoch();
    let count = u16::try_from(set.backends.len()).map_err(|_too_many| NoRoom("BACKENDS"))?;
    if count == 0 {
        return Ok(SetWord::empty(set.empty, epoch));
    }
    let extent = layout.books.take_slots(u32::from(count), &mut attempt.taken);
    let extent = extent.ok_or(NoRoom("BACKENDS"))?;
    ops.push(ServiceOp::WriteBackends { base: extent.base, records: set.backends.to_vec() });
    Ok(SetWord::new(extent.base, count, epoch))
}
