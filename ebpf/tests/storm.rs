//! Sets change under a storm of connects: every answer was right at some instant between question
//! and answer. Extents are written again after a grace period only, all other slots are poison.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use support::{
    net::{Family, ask, serve, tcp, udp_socket},
    plane::Plane,
};
use towpath_image::{
    ServiceOp,
    datapath::{BackendRecord, SetWord},
};

/// Servers 1..=8; 9 is poison.
const SERVERS: u8 = 8;
const POISON: u8 = 9;
/// Extents of four slots, and a slot of poison after each.
const EXTENTS: u32 = 3;

/// What generation `n` consists of: one, two or three servers, always other ones than before.
fn members(generation: u64) -> Vec<SocketAddr> {
    let count = generation % 3 + 1;
    (0..count)
        .map(|n| u8::try_from((generation * 3 + n) % u64::from(SERVERS)).unwrap() + 1)
        .map(|n| Family::V4.backend(n))
        .collect()
}

fn extent(plane: &mut Plane, number: u32, backends: &[SocketAddr], epoch: u64) -> SetWord {
    let poison = Family::V4.backend(POISON);
    let record = |b: &SocketAddr| BackendRecord::new(b.ip().into(), b.port());
    let mut records: Vec<_> = backends.iter().map(record).collect();
    records.sort_by_key(BackendRecord::order);
    records.resize(4, record(&poison));
    plane.apply(vec![ServiceOp::WriteBackends { base: number * 5, records }]);
    let epoch = u16::try_from(epoch % 65_536).unwrap();
    SetWord::new(number * 5, u16::try_from(backends.len()).unwrap(), epoch)
}

/// A storm lasts so long, and on a busy machine until a client has seen enough.
fn goes_on(began: Instant, seen: &BTreeMap<String, usize>, names: usize) -> bool {
    let enough = seen.len() >= names && seen.values().sum::<usize>() > 1_000;
    let lasted = began.elapsed();
    lasted < Duration::from_secs(3) || (!enough && lasted < Duration::from_secs(60))
}

/// Asks until the storm is over; answers how often, with how many distinct names.
fn client(
    vip: SocketAddr,
    begun: &AtomicU64,
    done: &AtomicU64,
    question: impl Fn(SocketAddr) -> String,
) -> (usize, usize) {
    let began = Instant::now();
    let mut names = BTreeMap::<String, usize>::new();
    while goes_on(began, &names, usize::from(SERVERS)) {
        let oldest = done.load(Ordering::SeqCst);
        let who = question(vip);
        let newest = begun.load(Ordering::SeqCst);
        let legal = (oldest..=newest).flat_map(members).any(|member| member.to_string() == who);
        assert!(legal, "{who} answered between generations {oldest} and {newest}");
        *names.entry(who).or_default() += 1;
    }
    (names.values().sum(), names.len())
}

#[test]
#[ignore = "needs root"]
fn every_answer_was_right_at_some_instant() {
    let mut plane = Plane::new("storm");
    for n in 1..=POISON {
        serve(&Family::V4.backend(n).to_string());
    }
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    let poison = vec![
        BackendRecord::new(Family::V4.backend(POISON).ip().into(), 8080);
        usize::try_from(EXTENTS * 5).unwrap()
    ];
    plane.apply(vec![ServiceOp::WriteBackends { base: 0, records: poison }]);
    let word = extent(&mut plane, 0, &members(0), 0);
    let service = plane.service_with(word, None);
    plane.cluster_ip(vip.ip(), 80, service, 0);

    let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let (connects, datagrams) = thread::scope(|scope| {
        // The clients inherit this thread's network namespace.
        let connects = scope.spawn(|| client(vip, &begun, &done, |vip| tcp(vip).unwrap().0));
        let datagrams =
            scope.spawn(|| client(vip, &begun, &done, |vip| ask(&udp_socket(vip), vip).unwrap().0));
        let mut generation = 0u64;
        while !(connects.is_finished() && datagrams.is_finished()) {
            generation += 1;
            // Three extents: this one was left two publications and a grace period ago.
            let number = u32::try_from(generation % u64::from(EXTENTS)).unwrap();
            let word = extent(&mut plane, number, &members(generation), generation);
            begun.store(generation, Ordering::SeqCst);
            plane.publish(service, word);
            done.store(generation, Ordering::SeqCst);
            towpath_ebpf::grace().expect("membarrier");
        }
        (connects.join().expect("clients"), datagrams.join().expect("clients"))
    });
    let generations = done.load(Ordering::SeqCst);
    assert!(generations > 8, "only {generations} sets were published");
    for (asked, names) in [connects, datagrams] {
        assert!(asked > 1000 && names == usize::from(SERVERS), "{asked} asked, {names} names");
    }
}

#[test]
#[ignore = "needs root"]
fn words_that_flip_without_pause_never_mix() {
    let mut plane = Plane::new("flip");
    for n in [1, 2, 3, POISON] {
        serve(&Family::V4.backend(n).to_string());
    }
    let vip = SocketAddr::new(Family::V4.vip(1), 80);
    // One server at slot 0; two at slots 5 and 6: half of one word with half of the other is poison.
    let poison = vec![BackendRecord::new(Family::V4.backend(POISON).ip().into(), 8080); 15];
    plane.apply(vec![ServiceOp::WriteBackends { base: 0, records: poison }]);
    let one = extent(&mut plane, 0, &[Family::V4.backend(1)], 1);
    let two = extent(&mut plane, 1, &[Family::V4.backend(2), Family::V4.backend(3)], 2);
    let service = plane.service_with(one, None);
    plane.cluster_ip(vip.ip(), 80, service, 0);
    let began = Instant::now();
    let asked = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut seen = BTreeMap::<String, usize>::new();
            while goes_on(began, &seen, 3) {
                *seen.entry(tcp(vip).unwrap().0).or_default() += 1;
            }
            seen
        });
        while !client.is_finished() {
            plane.publish(service, two);
            plane.publish(service, one);
        }
        client.join().expect("clients")
    });
    let legal: Vec<_> = (1..=3).map(|n| Family::V4.backend(n).to_string()).collect();
    assert!(asked.keys().eq(legal.iter()), "{asked:?}");
    assert!(asked.values().sum::<usize>() > 1000, "{asked:?}");
}
