//! Numbers that the maps refer to each other by.

use std::collections::BTreeSet;

use towpath_image::FreeIndices;

/// Something that was given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    Class(u16),
    Ruleset(u32),
    Row(u32),
    Slot(u32),
    PortClass(u16),
}

/// Free indices, counted.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    free: FreeIndices,
    left: u32,
}

impl Pool {
    pub(super) fn new(limit: u32, used: &BTreeSet<u32>) -> Self {
        let inside = used.iter().filter(|index| **index < limit).count();
        let inside = u32::try_from(inside).unwrap_or(limit);
        Self { free: FreeIndices::new(limit, used), left: limit.saturating_sub(inside) }
    }

    pub(super) fn take(&mut self) -> u32 {
        self.left = self.left.saturating_sub(1);
        let taken = self.free.take();
        debug_assert!(taken.is_some(), "room was counted before");
        taken.unwrap_or_default()
    }

    pub(super) const fn has(&self, count: usize) -> bool {
        count <= self.left as usize
    }

    fn give(&mut self, index: u32) {
        self.left += 1;
        self.free.give(index);
    }
}

/// A pool for each sort.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) classes: Pool,
    pub(super) rulesets: Pool,
    pub(super) rows: Pool,
    pub(super) slots: Pool,
    pub(super) port_classes: Pool,
}

impl Numbers {
    pub(super) fn give(&mut self, number: Number) {
        match number {
            Number::Class(class) => self.classes.give(class.into()),
            Number::Ruleset(ruleset) => self.rulesets.give(ruleset),
            Number::Row(row) => self.rows.give(row),
            Number::Slot(slot) => self.slots.give(slot),
            Number::PortClass(class) => self.port_classes.give(class.into()),
        }
    }
}
