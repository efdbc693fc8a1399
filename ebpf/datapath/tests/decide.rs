//! What socket programs decide, on ordinary maps: the same functions that run in the kernel.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr};

use proptest::prelude::*;
use towpath_datapath::{
    Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, Empty, FlowKey, FlowValue,
    FrontendKey, FrontendWord, NodeAddressValue, ServiceRecord, SetChoice, SetWord, SocketRecord,
    decide::{
        Action, Call, Count, Request, Search, SocketAddress, TableMut, Tables, Verdict, connect,
        getpeername, recvmsg, sendmsg, settle_connect,
    },
    protocol,
};

const HOST: u64 = 1;
const POD: u64 = 2;

#[derive(Default)]
struct Maps {
    frontends: BTreeMap<FrontendKey, FrontendWord>,
    nodes: BTreeMap<Addr, NodeAddressValue>,
    services: BTreeMap<u32, ServiceRecord>,
    backends: Vec<BackendRecord>,
    flags: u32,
    affinity: RefCell<BTreeMap<AffinityKey, AffinityValue>>,
    flows: RefCell<BTreeMap<FlowKey, FlowValue>>,
    record: RefCell<SocketRecord>,
    peer: RefCell<SocketAddress>,
    counts: RefCell<Vec<(u32, Count)>>,
    peers: RefCell<BTreeMap<u64, SocketAddress>>,
}

impl Search for Maps {
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        self.backends.get(slot as usize).copied()
    }
}

impl Tables for Maps {
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.frontends.get(key).copied()
    }
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue> {
        self.nodes.get(addr).copied()
    }
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord {
        self.services.get(&service).map_or(SetWord(0), |record| record.set(choice))
    }
    fn service(&self, service: u32) -> Option<ServiceRecord> {
        self.services.get(&service).copied()
    }
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue> {
        self.affinity.borrow().get(key).copied()
    }
    fn config(&self) -> ConfigRecord {
        ConfigRecord { host_netns: HOST, flags: self.flags, ..ConfigRecord::default() }
    }
}

impl TableMut for Maps {
    fn keep_affinity(&self, key: &AffinityKey, value: &AffinityValue) {
        self.affinity.borrow_mut().insert(*key, *value);
    }
    fn flow(&self, key: &FlowKey) -> Option<FlowValue> {
        self.flows.borrow().get(key).copied()
    }
    fn keep_flow(&self, key: &FlowKey, value: &FlowValue) {
        self.flows.borrow_mut().insert(*key, *value);
    }
    fn record(&self) -> SocketRecord {
        *self.record.borrow()
    }
    fn keep_record(&self, record: &SocketRecord) -> bool {
        *self.record.borrow_mut() = *record;
        true
    }
    fn drop_record(&self) {
        *self.record.borrow_mut() = SocketRecord::default();
    }
    fn note_peer(&self, socket: u64, backend: &SocketAddress) {
        self.peers.borrow_mut().insert(socket, *backend);
    }
    fn peer(&self) -> SocketAddress {
        *self.peer.borrow()
    }
    fn count(&self, service: u32, what: Count) {
        self.counts.borrow_mut().push((service, what));
    }
    fn count_unknown_port(&self) {}
    fn count_evicted(&self) {}
    fn count_untracked(&self) {}
}

fn at(ip: &str, port: u16) -> SocketAddress {
    SocketAddress::new(ip.parse::<IpAddr>().unwrap().into(), port.to_be())
}

fn request(call: Call, protocol: u8, to: SocketAddress, netns: u64) -> Request {
    Request { call, protocol, to, netns, socket: 77 }
}

impl Maps {
    /// A service at `index` with these backends (10.0.0.N:8080), reached by `key`.
    fn with(mut self, index: u32, key: FrontendKey, flags: u8, backends: &[u8]) -> Self {
        self.set(index, backends, Empty::Refuse);
        self.frontends.insert(key, FrontendWord::new(&key, index, flags));
        self
    }

