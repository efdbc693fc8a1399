//! Taking over an image: what in it is in force, what is room, what contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::{
    ServiceImage,
    datapath::{FrontendKey, FrontendKind, FrontendWord, ServiceRecord, SetWord},
};

use super::{
    Layout,
    found::{Held, Hold},
};
use crate::{
    extents::{Extent, FreeExtents},
    indices::FreeIndices,
    retired::{Retired, Retiree},
};

/// Everything in the image counts as dirty: the first batch with a plan removes what is not wanted.
pub(super) fn adopt(image: ServiceImage) -> Layout {
    let mut retired = Retired::default();
    let mut references = BTreeMap::new();
    for (key, word) in &image.frontends {
        count(&mut references, key, Some(*word), 1);
    }
    let Records { index_of, orphans, used } = records(&image, &references);
    let used_indices: BTreeSet<u32> = index_of.values().chain(orphans.keys()).copied().collect();
    let words = image.services.values().flat_map(|record| record.sets);
    Layout {
        extents: free_extents(&image, &used, &mut retired),
        indices: FreeIndices::new(image.capacities.services, &used_indices),
        orphans,
        epoch: words.map(SetWord::epoch).max().unwrap_or(0),
        references,
        retired,
        records: BTreeMap::new(),
        former: BTreeMap::new(),
        frontends: BTreeMap::new(),
        node_addresses: BTreeMap::new(),
        dirty_records: index_of.keys().copied().collect(),
        dirty_frontends: image.frontends.keys().copied().collect(),
        dirty_node_addresses: image.node_addresses.keys().copied().collect(),
        keys_of: BTreeMap::new(),
        refused: BTreeMap::new(),
        found: None,
        hold: Hold::default(),
        held: Held::default(),
        leaving: Vec::new(),
        index_of,
        mirror: image,
    }
}

/// Adds to the number of frontends that lead to an index; guards lead nowhere.
pub(super) fn count(
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
pub(super) fn extents_of(record: &ServiceRecord) -> impl Iterator<Item = Extent> + use<> {
    record.sets.into_iter().filter_map(extent_of)
}

/// The slots of a set.
pub(super) fn extent_of(word: SetWord) -> Option<Extent> {
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
    retired: &mut Retired,
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
