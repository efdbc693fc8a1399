//! ICMP errors about translated packets: what is read of them, well formed and hostile, and what they become.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use proptest::prelude::*;
use support::{DEVICE, HERE, World, addr, at};
use towpath_datapath::{
    Empty, FrontendKey, FrontendWord, NodeAddressValue, SetWord,
    decide::{
        errors::{Told, told},
        node::Origin,
        packets::{Fate, arriving},
    },
    flow::{Place, Tuple},
    packet::{
        Bytes, Fragment, Headers, Link, Unparsed, parse,
        quoted::{Quoted, Says, quoted_into, says},
        tcp,
    },
    protocol,
};

const CLIENT: &str = "198.51.100.7";
const NODE: &str = "192.0.2.1";
const ELSEWHERE: &str = "10.2.0.1";
const ROUTER: &str = "203.0.113.77";

/// A node with a nodePort that leads to this endpoint, a flow of the client's, and what its packets become.
fn flow(endpoint: &str, protocol: u8) -> (World, Tuple, Tuple) {
    let mut world = World::new();
    let set = world.extent(&[at(endpoint, 8080)], 1);
    world.service(0, set, SetWord::empty(Empty::Leave, 1));
    world.frontend(FrontendKey::node(addr(NODE), 30_080, protocol), 0, FrontendWord::EXTERNAL);
    world.node(NODE, 1, NodeAddressValue::OWN);
    let first = Headers {
        source: addr(CLIENT),
        destination: addr(NODE),
        protocol,
        source_port: 40_000u16.to_be(),
        destination_port: 30_080u16.to_be(),
        tcp_flags: if protocol == protocol::TCP { tcp::SYN } else { 0 },
        ttl: 64,
        ..Headers::EMPTY
    };
    match arriving(&world, &first, Origin::Outside, 7, 1) {
        Fate::Becomes { to, .. } => (world, first.tuple(), to),
        other => panic!("{other:?}"),
    }
}

fn message(from: &str, to: &str) -> Headers {
    Headers {
        source: addr(from),
        destination: addr(to),
        protocol: 1,
        icmp_type: 3,
        ..Headers::EMPTY
    }
}

fn about(tuple: &Tuple) -> Quoted {
    Quoted { l3: 42, l4: 62, tuple: *tuple }
}

#[test]
fn an_error_goes_the_way_of_an_answer_and_is_translated_where_that_is() {
    for protocol in [protocol::TCP, protocol::UDP] {
        for (endpoint, place) in [(HERE, Place::Out), (ELSEWHERE, Place::In)] {
            let (world, asked, sent) = flow(endpoint, protocol);
            let masqueraded = endpoint == ELSEWHERE;
            let (other, to) = match place {
                Place::In => (Place::Out, DEVICE[0]),
                Place::Out => (Place::In, CLIENT),
            };
            // To the client, from a router or the endpoint, about what the endpoint was sent.
            for from in [ROUTER, endpoint] {
                let error = message(from, to);
                let at = |place| {
                    told(&world, &error, Says::Error, &about(&sent), (place, Origin::Outside), 2)
                };
                let Told::Becomes { outer, quoted, redirect } = at(place) else {
                    panic!("{place:?}")
                };
                assert_eq!((outer.source, outer.destination), (addr(NODE), addr(CLIENT)));
                assert_eq!((quoted, redirect), (asked, masqueraded));
                assert_eq!(at(other), Told::Elsewhere);
            }
            // To the endpoint, from the client's side, about what the client was sent.
            let error = message(ROUTER, NODE);
            let at = |place, says| {
                told(&world, &error, says, &about(&asked.reversed()), (place, Origin::Outside), 2)
            };
            let Told::Becomes { outer, quoted, redirect } = at(Place::In, Says::Error) else {
                panic!("{endpoint}")
            };
            let source = if masqueraded { DEVICE[0] } else { ROUTER };
            assert_eq!((outer.source, outer.destination), (addr(source), addr(endpoint)));
            assert_eq!((quoted, redirect), (sent.reversed(), masqueraded));
            assert_eq!(at(Place::Out, Says::Error), Told::Elsewhere);
            assert_eq!(
                at(Place::In, Says::Redirect),
                Told::Drop,
                "nothing that the other end could use"
            );
            // What is quoted is the packet, not its answer; and another packet is another's.
            let error = |tuple: &Tuple| {
                told(
                    &world,
                    &message(ROUTER, NODE),
                    Says::Error,
                    &about(tuple),
                    (Place::In, Origin::Outside),
                    2,
                )
            };
            assert_eq!(error(&asked), Told::Unknown);
            let another = Tuple { destination_port: 1, ..asked.reversed() };
            assert_eq!(error(&another), Told::Unknown);
            assert_eq!(
                world.flows.entries.borrow().len(),
                2,
                "an error says nothing about how long"
            );
        }
    }
}

