//! Everything changes and breaks for a while, and traffic goes on. `cargo xtask soak --minutes N`.
//!
//! Two nodes with daemons; Services and endpoints change at random, the API server fails in every
//! way it can, one daemon is killed again and again (the other one never: leaks would show there).
//! No connection to the Service that always has a live endpoint may fail, and afterwards maps,
//! memory and the daemons' own opinion are as they were before.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[expect(dead_code, reason = "the words of the other tests; not all are needed here")]
#[path = "netns/support.rs"]
mod support;

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Bed, reaches, service, to};

const STEADY: &str = "10.96.9.1";
const NODE_PORT: u16 = 30_909;
/// Services that come, change and go.
const CHURN: usize = 40;
/// Pods with a server: node, pod.
const SERVERS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 1)];
/// What `cargo test` takes; `cargo xtask soak` takes longer.
const SECONDS: u64 = 20;
/// Streams that break all the time are opened again after half a minute at last.
const BACK_OFF_AND_MORE: Duration = Duration::from_secs(75);
/// Allocators keep some of what they were given back.
const RSS_SLACK_KIB: u64 = 12 << 10;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Some of the servers, at least `least`.
fn some(random: &mut Random, least: usize) -> Vec<(usize, usize)> {
    loop {
        let chosen: Vec<_> = SERVERS.into_iter().filter(|_| random.below(2) == 0).collect();
        if chosen.len() >= least {
            return chosen;
        }
    }
}

fn endpoints(bed: &Bed, name: &str, pods: &[(usize, usize)]) {
    let all: Vec<_> = pods.iter().map(|(node, pod)| bed.at(*node, *pod)).collect();
    bed.endpoints(name, &all);
}

/// One change of objects.
fn change(bed: &Bed, random: &mut Random) {
    let number = random.below(CHURN);
    let (name, ip) = (format!("c{number}"), format!("10.96.8.{number}"));
    match random.below(8) {
        0 | 1 => endpoints(bed, "steady", &some(random, 1)),
        2 => remove(bed, &name),
        3 | 4 => {
            let policy = ["Cluster", "Local"][random.below(2)];
            let kind = ["ClusterIP", "NodePort"][random.below(2)];
            let affinity = ["None", "ClientIP"][random.below(2)];
            let spec = json!({
                "type": kind, "sessionAffinity": affinity,
                "internalTrafficPolicy": policy, "externalTrafficPolicy": policy,
            });
            bed.api.put(service(&name, &ip, spec)).unwrap();
        }
        _ => endpoints(bed, &name, &some(random, 0)),
    }
}

fn remove(bed: &Bed, name: &str) {
    bed.api.delete("services", "default", name);
    bed.api.delete("endpointslices", "default", &format!("{name}-ipv4"));
}

/// Something breaks; what does not heal by itself is mended after a moment.
fn fault(bed: &mut Bed, random: &mut Random) -> &'static str {
    let faults = bed.api.faults();
    let moment = Duration::from_millis(300 + random.below(900) as u64);
    match random.below(7) {
        0 => {
            faults.away(true);
            thread::sleep(moment);
            bed.api.faults().away(false);
            "away"
        }
        1 => {
            faults.drop_streams();
            "streams cut"
        }
        2 => {
            faults.too_many(4);
            faults.drop_streams();
            "too many requests"
        }
        3 => {
            faults.garbage(true);
            faults.drop_streams();
            thread::sleep(moment);
            bed.api.faults().garbage(false);
            "garbage"
        }
        4 => {
            bed.api.expire();
            bed.api.faults().drop_streams();
            "history lost"
        }
        5 => {
            let name = format!("default/c{}", random.below(CHURN));
            faults.corrupt(&name, true);
            thread::sleep(moment);
            bed.api.faults().corrupt(&name, false);
            "an object damaged"
        }
        _ => {
            bed.kill(0);
            change(bed, random);
            bed.start(0);
            "killed"
        }
    }
}

/// Entries of each map, as the daemon says.
fn maps(status: &Value) -> Vec<(String, u64)> {
    let maps = status["state"]["kernel"]["maps"].as_array().unwrap();
    let entry =
        |map: &Value| (map["name"].as_str().unwrap().to_owned(), map["entries"].as_u64().unwrap());
    maps.iter().map(entry).collect()
}

fn rss_kib(status: &Value) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", status["pid"])).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Everything was heard, is in force and was audited.
fn is_well(bed: &Bed, node: usize) -> bool {
    let status = bed.status(node).unwrap_or_default();
    let is = |name: &str, wanted: u64| status["state"][name].as_u64() == Some(wanted);
    let audited = !status["state"]["audit"].is_null();
    audited
        && is("services", 1)
        && is("endpointSlices", 1)
        && bed.cli(node, &["status"]).status.success()
}

