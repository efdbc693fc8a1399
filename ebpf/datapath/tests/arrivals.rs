//! Packets at a device of the node's: what comes in, what leaves, and what that does to the tables.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test")]

mod support;

use support::{DEVICE, HERE, World, addr, at};
use towpath_datapath::{
    Empty, FrontendKey, FrontendWord, NodeAddressValue, RangeKey, SetWord,
    decide::{
        flow::Flows as _,
        node::Origin,
        packets::{Fate, Tally, arriving, leaving},
    },
    flow::Tuple,
    packet::{Fragment, Headers, tcp},
    protocol,
};

const CLIENT: &str = "198.51.100.7";
const NODE: &str = "192.0.2.1";
const ELSEWHERE: &str = "10.2.0.1";

/// A nodePort of each protocol with these endpoints, on this node.
fn node(backends: &[&str]) -> World {
    let mut world = World::new();
    let backends: Vec<_> = backends.iter().map(|ip| at(ip, 8080)).collect();
    let set = match backends.is_empty() {
        true => SetWord::empty(Empty::Refuse, 1),
        false => world.extent(&backends, 1),
    };
    world.service(0, set, SetWord::empty(Empty::Leave, 1));
    for protocol in [protocol::TCP, protocol::UDP] {
        world.frontend(FrontendKey::node(addr(NODE), 30_080, protocol), 0, FrontendWord::EXTERNAL);
    }
    world.node(NODE, 1, NodeAddressValue::OWN);
    world
}

fn headers(protocol: u8, tcp_flags: u8) -> Headers {
    Headers {
        source: addr(CLIENT),
        destination: addr(NODE),
        protocol,
        source_port: 40_000u16.to_be(),
        destination_port: 30_080u16.to_be(),
        tcp_flags,
        ttl: 64,
        ..Headers::EMPTY
    }
}

fn of(tuple: &Tuple, tcp_flags: u8) -> Headers {
    Headers {
        source: tuple.source,
        destination: tuple.destination,
        source_port: tuple.source_port,
        destination_port: tuple.destination_port,
        ..headers(tuple.protocol, tcp_flags)
    }
}

fn arrives(world: &World, headers: &Headers, now: u32) -> Fate {
    arriving(world, headers, Origin::Outside, 7, now)
}

fn becomes(fate: Fate) -> (Tuple, bool) {
    match fate {
        Fate::Becomes { to, redirect } => (to, redirect),
        other => panic!("{other:?}"),
    }
}

fn syn() -> Headers {
    headers(protocol::TCP, tcp::SYN)
}

#[test]
fn an_endpoint_here_sees_the_client_and_its_answer_leaves_with_the_name_that_was_asked() {
    let world = node(&[HERE]);
    let (there, redirect) = becomes(arrives(&world, &syn(), 1));
    assert_eq!((there.source, there.destination), (addr(CLIENT), addr(HERE)));
    assert!(!redirect, "the stack takes it to the pod");
    let back = of(&there.reversed(), tcp::SYN | tcp::ACK);
    assert_eq!(arrives(&world, &back, 1), Fate::Pass, "before it was routed");
    assert_eq!(becomes(leaving(&world, &back, 1)), (syn().tuple().reversed(), false));
    assert_eq!(*world.tallies.borrow(), [Tally::Begun]);
}

#[test]
fn an_endpoint_elsewhere_sees_the_node_and_both_ways_are_sent_on_at_once() {
    let world = node(&[ELSEWHERE]);
    let (there, redirect) = becomes(arrives(&world, &syn(), 1));
    assert_eq!((there.source, there.destination), (addr(DEVICE[0]), addr(ELSEWHERE)));
    assert!(redirect, "the stack takes no packet with a source of its own");
    let back = of(&there.reversed(), tcp::SYN | tcp::ACK);
    assert_eq!(leaving(&world, &back, 1), Fate::Pass, "it comes in");
    assert_eq!(becomes(arrives(&world, &back, 1)), (syn().tuple().reversed(), true));
}

#[test]
fn what_is_not_ours_or_cannot_be_translated_passes() {
    let world = node(&[HERE]);
    for (what, packet) in [
        ("in the middle of a connection", headers(protocol::TCP, tcp::ACK)),
        ("another port", Headers { destination_port: 22u16.to_be(), ..syn() }),
        ("another node", Headers { destination: addr("192.0.2.2"), ..syn() }),
        ("a fragment", Headers { fragment: Fragment::First, ..headers(protocol::UDP, 0) }),
        ("SCTP", headers(protocol::SCTP, 0)),
        ("a ping", Headers { icmp_type: 8, ..headers(1, 0) }),
    ] {
        assert_eq!(arrives(&world, &packet, 1), Fate::Pass, "{what}");
        assert_eq!(leaving(&world, &packet, 1), Fate::Pass, "{what}");
    }
    assert!(world.tallies.borrow().is_empty() && world.flows.entries.borrow().is_empty());
}

