//! One test per rule of services.md 1.3 and 1.5, as a socket call meets it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use support::{HOST, POD, World, addr, at, tcp, udp};
use towpath_datapath::{
    ConfigRecord, Empty, FrontendKey, FrontendWord, NodeAddressValue, RangeKey, ServiceRecord,
    SetWord,
    decide::{Action, Call, Choice, Request, Verdict, connect, getpeername, settle_connect},
    protocol,
};

const VIP: &str = "10.96.0.1";

/// One service behind a clusterIP (TCP and UDP port 80) and nodePort 30080, its guard, our node
/// 192.0.2.1, a remote node 192.0.2.2 and loopback.
fn world() -> World {
    let mut world = World::new();
    let cluster = world.extent(&[at("10.1.0.1", 8080), at("10.1.0.2", 8080)], 1);
    let local = world.extent(&[at("10.1.0.1", 8080)], 1);
    world.service(0, cluster, local);
    for protocol in [protocol::TCP, protocol::UDP] {
        world.frontend(FrontendKey::vip(addr(VIP), 80, protocol), 0, 0);
        world.frontend(FrontendKey::node(addr(VIP), 30080, protocol), 0, FrontendWord::EXTERNAL);
    }
    world.frontend(FrontendKey::guard(addr(VIP)), 0, 0);
    world.node("192.0.2.1", 1, NodeAddressValue::OWN);
    world.node("192.0.2.2", 2, 0);
    world.node("127.0.0.1", 1, NodeAddressValue::LOOPBACK);
    world
}

fn empty(world: &mut World, meaning: Empty) {
    world.services.get_mut(&0).unwrap().sets[0] = SetWord::empty(meaning, 2);
}

fn ask(world: &World, request: &Request) -> Verdict {
    connect(world, request, 0, 0)
}

fn goes_to(verdict: Verdict, ip: &str) {
    match verdict {
        Verdict::Translate(Choice { backend, .. }) => assert_eq!(backend, at(ip, 8080)),
        other => panic!("not translated: {other:?}"),
    }
}

#[test]
fn a_cluster_ip_is_translated_and_nothing_else_is() {
    let world = world();
    goes_to(ask(&world, &tcp(VIP, 80)), "10.1.0.1");
    goes_to(connect(&world, &tcp(VIP, 80), u32::MAX, 0), "10.1.0.2");
    assert_eq!(ask(&world, &tcp("10.96.0.2", 80)), Verdict::Untouched);
    assert_eq!(ask(&world, &tcp("10.1.0.1", 8080)), Verdict::Untouched);
    let sctp = Request { protocol: protocol::SCTP, ..tcp("10.96.0.2", 80) };
    assert_eq!(ask(&world, &sctp), Verdict::Untouched);
}

#[test]
fn an_unknown_port_of_a_cluster_ip_is_refused_but_not_to_a_udp_connect() {
    let world = world();
    for (request, action) in [
        (tcp(VIP, 81), Action::Refuse),
        (udp(Call::Send, VIP, 81), Action::Refuse),
        (udp(Call::Connect, VIP, 81), Action::Leave),
    ] {
        let verdict = ask(&world, &request);
        assert_eq!(verdict, Verdict::UnknownPort);
        assert_eq!(settle_connect(&world, &request, &verdict, 0), action);
    }
    assert_eq!(world.totals.get().unknown_port, 3);
    assert_eq!(ask(&world, &tcp("192.0.2.1", 81)), Verdict::Untouched, "SSH and kubelet");
}

#[test]
fn without_endpoints_tcp_and_datagrams_are_refused_and_udp_connects() {
    let mut world = world();
    empty(&mut world, Empty::Refuse);
    for (request, action) in [
        (tcp(VIP, 80), Action::Refuse),
        (udp(Call::Send, VIP, 80), Action::Refuse),
        (udp(Call::Connect, VIP, 80), Action::Leave),
    ] {
        let verdict = ask(&world, &request);
        assert_eq!(verdict, Verdict::NoEndpoint { service: 0 });
        assert_eq!(settle_connect(&world, &request, &verdict, 0), action);
    }
    assert_eq!((world.counter(0).refused, world.counter(0).translated), (3, 0));
}

