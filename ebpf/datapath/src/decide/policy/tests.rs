extern crate std;

use std::{cell::RefCell, collections::BTreeMap};

use super::*;
use crate::policy::{Classes, RowRecord};

/// One pod in slot 1; peers of class 1 are allowed, others are not.
#[derive(Default)]
struct Tables {
    pod: PodRecord,
    peers: BTreeMap<Addr, PeerWord>,
    rows: BTreeMap<RowKey, RowWord>,
    records: BTreeMap<u32, RowRecord>,
    flows: RefCell<BTreeMap<PolicyFlowKey, PolicyFlowValue>>,
}

impl PolicyTables for Tables {
    fn pod(&self, slot: u32) -> Option<PodRecord> {
        (slot == 1).then_some(self.pod)
    }
    fn peer(&self, addr: &Addr) -> Option<PeerWord> {
        self.peers.get(addr).copied()
    }
    fn block(&self, _: &Addr) -> Option<BlockWord> {
        None
    }
    fn row(&self, key: &RowKey) -> Option<RowWord> {
        self.rows.get(key).copied()
    }
    fn row_allows(&self, row: u32, port_class: u16) -> bool {
        self.records.get(&row).is_some_and(|record| record.allows(port_class))
    }
    fn port_class(&self, number: u8, port: u16) -> u16 {
        match (number, port) {
            (protocol::TCP, _) => 1,
            (protocol::UDP, 53) => 2,
            (protocol::UDP, _) => 3,
            _ => PORT_CLASS_OTHER,
        }
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

const FRIEND: Addr = Addr::from_v4_word(1);
const STRANGER: Addr = Addr::from_v4_word(2);

/// Isolated in these directions. Friends may use TCP and UDP port 53; ruleset 7, row 1; default row 0.
fn tables(ingress: bool, egress: bool) -> Tables {
    let mut row = RowRecord::default();
    row.allow(1);
    row.allow(2);
    let word = |isolated| match isolated {
        true => DirectionWord::isolated(7, 0, Side::Odd),
        false => DirectionWord::open(),
    };
    let key = RowKey { ruleset: 7, class: 1 };
    Tables {
        pod: PodRecord { ingress: word(ingress), egress: word(egress), ..PodRecord::default() },
        peers: [(FRIEND, PeerWord::new(&FRIEND, Classes { even: 9, odd: 1 }))].into(),
        rows: [(key, RowWord::new(key, 1))].into(),
        records: [(1, row)].into(),
        flows: RefCell::default(),
    }
}

fn tcp(peer: Addr, segment: Segment) -> PolicyTuple {
    PolicyTuple {
        peer,
        own_port: 40_000u16.to_be(),
        peer_port: 80u16.to_be(),
        protocol: 6,
        segment,
    }
}

fn udp(peer: Addr, own: u16, other: u16) -> PolicyTuple {
    let (own_port, peer_port) = (own.to_be(), other.to_be());
    PolicyTuple { peer, own_port, peer_port, protocol: 17, segment: Segment::Datagram }
}

fn ask(tables: &Tables, direction: Direction, tuple: &PolicyTuple) -> PolicyVerdict {
    policy(tables, 1, direction, tuple, Origin::Elsewhere, 1000)
}

use Direction::{Egress, Ingress};
use PolicyVerdict::{Allowed, Denied, FromNode, NotIsolated, Reply};

#[test]
fn replies_to_what_a_pod_opened_come_in_and_nothing_else_does() {
    let tables = tables(true, false);
    let reply = tcp(STRANGER, Segment::Later);
    assert_eq!(ask(&tables, Ingress, &reply), Denied, "nothing was opened");
    assert_eq!(ask(&tables, Egress, &tcp(STRANGER, Segment::Later)), NotIsolated);
    assert_eq!(ask(&tables, Ingress, &reply), Denied, "only an opening opens");
    assert_eq!(ask(&tables, Egress, &tcp(STRANGER, Segment::Opening)), NotIsolated);
    assert_eq!(ask(&tables, Ingress, &reply), Reply);
    assert_eq!(
        ask(&tables, Ingress, &tcp(STRANGER, Segment::Opening)),
        Denied,
        "no SYN is a reply"
    );
    let other = PolicyTuple { peer_port: 81u16.to_be(), ..reply };
    assert_eq!(ask(&tables, Ingress, &other), Denied, "another connection");
}

#[test]
fn a_revoked_opener_is_cut_in_both_directions() {
    let mut tables = tables(true, true);
    assert_eq!(ask(&tables, Ingress, &tcp(FRIEND, Segment::Opening)), Allowed);
    let mut strict = RowRecord::default();
    strict.allow(2);
    assert_eq!(ask(&tables, Egress, &tcp(FRIEND, Segment::Later)), Allowed, "by its own rule");
    // The pod may not begin anything towards this peer, but it may answer.
    tables.pod.egress = DirectionWord::isolated(8, 0, Side::Odd);
    assert_eq!(ask(&tables, Egress, &tcp(FRIEND, Segment::Later)), Reply);
    tables.records.insert(1, strict);
    assert_eq!(ask(&tables, Ingress, &tcp(FRIEND, Segment::Later)), Denied);
    assert_eq!(ask(&tables, Egress, &tcp(FRIEND, Segment::Later)), Denied, "the answer too");
}

#[test]
fn what_the_node_opens_passes_and_is_answered() {
    let tables = tables(true, true);
    let probe = tcp(STRANGER, Segment::Opening);
    assert_eq!(policy(&tables, 1, Ingress, &probe, Origin::Node, 0), FromNode);
    assert_eq!(ask(&tables, Egress, &tcp(STRANGER, Segment::Later)), Reply);
    assert_eq!(ask(&tables, Egress, &tcp(STRANGER, Segment::Opening)), Denied);
    let elsewhere = policy(&tables, 1, Ingress, &probe, Origin::Elsewhere, 0);
    assert_eq!(elsewhere, Denied, "the same address from a device is not the node");
}

#[test]
fn an_answered_datagram_does_not_make_the_pod_an_opener() {
    let mut tables = tables(true, false);
    let (question, answer) = (udp(FRIEND, 53, 5000), udp(FRIEND, 53, 5000));
    assert_eq!(ask(&tables, Ingress, &question), Allowed);
    assert_eq!(ask(&tables, Egress, &answer), NotIsolated);
    tables.records.insert(1, RowRecord::default());
    assert_eq!(ask(&tables, Ingress, &question), Denied, "revoked, whatever was answered");
}

#[test]
fn datagram_flows_end() {
    let tables = tables(true, false);
    let sent = udp(STRANGER, 5000, 53);
    let at = |direction, now| policy(&tables, 1, direction, &sent, Origin::Elsewhere, now);
    assert_eq!((at(Egress, 0), at(Ingress, 180)), (NotIsolated, Reply));
    assert_eq!(at(Ingress, 360), Reply, "a packet keeps it alive");
    assert_eq!(at(Ingress, 541), Denied);
}

#[test]
fn without_ports_only_a_rule_for_everything_allows() {
    let mut tables = tables(true, true);
    let ping = PolicyTuple { protocol: 1, segment: Segment::Portless, ..udp(FRIEND, 0, 0) };
    let fragment = PolicyTuple { segment: Segment::Portless, ..tcp(FRIEND, Segment::Later) };
    assert_eq!((ask(&tables, Ingress, &ping), ask(&tables, Ingress, &fragment)), (Denied, Denied));
    let mut all = RowRecord::default();
    all.allow(PORT_CLASS_OTHER);
    tables.records.insert(1, all);
    assert_eq!(
        (ask(&tables, Ingress, &ping), ask(&tables, Ingress, &fragment)),
        (Allowed, Allowed)
    );
    assert!(tables.flows.borrow().is_empty());
}

#[test]
fn an_error_passes_with_the_packet_that_it_is_about() {
    let tables = tables(true, true);
    let about = tcp(FRIEND, Segment::Later);
    assert!(related(&tables, 1, Ingress, &about).passes(), "the pod may send that");
    let about = tcp(STRANGER, Segment::Later);
    assert!(!related(&tables, 1, Ingress, &about).passes());
    let probe = tcp(STRANGER, Segment::Opening);
    assert_eq!(policy(&tables, 1, Ingress, &probe, Origin::Node, 0), FromNode);
    assert!(related(&tables, 1, Ingress, &about).passes(), "about an answer of the pod");
}

#[test]
fn a_recycled_element_is_nobodys_class_or_row() {
    let mut tables = tables(true, false);
    assert_eq!(ask(&tables, Ingress, &tcp(FRIEND, Segment::Opening)), Allowed);
    let word = *tables.peers.get(&FRIEND).unwrap();
    tables.peers.insert(STRANGER, word);
    assert_eq!(ask(&tables, Ingress, &tcp(STRANGER, Segment::Opening)), Denied);
    let foreign = RowWord::new(RowKey { ruleset: 9, class: 1 }, 1);
    tables.rows.insert(RowKey { ruleset: 7, class: 1 }, foreign);
    assert_eq!(ask(&tables, Ingress, &tcp(FRIEND, Segment::Opening)), Denied);
}

#[test]
fn flows_of_a_slot_are_one_pods() {
    let mut tables = tables(true, false);
    assert_eq!(ask(&tables, Egress, &tcp(STRANGER, Segment::Opening)), NotIsolated);
    assert_eq!(ask(&tables, Ingress, &tcp(STRANGER, Segment::Later)), Reply);
    tables.pod.generation = 1;
    assert_eq!(ask(&tables, Ingress, &tcp(STRANGER, Segment::Later)), Denied);
}