#[test]
fn an_error_about_a_flow_that_is_over_is_about_none() {
    let (world, asked, _) = flow(HERE, protocol::UDP);
    let error = message(ROUTER, NODE);
    let at = |now| {
        told(
            &world,
            &error,
            Says::Error,
            &about(&asked.reversed()),
            (Place::In, Origin::Outside),
            now,
        )
    };
    assert!(matches!(at(30), Told::Becomes { .. }));
    assert_eq!(at(31), Told::Unknown);
}

#[test]
fn only_errors_and_redirects_are_about_other_packets() {
    let kinds = |protocol: u8, wanted: Says| -> Vec<u8> {
        let said =
            |kind: &u8| says(&Headers { protocol, icmp_type: *kind, ..Headers::EMPTY }) == wanted;
        (0..=255).filter(said).collect()
    };
    // RFC 792, RFC 4443.
    assert_eq!(kinds(1, Says::Error), [3, 4, 11, 12]);
    assert_eq!(kinds(1, Says::Redirect), [5]);
    assert_eq!(kinds(58, Says::Error), [1, 2, 3, 4]);
    assert!(kinds(58, Says::Redirect).is_empty() && kinds(6, Says::Error).is_empty());
    let part = Headers { fragment: Fragment::First, protocol: 1, icmp_type: 3, ..Headers::EMPTY };
    assert_eq!(says(&part), Says::Nothing);
}

/// An ICMP error without checksums, from its quotation on.
fn v4(quoted: &[u8]) -> Vec<u8> {
    let length = u8::try_from(28 + quoted.len()).unwrap();
    let mut bytes =
        vec![0x45, 0, 0, length, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 77, 192, 0, 2, 1];
    bytes.extend([3, 4, 0, 0, 0, 0, 5, 20]);
    [&bytes, quoted].concat()
}

fn v6(quoted: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, u8::try_from(8 + quoted.len()).unwrap(), 58, 64];
    bytes.extend([0x20; 32]);
    bytes.extend([2, 0, 0, 0, 0, 0, 5, 20]);
    [&bytes, quoted].concat()
}

fn read(bytes: &[u8]) -> Result<Quoted, Unparsed> {
    let packet = Bytes(bytes);
    let mut quoted = Quoted::EMPTY;
    quoted_into(&packet, &parse(&packet, Link::None)?, &mut quoted).map(|()| quoted)
}

fn ip(protocol: u8, cut: u8, options: usize) -> Vec<u8> {
    let first = 0x45 + u8::try_from(options / 4).unwrap();
    // Its length is far more than what is quoted.
    let mut bytes =
        vec![first, 0, 5, 220, 0, 7, cut, 0, 63, protocol, 9, 9, 10, 0, 0, 1, 10, 0, 0, 2];
    bytes.extend(vec![1; options]);
    bytes.extend([0x1f, 0x90, 0x9c, 0x40, 0, 0, 0, 1]);
    bytes
}