#[test]
fn without_a_local_endpoint_the_address_is_left_and_counted() {
    let mut world = world();
    empty(&mut world, Empty::Leave);
    let request = tcp(VIP, 80);
    let verdict = ask(&world, &request);
    assert_eq!(verdict, Verdict::NoLocalEndpoint { service: 0 });
    assert_eq!(settle_connect(&world, &request, &verdict, 0), Action::Leave);
    assert_eq!(world.counter(0).no_local, 1);
}

#[test]
fn a_frontend_with_source_ranges_is_left_to_the_packet_path() {
    let mut world = world();
    let key = FrontendKey::vip(addr("203.0.113.9"), 80, protocol::TCP);
    world.frontend(key, 0, FrontendWord::SOURCE_RANGES);
    let request = tcp("203.0.113.9", 80);
    let verdict = ask(&world, &request);
    assert_eq!(verdict, Verdict::SourceRanges { service: 0 });
    assert_eq!(settle_connect(&world, &request, &verdict, 0), Action::Leave);
    assert_eq!(world.counter(0).untranslated, 1);
}

#[test]
fn a_socket_of_the_hosts_has_its_own_address_or_the_nodes() {
    let mut world = world();
    let (balancer, node, other) = ("203.0.113.9", "192.0.2.1", "192.0.2.77");
    let key = FrontendKey::vip(addr(balancer), 80, protocol::TCP);
    let bound = |ip: &str| Request { netns: HOST, from: addr(ip), ..tcp(balancer, 80) };
    let unbound = Request { netns: HOST, ..tcp(balancer, 80) };
    let kept_out = Verdict::SourceRanges { service: 0 };
    world.ranges.insert(RangeKey::new(0, addr(node), 32));
    world.frontend(key, 0, FrontendWord::SOURCE_RANGES);
    assert_eq!(ask(&world, &unbound), kept_out, "the compiler says whether the node's is one");
    world.frontend(key, 0, FrontendWord::SOURCE_RANGES | FrontendWord::NODE_IN_RANGES);
    goes_to(ask(&world, &unbound), "10.1.0.1");
    goes_to(ask(&world, &bound(node)), "10.1.0.1");
    assert_eq!(ask(&world, &bound(other)), kept_out);
    // The packets of a pod are judged, whatever its socket is bound to.
    assert_eq!(ask(&world, &Request { netns: POD, ..bound(node) }), kept_out);
    assert_eq!(ask(&world, &tcp(balancer, 80)), kept_out);
}

#[test]
fn a_node_port_answers_on_every_node_and_on_loopback_to_the_host_only() {
    let world = world();
    for ip in ["192.0.2.1", "192.0.2.2"] {
        goes_to(ask(&world, &tcp(ip, 30080)), "10.1.0.1");
    }
    assert_eq!(ask(&world, &tcp("127.0.0.1", 30080)), Verdict::Untouched);
    goes_to(ask(&world, &Request { netns: HOST, ..tcp("127.0.0.1", 30080) }), "10.1.0.1");
    assert_eq!(ask(&world, &tcp("198.51.100.1", 30080)), Verdict::Untouched, "not a node");
    assert_eq!(ask(&world, &tcp(VIP, 30080)), Verdict::UnknownPort, "not on a clusterIP");
}

#[test]
fn a_per_node_port_on_a_remote_node_uses_that_nodes_endpoints() {
    let mut world = world();
    let flags = FrontendWord::PER_NODE;
    world.frontend(FrontendKey::node(addr(VIP), 30080, protocol::TCP), 0, flags);
    goes_to(ask(&world, &tcp("192.0.2.1", 30080)), "10.1.0.1");
    let none_there = ask(&world, &tcp("192.0.2.2", 30080));
    assert_eq!(none_there, Verdict::NoLocalEndpoint { service: 0 });
    let theirs = world.extent(&[at("10.1.0.2", 8080)], 1);
    world.service(5, theirs, SetWord(0));
    let there = FrontendKey::node_local(addr("192.0.2.2"), 2, 30080, protocol::TCP);
    world.frontend(there, 5, 0);
    goes_to(ask(&world, &tcp("192.0.2.2", 30080)), "10.1.0.2");
    goes_to(ask(&world, &Request { netns: HOST, ..tcp("127.0.0.1", 30080) }), "10.1.0.1");
}

