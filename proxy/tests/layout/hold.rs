//! What a restart found in the kernel and nobody claims: held, and let go of.

use towpath_image::ServiceImage;
use towpath_model::Kind;
use towpath_proxy::{Found, Hold, Layout, Part, PlanDelta};

use crate::{
    capacities,
    desk::{Desk, Want, key, synced, want},
};

#[test]
fn what_a_restart_found_stays_while_it_is_held_and_goes_after() {
    let mut desk = Desk::new(capacities(20, 20, 48));
    desk.want(1, Some(want([1, 2])));
    desk.want(2, Some(want([3])));
    desk.want(3, Some(want([4])));
    desk.want_node_address(1, Some(7));
    desk.calm_down();
    let before = desk.kernel.image.clone();
    // Of the three one is gone, one has no endpoints and one is as it was; a fourth is new.
    desk.want(2, None);
    desk.restart();
    desk.want(1, Some(want([])));
    desk.want(4, Some(want([5])));
    let everything = Hold { everything: true, ..Hold::default() };
    desk.layout.set_hold(everything.clone());
    for fail_after in [Some(1), None, None] {
        desk.turn(Some(&synced()), fail_after);
        assert!(
            before
                .frontends
                .iter()
                .all(|held| desk.kernel.image.frontends.get(held.0) == Some(held.1))
        );
        assert_eq!(desk.kernel.image.node_addresses, before.node_addresses);
    }
    assert!(!desk.layout.pending(), "nobody waits for what is held");
    assert_eq!(desk.layout.held_backends().count(), 3, "two of the first, one of the second");
    desk.assert_in_force(3, &want([4]));
    desk.assert_in_force(4, &want([5]));
    let kept: Vec<_> = desk.layout.kept().map(|(service, _)| &*service.name).collect();
    assert_eq!((kept, desk.layout.refused().count()), (vec!["s1"], 0));
    // Also when the maps are looked at again.
    desk.readopt();
    desk.turn(Some(&synced()), None);
    assert!(desk.kernel.image.frontends.contains_key(&key(2, 0)));
    desk.layout.set_hold(Hold::default());
    desk.calm_down();
    desk.assert_all_in_force();
    assert!(desk.layout.kept().count() == 0 && desk.kernel.image.node_addresses.is_empty());
    // What went is not found again.
    desk.want(3, None);
    desk.layout.set_hold(everything);
    desk.calm_down();
    desk.assert_all_in_force();
}

#[test]
fn only_sets_that_would_be_empty_are_held_for_an_unread_slice() {
    let rows: [(Option<Want>, bool); 4] = [
        (Some(want([])), true),
        (Some(want([9])), false),
        (Some(Want { cluster: [].into(), local: [9].into(), ..want([]) }), false),
        (None, false),
    ];
    for (wanted, held) in rows {
        let mut desk = Desk::new(capacities(9, 9, 48));
        desk.want(1, Some(want([1, 2])));
        desk.calm_down();
        desk.restart();
        desk.want(1, wanted.clone());
        let sets_of = [towpath_model::ObjectName::new("d", "s1")].into();
        desk.layout.set_hold(Hold { sets_of, ..Hold::default() });
        desk.turn(Some(&synced()), None);
        assert_eq!(desk.layout.kept().count(), usize::from(held), "{wanted:?}");
        assert!(desk.layout.refused().count() == 0 && !desk.layout.pending());
        desk.layout.set_hold(Hold::default());
        desk.calm_down();
        desk.assert_all_in_force();
    }
}

#[test]
fn much_that_would_go_is_suspicious_unless_a_list_lacked_it_before() {
    let part = |gone: std::ops::Range<u64>, of| Part { gone: gone.collect(), of };
    let rows = [
        (part(0..49, 60), None, false),
        (part(0..50, 60), None, true),
        (part(0..50, 170), None, false),
        (part(0..50, 60), Some(part(0..55, 60)), false),
        (part(0..60, 100), Some(part(20..100, 100)), false),
        (part(0..60, 100), Some(part(50..100, 100)), true),
    ];
    for (sets, agreed, suspicious) in rows {
        let empty = Layout::adopt(ServiceImage::default()).found(&PlanDelta::default());
        let agreed = agreed.map(|sets| Found { sets, ..empty.clone() });
        let found = Found { sets, ..empty };
        let kinds = found.suspicious(agreed.as_ref());
        assert_eq!(kinds.contains(&Kind::EndpointSlice), suspicious, "{:?}", found.sets);
        assert!(!kinds.contains(&Kind::Service) && !kinds.contains(&Kind::Node));
    }
}
