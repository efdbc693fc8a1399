//! The flow table under flows that begin, go on, end and collide.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::{Table, addr};
use towpath_datapath::{
    decide::{
        SocketAddress,
        flow::{Flows, Followed, Signs, Start, Started, follow, live, start},
        nat::Ports,
    },
    flow::{FlowEntry, Tuple},
    packet::tcp,
    protocol,
};

fn packet(client: &str, port: u16, vip: &str, protocol: u8) -> Tuple {
    Tuple {
        source: addr(client),
        destination: addr(vip),
        source_port: port.to_be(),
        destination_port: 80u16.to_be(),
        protocol,
        zero: [0; 3],
    }
}

fn to(packet: Tuple, masquerade: Option<&str>) -> Start {
    Start {
        packet,
        backend: SocketAddress::new(addr("10.1.0.1"), 8080u16.to_be()),
        masquerade: masquerade.map(addr),
        service: 3,
        ports: Ports::default(),
    }
}

fn sign(flags: u8) -> Signs {
    Signs { tcp_flags: flags, payload: false }
}

const DATA: Signs = Signs { tcp_flags: tcp::ACK, payload: true };
const NODE: Option<&str> = Some("192.0.2.1");

fn begin(table: &Table, what: &Start, now: u32) -> Tuple {
    match start(table, what, 1 << 8, now) {
        Started::Translated(to) => to,
        Started::NoPort => panic!("no port for {what:?}"),
    }
}

fn goes_on(table: &Table, packet: &Tuple, signs: Signs, now: u32) -> Option<Tuple> {
    match followed(table, packet, signs, now) {
        Followed::Translated(to) => Some(to),
        Followed::Unknown => None,
        other => panic!("{other:?}"),
    }
}

fn syn() -> Tuple {
    packet("198.51.100.7", 40_000, "10.96.0.1", protocol::TCP)
}

#[test]
fn answers_come_back_by_the_name_that_was_asked() {
    for masquerade in [None, NODE] {
        let table = Table::default();
        let there = begin(&table, &to(syn(), masquerade), 5);
        assert_eq!(there.destination, addr("10.1.0.1"));
        assert_eq!(there.source, addr(masquerade.unwrap_or("198.51.100.7")));
        let port = u16::from_be(there.source_port);
        assert_eq!(Ports::default().contain(port), masquerade.is_some());
        let back = goes_on(&table, &there.reversed(), sign(tcp::SYN | tcp::ACK), 6).unwrap();
        assert_eq!(back, syn().reversed());
        assert_eq!(goes_on(&table, &syn(), DATA, 7), Some(there));
    }
}

#[test]
fn only_a_syn_begins_a_connection() {
    assert!(sign(tcp::SYN).begins(protocol::TCP) && sign(0).begins(protocol::UDP));
    for flags in [tcp::ACK, tcp::SYN | tcp::ACK, tcp::RST, tcp::FIN | tcp::ACK, 0] {
        assert!(!sign(flags).begins(protocol::TCP), "{flags}");
    }
}

#[test]
fn either_entry_makes_the_other_again() {
    let table = Table::default();
    let there = begin(&table, &to(syn(), NODE), 5);
    goes_on(&table, &there.reversed(), sign(tcp::SYN | tcp::ACK), 5);
    let whole = table.entries.borrow().clone();
    assert_eq!(whole.len(), 2);
    for (now, lost) in (6..).zip(whole.keys()) {
        table.remove_flow(lost);
        let kept = if *lost == syn() { there.reversed() } else { syn() };
        // Within a second of its last packet a flow is not written.
        goes_on(&table, &kept, sign(tcp::ACK), now).unwrap();
        assert_eq!(table.entries.borrow().len(), 2, "{lost:?} came back");
        assert_eq!(table.flow(lost).unwrap().to, whole[lost].to);
        assert_eq!(table.flow(lost).unwrap().flags, whole[lost].flags);
    }
}

#[test]
fn a_connection_lives_for_a_day_unanswered_for_seconds_and_after_its_end_for_half_a_minute() {
    let table = Table::default();
    let there = begin(&table, &to(syn(), None), 100);
    assert_eq!(goes_on(&table, &syn(), sign(tcp::SYN), 119), Some(there));
    assert_eq!(goes_on(&table, &syn(), sign(tcp::SYN), 139), None, "nothing answered");
    let there = begin(&table, &to(syn(), None), 200);
    let back = there.reversed();
    goes_on(&table, &back, sign(tcp::SYN | tcp::ACK), 200);
    assert_eq!(goes_on(&table, &syn(), DATA, 200 + 86_399), Some(there));
    let now = 100_000;
    goes_on(&table, &syn(), sign(tcp::FIN | tcp::ACK), now);
    assert!(goes_on(&table, &back, DATA, now + 3_600).is_some(), "half closed is open");
    goes_on(&table, &back, sign(tcp::FIN | tcp::ACK), now + 3_600);
    assert!(goes_on(&table, &syn(), sign(tcp::ACK), now + 3_629).is_some(), "the last ACK");
    assert_eq!(goes_on(&table, &syn(), sign(tcp::ACK), now + 3_659), None);
}

