//! The books over SERVICES and BACKENDS: what is in force where, what is room, what rests.

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::{
    Extent, FreeExtents, FreeIndices, Millis, Retired, ServiceImage,
    datapath::{FrontendKey, FrontendKind, FrontendWord, ServiceRecord, SetWord},
};

/// What rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Retiree {
    /// Slots that no set in force holds any more.
    Extent(Extent),
    /// An index that no frontend leads to any more. Its record stays whole while it rests: a program
    /// that read the frontend before has yet to read the record. `owns`: the slots it names are its
    /// own.
    Index {
        /// Which.
        index: u32,
        /// Are the slots of its sets its own?
        owns: bool,
    },
}

/// What is where. Nothing here is written to the kernel: the caller makes an operation of it.
#[derive(Clone, Debug)]
pub(super) struct Books {
    /// Index of each record in force.
    index_of: BTreeMap<u64, u32>,
    /// Indices that are not in force, but that something still leads to; or that nothing has looked
    /// at yet. With whether their slots are theirs; those of a record that was never trusted count
    /// as room.
    orphans: BTreeMap<u32, bool>,
    /// How many frontends lead to an index.
    references: BTreeMap<u32, u32>,
    /// Epoch of the word published last. One count for all records: an extent that is used again
    /// never makes the same word again (but for the wrap after 65,536 publications).
    epoch: u16,
    extents: FreeExtents,
    indices: FreeIndices,
    retired: Retired<Retiree>,
    /// What the batch under way takes out of force.
    leaving: Vec<Retiree>,
}

/// A record at a new index.
struct Placed {
    identity: u64,
    index: u32,
    before: Option<u32>,
}

/// What was taken since, to be given back when it does not lead to anything. Nothing has seen any of
/// it, so it needs no rest.
pub(super) struct Taken {
    extents: Vec<Extent>,
    placed: Vec<Placed>,
    leaving: usize,
}

impl Books {
    /// Over what the kernel holds.
    pub(super) fn open(image: &ServiceImage) -> Self {
        let mut retired = Retired::default();
        let mut references = BTreeMap::new();
        for (key, word) in &image.frontends {
            count(&mut references, key, Some(*word), 1);
        }
        let Records { index_of, orphans, used } = records(image, &references);
        let used_indices = index_of.values().chain(orphans.keys()).copied().collect();
        let words = image.services.values().flat_map(|record| record.sets);
        Self {
            extents: free_extents(image, &used, &mut retired),
            indices: FreeIndices::new(image.capacities.services, &used_indices),
            index_of,
            orphans,
            references,
            epoch: words.map(SetWord::epoch).max().unwrap_or(0),
            retired,
            leaving: Vec::new(),
        }
    }

    /// Anew over what the kernel holds now. No word that was published before is published again, and
    /// what rests begins to.
    pub(super) fn reopen(&mut self, image: &ServiceImage, now: Millis) {
        let epoch = self.epoch;
        *self = Self { epoch, ..Self::open(image) };
        self.retired.restamp(now);
    }

    /// Index of a record in force.
    pub(super) fn index_of(&self, identity: u64) -> Option<u32> {
        self.index_of.get(&identity).copied()
    }