#[test]
fn the_local_set_is_used_where_the_frontend_says_so() {
    let mut world = world();
    let key = FrontendKey::vip(addr(VIP), 80, protocol::TCP);
    world.frontend(key, 0, FrontendWord::LOCAL_SET);
    for random in [0, u32::MAX] {
        goes_to(connect(&world, &tcp(VIP, 80), random, 0), "10.1.0.1");
    }
}

#[test]
fn host_only_leaves_the_sockets_of_pods_alone() {
    let mut world = world();
    world.config.flags = ConfigRecord::HOST_ONLY;
    assert_eq!(ask(&world, &tcp(VIP, 80)), Verdict::HostOnly);
    assert_eq!(ask(&world, &tcp(VIP, 81)), Verdict::HostOnly);
    goes_to(ask(&world, &Request { netns: HOST, ..tcp(VIP, 80) }), "10.1.0.1");
}

#[test]
fn a_recycled_element_is_looked_up_once_more_and_never_believed() {
    let world = world();
    world.recycled.set(1);
    goes_to(ask(&world, &tcp(VIP, 80)), "10.1.0.1");
    world.recycled.set(u32::MAX);
    assert_eq!(ask(&world, &tcp(VIP, 80)), Verdict::Untouched);
}

#[test]
fn damaged_tables_leave_the_address_alone() {
    let mut world = world();
    let beyond = SetWord::new(1_000_000, 3, 9);
    world.services.get_mut(&0).unwrap().sets[0] = beyond;
    assert_eq!(ask(&world, &tcp(VIP, 80)), Verdict::Damaged { service: 0 });
    let other_family = world.extent(&[at("fd00::1", 8080)], 2);
    world.services.get_mut(&0).unwrap().sets[0] = other_family;
    assert_eq!(ask(&world, &tcp(VIP, 80)), Verdict::Damaged { service: 0 });
}

#[test]
fn a_client_keeps_its_backend_until_it_times_out_or_the_backend_leaves() {
    let mut world = world();
    let service = world.services.get_mut(&0).unwrap();
    (service.flags, service.affinity_seconds) = (ServiceRecord::AFFINITY, 10);
    let flow = |world: &World, netns, random, now| {
        let request = Request { netns, ..tcp(VIP, 80) };
        let verdict = connect(world, &request, random, now);
        settle_connect(world, &request, &verdict, now);
        verdict
    };
    goes_to(flow(&world, POD, 0, 100), "10.1.0.1");
    goes_to(flow(&world, POD, u32::MAX, 109), "10.1.0.1");
    goes_to(flow(&world, POD + 1, u32::MAX, 109), "10.1.0.2");
    // Refreshed at 109 by a new flow, so it holds past 110.
    goes_to(flow(&world, POD, u32::MAX, 118), "10.1.0.1");
    goes_to(flow(&world, POD, u32::MAX, 128), "10.1.0.2");
    let only = world.extent(&[at("10.1.0.1", 8080)], 3);
    world.services.get_mut(&0).unwrap().sets[0] = only;
    goes_to(flow(&world, POD, u32::MAX, 128), "10.1.0.1");
}

#[test]
fn getpeername_names_the_frontend_only_while_the_backend_is_the_peer() {
    let world = world();
    let request = tcp(VIP, 80);
    let verdict = ask(&world, &request);
    settle_connect(&world, &request, &verdict, 0);
    assert_eq!(getpeername(&world, &at("10.1.0.1", 8080)), Some(at(VIP, 80)));
    assert_eq!(getpeername(&world, &at("10.1.0.2", 8080)), None);
    // connect() again, to something that is not ours.
    let elsewhere = tcp("198.51.100.1", 80);
    let verdict = ask(&world, &elsewhere);
    settle_connect(&world, &elsewhere, &verdict, 0);
    assert_eq!(getpeername(&world, &at("10.1.0.1", 8080)), None);
}

#[test]
fn a_socket_without_memory_for_its_record_is_translated_and_counted() {
    let world = world();
    world.no_memory.set(true);
    let request = tcp(VIP, 80);
    let verdict = ask(&world, &request);
    let action = settle_connect(&world, &request, &verdict, 0);
    assert_eq!(action, Action::Rewrite(at("10.1.0.1", 8080)));
    assert_eq!(world.totals.get().untracked, 1);
}
