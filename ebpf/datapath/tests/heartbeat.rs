//! An address that this node's own DNS server answers: to itself while that serves, to the Service's other
//! endpoints while it does not.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use support::{World, addr, at, tcp, udp};
use towpath_datapath::{
    Beat, Empty, FrontendKey, FrontendWord, SetWord,
    decide::{
        Action, BACK_AFTER, Call, Dispatch, STALE_AFTER, Verdict, alive, connect, dispatch,
        node::{Arrival, Masquerade, Origin},
        recvmsg, sendmsg,
    },
    protocol,
};

const VIP: &str = "10.96.0.10";
const OTHER: &str = "10.1.0.2";
/// It has served for long.
const NOW: u64 = 100 * BACK_AFTER;

/// VIP:53 with one endpoint elsewhere; the server beats.
fn world() -> World {
    let mut world = World::new();
    let others = world.extent(&[at(OTHER, 5353)], 1);
    world.service(0, others, SetWord::empty(Empty::Leave, 1));
    for protocol in [protocol::TCP, protocol::UDP] {
        let key = FrontendKey::vip(addr(VIP), 53, protocol);
        world.frontend(key, 0, FrontendWord::OWN_DNS);
    }
    beats(&world, &[(NOW, 1)]);
    world.nanoseconds.set(NOW);
    world
}

fn beats(world: &World, beats: &[(u64, u64)]) {
    let mut all = [Beat::default(); 8];
    for (to, (last, since)) in all.iter_mut().zip(beats) {
        *to = Beat { last: *last, since: *since };
    }
    world.beats.set(all);
}

/// The server does not beat any more.
fn freeze(world: &World) {
    world.nanoseconds.set(NOW + STALE_AFTER);
}

/// What a row is about, the beats (last, since), and whether the server serves.
type Row<'a> = (&'static str, &'a [(u64, u64)], bool);

#[test]
fn the_oldest_beat_decides_and_one_that_came_back_is_trusted_after_a_while() {
    let (late, old) = (NOW - STALE_AFTER, NOW - STALE_AFTER + 1);
    let back = NOW - BACK_AFTER;
    let rows: [Row<'_>; 11] = [
        ("nothing beats", &[], false),
        ("just now", &[(NOW, 1)], true),
        ("all but too long ago", &[(old, 1)], true),
        ("too long ago", &[(late, 1)], false),
        ("a daemon of before the boot of another clock", &[(1, 1)], false),
        ("a clock that is read a tick behind", &[(NOW + 4_000_000, 1)], true),
        ("one of two", &[(NOW, 1), (late, 1)], false),
        ("both", &[(NOW, 1), (old, 1)], true),
        (
            "the last place",
            &[(NOW, 1), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (late, 1)],
            false,
        ),
        ("back, but only just", &[(NOW, back + 1)], false),
        ("back for long enough", &[(NOW, back)], true),
    ];
    for (what, all, expected) in rows {
        let world = world();
        beats(&world, all);
        assert_eq!(alive(&world), expected, "{what}");
    }
}

#[test]
fn sockets_and_packets_go_to_the_own_server_while_it_serves_and_elsewhere_while_not() {
    let world = world();
    let requests = [tcp(VIP, 53), udp(Call::Connect, VIP, 53), udp(Call::Send, VIP, 53)];
    let packet = |world: &World| {
        let (from, to) = (addr("10.1.0.9"), at(VIP, 53));
        let arrival = Arrival { origin: Origin::Pod, from, to, protocol: protocol::UDP };
        let Dispatch { verdict, .. } = dispatch(world, &arrival, Masquerade::default(), 0, 0);
        verdict
    };
    for request in &requests {
        assert_eq!(connect(&world, request, 0, 0), Verdict::OwnDns { service: 0 });
        assert_eq!(connect(&world, request, 0, 0).action(request), Action::Leave);
    }
    assert_eq!(packet(&world), Verdict::OwnDns { service: 0 });
    freeze(&world);
    for request in &requests {
        let action = connect(&world, request, 0, 0).action(request);
        assert_eq!(action, Action::Rewrite(at(OTHER, 5353)));
    }
    assert!(
        matches!(packet(&world), Verdict::Translate(choice) if choice.backend == at(OTHER, 5353))
    );
}

#[test]
fn each_datagram_of_a_socket_is_decided_anew_and_replies_wear_the_name_that_was_asked() {
    let world = world();
    let request = udp(Call::Send, VIP, 53);
    assert_eq!(sendmsg(&world, &request, 0, 0), Action::Leave);
    freeze(&world);
    assert_eq!(sendmsg(&world, &request, 0, 0), Action::Rewrite(at(OTHER, 5353)));
    assert_eq!(recvmsg(&world, 7, &at(OTHER, 5353)), Some(at(VIP, 53)));
    // It serves again: what the socket keeps does not hold it elsewhere.
    beats(&world, &[(NOW + STALE_AFTER, 1)]);
    assert_eq!(sendmsg(&world, &request, 0, 0), Action::Leave);
    assert_eq!(recvmsg(&world, 7, &at(VIP, 53)), None, "a reply of the server itself");
    assert_eq!(recvmsg(&world, 7, &at(OTHER, 5353)), Some(at(VIP, 53)), "one that was on its way");
}

#[test]
fn without_an_endpoint_elsewhere_the_address_is_left_alone() {
    let mut world = world();
    world.services.get_mut(&0).unwrap().sets[0] = SetWord::empty(Empty::Leave, 2);
    for frozen in [false, true] {
        if frozen {
            freeze(&world);
        }
        assert_eq!(sendmsg(&world, &udp(Call::Send, VIP, 53), 0, 0), Action::Leave);
        let request = tcp(VIP, 53);
        assert_eq!(connect(&world, &request, 0, 0).action(&request), Action::Leave);
    }
}

#[test]
fn other_frontends_ask_no_heart() {
    let mut world = world();
    world.frontend(FrontendKey::vip(addr("198.51.100.1"), 53, protocol::UDP), 0, 0);
    let request = udp(Call::Send, "198.51.100.1", 53);
    let wanted = Action::Rewrite(at(OTHER, 5353));
    assert_eq!(connect(&world, &request, 0, 0).action(&request), wanted);
}
