//! Port classes: ports that no ruleset tells apart share one.
//!
//! A class is split before a row needs it (the new class says what the old one said in every row, then
//! the ports move) and taken together again when no row needs it any more.

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::{
    PolicyOp, PortTable,
    datapath::policy::{PORT_CLASS_OTHER, RowRecord},
};

use super::{Number, PolicyLayout};
use crate::Allowed;

/// Where a class has to begin.
pub(super) fn borders<'a>(allowed: impl Iterator<Item = &'a Allowed>) -> BTreeSet<u32> {
    let mut borders = BTreeSet::new();
    for (protocol, first, last) in allowed.flat_map(|allowed| &allowed.ranges) {
        let place = |port| PortTable::place(protocol.number(), port);
        borders.extend(place(*first));
        borders.extend(place(*last).map(|last| last + 1));
    }
    if !borders.is_empty() {
        // Ports of different protocols are never one class.
        borders.extend([0, 65_536, 131_072]);
    }
    borders.remove(&PortTable::LENGTH);
    borders
}

/// A row in which these ranges are allowed.
pub(super) fn record(allowed: &Allowed, table: &PortTable) -> RowRecord {
    if allowed.anything {
        return RowRecord { words: [u64::MAX; 16] };
    }
    let mut record = RowRecord::default();
    let ranges: Vec<(u32, u32)> = allowed
        .ranges
        .iter()
        .filter_map(|(protocol, first, last)| {
            let place = |port| PortTable::place(protocol.number(), port);
            Some((place(*first)?, place(*last)?))
        })
        .collect();
    for (first, last, class) in table.runs().filter(|run| run.2 != PORT_CLASS_OTHER) {
        if ranges.iter().any(|(from, to)| *from <= first && last <= *to) {
            record.allow(class);
        }
    }
    record
}

impl PolicyLayout {
    /// Where classes begin now.
    fn port_runs(&self) -> BTreeMap<u32, (u32, u16)> {
        self.image.ports.runs().map(|(first, last, class)| (first, (last, class))).collect()
    }

    /// The pieces of classes that need a number of their own: place of the first and last port, and
    /// the class that they belong to now.
    pub(super) fn port_splits(&self, borders: &BTreeSet<u32>) -> Vec<(u32, u32, u16)> {
        if borders.is_empty() {
            return Vec::new();
        }
        let mut splits = Vec::new();
        for (first, (last, class)) in self.port_runs() {
            let inside = borders.range(first..=last).copied().filter(|border| *border != first);
            let starts: Vec<u32> = [first].into_iter().chain(inside).collect();
            for (at, start) in starts.iter().enumerate() {
                let end = starts.get(at + 1).map_or(last, |next| next - 1);
                if at > 0 || class == PORT_CLASS_OTHER {
                    splits.push((*start, end, class));
                }
            }
        }
        splits
    }

    /// Splits classes. Room for the numbers was counted.
    pub(super) fn split_ports(&mut self, splits: &[(u32, u32, u16)], ops: &mut Vec<PolicyOp>) {
        if splits.is_empty() {
            return;
        }
        let fresh: Vec<u16> = splits
            .iter()
            .map(|_| u16::try_from(self.numbers.port_classes.take()).unwrap_or(PORT_CLASS_OTHER))
            .collect();
        for (row, before) in self.image.rows.clone() {
            let mut record = before;
            for ((.., from), class) in splits.iter().zip(&fresh) {
                let (word, bit) = (usize::from(class / 64), class % 64);
                record.words[word] &= !(1 << bit);
                record.words[word] |= u64::from(before.allows(*from)) << bit;
            }
            if record != before {
                self.put(PolicyOp::WriteRow { row, record }, ops);
            }
        }
        for ((first, last, _), class) in splits.iter().zip(fresh) {
            self.put(PolicyOp::SetPorts { first: *first, last: *last, class }, ops);
        }
    }

    /// Takes classes together that no row in use tells apart.
    pub(super) fn join_ports(&mut self, ops: &mut Vec<PolicyOp>) {
        let borders = borders(self.rows.keys());
        if borders.is_empty() {
            return;
        }
        let mut current: Option<u16> = None;
        for (first, last, class) in self.image.ports.runs().collect::<Vec<_>>() {
            match current {
                Some(kept) if !borders.contains(&first) => {
                    self.put(PolicyOp::SetPorts { first, last, class: kept }, ops);
                    self.leaving.push(Number::PortClass(class));
                }
                _ => current = Some(class),
            }
        }
    }
}