#[test]
fn a_reset_ends_a_connection_and_data_opens_it_again() {
    let table = Table::default();
    let back = begin(&table, &to(syn(), None), 1).reversed();
    goes_on(&table, &back, sign(tcp::SYN | tcp::ACK), 1);
    goes_on(&table, &back, sign(tcp::RST), 2);
    let closing = |key: &Tuple| table.flow(key).unwrap().closing();
    assert!(closing(&syn()) && closing(&back));
    goes_on(&table, &syn(), DATA, 3);
    assert!(!closing(&syn()) && !closing(&back), "a forged reset ends nothing");
}

#[test]
fn a_syn_begins_anew_what_has_ended_and_nothing_else() {
    let table = Table::default();
    let there = begin(&table, &to(syn(), None), 1);
    assert_eq!(goes_on(&table, &syn(), sign(tcp::SYN), 2), Some(there), "sent again");
    goes_on(&table, &there.reversed(), sign(tcp::RST | tcp::ACK), 2);
    assert_eq!(goes_on(&table, &syn(), sign(tcp::SYN), 3), None);
    assert!(table.entries.borrow().is_empty(), "both entries went");
}

#[test]
fn udp_lives_longer_once_it_was_answered() {
    let table = Table::default();
    let query = packet("198.51.100.7", 40_000, "10.96.0.1", protocol::UDP);
    let there = begin(&table, &to(query, None), 0);
    assert_eq!(goes_on(&table, &query, sign(0), 29), Some(there));
    assert_eq!(goes_on(&table, &query, sign(0), 59), None);
    let there = begin(&table, &to(query, None), 100);
    goes_on(&table, &there.reversed(), sign(0), 100);
    assert_eq!(goes_on(&table, &query, sign(0), 219), Some(there));
    assert_eq!(goes_on(&table, &query, sign(0), 339), None);
}

#[test]
fn one_client_port_through_two_vips_to_one_endpoint_stays_two_flows() {
    let table = Table::default();
    let other = packet("198.51.100.7", 40_000, "10.96.0.2", protocol::TCP);
    let first = begin(&table, &to(syn(), None), 1);
    let second = begin(&table, &to(other, None), 1);
    assert_eq!((first.source, second.source), (syn().source, syn().source));
    assert_ne!(first.source_port, second.source_port);
    assert_eq!(goes_on(&table, &first.reversed(), sign(tcp::ACK), 1), Some(syn().reversed()));
    assert_eq!(goes_on(&table, &second.reversed(), sign(tcp::ACK), 1), Some(other.reversed()));
}

#[test]
fn two_packets_of_one_new_flow_agree_and_leave_one_claim() {
    let table = Table::default();
    let first = begin(&table, &to(syn(), NODE), 1);
    let elsewhere = Start { backend: SocketAddress::new(addr("10.1.0.2"), 1), ..to(syn(), NODE) };
    // The other CPU had not found the flow, and chose otherwise.
    assert_eq!(begin(&table, &elsewhere, 1), first);
    assert_eq!(table.entries.borrow().len(), 2);
}

#[test]
fn with_no_port_left_the_oldest_closing_flow_goes_and_no_open_one_does() {
    let table = Table::default();
    let few = Ports { first: 20_000, count: 4 };
    let flow = |client: u16| {
        let packet = packet("198.51.100.7", 40_000 + client, "10.96.0.1", protocol::TCP);
        Start { ports: few, ..to(packet, NODE) }
    };
    let open: Vec<_> = (0..4).map(|client| begin(&table, &flow(client), 10)).collect();
    assert_eq!(start(&table, &flow(4), 0, 10), Started::NoPort);
    assert_eq!(table.entries.borrow().len(), 8, "what failed has left nothing");
    goes_on(&table, &open[2].reversed(), sign(tcp::RST), 11);
    goes_on(&table, &open[1].reversed(), sign(tcp::RST), 12);
    assert_eq!(begin(&table, &flow(4), 13), open[2], "its port, from another client");
    let back = goes_on(&table, &open[2].reversed(), sign(tcp::SYN | tcp::ACK), 13);
    assert_eq!(back, Some(flow(4).packet.reversed()));
    assert_eq!(goes_on(&table, &flow(2).packet, DATA, 13), None, "it was forgotten whole");
    assert_eq!(goes_on(&table, &flow(0).packet, DATA, 13), Some(open[0]));
}

