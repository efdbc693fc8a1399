#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test")]
extern crate std;

use std::{cell::RefCell, collections::BTreeMap, vec, vec::Vec};

use super::*;
use crate::{
    keys::protocol::{TCP, UDP},
    packet::Bytes,
    policy::{
        BlockWord, Classes, DirectionWord, PeerWord, PolicyFlowKey, RowKey, RowRecord, RowWord,
        Side,
    },
};

use Direction::{Egress, Ingress};
use PodVerdict::{Housekeeping, NoPolicy, NotForIt, Spoofed, Unbound, Unreadable};
use PolicyVerdict::{Allowed, Denied, FromNode, NotIsolated, Reply};

/// Device 5 is the pod's; its peer 10.0.0.2 is in class 1, which may do everything.
#[derive(Default)]
struct Tables {
    pod: PodRecord,
    closed: bool,
    flows: RefCell<BTreeMap<PolicyFlowKey, PolicyFlowValue>>,
}

const POD: [u8; 4] = [10, 0, 0, 1];
const FRIEND: [u8; 4] = [10, 0, 0, 2];
const STRANGER: [u8; 4] = [10, 0, 0, 3];

fn v4(octets: [u8; 4]) -> Addr {
    Addr::from(std::net::Ipv4Addr::from(octets))
}

impl super::super::policy::PolicyTables for Tables {
    fn pod(&self, slot: u32) -> Option<PodRecord> {
        (slot == 1).then_some(self.pod)
    }
    fn peer(&self, addr: &Addr) -> Option<PeerWord> {
        (*addr == v4(FRIEND)).then(|| PeerWord::new(addr, Classes::both(1)))
    }
    fn block(&self, _: &Addr) -> Option<BlockWord> {
        None
    }
    fn row(&self, key: &RowKey) -> Option<RowWord> {
        (*key == RowKey { ruleset: 7, class: 1 }).then(|| RowWord::new(*key, 1))
    }
    fn row_allows(&self, row: u32, port_class: u16) -> bool {
        let all = RowRecord { words: [u64::MAX; 16] };
        row == 1 && all.allows(port_class)
    }
    fn port_class(&self, _: u8, _: u16) -> u16 {
        1
    }
}

impl PolicyFlows for Tables {
    fn flow(&self, key: &PolicyFlowKey) -> Option<PolicyFlowValue> {
        self.flows.borrow().get(key).copied()
    }
    fn keep_flow(&self, key: &PolicyFlowKey, value: &PolicyFlowValue) {
        self.flows.borrow_mut().insert(*key, *value);
    }
}

impl PodTables for Tables {
    fn device(&self, index: u32) -> Option<DeviceWord> {
        match index {
            5 => Some(DeviceWord::bound(1)),
            6 => Some(DeviceWord::UNBOUND),
            _ => None,
        }
    }
    fn config(&self) -> PolicyConfig {
        PolicyConfig { flags: if self.closed { PolicyConfig::CLOSED } else { 0 } }
    }
}

fn tables(ingress: bool, egress: bool) -> Tables {
    let word = |isolated| match isolated {
        true => DirectionWord::isolated(7, 0, Side::Even),
        false => DirectionWord::open(),
    };
    let (ingress, egress) = (word(ingress), word(egress));
    let pod = PodRecord { ingress, egress, v4: v4(POD).v4_word(), ..PodRecord::default() };
    Tables { pod, closed: true, flows: RefCell::default() }
}

fn ip(number: u8, from: [u8; 4], to: [u8; 4], cut: u16, inside: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    (bytes[0], bytes[8], bytes[9]) = (0x45, 64, number);
    let length = u16::try_from(20 + inside.len()).unwrap_or(u16::MAX);
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[4..6].copy_from_slice(&[0, 9]);
    bytes[6..8].copy_from_slice(&cut.to_be_bytes());
    bytes[12..16].copy_from_slice(&from);
    bytes[16..20].copy_from_slice(&to);
    bytes.extend_from_slice(inside);
    bytes
}

fn frame(kind: u16, inside: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(inside);
    bytes
}