    fn set(&mut self, index: u32, backends: &[u8], empty: Empty) {
        let base = u32::try_from(self.backends.len()).unwrap();
        let mut records: Vec<_> = backends
            .iter()
            .map(|last| BackendRecord::new(IpAddr::from([10, 0, 0, *last]).into(), 8080))
            .collect();
        records.sort_by_key(BackendRecord::order);
        self.backends.extend(records);
        let epoch = u16::try_from(self.backends.len()).unwrap();
        let count = u16::try_from(backends.len()).unwrap();
        let word = if count == 0 {
            SetWord::empty(empty, epoch)
        } else {
            SetWord::new(base, count, epoch)
        };
        let record = self.services.entry(index).or_default();
        record.identity = u64::from(index) + 100;
        record.sets = [word, word];
    }

    fn dial(&self, protocol: u8, to: SocketAddress, netns: u64, random: u32, now: u32) -> Action {
        let request = request(Call::Connect, protocol, to, netns);
        let verdict = connect(self, &request, random, now);
        settle_connect(self, &request, &verdict, now)
    }

    fn send(&self, to: SocketAddress, random: u32) -> Action {
        sendmsg(self, &request(Call::Send, protocol::UDP, to, POD), random, 0)
    }
}

fn vip(port: u16, protocol: u8) -> FrontendKey {
    FrontendKey::vip(at("10.96.0.1", 0).addr, port, protocol)
}

#[test]
fn refusals_are_for_tcp_connects_and_datagrams_only() {
    let maps = Maps::default()
        .with(1, vip(80, protocol::TCP), 0, &[])
        .with(2, vip(53, protocol::UDP), 0, &[])
        .with(3, FrontendKey::guard(at("10.96.0.1", 0).addr), 0, &[]);
    let to = |port| at("10.96.0.1", port);
    assert_eq!(maps.dial(protocol::TCP, to(80), POD, 0, 0), Action::Refuse);
    assert_eq!(maps.dial(protocol::UDP, to(53), POD, 0, 0), Action::Leave, "UDP connect succeeds");
    assert_eq!(maps.send(to(53), 0), Action::Refuse);
    assert_eq!(maps.dial(protocol::TCP, to(81), POD, 0, 0), Action::Refuse, "unknown port");
    assert_eq!(maps.dial(protocol::TCP, at("10.96.0.2", 80), POD, 0, 0), Action::Leave);
}

#[test]
fn an_empty_set_that_leaves_is_counted_and_left() {
    let mut maps = Maps::default().with(1, vip(80, protocol::TCP), 0, &[]);
    maps.set(1, &[], Empty::Leave);
    assert_eq!(maps.dial(protocol::TCP, at("10.96.0.1", 80), POD, 0, 0), Action::Leave);
    assert_eq!(*maps.counts.borrow(), [(1, Count::NoLocal)]);
}

#[test]
fn node_ports_know_whose_address_it_is() {
    let own = at("192.168.0.1", 30080);
    let other = at("192.168.0.2", 30080);
    let key = FrontendKey::node(own.addr, 30080, protocol::TCP);
    let there = FrontendKey::node_local(own.addr, 9, 30080, protocol::TCP);
    let mut maps = Maps::default().with(1, key, FrontendWord::PER_NODE, &[1]).with(
        2,
        there,
        FrontendWord::LOCAL_SET,
        &[2],
    );
    let node = |node, flags| NodeAddressValue { node, flags, reserved: 0 };
    maps.nodes.insert(own.addr, node(8, NodeAddressValue::OWN));
    maps.nodes.insert(other.addr, node(9, 0));
    let loopback = at("127.0.0.1", 30080);
    let flags = NodeAddressValue::OWN | NodeAddressValue::LOOPBACK;
    maps.nodes.insert(loopback.addr, node(8, flags));
    let backend = |last: u8| Action::Rewrite(at(&format!("10.0.0.{last}"), 8080));
    assert_eq!(maps.dial(protocol::TCP, own, POD, 0, 0), backend(1));
    assert_eq!(maps.dial(protocol::TCP, other, POD, 0, 0), backend(2), "that node's own");
    assert_eq!(maps.dial(protocol::TCP, loopback, HOST, 0, 0), backend(1));
    assert_eq!(
        maps.dial(protocol::TCP, loopback, POD, 0, 0),
        Action::Leave,
        "the pod's own loopback"
    );
    maps.frontends.remove(&there);
    assert_eq!(maps.dial(protocol::TCP, other, POD, 0, 0), Action::Leave, "none there");
    maps.flags = ConfigRecord::HOST_ONLY;
    assert_eq!(maps.dial(protocol::TCP, own, POD, 0, 0), Action::Leave);
    assert_eq!(maps.dial(protocol::TCP, own, HOST, 0, 0), backend(1));
}

