//! What the first lists after a start would open, of what was found in the maps.

use std::collections::BTreeMap;

use towpath_image::datapath::policy::Direction;
use towpath_model::Removals;

use super::{Isolated, PolicyLayout, make};
use crate::PolicyPlan;

/// What would go if lists were believed. Pods by the hash of their names and addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opens {
    /// Directions of pods that are there, that are isolated and would not be any more.
    pub isolation: Removals<(u64, Direction)>,
    /// Pods that would be gone: their devices would lead to no pod.
    pub pods: Removals<u64>,
}

impl Opens {
    /// Is it too much to be believed at once? Much of either is; and so is an end of all isolation,
    /// however little there was: a list of policies that is empty by mistake looks like that. What an
    /// earlier list lacked, too, is believed.
    #[must_use]
    pub fn suspicious(&self, earlier: Option<&Self>) -> bool {
        let gone = &self.isolation.gone;
        let agreed = earlier.is_some_and(|earlier| gone.is_subset(&earlier.isolation.gone));
        let all = !gone.is_empty() && gone.len() == self.isolation.of && !agreed;
        all || self.isolation.suspicious(earlier.map(|one| &one.isolation))
            || self.pods.suspicious(earlier.map(|one| &one.pods))
    }
}

impl PolicyLayout {
    /// What this plan would open of what the maps hold.
    #[must_use]
    pub fn opens(&self, plan: &PolicyPlan) -> Opens {
        let planned: BTreeMap<u64, Isolated> = make::identities(plan).collect();
        let (mut isolation, mut pods) = (nothing(), nothing());
        for record in self.image.pods.values() {
            pods.of += 1;
            let Some((ingress, egress)) = planned.get(&record.identity) else {
                pods.gone.insert(record.identity);
                // Without any policy a device whose pod is not known is open.
                for direction in [Direction::Ingress, Direction::Egress] {
                    if !plan.any_policy() && record.word(direction).is_isolated() {
                        isolation.of += 1;
                        isolation.gone.insert((record.identity, direction));
                    }
                }
                continue;
            };
            let both = [(Direction::Ingress, ingress), (Direction::Egress, egress)];
            for (direction, wanted) in both {
                if record.word(direction).is_isolated() {
                    isolation.of += 1;
                    if wanted.is_none() {
                        isolation.gone.insert((record.identity, direction));
                    }
                }
            }
        }
        Opens { isolation, pods }
    }
}

fn nothing<K: Ord>() -> Removals<K> {
    Removals::of_all(std::iter::empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn opens(gone: u64, of: usize) -> Opens {
        let gone: BTreeSet<_> = (0..gone).map(|pod| (pod, Direction::Ingress)).collect();
        Opens { isolation: Removals { gone, of }, pods: nothing() }
    }

    #[test]
    fn the_end_of_all_isolation_is_doubted_and_so_is_that_of_much() {
        for (gone, of, doubted) in [
            (0, 0, false),
            (0, 9, false),
            (1, 1, true),
            (8, 9, false),
            (9, 9, true),
            (60, 100, true),
        ] {
            assert_eq!(opens(gone, of).suspicious(None), doubted, "{gone} of {of}");
        }
        let pods = Removals { gone: (0..60).collect(), of: 100 };
        assert!(Opens { pods, ..opens(0, 0) }.suspicious(None));
    }

    #[test]
    fn a_second_list_is_believed_as_far_as_it_agrees() {
        let first = opens(9, 9);
        assert!(!opens(9, 9).suspicious(Some(&first)));
        assert!(opens(10, 10).suspicious(Some(&first)), "one more, and it is all again");
        assert!(!opens(5, 9).suspicious(Some(&first)));
    }
}