fn ports(from: u16, to: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = from.to_be_bytes().to_vec();
    bytes.extend_from_slice(&to.to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

fn tcp_flags(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut rest = vec![0; 16];
    (rest[8], rest[9]) = (5 << 4, flags);
    ports(from, to, &rest)
}

const SYN: u8 = tcp::SYN;
const ACK: u8 = tcp::ACK;

fn v4_frame(number: u8, from: [u8; 4], to: [u8; 4], inside: &[u8]) -> Vec<u8> {
    frame(0x0800, &ip(number, from, to, 0, inside))
}

fn ask(tables: &Tables, packet: &[u8], direction: Direction) -> PodVerdict {
    pod_packet(&Bytes(packet), tables, 5, direction, Origin::Elsewhere, 100)
}

#[test]
fn a_pod_sends_as_itself_or_not_at_all() {
    for tables in [tables(false, false), tables(true, true)] {
        let own = v4_frame(TCP, POD, FRIEND, &tcp_flags(4000, 80, SYN));
        assert!(ask(&tables, &own, Egress).passes());
        let others = v4_frame(TCP, STRANGER, FRIEND, &tcp_flags(4000, 80, SYN));
        assert_eq!(ask(&tables, &others, Egress), Spoofed);
        let dhcp = v4_frame(UDP, [0; 4], [255; 4], &ports(68, 67, &[0; 4]));
        assert_eq!(ask(&tables, &dhcp, Egress), Housekeeping);
        let disguised = v4_frame(UDP, [0; 4], FRIEND, &ports(68, 67, &[0; 4]));
        assert_eq!(ask(&tables, &disguised, Egress), Spoofed);
    }
}

#[test]
fn what_an_isolated_pod_may_open_is_answered() {
    let tables = tables(true, true);
    let out = |to, flags| v4_frame(TCP, POD, to, &tcp_flags(4000, 80, flags));
    let back = |from, flags| v4_frame(TCP, from, POD, &tcp_flags(80, 4000, flags));
    assert_eq!(ask(&tables, &out(STRANGER, SYN), Egress), PodVerdict::Policy(Denied));
    assert_eq!(ask(&tables, &back(STRANGER, SYN | ACK), Ingress), PodVerdict::Policy(Denied));
    assert_eq!(ask(&tables, &out(FRIEND, SYN), Egress), PodVerdict::Policy(Allowed));
    assert_eq!(ask(&tables, &back(FRIEND, SYN | ACK), Ingress), PodVerdict::Policy(Allowed));
    let tables = self::tables(true, false);
    assert_eq!(ask(&tables, &out(STRANGER, SYN), Egress), PodVerdict::Policy(NotIsolated));
    assert_eq!(ask(&tables, &back(STRANGER, SYN | ACK), Ingress), PodVerdict::Policy(Reply));
}

#[test]
fn the_node_itself_reaches_its_pods() {
    let tables = tables(true, true);
    let syn = v4_frame(TCP, STRANGER, POD, &tcp_flags(4000, 80, SYN));
    let from = |device, origin| pod_packet(&Bytes(&syn), &tables, device, Ingress, origin, 1);
    assert_eq!(from(5, Origin::Node), PodVerdict::Policy(FromNode));
    assert_eq!(from(5, Origin::Elsewhere), PodVerdict::Policy(Denied));
    // Also a pod that is not known yet.
    assert_eq!(from(6, Origin::Node), PodVerdict::Policy(FromNode));
    assert_eq!(from(6, Origin::Elsewhere), Unbound);
}

#[test]
fn a_device_without_a_pod_is_closed_while_there_is_any_policy() {
    let mut tables = tables(false, false);
    let syn = v4_frame(TCP, POD, FRIEND, &tcp_flags(4000, 80, SYN));
    for device in [6, 7] {
        let ask = |tables: &Tables, packet: &[u8]| {
            pod_packet(&Bytes(packet), tables, device, Egress, Origin::Elsewhere, 1)
        };
        tables.closed = true;
        assert_eq!(ask(&tables, &syn), Unbound);
        assert_eq!(ask(&tables, &frame(ARP, &[0; 28])), Housekeeping);
        tables.closed = false;
        assert_eq!(ask(&tables, &syn), NoPolicy);
    }
}

#[test]
fn what_is_not_understood_passes_only_where_nothing_is_isolated() {
    for (isolated, expected) in [(false, PodVerdict::Policy(NotIsolated)), (true, Unreadable)] {
        let tables = tables(isolated, false);
        for odd in [
            frame(0x8100, &[0; 40]),
            frame(0x0800, &[0x45, 0]),
            v4_frame(TCP, POD, FRIEND, &[0, 1, 2]),
        ] {
            assert_eq!(ask(&tables, &odd, Egress), expected);
        }
        assert_eq!(ask(&tables, &frame(ARP, &[0; 28]), Egress), Housekeeping);
    }
    let tables = tables(true, false);
    let flooded = v4_frame(TCP, FRIEND, STRANGER, &tcp_flags(4000, 80, SYN));
    assert_eq!(ask(&tables, &flooded, Ingress), NotForIt);
}

#[test]
fn fragments_go_where_their_beginning_went() {
    let tables = tables(true, true);
    let first = |to| frame(0x0800, &ip(UDP, POD, to, 0x2000, &ports(9, 53, &[0; 4])));
    let later = |to| frame(0x0800, &ip(UDP, POD, to, 0x0001, &[0; 8]));
    assert_eq!(ask(&tables, &first(STRANGER), Egress), PodVerdict::Policy(Denied));
    assert_eq!(ask(&tables, &later(STRANGER), Egress), PodVerdict::Policy(Denied));
    assert_eq!(ask(&tables, &first(FRIEND), Egress), PodVerdict::Policy(Allowed));
    assert_eq!(ask(&tables, &later(FRIEND), Egress), PodVerdict::Policy(Reply));
    let late = pod_packet(&Bytes(&later(FRIEND)), &tables, 5, Egress, Origin::Elsewhere, 100_000);
    assert_eq!(late, PodVerdict::Policy(Allowed), "the friend may do everything anyway");
    // A beginning that ends before its ports do.
    let short = frame(0x0800, &ip(UDP, POD, FRIEND, 0x2000, &[0, 9]));
    assert_eq!(ask(&tables, &short, Egress), Unreadable);
}

#[test]
fn an_error_passes_with_what_it_is_about() {
    let tables = tables(true, false);
    let about = |from, to, inside: &[u8]| {
        let mut error = vec![3, 4, 0, 0, 0, 0, 0, 0];
        error.extend_from_slice(&ip(TCP, from, to, 0, inside));
        v4_frame(ICMP, STRANGER, POD, &error)
    };
    let open = |to| v4_frame(TCP, POD, to, &tcp_flags(4000, 80, SYN));
    assert!(ask(&tables, &open(STRANGER), Egress).passes());
    let fitting = about(POD, STRANGER, &tcp_flags(4000, 80, ACK));
    assert!(ask(&tables, &fitting, Ingress).passes());
    let closed = self::tables(true, true);
    assert!(!ask(&closed, &fitting, Ingress).passes(), "the pod cannot have sent that");
}

#[test]
fn an_echo_is_answered_and_asks_nothing() {
    let tables = tables(true, false);
    let echo = |from, to, kind| v4_frame(ICMP, from, to, &[kind, 0, 0, 0, 0, 7, 0, 1]);
    assert_eq!(ask(&tables, &echo(STRANGER, POD, 0), Ingress), PodVerdict::Policy(Denied));
    assert!(ask(&tables, &echo(POD, STRANGER, 8), Egress).passes());
    assert_eq!(ask(&tables, &echo(STRANGER, POD, 0), Ingress), PodVerdict::Policy(Reply));
    assert_eq!(ask(&tables, &echo(STRANGER, POD, 8), Ingress), PodVerdict::Policy(Denied));
}

#[test]
fn neighbours_find_each_other() {
    let tables = tables(true, true);
    let solicitation = |hops: u8| {
        let mut bytes = vec![0; 40];
        (bytes[0], bytes[5], bytes[6], bytes[7]) = (0x60, 24, ICMP_V6, hops);
        (bytes[8], bytes[9], bytes[23]) = (0xfe, 0x80, 1);
        (bytes[24], bytes[25], bytes[39]) = (0xff, 2, 1);
        bytes.extend_from_slice(&[135, 0, 0, 0]);
        bytes.extend_from_slice(&[0; 20]);
        frame(0x86dd, &bytes)
    };
    assert_eq!(ask(&tables, &solicitation(255), Egress), Housekeeping);
    assert_eq!(ask(&tables, &solicitation(255), Ingress), Housekeeping);
    assert_eq!(ask(&tables, &solicitation(64), Egress), Spoofed, "it came from elsewhere");
}