#[test]
fn source_ranges_are_left_to_the_packet_path() {
    let maps = Maps::default().with(1, vip(80, protocol::TCP), FrontendWord::SOURCE_RANGES, &[1]);
    assert_eq!(maps.dial(protocol::TCP, at("10.96.0.1", 80), POD, 0, 0), Action::Leave);
    assert_eq!(*maps.counts.borrow(), [(1, Count::Untranslated)]);
}

#[test]
fn a_recycled_element_is_looked_up_again_and_not_believed() {
    let mut maps = Maps::default().with(1, vip(80, protocol::TCP), 0, &[1]);
    let wrong = FrontendWord::new(&vip(81, protocol::TCP), 1, 0);
    maps.frontends.insert(vip(80, protocol::TCP), wrong);
    assert_eq!(maps.dial(protocol::TCP, at("10.96.0.1", 80), POD, 0, 0), Action::Leave);
}

#[test]
fn affinity_holds_within_the_set_and_the_time_and_is_refreshed_by_use() {
    let mut maps = Maps::default().with(1, vip(80, protocol::TCP), 0, &[1, 2, 3, 4]);
    let record = maps.services.get_mut(&1).unwrap();
    (record.flags, record.affinity_seconds) = (ServiceRecord::AFFINITY, 10);
    let dial = |maps: &Maps, random, now| match maps.dial(
        protocol::TCP,
        at("10.96.0.1", 80),
        POD,
        random,
        now,
    ) {
        Action::Rewrite(to) => to,
        other => panic!("{other:?}"),
    };
    let first = dial(&maps, 0, 100);
    assert_eq!(dial(&maps, u32::MAX, 109), first);
    assert_eq!(dial(&maps, u32::MAX, 118), first, "refreshed at 109");
    assert_ne!(dial(&maps, u32::MAX, 128), first, "ten seconds idle");
    let kept = dial(&maps, 0, 130);
    // The set changes and still holds it; then it does not.
    let last =
        IpAddr::from(kept.addr).to_string().rsplit('.').next().unwrap().parse::<u8>().unwrap();
    let rest: Vec<u8> = (1..=4).filter(|n| *n != last).collect();
    maps.set(1, &[last, 9], Empty::Refuse);
    assert_eq!(dial(&maps, u32::MAX, 131), kept);
    maps.set(1, &rest, Empty::Refuse);
    assert_ne!(dial(&maps, 0, 132), kept);
}

#[test]
fn getpeername_tells_the_frontend_while_the_peer_is_the_backend() {
    let maps = Maps::default().with(1, vip(80, protocol::TCP), 0, &[1]);
    let Action::Rewrite(backend) = maps.dial(protocol::TCP, at("10.96.0.1", 80), POD, 0, 0) else {
        panic!("translated")
    };
    assert_eq!(getpeername(&maps, &backend), Some(at("10.96.0.1", 80)));
    assert_eq!(getpeername(&maps, &at("10.0.0.9", 8080)), None, "connected elsewhere since");
    maps.dial(protocol::TCP, at("10.9.9.9", 80), POD, 0, 0);
    assert_eq!(getpeername(&maps, &backend), None, "that connection is over");
}

