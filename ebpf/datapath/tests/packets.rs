//! Headers of packets, well formed and hostile; checksums by difference against whole ones.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use towpath_datapath::{
    Addr,
    flow::Tuple,
    packet::{Bytes, Fragment, Headers, Link, Unparsed, checksum::Delta, parse, tcp},
    protocol,
};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

fn segment(flags: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes[..2].copy_from_slice(&40_000u16.to_be_bytes());
    bytes[2..4].copy_from_slice(&443u16.to_be_bytes());
    bytes[12] = 5 << 4;
    bytes[13] = flags;
    [&bytes, data].concat()
}

fn v4(protocol: u8, cut: u16, options: usize, data: &[u8]) -> Vec<u8> {
    let header = 20 + options;
    let mut bytes = vec![0; header];
    bytes[0] = 0x40 | u8::try_from(header / 4).unwrap();
    bytes[2..4].copy_from_slice(&u16::try_from(header + data.len()).unwrap().to_be_bytes());
    bytes[4..6].copy_from_slice(&77u16.to_be_bytes());
    bytes[6..8].copy_from_slice(&cut.to_be_bytes());
    (bytes[8], bytes[9]) = (64, protocol);
    bytes[12..16].copy_from_slice(&CLIENT.octets());
    bytes[16..20].copy_from_slice(&VIP.octets());
    [&bytes, data].concat()
}

fn v6(next: u8, destination: Ipv6Addr, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes[0] = 0x60;
    bytes[4..6].copy_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    (bytes[6], bytes[7]) = (next, 64);
    bytes[8..24].copy_from_slice(&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).octets());
    bytes[24..40].copy_from_slice(&destination.octets());
    [&bytes, data].concat()
}

fn ethernet(kind: u16, inner: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.to_be_bytes(), inner].concat()
}

fn read(bytes: Vec<u8>) -> Result<Headers, Unparsed> {
    parse(&Bytes(&bytes), Link::None)
}

const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 1);

#[test]
fn a_segment_is_read_on_every_kind_of_device() {
    let bare = v4(protocol::TCP, 0, 0, &segment(tcp::SYN, b""));
    for (headers, at) in [
        (parse(&Bytes(&bare), Link::None), 0),
        (parse(&Bytes(&ethernet(0x0800, &bare)), Link::Ethernet), 14),
    ] {
        let headers = headers.unwrap();
        assert_eq!((headers.l3, headers.l4, headers.ttl), (at, at + 20, 64));
        assert_eq!(IpAddr::from(headers.source), IpAddr::from(CLIENT));
        assert_eq!(IpAddr::from(headers.destination), IpAddr::from(VIP));
        let ports = [headers.source_port, headers.destination_port].map(u16::from_be);
        assert_eq!((ports, headers.tcp_flags), ([40_000, 443], tcp::SYN));
        assert_eq!((headers.fragment, headers.payload), (Fragment::Whole, false));
    }
    let options = read(v4(protocol::TCP, 0, 12, &segment(tcp::ACK, b"data"))).unwrap();
    assert_eq!((options.l4, options.payload), (32, true));
    let six = read(v6(protocol::TCP, V6, &segment(tcp::ACK, b""))).unwrap();
    assert_eq!((six.l4, six.is_v4(), six.payload), (40, false, false));
}

#[test]
fn what_a_link_has_padded_is_no_data() {
    let mut padded = v4(protocol::TCP, 0, 0, &segment(tcp::ACK, b""));
    padded.extend([0; 6]);
    assert!(!read(padded).unwrap().payload);
}

#[test]
fn only_the_first_fragment_has_ports() {
    let data = segment(tcp::ACK, b"0123");
    let first = read(v4(protocol::TCP, 0x2000, 0, &data)).unwrap();
    assert_eq!((first.fragment, u16::from_be(first.destination_port)), (Fragment::First, 443));
    let later = read(v4(protocol::TCP, 3, 0, &data)).unwrap();
    assert_eq!(
        (later.fragment, later.destination_port, later.fragment_id),
        (Fragment::Later, 0, 77)
    );
    for (cut, wanted, port) in [(1u16, Fragment::First, 443), (8, Fragment::Later, 0)] {
        let header = [&[protocol::TCP, 0][..], &cut.to_be_bytes(), &9u32.to_be_bytes()].concat();
        let six = read(v6(44, V6, &[&header, &data[..]].concat())).unwrap();
        assert_eq!((six.fragment, six.fragment_id), (wanted, 9));
        assert_eq!(u16::from_be(six.destination_port), port);
    }
    // A later fragment that pretends to go on with an extension header does not.
    let header = [&[44, 0][..], &8u16.to_be_bytes(), &9u32.to_be_bytes()].concat();
    let six = read(v6(44, V6, &[&header, &data[..]].concat())).unwrap();
    assert_eq!((six.fragment, six.l4), (Fragment::Later, 48));
}

