//! Real sockets of every kind against the live programs.
//!
//! Every address of 10.0.0.0/8 is local here and the VIPs have servers too, so that "left alone"
//! is an answer by the VIP itself, and "refused" is our doing alone.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::{
    io::ErrorKind::ConnectionRefused,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use support::{
    net::{
        FAMILIES, Family, ask, ask_peer, cookie, disconnect, in_pod, mirror, serve, tcp,
        udp_socket, udp_socket_of_a_client,
    },
    plane::Plane,
};
use towpath_image::{
    ServiceOp,
    datapath::{Empty, FrontendKey, FrontendWord, NodeAddressValue, RangeKey, protocol},
};

/// Servers at the first two backends and the first three VIPs of both families.
fn servers() {
    for family in [Family::V4, Family::V6] {
        serve(&family.backend(1).to_string());
        serve(&family.backend(2).to_string());
        for n in 1..=3 {
            serve(&SocketAddr::new(family.vip(n), 80).to_string());
        }
    }
}

/// Both families behind VIP 1, with both backends each.
fn shop(plane: &mut Plane) {
    for family in [Family::V4, Family::V6] {
        let service = plane.service(&[family.backend(1), family.backend(2)]);
        plane.cluster_ip(family.vip(1), 80, service, 0);
    }
}

fn backends(family: Family) -> [String; 2] {
    [family.backend(1).to_string(), family.backend(2).to_string()]
}

fn refused<T: std::fmt::Debug>(result: std::io::Result<T>) {
    assert_eq!(result.expect_err("refused").kind(), ConnectionRefused);
}

#[test]
#[ignore = "needs root"]
fn tcp_reaches_every_backend_and_sees_the_vip() {
    let mut plane = Plane::new("tcp");
    shop(&mut plane);
    for in_host in [true, false] {
        let work = || {
            servers();
            for family in FAMILIES {
                let vip = family.names(family.vip(1), 80);
                let mut seen = std::collections::BTreeSet::new();
                for _ in 0..60 {
                    let (who, peer) = tcp(vip).unwrap();
                    assert_eq!(peer, vip, "getpeername");
                    assert!(backends(family).contains(&who), "{family:?}: {who}");
                    seen.insert(who);
                }
                assert_eq!(seen.len(), 2, "{family:?}: both backends");
            }
        };
        if in_host { work() } else { in_pod(work) }
    }
    assert_eq!(plane.counters(0).translated, 240);
    assert_eq!(plane.counters(1).translated, 120);
}