#[test]
fn a_connected_udp_socket_is_noted_and_answers_as_its_frontend() {
    let maps = Maps::default().with(1, vip(53, protocol::UDP), 0, &[1]);
    let Action::Rewrite(backend) = maps.dial(protocol::UDP, at("10.96.0.1", 53), HOST, 0, 0) else {
        panic!("translated")
    };
    assert_eq!(maps.peers.borrow().get(&77), Some(&backend));
    assert_eq!(recvmsg(&maps, 77, &backend), Some(at("10.96.0.1", 53)));
    assert_eq!(recvmsg(&maps, 77, &at("10.0.0.9", 53)), None);
}

#[test]
fn an_unconnected_socket_keeps_a_backend_for_each_frontend_and_moves_when_it_goes() {
    let second = FrontendKey::vip(at("10.96.0.2", 0).addr, 53, protocol::UDP);
    let mut maps = Maps::default().with(1, vip(53, protocol::UDP), 0, &[1, 2, 3]).with(
        2,
        second,
        0,
        &[4, 5, 6],
    );
    let (one, two) = (at("10.96.0.1", 53), at("10.96.0.2", 53));
    let (first, other) = (maps.send(one, 0), maps.send(two, 0));
    for random in [0, 1 << 30, u32::MAX] {
        assert_eq!(maps.send(one, random), first);
        assert_eq!(maps.send(two, random), other);
    }
    assert_eq!(maps.counts.borrow().len(), 2, "two choices, whatever was sent");
    let (Action::Rewrite(first), Action::Rewrite(other)) = (first, other) else { panic!() };
    assert_eq!(recvmsg(&maps, 77, &first), Some(one));
    assert_eq!(recvmsg(&maps, 77, &other), Some(two));
    // It goes; the next datagram moves, and a late answer of the former is still understood.
    maps.set(1, &[7], Empty::Refuse);
    let Action::Rewrite(next) = maps.send(one, 0) else { panic!() };
    assert_eq!(next, at("10.0.0.7", 8080));
    assert_eq!(recvmsg(&maps, 77, &next), Some(one));
    assert_eq!(recvmsg(&maps, 77, &first), Some(one));
    maps.set(1, &[], Empty::Refuse);
    assert_eq!(maps.send(one, 0), Action::Refuse);
}

proptest! {
    #[test]
    fn every_choice_is_in_the_set_and_every_member_is_chosen(count in 1u8..200, randoms in prop::collection::vec(any::<u32>(), 1..50)) {
        let all: Vec<u8> = (1..=count).collect();
        let maps = Maps::default()
            .with(0, vip(1, protocol::TCP), 0, &[250, 251])
            .with(1, vip(80, protocol::TCP), 0, &all);
        let to = request(Call::Connect, protocol::TCP, at("10.96.0.1", 80), POD);
        let step = |n: u64| u32::try_from(n * (1 << 32) / u64::from(count) + 1).unwrap_or(u32::MAX);
        let steps = (0..u64::from(count)).map(step);
        let mut seen = std::collections::BTreeSet::new();
        for random in randoms.into_iter().chain(steps).chain([0, u32::MAX]) {
            let Verdict::Translate(choice) = connect(&maps, &to, random, 0) else { panic!() };
            prop_assert!(maps.in_set(choice.word, &choice.backend));
            let IpAddr::V4(ip) = choice.backend.addr.into() else { panic!() };
            prop_assert!(all.contains(&ip.octets()[3]));
            seen.insert(ip.octets()[3]);
        }
        prop_assert_eq!(seen.len(), all.len());
    }

    #[test]
    fn the_search_finds_exactly_what_is_there(members in prop::collection::btree_set(1u8..250, 0..60), wanted in 1u8..250) {
        let list: Vec<u8> = members.iter().copied().collect();
        let mut maps = Maps::default().with(0, vip(1, protocol::TCP), 0, &[3, 5]);
        maps.set(1, &list, Empty::Refuse);
        let word = maps.services[&1].sets[0];
        let found = maps.in_set(word, &at(&format!("10.0.0.{wanted}"), 8080));
        prop_assert_eq!(found, members.contains(&wanted));
        let other_port = at(&format!("10.0.0.{wanted}"), 8081);
        prop_assert!(!maps.in_set(word, &other_port));
    }
}