#[test]
fn refusals_are_counted_by_their_reason() {
    let mut world = node(&[]);
    assert_eq!(arrives(&world, &syn(), 1), Fate::Unreachable);
    let guard = "10.96.0.1";
    world.frontend(FrontendKey::guard(addr(guard)), 0, 0);
    let to_guard = Headers { destination: addr(guard), ..syn() };
    assert_eq!(arrives(&world, &to_guard, 1), Fate::Unreachable);
    let key = FrontendKey::node(addr(NODE), 30_080, protocol::TCP);
    world.services.entry(0).and_modify(|record| record.sets[0] = SetWord::empty(Empty::Leave, 2));
    assert_eq!(arrives(&world, &syn(), 1), Fate::Drop);
    world.frontend(key, 0, FrontendWord::EXTERNAL | FrontendWord::SOURCE_RANGES);
    assert_eq!(arrives(&world, &syn(), 1), Fate::Drop);
    use Tally::{NoLocalEndpoint, Refused, SourceRanges};
    assert_eq!(*world.tallies.borrow(), [Refused, Refused, NoLocalEndpoint, SourceRanges]);
}

#[test]
fn source_ranges_are_for_new_flows_and_a_change_cuts_none() {
    let mut world = node(&[HERE]);
    let balancer = "203.0.113.9";
    let flags = FrontendWord::EXTERNAL | FrontendWord::SOURCE_RANGES;
    for protocol in [protocol::TCP, protocol::UDP] {
        world.frontend(FrontendKey::vip(addr(balancer), 80, protocol), 0, flags);
    }
    let range = RangeKey::new(0, addr(CLIENT), 32);
    world.ranges.insert(range);
    let to = |protocol, flags, port: u16| Headers {
        destination: addr(balancer),
        destination_port: 80u16.to_be(),
        source_port: port.to_be(),
        ..headers(protocol, flags)
    };
    let first = [to(protocol::TCP, tcp::SYN, 1), to(protocol::UDP, 0, 1)];
    let there = first.map(|packet| becomes(arrives(&world, &packet, 1)).0);
    becomes(leaving(&world, &of(&there[1].reversed(), 0), 1));
    world.ranges.clear();
    let again = [to(protocol::TCP, tcp::ACK, 1), to(protocol::UDP, 0, 1)];
    for (packet, there) in again.iter().zip(&there) {
        // Also when a datagram's endpoint is looked up again, a second later.
        for now in [1, 9] {
            assert_eq!(becomes(arrives(&world, packet, now)).0, *there);
        }
        becomes(leaving(&world, &of(&there.reversed(), tcp::ACK), 9));
    }
    for new in [to(protocol::TCP, tcp::SYN, 2), to(protocol::UDP, 0, 2)] {
        assert_eq!(arrives(&world, &new, 9), Fate::Drop);
        // What sockets of the node left alone does not go there by another way.
        assert_eq!(leaving(&world, &new, 9), Fate::Drop);
    }
    assert_eq!(leaving(&world, &to(protocol::TCP, tcp::ACK, 2), 9), Fate::Pass, "it began before");
    let out = world.tallies.borrow().iter().filter(|t| **t == Tally::SourceRanges).count();
    assert_eq!(out, 4);
    world.ranges.insert(range);
    assert_eq!(leaving(&world, &to(protocol::TCP, tcp::SYN, 2), 9), Fate::Pass);
    becomes(arrives(&world, &to(protocol::TCP, tcp::SYN, 2), 9));
}

#[test]
fn a_pod_keeps_its_address_but_where_it_reaches_itself() {
    for (endpoint, client, wanted) in
        [(ELSEWHERE, HERE, HERE), ("10.1.0.9", HERE, HERE), (HERE, HERE, DEVICE[0])]
    {
        let world = node(&[endpoint]);
        let packet = Headers { source: addr(client), ..syn() };
        let (there, redirect) = becomes(arriving(&world, &packet, Origin::Pod, 7, 1));
        assert_eq!((there.source, there.destination), (addr(wanted), addr(endpoint)));
        assert_eq!(redirect, endpoint == client, "{endpoint}");
    }
}