    /// Identities and indices of the records in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = (u64, u32)> {
        self.index_of.iter().map(|(identity, index)| (*identity, *index))
    }

    /// A record is no longer in force, but frontends may still lead to it.
    pub(super) fn abandon(&mut self, identity: u64) {
        if let Some(index) = self.index_of.remove(&identity) {
            self.orphans.insert(index, true);
        }
    }

    /// From here on what is taken may be given back.
    pub(super) const fn begin(&self) -> Taken {
        Taken { extents: Vec::new(), placed: Vec::new(), leaving: self.leaving.len() }
    }

    /// Takes slots; `None`: there is no room.
    pub(super) fn take_slots(&mut self, len: u32, taken: &mut Taken) -> Option<Extent> {
        let extent = self.extents.take(len)?;
        taken.extents.push(extent);
        Some(extent)
    }

    /// Puts a record at a free index; the one that it had becomes an orphan. `None`: there is no room.
    pub(super) fn place(&mut self, identity: u64, taken: &mut Taken) -> Option<u32> {
        let index = self.indices.take()?;
        let before = self.index_of.insert(identity, index);
        self.orphans.extend(before.map(|before| (before, true)));
        taken.placed.push(Placed { identity, index, before });
        Some(index)
    }

    /// A set in force is replaced by the batch under way.
    pub(super) fn replaced(&mut self, word: SetWord) {
        self.leaving.extend(extent_of(word).map(Retiree::Extent));
    }

    /// As before [`Self::begin`].
    pub(super) fn give_back(&mut self, taken: Taken) {
        self.leaving.truncate(taken.leaving);
        for extent in taken.extents {
            self.extents.give(extent);
        }
        for Placed { identity, index, before } in taken.placed {
            self.indices.give(index);
            match before {
                Some(before) => {
                    self.orphans.remove(&before);
                    self.index_of.insert(identity, before);
                }
                None => {
                    self.index_of.remove(&identity);
                }
            }
        }
    }

    /// For the next word that is published.
    pub(super) const fn next_epoch(&mut self) -> u16 {
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch
    }

    /// A frontend leads elsewhere.
    pub(super) fn redirect(
        &mut self,
        key: &FrontendKey,
        from: Option<FrontendWord>,
        to: Option<FrontendWord>,
    ) {
        count(&mut self.references, key, from, -1);
        count(&mut self.references, key, to, 1);
    }

    /// What has rested is room again; answers the indices whose records are to be cleared first.
    pub(super) fn free_rested(&mut self, image: &ServiceImage, now: Millis) -> Vec<u32> {
        let mut cleared = Vec::new();
        for what in self.retired.rested(now) {
            match what {
                Retiree::Extent(extent) => self.extents.give(extent),
                Retiree::Index { index, owns } => {
                    let record = image.services.get(&index).filter(|_| owns);
                    record.into_iter().flat_map(extents_of).for_each(|e| self.extents.give(e));
                    self.indices.give(index);
                    cleared.push(index);
                }
            }
        }
        cleared
    }

    /// Indices that nothing will lead to once as many frontends as `change` says have come or gone.
    pub(super) fn retire_orphans(&mut self, change: &BTreeMap<u32, i64>) {
        let references = |index: &u32| {
            let now = i64::from(self.references.get(index).copied().unwrap_or(0));
            now + change.get(index).copied().unwrap_or(0)
        };
        let free = self.orphans.extract_if(.., |index, _| references(index) <= 0);
        self.leaving.extend(free.map(|(index, owns)| Retiree::Index { index, owns }));
    }

    /// Does anything lead to a record that is no longer in force?
    pub(super) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// The batch under way is in force: what it took out of force rests.
    pub(super) fn settle(&mut self, now: Millis) {
        for what in std::mem::take(&mut self.leaving) {
            self.retired.add(what, now);
        }
    }

    pub(super) fn graced(&mut self, began: Millis) {
        self.retired.graced(began);
    }

    pub(super) fn wants_grace(&self) -> bool {
        self.retired.wants_grace()
    }

    /// Has an index rested long enough to be free?
    pub(super) fn has_rested_index(&self, now: Millis) -> bool {
        self.retired.over(now).any(|what| matches!(what, Retiree::Index { .. }))
    }

    /// Slots that are free, or would be if they were asked for now.
    pub(super) fn free_slots(&self, now: Millis) -> u64 {
        let slots = |what: &Retiree| match what {
            Retiree::Extent(extent) => u64::from(extent.len),
            Retiree::Index { .. } => 0,
        };
        self.extents.total() + self.retired.over(now).map(slots).sum::<u64>()
    }
}

