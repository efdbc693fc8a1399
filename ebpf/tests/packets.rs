//! The packet programs, run on crafted frames: what they say, and what the frames are then.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::net::{IpAddr, SocketAddr};

use support::{net::Family, plane::Plane};
use towpath_ebpf::{Swept, Verdict};
use towpath_image::{
    ServiceOp,
    datapath::{Empty, FrontendWord, NodeAddressValue, PacketCounters, RangeKey, protocol},
};

/// The loopback device, where every endpoint of a test is the node's own.
const LO: u32 = 1;
const NEXT: i32 = -1;
const DROP: i32 = 2;
const REDIRECT: i32 = 7;

/// A checksum over bytes.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(0, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))
    })
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u32 {
    let length = u32::try_from(segment.len()).unwrap();
    sum(&octets(from)) + sum(&octets(to)) + u32::from(protocol) + length + sum(segment)
}

/// A frame with checksums as they should be; a datagram, or a segment with these flags.
fn frame(from: SocketAddr, to: SocketAddr, protocol: u8, flags: u8) -> Vec<u8> {
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let at = if protocol == protocol::UDP {
        segment.extend([0, 12, 0, 0]);
        segment.extend(b"data");
        6
    } else {
        segment.extend([0; 16]);
        (segment[12], segment[13]) = (5 << 4, flags);
        16
    };
    let checksum = folded(pseudo(from.ip(), to.ip(), protocol, &segment)).to_be_bytes();
    segment[at..at + 2].copy_from_slice(&checksum);
    let length = u16::try_from(segment.len()).unwrap();
    let (kind, mut header) = if from.is_ipv4() {
        let mut header = vec![0x45, 0];
        header.extend((length + 20).to_be_bytes());
        header.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
        (0x0800u16, header)
    } else {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(length.to_be_bytes());
        header.extend([protocol, 64]);
        (0x86dd, header)
    };
    header.extend(octets(from.ip()));
    header.extend(octets(to.ip()));
    if from.is_ipv4() {
        let checksum = folded(sum(&header)).to_be_bytes();
        header[10..12].copy_from_slice(&checksum);
    }
    [&[2; 12][..], &kind.to_be_bytes(), &header, &segment].concat()
}

/// ICMP port unreachable about a frame without options.
fn unreachable(about: &[u8]) -> Vec<u8> {
    let v4 = about[12..14] == [8, 0];
    let (header, protocol) = if v4 { (20, about[23]) } else { (40, about[20]) };
    let quoted = &about[14..14 + header + if protocol == protocol::TCP { 20 } else { 8 }];
    let (kind, code, number) = if v4 { (3, 3, 1) } else { (1, 4, 58) };
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat();
    let length = u16::try_from(message.len()).unwrap();
    let ends = &about[14..14 + header][if v4 { 12 } else { 8 }..];
    let (from, to) = ends.split_at(ends.len() / 2);
    let pseudo = sum(from) + sum(to) + u32::from(length) + 58;
    let checksum = folded(sum(&message) + if v4 { 0 } else { pseudo });
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut ip = if v4 {
        [&[0x45, 0], &(length + 20).to_be_bytes()[..], &[0, 0, 0x40, 0, 64, number, 0, 0]].concat()
    } else {
        [&[0x60, 0, 0, 0], &length.to_be_bytes()[..], &[number, 64]].concat()
    };
    ip.extend([to, from].concat());
    if v4 {
        let checksum = folded(sum(&ip)).to_be_bytes();
        ip[10..12].copy_from_slice(&checksum);
    }
    [&about[6..12], &about[..6], &about[12..14], &ip, &message].concat()
}

/// An ICMP message about a frame, of which it quotes so many bytes.
fn error(from: IpAddr, to: IpAddr, (kind, code): (u8, u8), about: &[u8], bytes: usize) -> Vec<u8> {
    let quoted = &about[14..about.len().min(14 + bytes)];
    let mut message = [&[kind, code, 0, 0, 0, 0, 5, 20], quoted].concat();
    let number = if from.is_ipv4() { 1 } else { 58 };
    let ends = if from.is_ipv4() { 0 } else { pseudo(from, to, number, &message) - sum(&message) };
    let checksum = folded(sum(&message) + ends).to_be_bytes();
    message[2..4].copy_from_slice(&checksum);
    let at = |ip| SocketAddr::new(ip, 0);
    // The headers of a datagram, with another protocol in it.
    let mut whole = frame(at(from), at(to), number, 0);
    let header = if from.is_ipv4() { 20 } else { 40 };
    whole.truncate(14 + header);
    let length = u16::try_from(message.len()).unwrap();
    if from.is_ipv4() {
        whole[16..18].copy_from_slice(&(length + 20).to_be_bytes());
        whole[24..26].copy_from_slice(&[0, 0]);
        let checksum = folded(sum(&whole[14..34])).to_be_bytes();
        whole[24..26].copy_from_slice(&checksum);
    } else {
        whole[18..20].copy_from_slice(&length.to_be_bytes());
    }
    [whole, message].concat()
}

