//! Unconnected UDP: one socket, several frontends, sets that change under it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use proptest::prelude::*;
use support::{HOST, World, addr, at, tcp, udp};
use towpath_datapath::{
    Addr, ChoiceKey, Empty, FrontendKey, FrontendWord, RangeKey, SetWord,
    decide::{Action, Call, Request, SocketAddress, connect, recvmsg, sendmsg, settle_connect},
    protocol,
};

const VIPS: [&str; 3] = ["10.96.0.1", "10.96.0.2", "10.96.0.3"];

/// Three UDP services with these endpoints each.
fn world(endpoints: &[SocketAddress]) -> World {
    let mut world = World::new();
    for (index, vip) in (0u32..).zip(VIPS) {
        let set = world.extent(endpoints, 1);
        world.service(index, set, SetWord(0));
        world.frontend(FrontendKey::vip(addr(vip), 53, protocol::UDP), index, 0);
    }
    world
}

fn send(world: &World, vip: &str, random: u32) -> SocketAddress {
    match sendmsg(world, &udp(Call::Send, vip, 53), random, 0) {
        Action::Rewrite(backend) => backend,
        other => panic!("not translated: {other:?}"),
    }
}

fn set(world: &mut World, service: u32, endpoints: &[SocketAddress], epoch: u16) {
    let word = if endpoints.is_empty() {
        SetWord::empty(Empty::Refuse, epoch)
    } else {
        world.extent(endpoints, epoch)
    };
    world.services.get_mut(&service).unwrap().sets[0] = word;
}

#[test]
fn a_socket_stays_with_its_backend_and_moves_when_that_leaves() {
    let (a, b) = (at("10.1.0.1", 53), at("10.1.0.2", 53));
    let mut world = world(&[a, b]);
    assert_eq!(send(&world, VIPS[0], 0), a);
    assert_eq!(send(&world, VIPS[0], u32::MAX), a, "whatever the dice say");
    assert_eq!(world.counter(0).translated, 1, "one flow");
    set(&mut world, 0, &[a, b, at("10.1.0.3", 53)], 2);
    assert_eq!(send(&world, VIPS[0], u32::MAX), a, "a set that grew");
    set(&mut world, 0, &[b], 3);
    assert_eq!(send(&world, VIPS[0], 0), b);
    assert_eq!(world.counter(0).translated, 2);
    assert_eq!(recvmsg(&world, 7, &a), Some(at(VIPS[0], 53)), "a late reply of the old one");
    assert_eq!(recvmsg(&world, 7, &b), Some(at(VIPS[0], 53)));
    set(&mut world, 0, &[], 4);
    let refused = sendmsg(&world, &udp(Call::Send, VIPS[0], 53), 0, 0);
    assert_eq!(refused, Action::Refuse);
}

#[test]
fn a_socket_that_goes_elsewhere_is_no_longer_ours_to_end() {
    let (a, b) = (at("10.1.0.1", 53), at("10.1.0.2", 53));
    let mut world = world(&[a]);
    set(&mut world, 1, &[b], 1);
    let join = |world: &World, ip: &str| {
        let request = udp(Call::Connect, ip, 53);
        let verdict = connect(world, &request, 0, 0);
        settle_connect(world, &request, &verdict, 0);
        world.peers.borrow().get(&7).copied()
    };
    assert_eq!(join(&world, VIPS[0]), Some(a));
    assert_eq!(join(&world, VIPS[1]), Some(b), "another Service");
    assert_eq!(join(&world, "10.1.0.2"), None, "the same backend, by its own address");
    join(&world, VIPS[0]);
    set(&mut world, 0, &[], 2);
    assert_eq!(join(&world, VIPS[0]), None, "a Service without endpoints");
    set(&mut world, 0, &[a], 3);
    join(&world, VIPS[0]);
    world.peer.set(a);
    send(&world, VIPS[1], 0);
    assert_eq!(world.peers.borrow().get(&7), Some(&a), "a datagram elsewhere changes nothing");
    world.peer.set(at("0.0.0.0", 0));
    send(&world, VIPS[1], 0);
    assert_eq!(world.peers.borrow().get(&7), None, "it was disconnected");
    // A TCP connection is not in there, and its cookie is not asked for.
    world.peers.borrow_mut().insert(7, a);
    let request = tcp("10.1.0.9", 80);
    let verdict = connect(&world, &request, 0, 0);
    settle_connect(&world, &request, &verdict, 0);
    assert_eq!(world.peers.borrow().len(), 1);
}

#[test]
fn a_change_of_source_ranges_keeps_no_socket_from_going_on() {
    let a = at("10.1.0.1", 53);
    let mut world = world(&[a]);
    let ask =
        |from: &str| Request { netns: HOST, from: addr(from), ..udp(Call::Send, VIPS[0], 53) };
    let key = FrontendKey::vip(addr(VIPS[0]), 53, protocol::UDP);
    world.frontend(key, 0, FrontendWord::SOURCE_RANGES);
    let range = RangeKey::new(0, addr("192.0.2.0"), 24);
    world.ranges.insert(range);
    assert_eq!(sendmsg(&world, &ask("192.0.2.1"), 0, 0), Action::Rewrite(a));
    world.ranges.clear();
    assert_eq!(sendmsg(&world, &ask("192.0.2.1"), 0, 1), Action::Rewrite(a));
    assert_eq!(recvmsg(&world, 7, &a), Some(at(VIPS[0], 53)));
    world.record.set(towpath_datapath::SocketRecord::default());
    assert_eq!(sendmsg(&world, &ask("192.0.2.1"), 0, 1), Action::Leave, "another socket");
    assert_eq!(world.counter(0).untranslated, 1);
}

