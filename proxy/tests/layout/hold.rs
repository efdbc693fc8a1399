//! What a restart found in the kernel and no object claims: held, and let go of.

use towpath_image::ServiceImage;
use towpath_model::{Kind, Removals};
use towpath_proxy::{Found, Hold, Layout, PlanDelta};

use crate::{
    capacities,
    fixture::{Fixture, Want, key, synced, want},
};

#[test]
fn what_a_restart_found_stays_while_it_is_held_and_goes_after() {
    let mut fixture = Fixture::new(capacities(20, 20, 48));
    fixture.want(1, Some(want([1, 2])));
    fixture.want(2, Some(want([3])));
    fixture.want(3, Some(want([4])));
    fixture.want_node_address(1, Some(7));
    fixture.calm_down();
    let before = fixture.image().clone();
    // Of the three one is gone, one has no endpoints and one is as it was; a fourth is new.
    fixture.want(2, None);
    fixture.restart();
    fixture.want(1, Some(want([])));
    fixture.want(4, Some(want([5])));
    let everything = Hold { everything: true, ..Hold::default() };
    fixture.layout_mut().set_hold(everything.clone());
    for fail_after in [Some(1), None, None] {
        fixture.turn(Some(&synced()), fail_after);
        assert!(
            before
                .frontends
                .iter()
                .all(|held| fixture.image().frontends.get(held.0) == Some(held.1))
        );
        assert_eq!(fixture.image().node_addresses, before.node_addresses);
    }
    assert!(!fixture.layout().pending(), "nothing waits for what is held");
    assert_eq!(fixture.layout().held_backends().count(), 3, "two of the first, one of the second");
    fixture.assert_in_force(3, &want([4]));
    fixture.assert_in_force(4, &want([5]));
    let kept: Vec<_> = fixture.layout().kept().map(|(service, _)| &*service.name).collect();
    assert_eq!((kept, fixture.layout().refused().count()), (vec!["s1"], 0));
    // Also when the maps are looked at again.
    fixture.readopt();
    fixture.turn(Some(&synced()), None);
    assert!(fixture.image().frontends.contains_key(&key(2, 0)));
    fixture.layout_mut().set_hold(Hold::default());
    fixture.calm_down();
    fixture.assert_all_in_force();
    assert!(fixture.layout().kept().count() == 0 && fixture.image().node_addresses.is_empty());
    // What went is not found again.
    fixture.want(3, None);
    fixture.layout_mut().set_hold(everything);
    fixture.calm_down();
    fixture.assert_all_in_force();
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
        let mut fixture = Fixture::new(capacities(9, 9, 48));
        fixture.want(1, Some(want([1, 2])));
        fixture.calm_down();
        fixture.restart();
        fixture.want(1, wanted.clone());
        let sets_of = [towpath_model::ObjectName::new("d", "s1")].into();
        fixture.layout_mut().set_hold(Hold { sets_of, ..Hold::default() });
        fixture.turn(Some(&synced()), None);
        assert_eq!(fixture.layout().kept().count(), usize::from(held), "{wanted:?}");
        assert!(fixture.layout().refused().count() == 0 && !fixture.layout().pending());
        fixture.layout_mut().set_hold(Hold::default());
        fixture.calm_down();
        fixture.assert_all_in_force();
    }
}

#[test]
fn much_that_would_go_is_suspicious_unless_a_list_lacked_it_before() {
    let part = |gone: std::ops::Range<u64>, of| Removals { gone: gone.collect(), of };
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
