//! A layout over what an earlier daemon left in the maps.

use std::collections::BTreeSet;

use towpath_image::{
    PolicyImage, Retired,
    datapath::policy::{
        CLASS_OF_BLOCKS, CLASS_WORLD, DirectionWord, PORT_CLASS_OTHER, PORT_CLASSES, Side,
    },
};

use super::{
    Clean, PolicyLayout,
    numbers::{Numbers, Pool},
};

impl PolicyLayout {
    /// Over these maps. Nothing of it is touched before the first change, which gives everything new
    /// numbers, so that the old verdicts stay in force up to the flip. Flows go on: a pod keeps its
    /// slot.
    #[must_use]
    pub fn adopt(image: PolicyImage) -> Self {
        let words = || image.pods.values().flat_map(|pod| [pod.ingress, pod.egress]);
        let isolated = || words().filter(|word| word.is_isolated());
        // Words of both sides exist only where an earlier daemon died between two stores: those that
        // it had not stored yet find no rows for a moment, which is closed.
        let odd = isolated().any(|word| word.side() == Side::Odd);
        let classes = image.peers.values().chain(image.blocks.values());
        let mut used_classes: BTreeSet<u32> =
            classes.flat_map(|both| [both.even.into(), both.odd.into()]).collect();
        used_classes.extend(image.row_index.keys().map(|key| key.class));
        used_classes.extend([CLASS_WORLD, CLASS_OF_BLOCKS].map(u32::from));
        let mut rulesets: BTreeSet<u32> = image.row_index.keys().map(|key| key.ruleset).collect();
        rulesets.extend(isolated().map(DirectionWord::ruleset));
        let mut rows: BTreeSet<u32> = image.row_index.values().copied().collect();
        rows.extend(isolated().map(DirectionWord::default_row));
        let slots: BTreeSet<u32> = image.pods.keys().copied().collect();
        let mut ports: BTreeSet<u32> = image.ports.runs().map(|(.., class)| class.into()).collect();
        ports.insert(PORT_CLASS_OTHER.into());
        let caps = image.capacities;
        let numbers = Numbers {
            classes: Pool::new(CLASS_OF_BLOCKS.into(), &used_classes),
            rulesets: Pool::new(DirectionWord::NUMBERS_MAX, &rulesets),
            rows: Pool::new(caps.rows.min(DirectionWord::NUMBERS_MAX), &rows),
            slots: Pool::new(caps.pods, &slots),
            port_classes: Pool::new(PORT_CLASSES.into(), &ports),
        };
        let generation = image.pods.values().map(|pod| pod.generation).max().unwrap_or_default();
        Self {
            side: if odd { Side::Odd } else { Side::Even },
            foreign: image != PolicyImage::with_capacities(caps),
            image,
            signatures: Default::default(),
            rulesets: Default::default(),
            rows: Default::default(),
            pods: Default::default(),
            blocks: Default::default(),
            numbers,
            retired: Retired::default(),
            leaving: Vec::new(),
            touched: BTreeSet::new(),
            stale: false,
            blocks_stale: false,
            split: BTreeSet::new(),
            undone: Vec::new(),
            clean: Clean::Nothing,
            generation,
        }
    }
}
