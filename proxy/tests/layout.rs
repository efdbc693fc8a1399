//! What a layout promises about the maps, whatever happens: slots and indices rest before they are
//! used again, a full map harms one Service only, and any image can be taken over.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "layout/fixture.rs"]
mod fixture;
#[path = "layout/hold.rs"]
mod hold;
#[path = "pipeline/mod.rs"]
mod pipeline;

use std::collections::BTreeSet;

use fixture::{Fixture, Want, synced, want};
use proptest::prelude::*;
use towpath_image::{
    Capacities, ServiceImage, ServiceOp,
    datapath::{Empty, FrontendKey, FrontendWord, RangeKey, ServiceRecord, SetWord},
};

fn capacities(frontends: u32, services: u32, backends: u32) -> Capacities {
    Capacities { frontends, services, backends, node_addresses: 2 }
}

#[derive(Clone, Debug)]
enum Step {
    Want(u64, Want),
    Drop(u64),
    Wait(u64),
    GraceBegins,
    GraceEnds,
    Restart,
    Fail(usize),
    Unsynced,
}

fn step() -> impl Strategy<Value = Step> {
    let set = || prop::collection::btree_set(1u8..9, 0..6);
    let affinity = prop::option::weighted(0.3, Just(60));
    let ranges = prop::collection::btree_set(1u8..5, 0..3);
    let want = (1u64..6, set(), set(), affinity, 1u8..3, ranges);
    prop_oneof![
        6 => want.prop_map(|(identity, cluster, local, affinity, frontends, ranges)| {
            Step::Want(identity, Want { cluster, local, affinity, frontends, ranges })
        }),
        2 => (1u64..6).prop_map(Step::Drop),
        3 => prop_oneof![0u64..5, 900u64..1_100].prop_map(Step::Wait),
        2 => Just(Step::GraceBegins),
        2 => Just(Step::GraceEnds),
        1 => Just(Step::Restart),
        1 => (0usize..8).prop_map(Step::Fail),
        1 => Just(Step::Unsynced),
    ]
}

/// Answers how often slots were used again, and how often a Service was refused.
fn run(steps: Vec<Step>) -> (usize, usize) {
    let mut fixture = Fixture::new(capacities(9, 7, 48));
    let mut began = None;
    let mut refused = 0;
    for step in steps {
        let (mut fail_after, mut sync) = (None, Some(synced()));
        match step {
            Step::Want(identity, want) => fixture.want(identity, Some(want)),
            Step::Drop(identity) => fixture.want(identity, None),
            Step::Wait(ms) => fixture.now += ms,
            Step::GraceBegins => began = Some(fixture.now),
            Step::GraceEnds => {
                if let Some(began) = began.take() {
                    fixture.grace(began);
                }
            }
            Step::Restart => {
                began = None;
                fixture.restart();
            }
            Step::Fail(after) => fail_after = Some(after),
            Step::Unsynced => sync = None,
        }
        fixture.turn(sync.as_ref(), fail_after);
        refused += fixture.layout().refused().count();
    }
    for identity in 1..6 {
        fixture.want(identity, None);
    }
    fixture.calm_down();
    fixture.assert_all_in_force();
    // Nothing leaked: the largest set that BACKENDS can hold fits in one piece.
    fixture.want(1, Some(want(1..=48)));
    fixture.turn(Some(&synced()), None);
    fixture.assert_all_in_force();
    (fixture.used_again, refused)
}

