//! What the programs cost: nothing on a kept connection, one run each way for an unconnected UDP
//! socket. `cargo test --release -p towpath-ebpf --test cost -- --ignored --nocapture` prints
//! nanoseconds per run.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use support::{
    net::{Family, ask, ask_peer, serve, tcp, udp_socket},
    plane::Plane,
};
use towpath_ebpf::{StatsOn, program_runs};

/// Runs and nanoseconds by hook, of the programs of this plane.
fn runs(plane: &Plane) -> BTreeMap<&'static str, (u64, u64)> {
    let programs = program_runs(&plane.bed.settings).unwrap();
    programs.iter().map(|program| (program.hook, (program.runs, program.nanoseconds))).collect()
}

/// How often each hook ran meanwhile; prints what a run took.
fn during(plane: &Plane, what: &str, work: impl FnOnce()) -> BTreeMap<&'static str, u64> {
    let before = runs(plane);
    work();
    let mut counts = BTreeMap::new();
    for (hook, (count, nanoseconds)) in runs(plane) {
        let (count_before, nanoseconds_before) = before.get(hook).copied().unwrap();
        let count = count - count_before;
        if let Some(each) = (nanoseconds - nanoseconds_before).checked_div(count) {
            eprintln!("{what:<28} {hook:<13} {count:>6} runs, {each:>5} ns each");
            counts.insert(hook, count);
        }
    }
    counts
}

fn counts(pairs: &[(&'static str, u64)]) -> BTreeMap<&'static str, u64> {
    pairs.iter().copied().collect()
}

#[test]
#[ignore = "needs root"]
fn a_kept_connection_costs_nothing_and_a_datagram_one_run_each_way() {
    const ROUNDS: u64 = 5000;
    let mut plane = Plane::new("cost");
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    let direct = Family::V4.backend(1);
    serve(&direct.to_string());
    let service = plane.service(&[direct]);
    plane.cluster_ip(vip.ip(), 80, service, 0);
    let kept_vip = SocketAddr::new(Family::V4.vip(2), 80);
    let echo = TcpListener::bind("10.1.0.7:8080").unwrap();
    thread::spawn(move || {
        let mut stream = echo.accept().unwrap().0;
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
    let service = plane.service(&["10.1.0.7:8080".parse().unwrap()]);
    plane.cluster_ip(kept_vip.ip(), 80, service, 0);
    let _on = StatsOn::start().unwrap();

    // accept() asks for the peer's name as well, in the server.
    let per_connect = counts(&[("connect4", ROUNDS), ("getpeername4", 2 * ROUNDS)]);
    let ran = during(&plane, "TCP connect, direct", || {
        (0..ROUNDS).for_each(|_| drop(tcp(direct).unwrap()));
    });
    assert_eq!(ran, per_connect);
    let ran = during(&plane, "TCP connect, Service", || {
        (0..ROUNDS).for_each(|_| drop(tcp(vip).unwrap()));
    });
    assert_eq!(ran, per_connect);

    let mut stream = TcpStream::connect(kept_vip).unwrap();
    // Once before: accept() in the server has asked for the peer's name by then.
    stream.write_all(&[1]).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let ran = during(&plane, "kept connection", || {
        let mut byte = [7];
        for _ in 0..ROUNDS {
            stream.write_all(&byte).unwrap();
            stream.read_exact(&mut byte).unwrap();
        }
    });
    assert_eq!(ran, counts(&[]), "no program runs");

    // The server's socket is inside the cgroup, too: its half is counted with the client's.
    let socket = udp_socket(vip);
    let ran = during(&plane, "UDP unconnected, direct", || {
        (0..ROUNDS).for_each(|_| drop(ask(&socket, direct).unwrap()));
    });
    assert_eq!(ran, counts(&[("recvmsg4", 2 * ROUNDS), ("sendmsg4", 2 * ROUNDS)]));
    let ran = during(&plane, "UDP unconnected, Service", || {
        (0..ROUNDS).for_each(|_| drop(ask(&socket, vip).unwrap()));
    });
    assert_eq!(ran, counts(&[("recvmsg4", 2 * ROUNDS), ("sendmsg4", 2 * ROUNDS)]));
    let ran = during(&plane, "UDP, a new socket each time", || {
        (0..ROUNDS).for_each(|_| drop(ask(&udp_socket(vip), vip).unwrap()));
    });
    assert_eq!(ran, counts(&[("recvmsg4", 2 * ROUNDS), ("sendmsg4", 2 * ROUNDS)]));
    socket.connect(vip).unwrap();
    let ran = during(&plane, "UDP connected, Service", || {
        (0..ROUNDS).for_each(|_| drop(ask_peer(&socket).unwrap()));
    });
    assert_eq!(ran, counts(&[("recvmsg4", 2 * ROUNDS), ("sendmsg4", ROUNDS)]));
}