const SYN: u8 = 2;
const ACK: u8 = 16;

fn run(plane: &Plane, program: &str, frame: &[u8]) -> Verdict {
    plane.kernel.as_ref().unwrap().programs.try_packet(program, LO, frame).expect("runs")
}

/// A node that forwards, with the packet programs loaded.
fn plane(name: &str) -> Plane {
    let plane = Plane::with(name, |settings| settings.packets = true);
    for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{switch}"), "1").unwrap();
    }
    plane
}

#[test]
#[ignore = "needs root"]
fn a_frontend_leads_to_the_endpoint_and_its_answer_comes_back() {
    let mut plane = plane("packets");
    plane.node("192.0.2.1", 1, NodeAddressValue::OWN);
    for (family, client) in
        [(Family::V4, "198.51.100.7:40000"), (Family::V6, "[2001:db8::7]:40000")]
    {
        let client: SocketAddr = client.parse().unwrap();
        let backend = family.backend(1);
        let vip = SocketAddr::new(family.vip(1), 80);
        let index = plane.service(&[backend]);
        plane.cluster_ip(vip.ip(), 80, index, 0);
        for (protocol, answer) in [(protocol::TCP, SYN | ACK), (protocol::UDP, 0)] {
            let there = run(&plane, "node_in", &frame(client, vip, protocol, SYN));
            assert_eq!(there.says, NEXT);
            assert_eq!(there.frame, frame(client, backend, protocol, SYN), "{client} {protocol}");
            let back = frame(backend, client, protocol, answer);
            let came = run(&plane, "node_in", &back);
            assert_eq!((came.says, came.frame), (NEXT, back.clone()), "not before it was routed");
            let left = run(&plane, "node_out", &back);
            assert_eq!(left.says, NEXT);
            assert_eq!(left.frame, frame(vip, client, protocol, answer), "{client} {protocol}");
        }
        let unknown = SocketAddr::new(vip.ip(), 81);
        let refused = run(&plane, "node_in", &frame(client, unknown, protocol::TCP, SYN));
        assert_eq!(refused.says, REDIRECT, "an answer goes back");
        assert_eq!(refused.frame, unreachable(&frame(client, unknown, protocol::TCP, SYN)));
        let middle = frame(client, unknown, protocol::TCP, ACK);
        assert_eq!(
            run(&plane, "node_in", &middle).says,
            NEXT,
            "it may be the kernel's to translate"
        );
    }
    let maps = plane.kernel.as_ref().unwrap().packets.as_ref().unwrap();
    let counters = maps.counters();
    assert_eq!((counters.begun, counters.refused, counters.answered), (4, 2, 2));
    assert_eq!(maps.flows().all().unwrap().len(), 8);
}

#[test]
#[ignore = "needs root"]
fn errors_are_about_the_packets_that_each_end_knows() {
    let mut plane = plane("packets-errors");
    for (family, client, router) in [
        (Family::V4, "198.51.100.7:40000", "203.0.113.77"),
        (Family::V6, "[2001:db8::7]:40000", "2001:db8::77"),
    ] {
        let (client, router): (SocketAddr, IpAddr) =
            (client.parse().unwrap(), router.parse().unwrap());
        let (backend, vip) = (family.backend(1), SocketAddr::new(family.vip(1), 80));
        let index = plane.service(&[backend]);
        plane.cluster_ip(vip.ip(), 80, index, 0);
        let header = if client.is_ipv4() { 20 } else { 40 };
        let kinds: &[(u8, u8)] = match client.is_ipv4() {
            true => &[(3, 4), (3, 3), (3, 1), (11, 0), (12, 0)],
            false => &[(2, 0), (1, 4), (3, 0), (4, 1)],
        };
        for protocol in [protocol::TCP, protocol::UDP] {
            let there = frame(client, vip, protocol, SYN);
            assert_eq!(run(&plane, "node_in", &there).says, NEXT);
            let (at_backend, back) =
                (frame(client, backend, protocol, SYN), frame(backend, client, protocol, ACK));
            let at_client = frame(vip, client, protocol, ACK);
            // As little as routers quote, a datagram's checksum not among it; and all of it, where only the
            // checksum of what was in the packet is as it was.
            for kind in kinds {
                let bytes = header + if protocol == protocol::UDP { 6 } else { 8 };
                // About what the endpoint was sent: it leaves, by whom it may be, as the Service's.
                for from in [backend.ip(), router] {
                    let said = error(from, client.ip(), *kind, &at_backend, bytes);
                    assert_eq!(
                        run(&plane, "node_in", &said).frame,
                        said,
                        "not before it was routed"
                    );
                    let told = run(&plane, "node_out", &said);
                    assert_eq!(told.says, NEXT);
                    let wanted = error(vip.ip(), client.ip(), *kind, &there, bytes);
                    assert_eq!(told.frame, wanted, "{client} {protocol} {kind:?} {from}");
                }
                // About what the client was sent: it comes in, from its own side.
                let said = error(router, vip.ip(), *kind, &at_client, bytes);
                let told = run(&plane, "node_in", &said);
                assert_eq!(told.says, NEXT);
                let wanted = error(router, backend.ip(), *kind, &back, bytes);
                assert_eq!(told.frame, wanted, "{client} {protocol} {kind:?}");
            }
            assert_sums_are_right(&plane, client, router, vip, kinds[0]);
        }
    }
}

