//! The difference between what is wanted and what is, as operations.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use towpath_image::{
    Batch, Millis, ServiceOp,
    datapath::{FrontendKey, FrontendKind, FrontendWord, ServiceRecord},
};

use super::{Layout, place, steps::Steps};
use crate::planned::FrontendTarget;

pub(super) fn write(layout: &mut Layout, may_remove: bool, now: Millis) -> Batch<ServiceOp> {
    let mut steps = Steps::default();
    free(layout, &mut steps, now);
    node_addresses(layout, &mut steps, may_remove);
    place::records(layout, &mut steps, may_remove);
    frontends(layout, &mut steps, may_remove);
    retire_orphans(layout, &steps);
    steps.into_batch()
}

/// What rested long enough is room again, in this very batch: records are cleared before anything else.
fn free(layout: &mut Layout, steps: &mut Steps, now: Millis) {
    let record = ServiceRecord::default();
    let cleared = layout.books.free_rested(&layout.mirror, now);
    let ops = &mut steps.records_cleared;
    ops.extend(cleared.iter().map(|index| ServiceOp::WriteService { index: *index, record }));
    for index in cleared.into_iter().chain(mem::take(&mut layout.stray_ranges)) {
        let ranges = layout.mirror.ranges(index);
        ops.extend(ranges.map(|key| ServiceOp::DeleteRange { key: *key }));
    }
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
            (Some(value), Some(_)) => {
                steps.addresses_put.push(ServiceOp::PutNodeAddress { addr, value })
            }
            (Some(value), None) if room > 0 => {
                room -= 1;
                steps.addresses_put.push(ServiceOp::PutNodeAddress { addr, value });
            }
            (None, Some(_)) if layout.keeps_address(&addr) => {
                layout.held.addresses.insert(addr);
            }
            (None, Some(_)) if may_remove => {
                steps.addresses_deleted.push(ServiceOp::DeleteNodeAddress { addr });
            }
            (Some(_), None) | (None, Some(_)) => {
                left.insert(addr);
            }
        }
    }
    layout.dirty_node_addresses = left;
}

fn frontends(layout: &mut Layout, steps: &mut Steps, may_remove: bool) {
    let mut room = layout.frontend_room();
    let mut left = BTreeSet::new();
    for key in mem::take(&mut layout.dirty_frontends) {
        let guard = key.kind() == Some(FrontendKind::Guard);
        let held = layout.mirror.frontends.get(&key).copied();
        let target = layout.frontends.get(&key).copied();
        let refused = layout.is_refused(&key);
        let word = match target {
            Some(target) if !refused => wanted_word(layout, &key, target),
            // What leads to a Service that was refused stays as it is, wanted or not: new flags
            // belong to sets that did not fit. Nothing else may lead to it.
            _ => held.filter(|held| stays(layout, &key, *held)),
        };
        let settled = match (word, held) {
            (None, None) => target.is_none(),
            (None, Some(_)) if layout.keeps_frontend(&key) => {
                layout.held.frontends.insert(key);
                true
            }
            (None, Some(_)) if may_remove => {
                let go =
                    if guard { &mut steps.guards_deleted } else { &mut steps.frontends_deleted };
                go.push(ServiceOp::DeleteFrontend { key });
                target.is_none()
            }
            (None, Some(_)) => false,
            (Some(word), Some(held)) if word == held => target.is_some() && !refused,
            // Only a guard that belongs to no record: all others were counted when it was placed.
            (Some(_), None) if room == 0 => false,
            (Some(word), held) => {
                room -= usize::from(held.is_none());
                let put = match key.kind() {
                    Some(FrontendKind::Guard) => &mut steps.guards_put,
                    Some(FrontendKind::NodeLocal) => &mut steps.per_node_put,
                    _ => &mut steps.frontends_put,
                };
                put.push(ServiceOp::PutFrontend { key, word });
                true
            }
        };
        if !settled {
            left.insert(key);
        }
    }
    layout.dirty_frontends = left;
}

/// `None`: its record is not placed.
fn wanted_word(layout: &Layout, key: &FrontendKey, target: FrontendTarget) -> Option<FrontendWord> {
    if key.kind() == Some(FrontendKind::Guard) {
        return Some(FrontendWord::new(key, 0, 0));
    }
    let index = layout.books.index_of(target.identity)?;
    Some(FrontendWord::new(key, index, target.flags))
}

/// Does this lead to a record of a Service that was refused? A guard's word does not say whose it
/// is; the frontends in force on its address do.
fn stays(layout: &Layout, key: &FrontendKey, held: FrontendWord) -> bool {
    let of_refused = |word: FrontendWord| {
        let owner = layout.owner_at(word.service());
        owner.is_some_and(|owner| layout.refused.contains_key(owner))
    };
    if layout.refused.is_empty() {
        return false;
    }
    if key.kind() != Some(FrontendKind::Guard) {
        return of_refused(held);
    }
    let first = FrontendKey { port: 0, protocol: 0, kind: 0, ..*key };
    let on_address = layout.mirror.frontends.range(first..).take_while(|(k, _)| k.addr == key.addr);
    let mut vips = on_address.filter(|(key, _)| key.kind() == Some(FrontendKind::Vip));
    vips.any(|(_, word)| of_refused(*word))
}

/// Indices that nothing will lead to once the frontends above are written.
fn retire_orphans(layout: &mut Layout, steps: &Steps) {
    if !layout.books.has_orphans() {
        return;
    }
    let mut change: BTreeMap<u32, i64> = BTreeMap::new();
    let puts = steps.per_node_put.iter().chain(&steps.frontends_put);
    for op in puts.chain(&steps.frontends_deleted) {
        let (key, new) = match op {
            ServiceOp::PutFrontend { key, word } => (key, Some(*word)),
            ServiceOp::DeleteFrontend { key } => (key, None),
            _ => continue,
        };
        if let Some(old) = layout.mirror.frontends.get(key) {
            *change.entry(old.service()).or_default() -= 1;
        }
        if let Some(new) = new {
            *change.entry(new.service()).or_default() += 1;
        }
    }
    layout.books.retire_orphans(&change);
}