fn ip6(next: u8, between: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 5, 220, next, 63];
    bytes.extend([[0xfd; 16], [0xfc; 16]].concat());
    bytes.extend(between);
    bytes.extend([0x1f, 0x90, 0x9c, 0x40, 0, 0, 0, 1]);
    bytes
}

#[test]
fn eight_bytes_of_what_was_in_a_packet_are_enough() {
    let ports = |quoted: &Quoted| {
        [quoted.tuple.source_port, quoted.tuple.destination_port].map(u16::from_be)
    };
    for (options, protocol) in [(0, protocol::TCP), (12, protocol::UDP), (40, protocol::TCP)] {
        let quoted = read(&v4(&ip(protocol, 0x40, options))).unwrap();
        assert_eq!((quoted.l3, quoted.l4), (28, 48 + u32::try_from(options).unwrap()));
        assert_eq!(
            (quoted.tuple.source, quoted.tuple.destination),
            (addr("10.0.0.1"), addr("10.0.0.2"))
        );
        assert_eq!((ports(&quoted), quoted.tuple.protocol), ([8080, 40_000], protocol));
    }
    let first = [protocol::UDP, 0, 0, 1, 0, 0, 0, 7];
    for (next, between) in [(protocol::TCP, &[][..]), (44, &first)] {
        let quoted = read(&v6(&ip6(next, between))).unwrap();
        assert_eq!((quoted.l3, quoted.l4), (48, 88 + u32::try_from(between.len()).unwrap()));
        assert_eq!(ports(&quoted), [8080, 40_000]);
    }
}

#[test]
fn what_quotes_no_packet_with_ports_is_about_none() {
    let later = [protocol::UDP, 0, 0, 8, 0, 0, 0, 7];
    for (what, bytes) in [
        ("an echo", v4(&ip(1, 0, 0))),
        ("SCTP", v4(&ip(132, 0, 0))),
        ("a later fragment", v4(&ip(protocol::UDP, 0x01, 0))),
        ("a later fragment of IPv6", v6(&ip6(44, &later))),
        ("the other version", v4(&ip6(protocol::UDP, &[]))),
        ("the other version in IPv6", v6(&ip(protocol::UDP, 0, 0))),
        ("a header of 16 bytes", v4(&[&[0x44][..], &ip(protocol::UDP, 0, 0)[1..]].concat())),
        ("no ports", v4(&ip(protocol::UDP, 0, 0)[..22])),
        ("half a header", v4(&ip(protocol::UDP, 0, 0)[..15])),
        ("nothing", v4(&[])),
        (
            "IPv4 in IPv6",
            v6(&[&ip6(17, &[])[..8], &[0; 10], &[255, 255, 10, 0, 0, 1], &[1; 40]].concat()),
        ),
    ] {
        assert!(read(&bytes).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn no_quotation_makes_the_reader_panic_or_point_beyond_the_end(
        quoted in proptest::collection::vec(any::<u8>(), 0..100), six in any::<bool>(),
    ) {
        let mut quoted = quoted;
        if let Some(first) = quoted.first_mut() {
            *first = *first & 15 | if six { 0x60 } else { 0x40 };
        }
        let bytes = if six { v6(&quoted) } else { v4(&quoted) };
        if let Ok(found) = read(&bytes) {
            prop_assert!(found.l3 < found.l4 && found.l4 as usize + 4 <= bytes.len());
            prop_assert_eq!(found.tuple.source.is_v4(), !six);
        }
    }
}

#[test]
fn an_error_that_a_judged_pod_makes_up_is_left_to_its_policies() {
    for protocol in [protocol::TCP, protocol::UDP] {
        // Masqueraded: what it becomes would be sent on past them.
        let (world, _asked, sent) = flow(ELSEWHERE, protocol);
        let error = message(ROUTER, NODE);
        let from =
            |origin| told(&world, &error, Says::Error, &about(&sent), (Place::In, origin), 2);
        assert!(matches!(from(Origin::Outside), Told::Becomes { .. }));
        assert_eq!(from(Origin::JudgedPod), Told::Elsewhere);
    }
}