#[test]
fn of_two_that_take_what_has_expired_at_one_time_one_gets_it() {
    let few = Ports { first: 20_000, count: 1 };
    let flow = |client: u16| {
        let packet = packet("198.51.100.7", 40_000 + client, "10.96.0.1", protocol::UDP);
        Start { ports: few, ..to(packet, NODE) }
    };
    // Seen as expired by both; the other CPU is the faster one. Then the same of one that has ended.
    for ended in [false, true] {
        let table = Table::default();
        let there = begin(&table, &flow(0), 10);
        let now = if ended { 12 } else { 1_000 };
        if ended {
            let mut entries = table.entries.borrow_mut();
            let entry = entries.get_mut(&there.reversed()).unwrap();
            entry.flags |= FlowEntry::RESET;
            entry.to.protocol = protocol::TCP;
        }
        let other = Table::default();
        begin(&other, &flow(1), now);
        let taken = other.flow(&there.reversed()).unwrap();
        table.meanwhile.set(Some((there.reversed(), taken)));
        assert_eq!(start(&table, &flow(2), 0, now), Started::NoPort, "{ended}");
        assert_eq!(table.flow(&there.reversed()), Some(taken), "{ended}");
    }
}

#[test]
fn a_full_table_begins_nothing_and_keeps_what_there_is() {
    for room in [2, 3] {
        let table = Table::default();
        let first = begin(&table, &to(syn(), NODE), 1);
        table.room.set(Some(room));
        let other = packet("198.51.100.8", 1, "10.96.0.1", protocol::TCP);
        assert_eq!(start(&table, &to(other, NODE), 0, 1), Started::NoPort);
        assert_eq!(table.entries.borrow().len(), 2);
        assert_eq!(goes_on(&table, &syn(), DATA, 2), Some(first));
    }
}

#[test]
fn a_recycled_element_is_not_taken_for_the_flow() {
    let table = Table::default();
    begin(&table, &to(syn(), None), 1);
    table.entries.borrow_mut().get_mut(&syn()).unwrap().check ^= 1;
    assert_eq!(followed(&table, &syn(), DATA, 1), Followed::Unknown);
}

#[test]
fn a_way_back_that_is_anothers_ends_the_flow_and_not_the_other() {
    let table = Table::default();
    let back = begin(&table, &to(syn(), NODE), 1).reversed();
    table.remove_flow(&back);
    let other = packet("198.51.100.8", 9, "10.96.0.1", protocol::TCP);
    let taken = FlowEntry {
        to: other.reversed(),
        used: 1,
        check: back.check(),
        service: 0,
        flags: FlowEntry::REPLY,
    };
    assert!(table.insert_flow(&back, &taken));
    assert_eq!(followed(&table, &syn(), DATA, 2), Followed::Lost);
    assert_eq!(table.flow(&back), Some(taken));
    assert_eq!(table.flow(&syn()), None);
}

/// What a packet becomes, wherever it is translated.
fn followed(table: &Table, packet: &Tuple, signs: Signs, now: u32) -> Followed {
    match live(table, packet, now) {
        Some(entry) => follow(table, packet, &entry, signs, entry.place(), now),
        None => Followed::Unknown,
    }
}

proptest! {
    /// Whatever begins: no two flows share a way back, and each answer finds its own client.
    #[test]
    fn translations_never_collide(
        flows in proptest::collection::vec(
            (0u8..3, 1u16..4, 0u8..2, 0u8..2, any::<bool>(), any::<bool>(), any::<u32>()), 1..60,
        ),
        count in 16u16..40,
    ) {
        let table = Table::default();
        let mut begun = BTreeMap::new();
        for (client, port, vip, backend, masquerade, udp, random) in flows {
            let protocol = if udp { protocol::UDP } else { protocol::TCP };
            let packet =
                packet(&format!("198.51.100.{client}"), port, &format!("10.96.0.{vip}"), protocol);
            let backend = SocketAddress::new(addr(&format!("10.1.0.{backend}")), 8080u16.to_be());
            let ports = Ports { first: 20_000, count };
            let masquerade = masquerade.then_some("192.0.2.1");
            let what = Start { backend, ports, ..to(packet, masquerade) };
            if let Started::Translated(there) = start(&table, &what, random, 1) {
                let before = *begun.entry(packet).or_insert(there);
                prop_assert_eq!(before, there, "a flow that goes on is not moved");
            }
        }
        let ways: BTreeSet<_> = begun.values().collect();
        prop_assert_eq!(ways.len(), begun.len());
        prop_assert_eq!(table.entries.borrow().len(), 2 * begun.len());
        for (packet, there) in &begun {
            prop_assert_eq!(goes_on(&table, packet, DATA, 2), Some(*there));
            prop_assert_eq!(goes_on(&table, &there.reversed(), DATA, 3), Some(packet.reversed()));
        }
    }
}