/// The checksum of a message that quotes a whole segment is right over what it has become.
#[track_caller]
fn assert_sums_are_right(
    plane: &Plane,
    client: SocketAddr,
    router: IpAddr,
    vip: SocketAddr,
    kind: (u8, u8),
) {
    let at_client = frame(vip, client, protocol::TCP, ACK);
    let told = run(plane, "node_in", &error(router, vip.ip(), kind, &at_client, 200));
    assert_eq!(told.says, NEXT);
    let header = if client.is_ipv4() { 20 } else { 40 };
    let (ip, message) = told.frame[14..].split_at(header);
    let whole = match client {
        SocketAddr::V4(_) => sum(message),
        SocketAddr::V6(_) => {
            sum(&ip[8..]) + u32::try_from(message.len()).unwrap() + 58 + sum(message)
        }
    };
    assert_eq!(folded(whole), 0, "{client}");
    assert!(client.is_ipv6() || folded(sum(ip)) == 0, "the header's own");
}

#[test]
#[ignore = "needs root"]
fn errors_about_no_flow_stay_out_of_services_and_redirects_lead_nowhere() {
    let mut plane = plane("packets-redirects");
    let (client, router) = ("198.51.100.7:40000".parse().unwrap(), "203.0.113.77".parse().unwrap());
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    let index = plane.service(&[Family::V4.backend(1)]);
    plane.cluster_ip(vip.ip(), 80, index, 0);
    let at_client = frame(vip, client, protocol::TCP, ACK);
    let said = |kind| error(router, vip.ip(), kind, &at_client, 28);
    // As every other message to the address of a Service.
    assert_eq!(run(&plane, "node_in", &said((3, 4))).says, DROP);
    assert_eq!(run(&plane, "node_in", &frame(client, vip, protocol::TCP, SYN)).says, NEXT);
    assert_eq!(run(&plane, "node_in", &said((3, 4))).says, NEXT);
    // A shorter way from here is nothing that an endpoint could go.
    assert_eq!(run(&plane, "node_in", &said((5, 1))).says, DROP);
}

fn counters(plane: &Plane) -> PacketCounters {
    plane.kernel.as_ref().unwrap().packets.as_ref().unwrap().counters()
}

#[test]
#[ignore = "needs root"]
fn nothing_to_a_frontend_goes_on_untranslated() {
    let mut plane = plane("packets-guard");
    let client: SocketAddr = "198.51.100.7:40000".parse().unwrap();
    let vip = |n| SocketAddr::new(Family::V4.vip(n), 80);
    // No endpoint at all; none that the policy allows; source ranges without a block.
    let refuse = plane.empty(Empty::Refuse);
    let none = plane.service_with(refuse, None);
    plane.cluster_ip(vip(1).ip(), 80, none, 0);
    let leave = plane.empty(Empty::Leave);
    let elsewhere = plane.service_with(leave, None);
    plane.cluster_ip(vip(2).ip(), 80, elsewhere, 0);
    let ranged = plane.service(&[Family::V4.backend(1)]);
    plane.cluster_ip(vip(3).ip(), 80, ranged, FrontendWord::SOURCE_RANGES);
    let query = |to| frame(client, to, protocol::UDP, 0);
    let refused = run(&plane, "node_in", &query(vip(1)));
    assert_eq!((refused.says, refused.frame), (REDIRECT, unreachable(&query(vip(1)))));
    for silent in [vip(2), vip(3)] {
        assert_eq!(run(&plane, "node_in", &query(silent)).says, DROP, "{silent}");
    }
    // An answer is no flow of ours, and neither is what a fragment carries.
    assert_eq!(run(&plane, "node_out", &query(vip(1))).says, NEXT);
    let mut fragment = query(vip(1));
    fragment[20] |= 0x20;
    assert_eq!(run(&plane, "node_in", &fragment).says, NEXT);
    let counted = counters(&plane);
    let reasons = (counted.refused, counted.answered, counted.no_local, counted.source_ranges);
    assert_eq!(reasons, (1, 1, 1, 1));
}