#[test]
fn a_dns_server_here_that_has_no_stand_in_is_left_to_answer() {
    let mut world = node(&[]);
    let dns = "10.96.0.10";
    world.frontend(FrontendKey::vip(addr(dns), 53, protocol::UDP), 0, FrontendWord::OWN_DNS);
    world.services.entry(0).and_modify(|record| record.sets = [SetWord::empty(Empty::Leave, 2); 2]);
    let query = Headers {
        destination: addr(dns),
        destination_port: 53u16.to_be(),
        ..headers(protocol::UDP, 0)
    };
    for origin in [Origin::Pod, Origin::Outside] {
        assert_eq!(arriving(&world, &query, origin, 7, 1), Fate::Pass);
    }
}

#[test]
fn a_datagram_goes_to_an_endpoint_that_is_left_when_its_own_is_gone() {
    let mut world = node(&[HERE]);
    let query = headers(protocol::UDP, 0);
    let (first, _) = becomes(arrives(&world, &query, 1));
    becomes(leaving(&world, &of(&first.reversed(), 0), 1));
    let other = "10.1.0.9";
    let set = world.extent(&[at(other, 8080)], 2);
    world.services.entry(0).and_modify(|record| record.sets[0] = set);
    let (second, _) = becomes(arrives(&world, &query, 2));
    assert_eq!(second.destination, addr(other));
    assert_eq!(world.flows.entries.borrow().len(), 2, "nothing is left of the first");
    // A connection stays where it is: its endpoint ends it.
    let (connected, _) = becomes(arrives(&world, &syn(), 2));
    let set = world.extent(&[at(HERE, 8080)], 3);
    world.services.entry(0).and_modify(|record| record.sets[0] = set);
    let data = headers(protocol::TCP, tcp::ACK);
    assert_eq!(becomes(arrives(&world, &data, 3)).0, connected);
}

#[test]
fn a_datagrams_flow_ends_with_its_last_endpoint() {
    let mut world = node(&[HERE]);
    let query = headers(protocol::UDP, 0);
    becomes(arrives(&world, &query, 1));
    let none = SetWord::empty(Empty::Refuse, 2);
    world.services.entry(0).and_modify(|record| record.sets[0] = none);
    assert_eq!(arrives(&world, &query, 2), Fate::Unreachable);
    assert!(world.flows.entries.borrow().is_empty());
}

#[test]
fn without_room_nothing_begins_and_what_there_is_goes_on() {
    let world = node(&[ELSEWHERE]);
    let (there, _) = becomes(arrives(&world, &syn(), 1));
    world.flows.room.set(Some(2));
    let other = Headers { source_port: 1, ..syn() };
    assert_eq!(arrives(&world, &other, 1), Fate::Drop);
    assert_eq!(*world.tallies.borrow(), [Tally::Begun, Tally::NoPort]);
    assert_eq!(becomes(arrives(&world, &headers(protocol::TCP, tcp::ACK), 2)).0, there);
}

#[test]
fn a_way_back_that_is_anothers_is_counted_and_the_packet_goes() {
    let world = node(&[ELSEWHERE]);
    let (there, _) = becomes(arrives(&world, &syn(), 1));
    let back = there.reversed();
    let mut taken = world.flows.flow(&back).unwrap_or_default();
    taken.to.destination_port ^= 1;
    world.flows.replace_flow(&back, &taken);
    assert_eq!(arrives(&world, &headers(protocol::TCP, tcp::ACK), 2), Fate::Drop);
    assert_eq!(*world.tallies.borrow(), [Tally::Begun, Tally::Lost]);
}

#[test]
fn what_a_judged_pod_forges_is_not_sent_on_past_its_policies() {
    // As the endpoint elsewhere, so that it looks like a pod that reaches itself.
    let world = node(&[ELSEWHERE]);
    for first in [syn(), headers(protocol::UDP, 0)] {
        let forged = Headers { source: addr(ELSEWHERE), ..first };
        assert_eq!(arriving(&world, &forged, Origin::JudgedPod, 7, 1), Fate::Drop);
        // As a client outside, whose flow is masqueraded.
        let (there, redirect) = becomes(arrives(&world, &first, 1));
        assert!(redirect);
        assert_eq!(arriving(&world, &first, Origin::JudgedPod, 7, 1), Fate::Pass);
        // As the endpoint that answers it.
        let answer =
            of(&there.reversed(), if first.protocol == protocol::TCP { tcp::ACK } else { 0 });
        assert_eq!(arriving(&world, &answer, Origin::JudgedPod, 7, 1), Fate::Pass);
        becomes(arrives(&world, &answer, 1));
    }
    // What keeps its source goes on to them, translated.
    let own = Headers { source: addr(HERE), ..syn() };
    let (_, redirect) = becomes(arriving(&world, &own, Origin::JudgedPod, 7, 1));
    assert!(!redirect);
}
