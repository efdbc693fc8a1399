//! The difference between what is wanted and what is, as operations.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use towpath_image::{
    Batch, Image, Op,
    datapath::{FrontendKey, FrontendKind, FrontendWord, ServiceRecord, SetChoice, SetWord},
};

use super::{
    Layout, Refused,
    adopt::{extent_of, extents_of},
};
use crate::{
    planned::{FrontendTarget, PlannedRecord, PlannedSet},
    retired::Retiree,
};

/// Operations by the step they belong to (see the module above).
#[derive(Default)]
struct Steps {
    addresses_put: Vec<Op>,
    backends: Vec<Op>,
    records: Vec<Op>,
    sets: Vec<Op>,
    /// Remote nodes' own, before the nodePorts that lead to them.
    per_node_put: Vec<Op>,
    frontends_put: Vec<Op>,
    guards_put: Vec<Op>,
    guards_deleted: Vec<Op>,
    frontends_deleted: Vec<Op>,
    addresses_deleted: Vec<Op>,
    records_cleared: Vec<Op>,
}

/// No slots or no index left in this map.
struct NoRoom(&'static str);

const CHOICES: [SetChoice; 2] = [SetChoice::Cluster, SetChoice::Local];

pub(super) fn write(layout: &mut Layout, may_remove: bool) -> Batch {
    let mut steps = Steps::default();
    node_addresses(layout, &mut steps, may_remove);
    records(layout, &mut steps, may_remove);
    frontends(layout, &mut steps, may_remove);
    if may_remove {
        clear_orphans(layout, &mut steps);
    }
    let mut ops = steps.addresses_deleted;
    ops.append(&mut steps.backends);
    ops.append(&mut steps.records);
    ops.append(&mut steps.sets);
    ops.append(&mut steps.per_node_put);
    ops.append(&mut steps.frontends_put);
    ops.append(&mut steps.guards_put);
    ops.append(&mut steps.guards_deleted);
    ops.append(&mut steps.frontends_deleted);
    ops.append(&mut steps.addresses_put);
    ops.append(&mut steps.records_cleared);
    Batch { ops }
}

fn node_addresses(layout: &mut Layout, steps: &mut Steps, may_remove: bool) {
    let capacity = layout.mirror.capacities.node_addresses as usize;
    let mut room = capacity.saturating_sub(layout.mirror.node_addresses.len());
    let mut left = BTreeSet::new();
    for addr in mem::take(&mut layout.dirty_node_addresses) {
        let wanted = layout.node_addresses.get(&addr).copied();
        let held = layout.mirror.node_addresses.get(&addr).copied();
        match (wanted, held) {
            (None, None) => {}
            (Some(value), Some(held)) if held == value => {}
            (Some(value), Some(_)) => steps.addresses_put.push(Op::PutNodeAddress { addr, value }),
            (Some(value), None) if room > 0 => {
                room -= 1;
                steps.addresses_put.push(Op::PutNodeAddress { addr, value });
            }
            (None, Some(_)) if may_remove => {
                steps.addresses_deleted.push(Op::DeleteNodeAddress { addr });
            }
            (Some(_), None) | (None, Some(_)) => {
                left.insert(addr);
            }
        }
    }
    layout.dirty_node_addresses = left;
}

/// Records that are new, differ or go.
fn records(layout: &mut Layout, steps: &mut Steps, may_remove: bool) {
    let mut room = frontend_room(layout);
    for identity in mem::take(&mut layout.dirty_records) {
        let Some(wanted) = layout.records.get(&identity).cloned() else {
            layout.refused.remove(&identity);
            if !layout.index_of.contains_key(&identity) {
                continue;
            }
            if may_remove {
                let index = layout.index_of.remove(&identity);
                layout.orphans.extend(index.map(|index| (index, true)));
            } else {
                layout.dirty_records.insert(identity);
            }
            continue;
        };
        match place(layout, steps, &wanted, &mut room) {
            Ok(()) => {
                layout.refused.remove(&identity);
            }
            Err(NoRoom(map)) => {
                layout.dirty_records.insert(identity);
                let why = format!(
                    "map {map} is full: raise its capacity in the configuration and restart, or \
                     remove Services; what was in force before stays"
                );
                layout.refused.insert(identity, Refused { service: wanted.owner, why });
            }
        }
    }
}

/// New frontends that FRONTENDS has room for.
fn frontend_room(layout: &Layout) -> usize {
    let capacity = layout.mirror.capacities.frontends as usize;
    capacity.saturating_sub(layout.mirror.frontends.len())
}

/// Brings one record into force, or changes nothing.
fn place(
    layout: &mut Layout,
    steps: &mut Steps,
    wanted: &PlannedRecord,
    room: &mut usize,
) -> Result<(), NoRoom> {
    let keys = layout.keys_of.get(&wanted.identity).into_iter().flatten();
    let fresh = keys.filter(|key| !layout.mirror.frontends.contains_key(key)).count();
    if fresh > *room {
        return Err(NoRoom("FRONTENDS"));
    }
    let fixed = ServiceRecord {
        identity: wanted.identity,
        flags: if wanted.affinity_seconds.is_some() { ServiceRecord::AFFINITY } else { 0 },
        affinity_seconds: wanted.affinity_seconds.unwrap_or(0),
        ..ServiceRecord::default()
    };
    let index = layout.index_of.get(&wanted.identity).copied();
    let held = index.and_then(|index| Some((index, *layout.mirror.services.get(&index)?)));
    match held {
        // Every field but the sets: one that is damaged is replaced as a whole.
        Some((index, held)) if held == (ServiceRecord { sets: held.sets, ..fixed }) => {
            flip_sets(layout, steps, index, &held, wanted)?;
        }
        _ => place_anew(layout, steps, wanted, fixed)?,
    }
    *room -= fresh;
    Ok(())
}

/// A fresh index: the record is new, or more than its sets changed. Its frontends follow; the index
/// it had becomes an orphan.
fn place_anew(
    layout: &mut Layout,
    steps: &mut Steps,
    wanted: &PlannedRecord,
    mut record: ServiceRecord,
) -> Result<(), NoRoom> {
    let index = layout.indices.take().ok_or(NoRoom("SERVICES"))?;
    for choice in CHOICES {
        match write_set(layout, &mut steps.backends, &wanted.sets[choice as usize]) {
            Ok(word) => record.sets[choice as usize] = word,
            Err(no_room) => {
                // Nobody ever saw what was written there: no rest needed.
                extents_of(&record).for_each(|extent| layout.extents.give(extent));
                layout.indices.give(index);
                return Err(no_room);
            }
        }
    }
    steps.records.push(Op::WriteService { index, record });
    let before = layout.index_of.insert(wanted.identity, index);
    layout.orphans.extend(before.map(|before| (before, true)));
    let keys = layout.keys_of.get(&wanted.identity).into_iter().flatten();
    layout.dirty_frontends.extend(keys.copied());
    Ok(())
}

/// Same index, other sets: the atomic case.
fn flip_sets(
    layout: &mut Layout,
    steps: &mut Steps,
    index: u32,
    held: &ServiceRecord,
    wanted: &PlannedRecord,
) -> Result<(), NoRoom> {
    let mut flips = Vec::new();
    for choice in CHOICES {
        let set = &wanted.sets[choice as usize];
        if !set.used || same(&layout.mirror, held.set(choice), set) {
            continue;
        }
        match write_set(layout, &mut steps.backends, set) {
            Ok(word) => flips.push((choice, word)),
            Err(no_room) => {
                let taken = flips.into_iter().filter_map(|(_, word)| extent_of(word));
                taken.for_each(|extent| layout.extents.give(extent));
                return Err(no_room);
            }
        }
    }
    for (choice, word) in flips {
        steps.sets.push(Op::StoreSet { index, choice, word });
        layout.leaving.extend(extent_of(held.set(choice)).map(Retiree::Extent));
    }
    Ok(())
}

/// Does the word in force say what is wanted?
fn same(mirror: &Image, word: SetWord, set: &PlannedSet) -> bool {
    if set.backends.is_empty() {
        word.count() == 0 && word.meaning() == set.empty
    } else {
        word.count() > 0 && mirror.extent(word) == &*set.backends
    }
}

fn write_set(layout: &mut Layout, ops: &mut Vec<Op>, set: &PlannedSet) -> Result<SetWord, NoRoom> {
    layout.epoch = layout.epoch.wrapping_add(1);
    let count = u16::try_from(set.backends.len()).map_err(|_too_many| NoRoom("BACKENDS"))?;
    if count == 0 {
        return Ok(SetWord::empty(set.empty, layout.epoch));
    }
    let extent = layout.extents.take(u32::from(count)).ok_or(NoRoom("BACKENDS"))?;
    ops.push(Op::WriteBackends { base: extent.base, records: set.backends.to_vec() });
    Ok(SetWord::new(extent.base, count, layout.epoch))
}

fn frontends(layout: &mut Layout, steps: &mut Steps, may_remove: bool) {
    let mut room = frontend_room(layout);
    let mut left = BTreeSet::new();
    for key in mem::take(&mut layout.dirty_frontends) {
        let guard = key.kind() == Some(FrontendKind::Guard);
        let held = layout.mirror.frontends.get(&key).copied();
        let Some(target) = layout.frontends.get(&key) else {
            if held.is_some() && may_remove {
                let go =
                    if guard { &mut steps.guards_deleted } else { &mut steps.frontends_deleted };
                go.push(Op::DeleteFrontend { key });
            } else if held.is_some() {
                left.insert(key);
            }
            continue;
        };
        let word = wanted_word(layout, &key, target, held);
        if word.is_some() && word == held {
            continue;
        }
        let Some(word) = word.filter(|_| held.is_some() || room > 0) else {
            left.insert(key);
            continue;
        };
        room -= usize::from(held.is_none());
        let put = match key.kind() {
            Some(FrontendKind::Guard) => &mut steps.guards_put,
            Some(FrontendKind::NodeLocal) => &mut steps.per_node_put,
            _ => &mut steps.frontends_put,
        };
        put.push(Op::PutFrontend { key, word });
    }
    layout.dirty_frontends = left;
}

/// `None`: its record is not placed, or was refused and this would be a new way to its old state.
fn wanted_word(
    layout: &Layout,
    key: &FrontendKey,
    target: &FrontendTarget,
    held: Option<FrontendWord>,
) -> Option<FrontendWord> {
    if key.kind() == Some(FrontendKind::Guard) {
        return Some(FrontendWord::new(key, 0, 0));
    }
    if layout.refused.contains_key(&target.identity) && held.is_none() {
        return None;
    }
    let index = layout.index_of.get(&target.identity)?;
    Some(FrontendWord::new(key, *index, target.flags))
}

/// Indices that nothing will lead to once the frontends above are written.
fn clear_orphans(layout: &mut Layout, steps: &mut Steps) {
    if layout.orphans.is_empty() {
        return;
    }
    let mut change: BTreeMap<u32, i64> = BTreeMap::new();
    let puts = steps.per_node_put.iter().chain(&steps.frontends_put);
    for op in puts.chain(&steps.frontends_deleted) {
        let (key, new) = match op {
            Op::PutFrontend { key, word } => (key, Some(*word)),
            Op::DeleteFrontend { key } => (key, None),
            _ => continue,
        };
        if let Some(old) = layout.mirror.frontends.get(key) {
            *change.entry(old.service()).or_default() -= 1;
        }
        if let Some(new) = new {
            *change.entry(new.service()).or_default() += 1;
        }
    }
    let references = |index: &u32| {
        let now = i64::from(layout.references.get(index).copied().unwrap_or(0));
        now + change.get(index).copied().unwrap_or(0)
    };
    let free: Vec<(u32, bool)> = layout
        .orphans
        .iter()
        .filter(|(index, _)| references(index) <= 0)
        .map(|(index, trusted)| (*index, *trusted))
        .collect();
    for (index, trusted) in free {
        layout.orphans.remove(&index);
        let record = layout.mirror.services.get(&index).filter(|_| trusted);
        layout.leaving.extend(record.into_iter().flat_map(extents_of).map(Retiree::Extent));
        layout.leaving.push(Retiree::Index(index));
        let record = ServiceRecord::default();
        steps.records_cleared.push(Op::WriteService { index, record });
    }
}