/// Only the steady Service is left, and both daemons know and say that all is well.
fn calm(bed: &Bed) -> [Value; 2] {
    for number in 0..CHURN {
        remove(bed, &format!("c{number}"));
    }
    endpoints(bed, "steady", &SERVERS);
    let began = Instant::now();
    [0, 1].map(|node| {
        while !is_well(bed, node) {
            let log = bed.cluster.nodes[node].run_dir.join("daemon.log");
            assert!(
                began.elapsed() < BACK_OFF_AND_MORE,
                "node {node} is not well: {}\n{}",
                String::from_utf8_lossy(&bed.cli(node, &["status"]).stdout),
                fs::read_to_string(log).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(50));
        }
        let services = bed.cli(node, &["services"]);
        assert!(services.status.success(), "{}", String::from_utf8_lossy(&services.stdout));
        // Records that nothing leads to rest for more than a second before they are cleared.
        let mut status = bed.status(node).unwrap();
        loop {
            thread::sleep(Duration::from_secs(3));
            let next = bed.status(node).unwrap();
            let same = maps(&next) == maps(&status);
            status = next;
            if same {
                break;
            }
            assert!(began.elapsed() < 2 * BACK_OFF_AND_MORE, "node {node}: {:?}", maps(&status));
        }
        assert_eq!(status["state"]["audit"]["differences"], json!([]), "node {node}");
        status
    })
}

/// Changes and breaks things until the time is over; answers what broke how often.
fn churn(bed: &mut Bed, random: &mut Random, time: Duration) -> String {
    let (began, mut broken) = (Instant::now(), Vec::new());
    let (mut changes, mut next_fault) = (0u64, Duration::from_secs(1));
    while began.elapsed() < time {
        for _ in 0..=random.below(6) {
            change(bed, random);
            changes += 1;
        }
        thread::sleep(Duration::from_millis(random.below(60) as u64));
        if began.elapsed() > next_fault {
            broken.push(fault(bed, random));
            next_fault = began.elapsed() + Duration::from_millis(500 + random.below(2_000) as u64);
        }
    }
    broken.sort_unstable();
    let count = |name: &&str| broken.iter().filter(|other| *other == name).count();
    let mut kinds = broken.clone();
    kinds.dedup();
    let counts: Vec<_> = kinds.iter().map(|kind| format!("{kind} {}", count(kind))).collect();
    format!("{changes} changes; {}", counts.join(", "))
}

#[test]
#[ignore = "needs root"]
fn nothing_is_lost_and_nothing_is_left() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = number("TOWPATH_SOAK_SECONDS").unwrap_or(SECONDS);
    let seed = number("TOWPATH_SOAK_SEED").unwrap_or(1);
    println!("seed {seed}, {seconds} seconds");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bed = Bed::new();
    let ports = json!({
        "type": "NodePort",
        "ports": [{ "name": "t", "protocol": "TCP", "port": 80, "nodePort": NODE_PORT }],
    });
    bed.api.put(service("steady", STEADY, ports)).unwrap();
    endpoints(&bed, "steady", &SERVERS);
    let all = ["pod-1-2", "pod-1-3", "pod-2-2"];
    reaches(&mut bed.pods[0], to(STEADY, 80), &all);
    reaches(&mut bed.pods[1], to(STEADY, 80), &all);
    // A first round, so that what is kept for later (threads, buffers) is there before it counts.
    let warm = churn(&mut bed, &mut random, Duration::from_secs(seconds.div_ceil(4)));
    println!("warm-up: {warm}");
    let before = calm(&bed);
    let rss_before = rss_kib(&before[1]);

    let time = Duration::from_secs(seconds);
    let millis = u64::try_from(time.as_millis()).unwrap();
    let mut clients = vec![
        (bed.cluster.pod(0, 0).agent().unwrap(), to(STEADY, 80)),
        (bed.cluster.pod(1, 0).agent().unwrap(), to(STEADY, 80)),
        (bed.cluster.nodes[0].host.agent().unwrap(), to("127.0.0.1", NODE_PORT)),
    ];
    for (client, address) in &mut clients {
        client.load(*address, 200, millis).unwrap();
    }
    println!("{}", churn(&mut bed, &mut random, time));
    for (client, address) in &mut clients {
        let load = client.load_result().unwrap();
        let answered: u64 = load.answers.values().sum();
        println!("{address}: {answered} connections, {:?}", load.failures);
        assert!(load.failures.is_empty(), "{address}: {:?} of {answered}", load.failures);
        assert!(answered > seconds * 100, "{address}: only {answered}");
    }
    let after = calm(&bed);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(maps(before), maps(after));
    }
    // The daemon of the second node lived through all of it.
    assert_eq!(before[1]["pid"], after[1]["pid"]);
    let rss_after = rss_kib(&after[1]);
    println!("RSS of the daemon that lived on: {rss_before}, then {rss_after} KiB");
    assert!(rss_after <= rss_before + RSS_SLACK_KIB, "{rss_before}, then {rss_after} KiB");
    reaches(&mut bed.pods[0], to(STEADY, 80), &all);
}
