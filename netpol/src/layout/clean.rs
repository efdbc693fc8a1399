//! The second phase: what no program reads any more goes.

use std::collections::BTreeSet;

use towpath_image::{
    PolicyOp,
    datapath::{
        Addr,
        policy::{CLASS_OF_BLOCKS, Classes, PodRecord},
    },
};

use super::{Clean, Number, PolicyLayout};

impl PolicyLayout {
    pub(super) fn clean_up(&mut self, ops: &mut Vec<PolicyOp>) {
        self.clean = Clean::Nothing;
        for ip in std::mem::take(&mut self.split) {
            let addr = Addr::from(ip);
            let Some(classes) = self.image.peers.get(&addr).copied() else { continue };
            match classes.of(self.side) {
                CLASS_OF_BLOCKS => self.put(PolicyOp::DeletePeer { addr }, ops),
                class if Classes::both(class) == classes => {}
                class => self.put(PolicyOp::PutPeer { addr, classes: Classes::both(class) }, ops),
            }
        }
        for (key, classes) in self.image.blocks.clone() {
            match self.blocks.get(&key) {
                None => self.put(PolicyOp::DeleteBlock { key }, ops),
                Some(class) if Classes::both(*class) == classes => {}
                Some(class) => {
                    self.put(PolicyOp::PutBlock { key, classes: Classes::both(*class) }, ops);
                }
            }
        }
        self.clean_pods(ops);
        self.clean_rows(ops);
        self.join_ports(ops);
        if !self.leaving.is_empty() && ops.is_empty() {
            // Nothing is written, so nothing will be settled: they rest from the grace period on.
            let leaving = std::mem::take(&mut self.leaving);
            leaving.into_iter().for_each(|number| self.numbers.give(number));
        }
    }

    fn clean_pods(&mut self, ops: &mut Vec<PolicyOp>) {
        let used: BTreeSet<u32> = self.pods.values().map(|(slot, _)| *slot).collect();
        let gone: Vec<u32> =
            self.image.pods.keys().filter(|slot| !used.contains(slot)).copied().collect();
        for slot in gone {
            // A device that still leads here is led away first.
            let leads = |word: &&u32| self.image.devices[*word].slot() == Some(slot);
            for device in self.image.devices.keys().filter(leads).copied().collect::<Vec<_>>() {
                self.put(PolicyOp::DeleteDevice { device }, ops);
            }
            self.put(PolicyOp::WritePod { slot, record: PodRecord::default() }, ops);
            self.retire_later(Number::Slot(slot));
        }
    }

    /// Rulesets that no pod has, classes that no address has, and rows that neither leads to.
    fn clean_rows(&mut self, ops: &mut Vec<PolicyOp>) {
        let isolated = self.pods.values().flat_map(|(_, (ingress, egress))| [ingress, egress]);
        let live: BTreeSet<_> = isolated.flatten().cloned().collect();
        let classes = self.image.peers.values().chain(self.image.blocks.values());
        let used: BTreeSet<u16> = classes.flat_map(|both| [both.even, both.odd]).collect();
        let mut leaving = Vec::new();
        self.rulesets.retain(|ruleset, (number, _)| {
            let keep = live.contains(ruleset);
            leaving.extend((!keep).then_some(Number::Ruleset(*number)));
            keep
        });
        self.signatures.retain(|_, class| {
            let keep = used.contains(class);
            leaving.extend((!keep).then_some(Number::Class(*class)));
            keep
        });
        let rulesets: BTreeSet<u32> = self.rulesets.values().map(|(number, _)| *number).collect();
        let classes: BTreeSet<u32> = self.signatures.values().map(|one| u32::from(*one)).collect();
        for key in self.image.row_index.keys().copied().collect::<Vec<_>>() {
            if !rulesets.contains(&key.ruleset) || !classes.contains(&key.class) {
                self.put(PolicyOp::DeleteRow { key }, ops);
            }
        }
        let mut rows: BTreeSet<u32> = self.image.row_index.values().copied().collect();
        rows.extend(self.rulesets.values().map(|(_, default_row)| *default_row));
        self.rows.retain(|_, row| {
            let keep = rows.contains(row);
            leaving.extend((!keep).then_some(Number::Row(*row)));
            keep
        });
        leaving.into_iter().for_each(|number| self.retire_later(number));
    }
}