/// Adds to the number of frontends that lead to an index; guards lead nowhere.
fn count(
    references: &mut BTreeMap<u32, u32>,
    key: &FrontendKey,
    word: Option<FrontendWord>,
    by: i32,
) {
    let Some(word) = word.filter(|_| key.kind() != Some(FrontendKind::Guard)) else { return };
    let number = references.entry(word.service()).or_default();
    *number = number.saturating_add_signed(by);
    if *number == 0 {
        references.remove(&word.service());
    }
}

/// What the records of an image are.
struct Records {
    /// In force: identity to index.
    index_of: BTreeMap<u64, u32>,
    /// Others, and whether the slots that they name are theirs.
    orphans: BTreeMap<u32, bool>,
    /// Slots that are not free.
    used: BTreeSet<Extent>,
}

/// Which record is where, and which slots they use. A record whose sets lie outside BACKENDS or on
/// another's slots is not trusted, and the second one of an identity is what a change that was cut
/// short left behind, or what rests after one: their Services go to the other index or a fresh one,
/// and these are cleared when nothing leads to them any more. Those that something leads to come
/// first. Frontends may also lead to an index without a record: it is not free before they are gone.
fn records(image: &ServiceImage, references: &BTreeMap<u32, u32>) -> Records {
    let mut index_of = BTreeMap::new();
    let nowhere = references.keys().filter(|index| !image.services.contains_key(index));
    let mut orphans: BTreeMap<u32, bool> = nowhere.map(|index| (*index, false)).collect();
    let mut used: BTreeSet<Extent> = BTreeSet::new();
    let led_to = |(index, _): &(&u32, &ServiceRecord)| references.contains_key(index);
    let idle = image.services.iter().filter(|record| !led_to(record));
    for (index, record) in image.services.iter().filter(led_to).chain(idle) {
        let mut own: Vec<Extent> = Vec::new();
        let mut sound = true;
        for extent in extents_of(record) {
            sound &= extent.end() <= image.capacities.backends && !overlaps(&used, extent);
            if sound {
                used.insert(extent);
                own.push(extent);
            }
        }
        if !sound {
            own.iter().for_each(|extent| {
                used.remove(extent);
            });
        }
        if sound && !index_of.contains_key(&record.identity) {
            index_of.insert(record.identity, *index);
        } else {
            orphans.insert(*index, sound);
        }
    }
    Records { index_of, orphans, used }
}

/// The slots of a record's sets.
fn extents_of(record: &ServiceRecord) -> impl Iterator<Item = Extent> + use<> {
    record.sets.into_iter().filter_map(extent_of)
}

/// The slots of a set.
fn extent_of(word: SetWord) -> Option<Extent> {
    (word.count() > 0).then(|| Extent { base: word.base(), len: u32::from(word.count()) })
}

fn overlaps(used: &BTreeSet<Extent>, extent: Extent) -> bool {
    let limit = Extent { base: extent.end(), len: 0 };
    used.range(..limit).next_back().is_some_and(|before| before.end() > extent.base)
}

/// What was never written is free; what was, and is not in force, rests first.
fn free_extents(
    image: &ServiceImage,
    used: &BTreeSet<Extent>,
    retired: &mut Retired<Retiree>,
) -> FreeExtents {
    let capacity = image.capacities.backends;
    let written = u32::try_from(image.backends.len()).unwrap_or(u32::MAX).min(capacity);
    let mut next = 0;
    for extent in used {
        let end = extent.base.min(written);
        if end > next {
            retired.add(Retiree::Extent(Extent { base: next, len: end - next }), 0);
        }
        next = next.max(extent.end());
    }
    if next < written {
        retired.add(Retiree::Extent(Extent { base: next, len: written - next }), 0);
        next = written;
    }
    let mut free = FreeExtents::default();
    free.give(Extent { base: next, len: capacity.saturating_sub(next) });
    free
}