#[test]
#[ignore = "needs root"]
fn connected_udp_sees_the_vip_and_stays() {
    let mut plane = Plane::new("cudp");
    shop(&mut plane);
    servers();
    for family in FAMILIES {
        let vip = family.names(family.vip(1), 80);
        let socket = udp_socket(vip);
        socket.connect(vip).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), vip);
        let (who, from) = ask_peer(&socket).unwrap();
        assert!(backends(family).contains(&who), "{family:?}: {who}");
        assert_eq!(from, vip, "recvmsg");
        for _ in 0..20 {
            // With an address, too: the kernel takes the peer's replies only.
            assert_eq!(ask(&socket, vip).unwrap(), (who.clone(), vip), "{family:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn an_unconnected_socket_stays_until_its_backend_leaves() {
    let mut plane = Plane::new("udp");
    shop(&mut plane);
    servers();
    for family in FAMILIES {
        let vip = family.names(family.vip(1), 80);
        let service = u32::from(family == Family::V6);
        let both = plane.extent(&[family.backend(1), family.backend(2)]);
        plane.publish(service, both);
        let socket = udp_socket(vip);
        let (first, from) = ask(&socket, vip).unwrap();
        assert_eq!(from, vip, "{family:?}: the reply's source");
        for _ in 0..20 {
            assert_eq!(ask(&socket, vip).unwrap(), (first.clone(), vip));
        }
        let other = u8::from(first == family.backend(1).to_string()) + 1;
        let left = plane.extent(&[family.backend(other)]);
        plane.publish(service, left);
        let moved = ask(&socket, vip).unwrap();
        assert_eq!(moved, (family.backend(other).to_string(), vip), "on its next datagram");
    }
}

#[test]
#[ignore = "needs root"]
fn one_socket_talks_to_several_services() {
    let mut plane = Plane::new("several");
    servers();
    for n in 1..=3 {
        let service = plane.service(&[Family::V4.backend(1 + n % 2)]);
        plane.cluster_ip(Family::V4.vip(n), 80, service, 0);
    }
    for family in [Family::V4, Family::Mapped] {
        let socket = udp_socket(family.names(Family::V4.vip(1), 80));
        for n in [1, 2, 3, 1, 3, 2, 2, 1, 3] {
            let vip = family.names(Family::V4.vip(n), 80);
            let who = Family::V4.backend(1 + n % 2).to_string();
            assert_eq!(ask(&socket, vip).unwrap(), (who, vip));
        }
        let direct = family.names(Family::V4.backend(2).ip(), 8080);
        let socket = udp_socket(direct);
        assert_eq!(ask(&socket, direct).unwrap().1, direct, "not a Service");
    }
}

#[test]
#[ignore = "needs root"]
fn without_endpoints_and_at_unknown_ports_calls_are_refused_at_once() {
    let mut plane = Plane::new("refuse");
    servers();
    let none = plane.empty(Empty::Refuse);
    let service = plane.service_with(none, None);
    for family in [Family::V4, Family::V6] {
        plane.cluster_ip(family.vip(1), 80, service, 0);
        // VIP 2 has another port: its port 80 is unknown, although a server listens there.
        plane.cluster_ip(family.vip(2), 81, service, 0);
    }
    for family in FAMILIES {
        for n in [1, 2] {
            let vip = family.names(family.vip(n), 80);
            refused(tcp(vip));
            let socket = udp_socket(vip);
            refused(ask(&socket, vip));
            socket.connect(vip).expect("a UDP connect succeeds");
        }
        let free = family.names(family.vip(3), 80);
        assert_eq!(tcp(free).unwrap().1, free, "an address without a frontend is left alone");
    }
    assert_eq!(plane.counters(0).refused, 9);
    assert_eq!(plane.unknown_ports(), 9, "TCP connect, UDP send and UDP connect of each kind");
}

#[test]
#[ignore = "needs root"]
fn what_policy_or_source_ranges_forbid_is_left_and_counted() {
    let mut plane = Plane::new("leave");
    servers();
    let none = plane.empty(Empty::Leave);
    let local = plane.service_with(none, None);
    let ranged = plane.service(&[Family::V4.backend(1)]);
    for family in [Family::V4, Family::V6] {
        plane.cluster_ip(family.vip(1), 80, local, 0);
        plane.cluster_ip(family.vip(2), 80, ranged, FrontendWord::SOURCE_RANGES);
    }
    for family in FAMILIES {
        for n in [1, 2] {
            let vip = family.names(family.vip(n), 80);
            let itself = SocketAddr::new(family.vip(n), 80).to_string();
            assert_eq!(tcp(vip).unwrap(), (itself.clone(), vip));
            let socket = udp_socket_of_a_client(vip);
            assert_eq!(ask(&socket, vip).expect(&itself), (itself, vip));
        }
    }
    assert_eq!(plane.counters(local).no_local, 6);
    assert_eq!(plane.counters(ranged).untranslated, 6);
}

#[test]
#[ignore = "needs root"]
fn sockets_of_the_host_come_in_when_ranges_hold_their_address() {
    let mut plane = Plane::new("ranges");
    servers();
    for (family, own) in [(Family::V4, "10.9.0.1:0"), (Family::V6, "[fd02::1]:0")] {
        let own: SocketAddr = own.parse().unwrap();
        let service = plane.service(&[family.backend(1)]);
        let node = plane.service(&[family.backend(1)]);
        plane.apply(vec![ServiceOp::PutRange { key: RangeKey::new(service, own.ip().into(), 32) }]);
        plane.cluster_ip(family.vip(1), 80, service, FrontendWord::SOURCE_RANGES);
        let both = FrontendWord::SOURCE_RANGES | FrontendWord::NODE_IN_RANGES;
        plane.cluster_ip(family.vip(2), 80, node, both);
        let backend = family.backend(1).to_string();
        let (vip, nodes) = ([1, 2].map(|n| SocketAddr::new(family.vip(n), 80))).into();
        let bound = UdpSocket::bind(own).unwrap();
        bound.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(ask(&bound, vip).unwrap(), (backend.clone(), vip), "{own}");
        bound.connect(vip).unwrap();
        assert_eq!(ask_peer(&bound).unwrap().0, backend);
        // The ranges of the other one do not hold it, though they hold the node's.
        assert_eq!(ask(&udp_socket(nodes), nodes).unwrap(), (backend.clone(), nodes));
        assert_eq!(tcp(nodes).unwrap(), (backend.clone(), nodes));
        let itself = vip.to_string();
        assert_eq!(tcp(vip).unwrap(), (itself.clone(), vip), "bound to nothing");
        in_pod(|| {
            servers();
            assert_eq!(tcp(nodes).unwrap().0, nodes.to_string(), "packets of pods are judged");
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_client_is_its_network_namespace_and_keeps_its_backend_until_it_times_out() {
    let mut plane = Plane::new("affinity");
    let both = plane.extent(&[Family::V4.backend(1), Family::V4.backend(2)]);
    // Longer than any pause of a busy machine.
    let service = plane.service_with(both, Some(600));
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    plane.cluster_ip(vip.ip(), 80, service, 0);
    let mut seen = std::collections::BTreeSet::new();
    // By chance sixty-four clients do not all get the same one.
    for client in 0..64 {
        if client > 8 && seen.len() == 2 {
            break;
        }
        in_pod(|| {
            servers();
            let first = tcp(vip).unwrap().0;
            for _ in 0..10 {
                assert_eq!(tcp(vip).unwrap().0, first);
                assert_eq!(ask(&udp_socket(vip), vip).unwrap().0, first, "any protocol");
            }
            seen.insert(first);
        });
    }
    assert_eq!(seen.len(), 2, "clients spread");
    servers();
    let short = plane.service_with(both, Some(2));
    let short_vip = SocketAddr::new(Family::V4.vip(2), 80);
    plane.cluster_ip(short_vip.ip(), 80, short, 0);
    let first = tcp(short_vip).unwrap().0;
    let patience = Instant::now() + Duration::from_secs(120);
    while tcp(short_vip).unwrap().0 == first {
        assert!(Instant::now() < patience, "never chosen anew after an idle timeout");
        std::thread::sleep(Duration::from_millis(3100));
    }
    let kept = tcp(vip).unwrap().0;
    let other = if kept == backends(Family::V4)[0] { 2 } else { 1 };
    let left = plane.extent(&[Family::V4.backend(other)]);
    plane.publish(service, left);
    assert_eq!(tcp(vip).unwrap().0, Family::V4.backend(other).to_string(), "left the set");
}

#[test]
#[ignore = "needs root"]
fn node_ports_answer_on_node_addresses_and_on_the_hosts_loopback() {
    let mut plane = Plane::new("nodeport");
    let here = plane.service(&[Family::V4.backend(1)]);
    let here6 = plane.service(&[Family::V6.backend(1)]);
    let there = plane.service(&[Family::V4.backend(2)]);
    plane.node("10.2.0.1", 1, NodeAddressValue::OWN);
    plane.node("10.2.0.2", 2, 0);
    plane.node("10.2.0.3", 3, 0);
    plane.node("127.0.0.1", 1, NodeAddressValue::LOOPBACK);
    plane.node("::1", 1, NodeAddressValue::LOOPBACK);
    let v4: IpAddr = "10.2.0.2".parse().unwrap();
    let v6: IpAddr = "::1".parse().unwrap();
    for protocol in [protocol::TCP, protocol::UDP] {
        plane.frontend(FrontendKey::node(v4.into(), 30080, protocol), here, 0);
        plane.frontend(FrontendKey::node(v6.into(), 30080, protocol), here6, 0);
        let per_node = FrontendWord::PER_NODE;
        plane.frontend(FrontendKey::node(v4.into(), 30090, protocol), here, per_node);
        plane.frontend(FrontendKey::node_local(v4.into(), 2, 30090, protocol), there, 0);
    }
    let ours = |plane: &str| -> (String, SocketAddr) {
        let to: SocketAddr = plane.parse().unwrap();
        let answer = tcp(to).unwrap();
        let socket = udp_socket(to);
        assert_eq!(ask(&socket, to).unwrap(), answer, "UDP as TCP");
        answer
    };
    let one = backends(Family::V4)[0].clone();
    let two = backends(Family::V4)[1].clone();
    let world = || {
        servers();
        for address in ["127.0.0.1:30080", "[::1]:30080", "10.2.0.3:30090"] {
            serve(address);
        }
        for address in ["10.2.0.1:30080", "10.2.0.2:30080", "[::ffff:10.2.0.2]:30080"] {
            assert_eq!(ours(address).0, one, "{address}");
        }
        assert_eq!(ours("10.2.0.1:30090").0, one, "this node's endpoints");
        assert_eq!(ours("10.2.0.2:30090").0, two, "the addressed node's endpoints");
        assert_eq!(ours("10.2.0.3:30090").0, "10.2.0.3:30090", "none there: left alone");
    };
    world();
    assert_eq!(ours("127.0.0.1:30080").0, one);
    assert_eq!(ours("[::1]:30080").0, backends(Family::V6)[0]);
    in_pod(|| {
        world();
        assert_eq!(ours("127.0.0.1:30080").0, "127.0.0.1:30080", "a pod's loopback is its own");
        assert_eq!(ours("[::1]:30080").0, "[::1]:30080");
    });
    assert_eq!(plane.counters(here).no_local, 4, "TCP and UDP, host and pod");
}

#[test]
#[ignore = "needs root"]
fn host_only_serves_the_host_and_leaves_pods_alone() {
    let mut plane = Plane::with("hostonly", |settings| settings.host_only = true);
    shop(&mut plane);
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    servers();
    assert!(backends(Family::V4).contains(&tcp(vip).unwrap().0));
    in_pod(|| {
        servers();
        assert_eq!(tcp(vip).unwrap().0, vip.to_string());
        assert_eq!(ask(&udp_socket(vip), vip).unwrap().0, vip.to_string());
    });
}

#[test]
#[ignore = "needs root"]
fn a_udp_socket_that_connects_again_forgets_its_service() {
    let mut plane = Plane::new("again");
    shop(&mut plane);
    servers();
    for family in FAMILIES {
        let vip = family.names(family.vip(1), 80);
        let direct = family.names(family.backend(1).ip(), 8080);
        let socket = udp_socket(vip);
        socket.connect(vip).unwrap();
        socket.connect(direct).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), direct);
        assert_eq!(ask_peer(&socket).expect("an answer of the peer").1, direct);
        socket.connect(vip).unwrap();
        disconnect(&socket);
        let (who, from) = ask(&socket, vip).unwrap();
        assert!(backends(family).contains(&who) && from == vip, "{family:?}: unconnected again");
        assert_eq!(ask(&socket, vip).unwrap(), (who, vip));
    }
}

#[test]
#[ignore = "needs root"]
fn what_the_daemon_knows_of_a_connected_socket_ends_with_the_connection() {
    let mut plane = Plane::new("peers");
    servers();
    for family in [Family::V4, Family::V6] {
        for n in [1, 2] {
            let service = plane.service(&[family.backend(n)]);
            plane.cluster_ip(family.vip(n), 80, service, 0);
        }
    }
    let peers = plane.kernel.as_ref().unwrap().services.peers();
    for family in FAMILIES {
        let socket = udp_socket(family.names(family.vip(1), 80));
        let join = |ip, port| socket.connect(family.names(ip, port)).unwrap();
        let sent_to = || {
            let cookie = cookie(&socket);
            let to = |n| {
                let at = family.backend(n);
                peers.sent_to(cookie, at.ip(), at.port())
            };
            [to(1), to(2)]
        };
        join(family.vip(1), 80);
        assert_eq!(sent_to(), [true, false], "{family:?}");
        join(family.vip(2), 80);
        assert_eq!(sent_to(), [false, true], "{family:?}: another Service");
        join(family.backend(2).ip(), 8080);
        assert_eq!(sent_to(), [false, false], "{family:?}: the backend, by its own address");
        join(family.vip(1), 80);
        disconnect(&socket);
        let elsewhere = family.names(family.backend(2).ip(), 8080);
        socket.send_to(b"who", elsewhere).unwrap();
        assert_eq!(sent_to(), [false, false], "{family:?}: the first datagram afterwards");
    }
}

#[test]
#[ignore = "needs root"]
fn datagrams_of_any_size_pass_in_both_directions() {
    let mut plane = Plane::new("large");
    for family in [Family::V4, Family::V6] {
        let service = plane.service(&[family.backend(1)]);
        plane.cluster_ip(family.vip(1), 80, service, 0);
        mirror(&family.backend(1).to_string());
    }
    for family in FAMILIES {
        let vip = family.names(family.vip(1), 80);
        let socket = udp_socket(vip);
        // One below and above an Ethernet frame, above 32 KiB, and the most that IPv4 carries.
        for size in [0, 1_471, 1_473, 9_000, 32_769, 65_507] {
            let sent: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[n as usize % 2]).collect();
            assert_eq!(socket.send_to(&sent, vip).unwrap(), sent.len());
            let mut buffer = vec![0; 70_000];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(from, vip, "{family:?}, {size} bytes");
            assert!(buffer[..length] == sent, "{family:?}, {size} bytes: {length} came back");
        }
    }
    assert_eq!([plane.counters(0).translated, plane.counters(1).translated], [2, 1]);
}

#[test]
#[ignore = "needs root"]
fn a_process_outside_the_cgroup_is_not_touched() {
    let mut plane = Plane::new("outside");
    shop(&mut plane);
    servers();
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    let inside = UdpSocket::bind("0.0.0.0:0").unwrap();
    inside.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(backends(Family::V4).contains(&ask(&inside, vip).unwrap().0));
    plane.leave();
    assert_eq!(tcp(vip).unwrap().0, vip.to_string());
    plane.enter();
    assert!(backends(Family::V4).contains(&tcp(vip).unwrap().0));
}