#[test]
fn what_is_in_force_is_never_overwritten_and_what_was_rests_first() {
    use proptest::test_runner::{Config, TestRunner};
    let (again, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    TestRunner::new(Config { cases: 3_000, failure_persistence: None, ..Config::default() })
        .run(&prop::collection::vec(step(), 1..80), |steps| {
            let (used_again, were_refused) = run(steps);
            again.set(again.get() + used_again);
            refused.set(refused.get() + were_refused);
            Ok(())
        })
        .unwrap();
    assert!(again.get() > 1_000, "slots were used again: {}", again.get());
    assert!(refused.get() > 1_000, "Services were refused: {}", refused.get());
}

#[test]
fn a_slot_waits_for_a_grace_period_and_for_a_second() {
    let mut fixture = Fixture::new(capacities(9, 9, 4));
    fixture.want(1, Some(want([1, 2, 3])));
    fixture.turn(Some(&synced()), None);
    fixture.want(1, Some(want([4])));
    fixture.turn(Some(&synced()), None);
    fixture.want(2, Some(want([5, 6])));
    let grace = fixture.now + 1;
    let refused =
        |fixture: &Fixture| fixture.layout().refused().next().map(|r| r.service.to_string());
    fixture.now += 5_000;
    fixture.turn(Some(&synced()), None);
    assert_eq!(refused(&fixture).as_deref(), Some("d/s2"), "a rest without a grace period");
    assert!(fixture.layout().wants_grace() && fixture.layout().pending());
    fixture.grace(grace);
    fixture.turn(Some(&synced()), None);
    assert_eq!(refused(&fixture), None, "three of four slots are free again");
    fixture.assert_all_in_force();

    fixture.want(2, Some(want([7, 8, 9])));
    fixture.turn(Some(&synced()), None);
    assert_eq!(refused(&fixture).as_deref(), Some("d/s2"));
    fixture.want(1, None);
    fixture.want(2, Some(want([7, 8])));
    fixture.turn(Some(&synced()), None);
    fixture.grace(fixture.now + 1);
    fixture.now += 900;
    fixture.turn(Some(&synced()), None);
    assert_eq!(refused(&fixture).as_deref(), Some("d/s2"), "a grace period without a rest");
    fixture.assert_in_force(2, &want([5, 6]));
    fixture.now += 100;
    fixture.turn(Some(&synced()), None);
    fixture.assert_all_in_force();
}

#[test]
fn a_full_map_refuses_one_service_and_keeps_what_it_had() {
    let many = Want { frontends: 4, ..want([1]) };
    for (map, capacities, before, after) in [
        ("BACKENDS", capacities(9, 9, 6), Some(want([1, 2])), want([1, 2, 3, 4, 5, 6, 7])),
        ("FRONTENDS", capacities(4, 9, 99), Some(want([1, 2])), many.clone()),
        (
            "SERVICES",
            capacities(9, 2, 99),
            Some(want([1])),
            Want { affinity: Some(9), ..want([1]) },
        ),
        ("BACKENDS", capacities(9, 9, 6), None, want([1, 2, 3, 4, 5, 6, 7])),
        ("FRONTENDS", capacities(4, 9, 99), None, many),
        ("SERVICES", capacities(9, 1, 99), None, want([1])),
    ] {
        let mut fixture = Fixture::new(capacities);
        fixture.want(2, Some(want([8])));
        if let Some(before) = before.clone() {
            fixture.want(1, Some(before));
        }
        fixture.turn(Some(&synced()), None);
        fixture.assert_all_in_force();
        fixture.want(1, Some(after.clone()));
        fixture.want(2, Some(want([9])));
        fixture.turn(Some(&synced()), None);
        let refused: Vec<_> = fixture.layout().refused().collect();
        assert_eq!(refused.len(), 1, "{map}, from {before:?}");
        assert_eq!(refused[0].service.to_string(), "d/s1");
        assert!(refused[0].why.contains(map), "{}", refused[0].why);
        match before {
            Some(before) => fixture.assert_in_force(1, &before),
            None => assert!(!fixture.image().frontends.contains_key(&fixture::key(1, 0)), "{map}"),
        }
        fixture.assert_in_force(2, &want([9]));
        // Once it asks for less, it comes in.
        fixture.want(1, Some(want([3])));
        if map == "SERVICES" {
            fixture.want(2, None);
        }
        fixture.calm_down();
        assert!(
            fixture.layout().refused().next().is_none() && !fixture.layout().pending(),
            "{map}"
        );
        fixture.assert_all_in_force();
    }
}

#[test]
fn node_addresses_that_do_not_fit_wait() {
    let mut fixture = Fixture::new(capacities(9, 9, 9));
    for last in 1..=3 {
        fixture.want_node_address(last, Some(7));
    }
    fixture.turn(Some(&synced()), None);
    assert_eq!(fixture.image().node_addresses.len(), 2);
    assert!(fixture.layout().pending(), "the third one is not forgotten");
    fixture.want_node_address(1, None);
    fixture.turn(Some(&synced()), None);
    fixture.turn(Some(&synced()), None);
    let values: Vec<_> = fixture.image().node_addresses.values().map(|v| v.node).collect();
    assert_eq!(values, [7, 7]);
    assert!(!fixture.layout().pending());
}

#[test]
fn affinity_takes_a_fresh_index_and_flips_the_frontends_to_it() {
    let mut fixture = Fixture::new(capacities(9, 9, 99));
    fixture.want(1, Some(Want { frontends: 2, ..want([1, 2]) }));
    fixture.turn(Some(&synced()), None);
    let before = fixture.layout().index_of(1).unwrap();
    fixture.want(1, Some(Want { frontends: 2, ..want([3]) }));
    let batch = fixture.turn(Some(&synced()), None);
    assert_eq!(fixture.layout().index_of(1), Some(before), "other backends: one flip of a word");
    assert!(
        matches!(batch.ops[..], [ServiceOp::WriteBackends { .. }, ServiceOp::StoreSet { .. }]),
        "{batch:?}"
    );
    fixture.want(1, Some(Want { frontends: 2, affinity: Some(60), ..want([3]) }));
    let batch = fixture.turn(Some(&synced()), None);
    let after = fixture.layout().index_of(1).unwrap();
    assert_ne!(before, after);
    let touched = |op: &ServiceOp| match op {
        ServiceOp::WriteService { index, record } => Some((*index, record.identity)),
        ServiceOp::StoreSet { index, .. } => Some((*index, u64::MAX)),
        _ => None,
    };
    let touched: Vec<_> = batch.ops.iter().filter_map(touched).collect();
    assert_eq!(touched, [(after, 1)], "the old record stays: it may have to be read");
    fixture.now += 5_000;
    assert_eq!(fixture.turn(Some(&synced()), None).ops, [], "nothing is left to do but wait");
    let grace = fixture.now;
    fixture.now += 1;
    assert!(fixture.layout().wants_grace() && !fixture.layout().has_rested(fixture.now));
    fixture.grace(grace);
    assert!(fixture.layout().has_rested(fixture.now) && !fixture.layout().pending());
    let record = ServiceRecord::default();
    let cleared = [ServiceOp::WriteService { index: before, record }];
    assert_eq!(fixture.turn(Some(&synced()), None).ops, cleared);
    fixture.assert_all_in_force();
    assert!(!fixture.layout().has_rested(fixture.now));
}

/// The index 0 of 1 went to another daemon's grave: only its frontend was flipped away.
#[test]
fn what_rests_when_a_daemon_dies_rests_anew_for_the_next_one() {
    let mut fixture = Fixture::new(capacities(9, 9, 99));
    fixture.want(1, Some(want([1, 2])));
    fixture.turn(Some(&synced()), None);
    let before = fixture.layout().index_of(1).unwrap();
    fixture.want(1, Some(Want { affinity: Some(60), ..want([3]) }));
    fixture.turn(Some(&synced()), None);
    let after = fixture.layout().index_of(1).unwrap();
    fixture.grace(fixture.now);
    fixture.restart();
    assert_eq!(fixture.layout().index_of(1), Some(after), "the one that the frontend leads to");
    fixture.want(2, Some(want([4])));
    fixture.turn(Some(&synced()), None);
    assert!(![before, after].contains(&fixture.layout().index_of(2).unwrap()));
    assert!(fixture.image().services.contains_key(&before), "it may still be read");
    fixture.calm_down();
    fixture.assert_all_in_force();
}

#[test]
fn without_proof_of_a_full_list_nothing_goes() {
    let mut fixture = Fixture::new(capacities(9, 9, 99));
    fixture.want(1, Some(want([1])));
    fixture.turn(Some(&synced()), None);
    let held: BTreeSet<_> = fixture.image().frontends.keys().copied().collect();
    fixture.want(1, None);
    assert_eq!(fixture.turn(None, None).ops, []);
    assert_eq!(fixture.image().frontends.keys().copied().collect::<BTreeSet<_>>(), held);
    assert!(fixture.layout().pending());
    fixture.turn(Some(&synced()), None);
    assert!(fixture.image().frontends.is_empty());
    fixture.calm_down();
    assert!(fixture.image().services.is_empty());
}

/// One way to spoil an image.
#[derive(Clone, Copy, Debug)]
enum Damage {
    SetOutside(u8),
    SetOnAnothers(u8, u8),
    SetsOfOneRecordOverlap(u8),
    SecondRecord(u8),
    UnknownRecord(u8),
    Flags(u8),
    SourceRanges(u8),
    Reserved(u8),
    Backend(u8),
    FrontendToNowhere(u8),
    FrontendToAnother(u8, u8),
    FrontendLost(u8),
    UnknownFrontend(u8),
    UnknownKind(u8),
    RecordLost(u8),
    RangeLost(u8),
    UnknownRange(u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let (a, b) = (|| any::<u8>(), || (any::<u8>(), any::<u8>()));
    prop_oneof![
        a().prop_map(Damage::SetOutside),
        b().prop_map(|(a, b)| Damage::SetOnAnothers(a, b)),
        a().prop_map(Damage::SetsOfOneRecordOverlap),
        a().prop_map(Damage::SecondRecord),
        a().prop_map(Damage::UnknownRecord),
        a().prop_map(Damage::Flags),
        a().prop_map(Damage::SourceRanges),
        a().prop_map(Damage::Reserved),
        a().prop_map(Damage::Backend),
        a().prop_map(Damage::FrontendToNowhere),
        b().prop_map(|(a, b)| Damage::FrontendToAnother(a, b)),
        a().prop_map(Damage::FrontendLost),
        a().prop_map(Damage::UnknownFrontend),
        a().prop_map(Damage::UnknownKind),
        a().prop_map(Damage::RecordLost),
        a().prop_map(Damage::RangeLost),
        a().prop_map(Damage::UnknownRange),
    ]
}

fn nth<K: Copy + Ord, V>(map: &std::collections::BTreeMap<K, V>, n: u8) -> Option<K> {
    map.keys().nth(usize::from(n) % map.len().max(1)).copied()
}

/// `None`: there is nothing of that sort to spoil.
fn spoil(image: &mut ServiceImage, damage: Damage) -> Option<()> {
    let index = |image: &ServiceImage, n| nth(&image.services, n);
    let record =
        |image: &ServiceImage, n| Some((index(image, n)?, image.services[&index(image, n)?]));
    match damage {
        Damage::SetOutside(n) => {
            let (index, mut record) = record(image, n)?;
            record.sets[usize::from(n % 2)] = SetWord::new(60 + u32::from(n), 7, 9);
            image.services.insert(index, record);
        }
        Damage::SetOnAnothers(n, m) => {
            let ((index, mut one), (_, other)) = (record(image, n)?, record(image, m)?);
            one.sets[0] = other.sets[usize::from(m % 2)];
            image.services.insert(index, one);
        }
        Damage::SetsOfOneRecordOverlap(n) => {
            let (index, mut record) = record(image, n)?;
            record.sets[1] = record.sets[0];
            image.services.insert(index, record);
        }
        Damage::SecondRecord(n) => {
            let (_, mut record) = record(image, n)?;
            record.sets = [SetWord::empty(Empty::Leave, 1); 2];
            let free = (0..20).find(|index| !image.services.contains_key(index))?;
            image.services.insert(free, record);
        }
        Damage::UnknownRecord(n) => {
            let free = (0..20).rev().find(|index| !image.services.contains_key(index))?;
            let identity = 1_000 + u64::from(n);
            image.services.insert(free, ServiceRecord { identity, ..ServiceRecord::default() });
        }
        Damage::Flags(n) => image.services.get_mut(&index(image, n)?)?.flags ^= 1 << (n % 4),
        Damage::SourceRanges(n) => image.services.get_mut(&index(image, n)?)?.source_ranges = 3,
        Damage::Reserved(n) => image.services.get_mut(&index(image, n)?)?.reserved[3] = 1,
        Damage::Backend(n) => {
            let slot = usize::from(n) % image.backends.len().max(1);
            *image.backends.get_mut(slot)? = fixture::backend(n);
        }
        Damage::FrontendToNowhere(n) => {
            let key = nth(&image.frontends, n)?;
            image.frontends.insert(key, FrontendWord::new(&key, 19, 0));
        }
        Damage::FrontendToAnother(n, m) => {
            let (key, index) = (nth(&image.frontends, n)?, index(image, m)?);
            image.frontends.insert(key, FrontendWord::new(&key, index, m));
        }
        Damage::FrontendLost(n) => drop(image.frontends.remove(&nth(&image.frontends, n)?)),
        Damage::UnknownFrontend(n) => {
            let key = FrontendKey { port: 1, ..fixture::key(u64::from(n), n) };
            image.frontends.insert(key, FrontendWord::new(&key, u32::from(n % 20), n));
        }
        Damage::UnknownKind(n) => {
            let key = FrontendKey { kind: 200, ..fixture::key(u64::from(n), n) };
            image.frontends.insert(key, FrontendWord(u64::from(n)));
        }
        Damage::RecordLost(n) => drop(image.services.remove(&index(image, n)?)),
        Damage::RangeLost(n) => {
            let count = image.source_ranges.len().max(1);
            let key = image.source_ranges.iter().nth(usize::from(n) % count).copied()?;
            image.source_ranges.remove(&key);
        }
        Damage::UnknownRange(n) => {
            let key = RangeKey::new(u32::from(n % 20), FrontendKey::default().addr, n % 129);
            image.source_ranges.insert(key);
        }
    }
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_image_is_brought_in_order_by_a_new_daemon_and_by_an_old_one(
        wants in prop::collection::vec(
            (prop::collection::btree_set(1u8..9, 0..5), prop::collection::btree_set(1u8..9, 0..3), any::<bool>(), 1u8..3), 1..6),
        damages in prop::collection::vec(damage(), 1..6),
        restart in any::<bool>(),
    ) {
        let mut fixture = Fixture::new(Capacities { frontends: 40, services: 20, backends: 64, node_addresses: 2 });
        for (identity, (cluster, local, affinity, frontends)) in (1u64..).zip(wants) {
            let affinity = affinity.then_some(60);
            let ranges = local.iter().map(|last| last % 5).collect();
            fixture.want(identity, Some(Want { cluster, local, affinity, frontends, ranges }));
        }
        fixture.turn(Some(&synced()), None);
        for damage in damages {
            spoil(fixture.image_mut(), damage);
        }
        // What contradicts itself can not be kept: the way to order is not judged, its end is.
        fixture.forget_history();
        if restart {
            fixture.restart();
        } else {
            fixture.readopt();
        }
        fixture.calm_down();
        fixture.assert_all_in_force();
        prop_assert!(!fixture.layout().pending());
    }
}