#[test]
#[ignore = "needs root"]
fn source_ranges_let_in_new_flows_and_a_change_cuts_none() {
    let mut plane = plane("packets-ranges");
    for (family, inside, outside, length) in [
        (Family::V4, "198.51.100.7:40000", "198.51.101.7:40000", 24),
        (Family::V6, "[2001:db8:7::7]:40000", "[2001:db8:8::7]:40000", 48),
    ] {
        let [inside, outside]: [SocketAddr; 2] = [inside, outside].map(|at| at.parse().unwrap());
        let (backend, vip) = (family.backend(1), SocketAddr::new(family.vip(1), 80));
        let index = plane.service(&[backend]);
        let key = RangeKey::new(index, inside.ip().into(), length);
        plane.apply(vec![ServiceOp::PutRange { key }]);
        plane.cluster_ip(vip.ip(), 80, index, FrontendWord::SOURCE_RANGES);
        let is_in = |plane: &Plane, from, protocol, flags| {
            let came = run(plane, "node_in", &frame(from, vip, protocol, flags));
            match came.says {
                NEXT => assert_eq!(came.frame, frame(from, backend, protocol, flags)),
                says => assert_eq!(says, DROP),
            }
            came.says == NEXT
        };
        let other = SocketAddr::new(inside.ip(), 40001);
        for protocol in [protocol::TCP, protocol::UDP] {
            assert!(is_in(&plane, inside, protocol, SYN) && !is_in(&plane, outside, protocol, SYN));
            // By another way it does not get there either.
            let left = run(&plane, "node_out", &frame(outside, vip, protocol, SYN));
            assert_eq!(left.says, DROP);
        }
        plane.apply(vec![ServiceOp::DeleteRange { key }]);
        for protocol in [protocol::TCP, protocol::UDP] {
            assert!(is_in(&plane, inside, protocol, ACK), "the flow goes on");
            assert!(!is_in(&plane, other, protocol, SYN), "no other begins");
        }
    }
    assert_eq!((counters(&plane).begun, counters(&plane).source_ranges), (4, 12));
}

#[test]
#[ignore = "needs root"]
fn a_flood_is_not_answered_with_a_flood() {
    let mut plane = plane("packets-flood");
    let refuse = plane.empty(Empty::Refuse);
    let none = plane.service_with(refuse, None);
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    plane.cluster_ip(vip.ip(), 80, none, 0);
    let query = frame("198.51.100.7:40000".parse().unwrap(), vip, protocol::UDP, 0);
    let says: Vec<_> = (0..500).map(|_| run(&plane, "node_in", &query).says).collect();
    assert_eq!(says[0], REDIRECT);
    // So many runs take less than the seconds that it would take to answer them all.
    assert!(says.contains(&DROP), "{:?}", counters(&plane));
    assert_eq!(counters(&plane).refused, 500);
}

#[test]
#[ignore = "needs root"]
fn what_has_expired_is_swept_and_what_is_in_use_stays() {
    let mut plane = plane("packets-sweep");
    let index = plane.service(&[Family::V4.backend(1)]);
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    plane.cluster_ip(vip.ip(), 80, index, 0);
    let client = |port| SocketAddr::new("198.51.100.7".parse().unwrap(), port);
    run(&plane, "node_in", &frame(client(1), vip, protocol::TCP, SYN));
    run(&plane, "node_in", &frame(client(2), vip, protocol::UDP, 0));
    let flows = plane.kernel.as_ref().unwrap().packets.as_ref().unwrap().flows();
    assert_eq!(flows.sweep().unwrap(), Swept { entries: 4, expired: 0 });
    // Unanswered: TCP's 20 seconds are over before UDP's 30.
    let used = flows.all().unwrap().iter().map(|(_, entry)| entry.used).max().unwrap();
    assert_eq!(flows.sweep_at(used + 25).unwrap(), Swept { entries: 2, expired: 2 });
    assert!(flows.all().unwrap().iter().all(|(key, _)| key.protocol == protocol::UDP));
}
