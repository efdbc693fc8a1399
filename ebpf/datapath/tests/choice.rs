//! Choosing and searching, for every shape of set.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use proptest::prelude::*;
use support::{World, addr, at, tcp};
use towpath_datapath::{
    AffinityKey, AffinityValue, BackendRecord, FrontendKey, ServiceRecord, SetWord,
    decide::{Action, SocketAddress, Verdict, connect, contains, settle_connect},
    protocol,
};

fn endpoint() -> impl Strategy<Value = SocketAddress> {
    prop_oneof![
        (any::<[u8; 4]>(), 1..5u16).prop_map(|(o, port)| {
            SocketAddress::new(std::net::Ipv4Addr::from(o).into(), port.to_be())
        }),
        (any::<[u8; 16]>(), 1..5u16).prop_map(|(o, port)| {
            SocketAddress::new(std::net::Ipv6Addr::from(o).into(), port.to_be())
        }),
        // Close neighbours: equal addresses, ports that differ in one byte.
        (0..4u8, any::<u16>()).prop_map(|(last, port)| at(&format!("10.0.0.{last}"), port)),
    ]
}

fn other_endpoints(around: &[SocketAddress]) -> Vec<SocketAddress> {
    around
        .iter()
        .flat_map(|e| {
            let mut next = *e;
            next.port = next.port.wrapping_add(1);
            let mut up = *e;
            up.addr.0[3] = up.addr.0[3].wrapping_add(1);
            [next, up]
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_order_of_the_search_is_the_order_of_extents(a in endpoint(), b in endpoint()) {
        let record = |e: &SocketAddress| BackendRecord::new(e.addr, u16::from_be(e.port)).order();
        prop_assert_eq!(a.before(&b), record(&a) < record(&b));
        prop_assert_eq!(a.is(&b), a == b);
    }

    #[test]
    fn the_search_finds_exactly_the_members(
        before in prop::collection::vec(endpoint(), 0..20),
        members in prop::collection::vec(endpoint(), 1..300),
        after in prop::collection::vec(endpoint(), 0..20),
    ) {
        let mut world = World::new();
        world.extent(&before, 1);
        let set = world.extent(&members, 2);
        world.extent(&after, 3);
        for member in &members {
            prop_assert!(contains(&world, set, member));
        }
        for other in other_endpoints(&members).iter().chain(&before).chain(&after) {
            prop_assert_eq!(contains(&world, set, other), members.contains(other));
        }
    }

    #[test]
    fn a_choice_is_always_a_member_and_affinity_never_leads_outside(
        members in prop::collection::vec(endpoint(), 1..50),
        stuck in endpoint(), age in 0..40u32, random in any::<u32>(), v6 in any::<bool>(),
    ) {
        let (vip, family) = if v6 { ("fd00::1", false) } else { ("10.96.0.1", true) };
        let members: Vec<_> = members.into_iter().filter(|m| m.addr.is_v4() == family).collect();
        let mut world = World::new();
        let set = world.extent(&members, 1);
        world.service(3, set, SetWord(0));
        let service = world.services.get_mut(&3).unwrap();
        (service.flags, service.affinity_seconds) = (ServiceRecord::AFFINITY, 20);
        world.frontend(FrontendKey::vip(addr(vip), 80, protocol::TCP), 3, 0);
        let key = AffinityKey::of_namespace(support::POD, 103);
        let value = AffinityValue { addr: stuck.addr, port: stuck.port, reserved: 0, used: 100 };
        world.affinity.borrow_mut().insert(key, value);
        let request = tcp(vip, 80);
        let verdict = connect(&world, &request, random, 100 + age);
        prop_assert_eq!(members.is_empty(), verdict == Verdict::NoEndpoint { service: 3 });
        match settle_connect(&world, &request, &verdict, 100 + age) {
            Action::Rewrite(to) if members.contains(&stuck) && age < 20 => {
                prop_assert_eq!(to, stuck);
            }
            Action::Rewrite(to) => prop_assert!(members.contains(&to)),
            // Port 0 is no endpoint; the tables never hold one, the programs do not believe it.
            Action::Leave => {
                prop_assert_eq!(verdict, Verdict::Damaged { service: 3 });
                prop_assert!(members.iter().any(|m| m.port == 0));
            }
            Action::Refuse => prop_assert!(members.is_empty(), "refused"),
        }
    }
}

#[test]
fn the_largest_set_is_searched_and_spread_evenly() {
    let members: Vec<_> =
        (0..u16::MAX).map(|n| at(&format!("10.{}.{}.1", n >> 8, n & 255), 80)).collect();
    let mut world = World::new();
    let set = world.extent(&members, 1);
    assert_eq!(set.count(), u16::MAX);
    assert!(members.iter().all(|member| contains(&world, set, member)));
    assert!(!contains(&world, set, &at("10.0.0.2", 80)));
    world.service(0, set, SetWord(0));
    world.frontend(FrontendKey::vip(addr("10.96.0.1"), 80, protocol::TCP), 0, 0);
    let mut quarters = [0u32; 4];
    for step in 0..4096u32 {
        let verdict = connect(&world, &tcp("10.96.0.1", 80), step << 20, 0);
        let Verdict::Translate(choice) = verdict else { panic!("{verdict:?}") };
        let place = world.members(set).binary_search_by(|m| {
            if m.is(&choice.backend) {
                std::cmp::Ordering::Equal
            } else if m.before(&choice.backend) {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        });
        quarters[place.unwrap() * 4 / usize::from(u16::MAX)] += 1;
    }
    assert!(quarters.iter().all(|hits| (1020..=1028).contains(hits)), "{quarters:?}");
}
