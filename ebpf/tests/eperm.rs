//! The verdicts of `sockets-eperm.o`, for kernels before 5.18: what it refuses fails with EPERM, all
//! else is as with the other object. This kernel runs both.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::{
    fs,
    io::ErrorKind::PermissionDenied,
    net::SocketAddr,
    os::fd::AsFd as _,
    path::Path,
    time::{Duration, Instant},
};

use aya::{Ebpf, EbpfLoader, programs::CgroupSockAddr};
use support::{
    net::{FAMILIES, Family, ask, ask_peer, serve, tcp, udp_socket, udp_socket_of_a_client},
    plane::Plane,
};
use towpath_image::datapath::{Empty, FrontendWord};

/// A plane whose links run the programs of the other object, on the same maps; they end with it.
fn plane(name: &str) -> (Plane, Ebpf) {
    let plane = Plane::new(name);
    let pins = fs::read_dir(plane.bed.settings.maps_dir()).unwrap();
    let pins: Vec<_> = pins.map(|pin| pin.unwrap().path()).collect();
    let mut loader = EbpfLoader::new();
    for pin in &pins {
        loader.map_pin_path(pin.file_name().unwrap().to_str().unwrap(), pin.as_path());
    }
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("objects/sockets-eperm.o");
    let mut ebpf = loader.load_file(object).expect("loads");
    let mut replaced = 0;
    for (hook, program) in ebpf.programs_mut() {
        let program: &mut CgroupSockAddr = program.try_into().unwrap();
        program.load().expect("the verifier takes it");
        let link = support::open_pin(&plane.bed.settings.links_dir().join(hook));
        let fd = |fd: &dyn std::os::fd::AsRawFd| u64::from(fd.as_raw_fd().unsigned_abs());
        // BPF_LINK_UPDATE: two descriptors, then no flags and no expected program.
        let both = fd(&link) | fd(&program.fd().unwrap().as_fd()) << 32;
        support::bpf(29, &[both, 0]);
        replaced += 1;
    }
    assert_eq!(replaced, 8);
    for family in [Family::V4, Family::V6] {
        serve(&family.backend(1).to_string());
        for n in 1..=3 {
            serve(&SocketAddr::new(family.vip(n), 80).to_string());
        }
    }
    (plane, ebpf)
}

fn refused<T: std::fmt::Debug>(result: std::io::Result<T>) {
    assert_eq!(result.expect_err("refused").kind(), PermissionDenied);
}

#[test]
#[ignore = "needs root"]
fn without_endpoints_and_at_unknown_ports_calls_fail_with_eperm_at_once() {
    let (mut plane, _ebpf) = plane("eperm-refuse");
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
            let before = Instant::now();
            refused(tcp(vip));
            let socket = udp_socket(vip);
            refused(ask(&socket, vip));
            socket.connect(vip).expect("a UDP connect succeeds");
            assert!(before.elapsed() < Duration::from_secs(1), "at once");
        }
        let free = family.names(family.vip(3), 80);
        assert_eq!(tcp(free).unwrap().1, free, "an address of no Service is left alone");
    }
    assert_eq!(plane.counters(service).refused, 9);
    assert_eq!(plane.unknown_ports(), 9, "TCP connect, UDP send and UDP connect of each kind");
}

#[test]
#[ignore = "needs root"]
fn what_is_served_is_translated_and_what_must_not_be_is_left() {
    let (mut plane, _ebpf) = plane("eperm-serve");
    let none = plane.empty(Empty::Leave);
    let local = plane.service_with(none, None);
    for family in [Family::V4, Family::V6] {
        let service = plane.service(&[family.backend(1)]);
        plane.cluster_ip(family.vip(1), 80, service, 0);
        plane.cluster_ip(family.vip(2), 80, local, 0);
        plane.cluster_ip(family.vip(3), 80, service, FrontendWord::SOURCE_RANGES);
    }
    for family in FAMILIES {
        let (vip, backend) = (family.names(family.vip(1), 80), family.backend(1).to_string());
        assert_eq!(tcp(vip).unwrap(), (backend.clone(), vip), "{family:?}: getpeername");
        let socket = udp_socket(vip);
        for _ in 0..3 {
            assert_eq!(ask(&socket, vip).unwrap(), (backend.clone(), vip), "{family:?}: recvmsg");
        }
        socket.connect(vip).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), vip);
        assert_eq!(ask_peer(&socket).unwrap(), (backend, vip), "{family:?}: connected");
        for n in [2, 3] {
            let vip = family.names(family.vip(n), 80);
            let itself = SocketAddr::new(family.vip(n), 80).to_string();
            assert_eq!(tcp(vip).unwrap(), (itself.clone(), vip));
            assert_eq!(ask(&udp_socket_of_a_client(vip), vip).unwrap(), (itself, vip));
        }
    }
    assert_eq!(plane.counters(local).no_local, 6);
}