#[test]
fn eight_extension_headers_are_looked_through_and_nine_are_not() {
    let chain = |count: usize| {
        let mut data = Vec::new();
        for at in 1..=count {
            let next = if at == count { protocol::TCP } else { 60 };
            data.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        data.extend(segment(tcp::SYN, b""));
        read(v6(60, V6, &data))
    };
    assert_eq!(chain(8).map(|headers| headers.l4), Ok(40 + 64));
    assert_eq!(chain(9), Err(Unparsed::TooManyHeaders));
    let authentication = [&[protocol::TCP, 4][..], &[0; 22], &segment(tcp::SYN, b"")].concat();
    assert_eq!(read(v6(51, V6, &authentication)).map(|headers| headers.l4), Ok(64));
}

#[test]
fn hostile_headers_are_refused() {
    let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a60, 1);
    assert_eq!(read(v6(protocol::TCP, mapped, &segment(tcp::SYN, b""))), Err(Unparsed::Mapped));
    let good = v4(protocol::TCP, 0, 0, &segment(tcp::SYN, b""));
    let broken = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        read(bytes)
    };
    assert_eq!(broken(0, 0x44), Err(Unparsed::Malformed), "a header of 16 bytes");
    assert_eq!(broken(0, 0x4f), Err(Unparsed::Malformed), "a header longer than the datagram");
    assert_eq!(broken(3, 19), Err(Unparsed::Malformed), "a datagram shorter than its header");
    assert_eq!(broken(3, 60), Err(Unparsed::Truncated), "a datagram longer than the packet");
    assert_eq!(broken(32, 4 << 4), Err(Unparsed::Malformed), "TCP's header of 16 bytes");
    assert_eq!(broken(32, 15 << 4), Err(Unparsed::Malformed), "TCP's header beyond the end");
    assert_eq!(broken(33, tcp::SYN | tcp::FIN), Err(Unparsed::Malformed));
    assert_eq!(broken(0, 0x75), Err(Unparsed::NotIp));
    let six = parse(&Bytes(&ethernet(0x86dd, &good)), Link::Ethernet);
    assert_eq!(six, Err(Unparsed::Malformed), "the version is not what Ethernet says");
    let arp = parse(&Bytes(&ethernet(0x0806, &good)), Link::Ethernet);
    assert_eq!(arp, Err(Unparsed::NotIp));
    let short = v4(protocol::UDP, 0, 0, &[0; 7]);
    assert_eq!(read(short), Err(Unparsed::Truncated));
}

/// The whole sum, the slow way.
fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0u64;
    for pair in bytes.chunks(2) {
        total += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap()
}

fn pseudo(tuple: &Tuple, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for addr in [tuple.source, tuple.destination] {
        match IpAddr::from(addr) {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend(tuple.source_port.to_ne_bytes());
    bytes.extend(tuple.destination_port.to_ne_bytes());
    bytes.extend(payload);
    bytes
}

fn tuples() -> impl Strategy<Value = [Tuple; 2]> {
    let address = |v4: bool, bits: u128| match v4 {
        true => Addr::from(Ipv4Addr::from(u32::try_from(bits & 0xffff_ffff).unwrap())),
        false => Addr::from(Ipv6Addr::from(bits | 0xfd << 120)),
    };
    (any::<bool>(), any::<[u128; 4]>(), any::<[u16; 4]>()).prop_map(move |(v4, bits, ports)| {
        [0, 2].map(|at| Tuple {
            source: address(v4, bits[at]),
            destination: address(v4, bits[at + 1]),
            source_port: ports[at],
            destination_port: ports[at + 1],
            protocol: protocol::UDP,
            zero: [0; 3],
        })
    })
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic_or_read_beyond_the_end(
        bytes in proptest::collection::vec(any::<u8>(), 0..120), six in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = *first & 15 | if six { 0x60 } else { 0x40 };
        }
        // Lengths that are right lead on into the headers; otherwise nearly all bytes end at the first one.
        let length = u16::try_from(bytes.len()).unwrap();
        let (at, value) = if six { (4, length.saturating_sub(40)) } else { (2, length) };
        if let Some(field) = bytes.get_mut(at..at + 2) {
            field.copy_from_slice(&value.to_be_bytes());
        }
        let kind: [u8; 2] = if six { [0x86, 0xdd] } else { [0x08, 0x00] };
        let framed = [&[0; 12][..], &kind, &bytes].concat();
        for (link, bytes) in [(Link::None, bytes), (Link::Ethernet, framed)] {
            if let Ok(headers) = parse(&Bytes(&bytes), link) {
                prop_assert!(headers.l3 < headers.l4);
                if headers.destination_port != 0 {
                    prop_assert!(headers.l4 as usize + 8 <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn a_checksum_by_difference_is_the_whole_one(
        [old, new] in tuples(), payload in proptest::collection::vec(any::<u8>(), 1..64),
    ) {
        let before = sum(&pseudo(&old, &payload));
        let after = sum(&pseudo(&new, &payload));
        let delta = Delta::addresses(&old, &new).and(Delta::ports(&old, &new));
        let got = u16::from_be(delta.apply(before.to_be()));
        // Zero has two forms in one's complement.
        let zero = |sum: u16| if sum == 0xffff { 0 } else { sum };
        prop_assert_eq!(zero(got), zero(after));
        prop_assert_eq!(delta.apply_udp(0), 0, "no checksum stays none");
        prop_assert!(before == 0 || delta.apply_udp(before.to_be()) != 0);
    }
}