#[test]
fn a_reply_from_a_stranger_keeps_its_source() {
    let world = world(&[at("10.1.0.1", 53)]);
    assert_eq!(recvmsg(&world, 7, &at("10.1.0.1", 53)), None, "nothing was sent yet");
    send(&world, VIPS[0], 0);
    assert_eq!(recvmsg(&world, 7, &at("10.1.0.1", 54)), None);
    assert_eq!(recvmsg(&world, 7, &at("10.1.0.9", 53)), None);
}

#[test]
fn two_frontends_with_one_backend_answer_by_the_name_that_was_used_last() {
    let only = at("10.1.0.1", 53);
    let world = world(&[only]);
    for vip in [VIPS[0], VIPS[1], VIPS[0], VIPS[2], VIPS[1], VIPS[1], VIPS[0]] {
        assert_eq!(send(&world, vip, 0), only);
        assert_eq!(recvmsg(&world, 7, &only), Some(at(vip, 53)));
    }
    assert_eq!(world.counter(0).translated, 1);
}

#[test]
fn a_connected_socket_that_names_its_service_again_stays_with_its_peer() {
    let (a, b) = (at("10.1.0.1", 53), at("10.1.0.2", 53));
    let mut world = world(&[a, b]);
    let request = udp(Call::Connect, VIPS[0], 53);
    let verdict = connect(&world, &request, 0, 0);
    assert_eq!(settle_connect(&world, &request, &verdict, 0), Action::Rewrite(a));
    world.peer.set(a);
    assert_eq!(send(&world, VIPS[0], u32::MAX), a);
    assert_eq!(recvmsg(&world, 7, &a), Some(at(VIPS[0], 53)));
    // connect(AF_UNSPEC) is seen by no hook: the record is there, the peer is not.
    world.peer.set(SocketAddress::new(Addr::ANY_V4, 0));
    assert_eq!(send(&world, VIPS[0], u32::MAX), a);
    assert_eq!(recvmsg(&world, 7, &a), Some(at(VIPS[0], 53)));
    set(&mut world, 0, &[b], 2);
    assert_eq!(send(&world, VIPS[0], 0), b);
    assert_eq!(recvmsg(&world, 7, &b), Some(at(VIPS[0], 53)));
}

#[test]
fn connecting_elsewhere_forgets_the_service() {
    let a = at("10.1.0.1", 53);
    let world = world(&[a]);
    send(&world, VIPS[0], 0);
    let elsewhere = tcp("198.51.100.1", 53);
    let verdict = connect(&world, &elsewhere, 0, 0);
    settle_connect(&world, &elsewhere, &verdict, 0);
    assert_eq!(recvmsg(&world, 7, &a), None);
}

#[test]
fn an_evicted_direction_is_rebuilt_and_counted() {
    let (a, b) = (at("10.1.0.1", 53), at("10.1.0.2", 53));
    let world = world(&[a, b]);
    send(&world, VIPS[0], 0);
    assert_eq!(send(&world, VIPS[1], u32::MAX), b);
    world.choices.borrow_mut().remove(&ChoiceKey::reverse(7, b.addr, b.port)).unwrap();
    assert_eq!(recvmsg(&world, 7, &b), None);
    assert_eq!(send(&world, VIPS[1], 0), b);
    assert_eq!(recvmsg(&world, 7, &b), Some(at(VIPS[1], 53)));
    assert_eq!(world.totals.get().choices_evicted, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Send { service: usize, random: u32 },
    Publish { service: u32, members: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3usize, any::<u32>()).prop_map(|(service, random)| Step::Send { service, random }),
        1 => (0..3u32, any::<u8>()).prop_map(|(service, members)| Step::Publish { service, members }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens: a datagram goes to a member of the set in force, to the same one as before
    /// while it is a member, and its reply carries the frontend's name.
    #[test]
    fn every_datagram_goes_where_it_may_and_comes_back_by_its_name(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let pool: Vec<_> = (1..9).map(|last| at(&format!("10.1.0.{last}"), 53)).collect();
        let mut world = world(&pool);
        let mut used = [None; 3];
        for (epoch, step) in (2u16..).zip(steps) {
            match step {
                Step::Publish { service, members } => {
                    let chosen: Vec<_> = (0..8).filter(|bit| members & (1 << bit) != 0)
                        .map(|bit| pool[bit]).collect();
                    set(&mut world, service, &chosen, epoch);
                }
                Step::Send { service, random } => {
                    let word = world.services[&u32::try_from(service).unwrap()].sets[0];
                    let request = udp(Call::Send, VIPS[service], 53);
                    let action = sendmsg(&world, &request, random, 0);
                    if word.count() == 0 {
                        prop_assert_eq!(action, Action::Refuse);
                        continue;
                    }
                    let members = world.members(word);
                    let Action::Rewrite(backend) = action else {
                        return Err(TestCaseError::fail(format!("{action:?}")));
                    };
                    prop_assert!(members.contains(&backend));
                    if let Some(before) = used[service] && members.contains(&before) {
                        prop_assert_eq!(backend, before, "stays while it may");
                    }
                    used[service] = Some(backend);
                    prop_assert_eq!(recvmsg(&world, 7, &backend), Some(at(VIPS[service], 53)));
                }
            }
        }
    }
}
