//! The checked-in object on the real kernel: loads, attaches, is adopted, is cleaned up.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use aya::{
    maps::{HashMap, MapData},
    programs::links::{FdLink, PinnedLink},
};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, fork},
};
use support::{
    Bed,
    net::{Family, serve, tcp},
    plane::Plane,
    start,
};
use towpath_ebpf::{Error, cleanup, detach, open, probe};
use towpath_image::{
    Applied, At, Attachment, Attachments, Batch, Image as _, Kernel as _, Observed as _,
    Programs as _, ServiceImage, ServiceOp,
    datapath::{
        BackendRecord, Empty, FrontendKey, FrontendWord, NodeAddressValue, ServiceRecord,
        SetChoice, SetWord, protocol,
    },
};

fn vip(last: u8) -> FrontendKey {
    FrontendKey::vip(IpAddr::V4(Ipv4Addr::new(10, 96, 0, last)).into(), 80, protocol::TCP)
}

fn service(index: u32, base: u32) -> Vec<ServiceOp> {
    let record = ServiceRecord {
        identity: u64::from(index) + 1,
        sets: [SetWord::new(base, 1, 1), SetWord::empty(Empty::Leave, 1)],
        ..ServiceRecord::default()
    };
    let key = vip(u8::try_from(index % 256).unwrap());
    vec![
        ServiceOp::WriteBackends {
            base,
            records: vec![BackendRecord::new(Ipv4Addr::new(127, 0, 0, 9).into(), 8080)],
        },
        ServiceOp::WriteService { index, record },
        ServiceOp::PutFrontend { key, word: FrontendWord::new(&key, index, 0) },
    ]
}

#[test]
#[ignore = "needs root"]
fn what_is_written_is_read_back_also_by_the_next_daemon() {
    let bed = Bed::new("readback");
    let mut kernel = start(&bed.settings).expect("opens");
    let mut wanted = ServiceImage::with_capacities(bed.settings.capacities);
    let mut batch = Batch::default();
    for index in 0..5 {
        batch.ops.extend(service(index, index * 3));
    }
    batch.ops.push(ServiceOp::StoreSet {
        index: 2,
        choice: SetChoice::Local,
        word: SetWord::new(6, 1, 9),
    });
    batch.ops.push(ServiceOp::DeleteFrontend { key: vip(4) });
    batch.ops.push(ServiceOp::DeleteFrontend { key: vip(200) });
    let applied = kernel.services.apply(&batch);
    assert_eq!(applied, Applied { done: batch.ops.len(), failure: None });
    batch.ops.iter().for_each(|op| wanted.apply(op).unwrap());
    let read = kernel.services.read().unwrap();
    wanted.config = read.config;
    assert_eq!(read, wanted);
    drop(kernel);
    let mut next = start(&bed.settings).expect("adopts");
    assert_eq!(next.services.read().unwrap(), wanted);
}

#[test]
#[ignore = "needs root"]
fn a_second_writer_is_refused_by_name() {
    let bed = Bed::new("second");
    let _first = start(&bed.settings).expect("opens");
    let error = start(&bed.settings).expect_err("locked");
    assert!(matches!(&error, Error::Locked { pid, .. } if *pid == std::process::id().to_string()));
}

#[test]
#[ignore = "needs root"]
fn a_full_map_stops_the_batch_where_it_is_full() {
    let mut bed = Bed::new("full");
    bed.settings.capacities.frontends = 8;
    let mut kernel = start(&bed.settings).expect("opens");
    let puts = (0..20).map(|last| {
        let key = vip(last);
        ServiceOp::PutFrontend { key, word: FrontendWord::new(&key, 0, 0) }
    });
    let applied = kernel.services.apply(&Batch { ops: puts.collect() });
    let held = kernel.services.read().unwrap().frontends.len();
    assert!(applied.failure.is_some() && applied.done == held, "{applied:?}, {held} held");
}

#[test]
#[ignore = "needs root"]
fn links_are_replaced_in_place_and_clean_up_leaves_nothing() {
    let bed = Bed::new("links");
    let mut ids = Vec::new();
    for _ in 0..3 {
        drop(start(&bed.settings).expect("opens"));
        ids.push(bed.attached());
    }
    assert!(ids.iter().all(|attached| *attached == 8), "eight programs, never more: {ids:?}");
    detach(&bed.settings).unwrap();
    assert_eq!(bed.attached(), 0);
    let would = cleanup(&bed.settings, true).unwrap();
    assert!(would.removed.iter().any(|path| path.ends_with("FRONTENDS")), "{would:?}");
    assert_eq!(would.left, [""; 0]);
    assert_eq!(cleanup(&bed.settings, false).unwrap(), would);
    assert!(!bed.settings.pin_root.exists());
}

#[test]
#[ignore = "needs root"]
fn exactly_what_is_wanted_is_attached() {
    let bed = Bed::new("wanted");
    let mut programs = open(&bed.settings).expect("opens").programs;
    assert_eq!((bed.attached(), programs.attached().len()), (0, 0), "opening attaches nothing");
    let all = Attachment::of_sockets();
    let readers: Attachments = all.iter().take(4).copied().collect();
    for wanted in [&readers, &all, &readers, &Attachments::new(), &all] {
        let applied = programs.attach(wanted);
        assert_eq!(applied, Applied { done: wanted.len(), failure: None });
        assert_eq!((&programs.attached(), bed.attached()), (wanted, wanted.len()));
        assert_eq!(programs.heal(), Ok(vec![]), "what is not wanted does not come back");
    }
    assert_eq!(programs.attach(&readers).failure, None);
    out_of_force(&bed.settings.links_dir().join("recvmsg4"));
    assert_eq!(programs.attached().len(), 3);
    assert_eq!(programs.heal(), Ok(vec!["recvmsg4".to_owned()]));

    // A hook that only another version has, and what a version left that died on the way.
    drop(programs);
    let links = bed.settings.links_dir();
    fs::rename(links.join("recvmsg4"), links.join("recvmsg9")).unwrap();
    fs::rename(links.join("recvmsg6"), links.join("recvmsg6-new")).unwrap();
    fs::create_dir(links.join("other")).unwrap();
    let mut programs = open(&bed.settings).expect("opens").programs;
    assert_eq!(programs.attach(&readers), Applied { done: 4, failure: None });
    assert_eq!(programs.attached(), readers);
    assert_eq!(bed.attached(), 4 + 1, "what is no link stays");

    let device = Attachment { at: At::Device(1), ..*all.first().unwrap() };
    let applied = programs.attach(&Attachments::from([device]));
    assert_eq!(applied.done, 0);
    assert!(applied.failure.unwrap().to_string().contains("getpeername4@1"));
}

#[test]
#[ignore = "needs root"]
fn programs_are_replaced_under_connects_without_a_gap() {
    let mut plane = Plane::new("replace");
    let backend = Family::V4.backend(1);
    let at_vip = SocketAddr::new(Family::V4.vip(1), 80);
    serve(&backend.to_string());
    serve(&at_vip.to_string());
    let index = plane.service(&[backend]);
    plane.cluster_ip(at_vip.ip(), 80, index, 0);
    let settings = plane.bed.settings.clone();
    let stop = AtomicBool::new(false);
    let (asked, by) = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut asked = BTreeMap::<String, u64>::new();
            while !stop.load(Ordering::Relaxed) {
                *asked.entry(tcp(at_vip).unwrap().0).or_default() += 1;
            }
            asked
        });
        drop(plane.kernel.take());
        for _ in 0..20 {
            let opened = start(&settings);
            if opened.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            drop(opened.expect("the next daemon"));
        }
        stop.store(true, Ordering::Relaxed);
        (client.join().expect("the client"), backend.to_string())
    });
    let total: u64 = asked.values().sum();
    assert!(total > 100 && asked.get(&by) == Some(&total), "the VIP never answers: {asked:?}");
    assert_eq!(plane.bed.attached(), 8);
}

#[test]
#[ignore = "needs root"]
fn maps_grow_under_connects_without_a_gap_and_keep_what_they_hold() {
    let mut plane = Plane::new("grow");
    let backend = Family::V4.backend(1);
    let at_vip = SocketAddr::new(Family::V4.vip(1), 80);
    serve(&backend.to_string());
    serve(&at_vip.to_string());
    let index = plane.service(&[backend]);
    plane.cluster_ip(at_vip.ip(), 80, index, 0);
    plane.node("10.2.0.1", 1, NodeAddressValue::OWN);
    let mut settings = plane.bed.settings.clone();
    let mut before = plane.kernel.as_mut().unwrap().services.read().unwrap();
    let stop = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut asked = BTreeMap::<String, u64>::new();
            while !stop.load(Ordering::Relaxed) {
                *asked.entry(tcp(at_vip).unwrap().0).or_default() += 1;
            }
            asked
        });
        drop(plane.kernel.take());
        let mut grown = Vec::new();
        for _ in 0..5 {
            let sizes = &mut settings.capacities;
            sizes.frontends += 1_000;
            sizes.services += 100;
            sizes.backends += 10_000;
            sizes.node_addresses += 1;
            grown.push(start(&settings).and_then(|mut kernel| Ok(kernel.services.read()?)));
        }
        stop.store(true, Ordering::Relaxed);
        let asked = client.join().expect("the client");
        before.capacities = settings.capacities;
        assert_eq!(grown.pop().unwrap().expect("the fifth"), before);
        assert!(grown.iter().all(Result::is_ok), "{grown:?}");
        asked
    });
    let total: u64 = asked.values().sum();
    let by = asked.get(&backend.to_string());
    assert!(total > 100 && by == Some(&total), "the VIP never answers: {asked:?}");
    let mut kernel = start(&settings).expect("opens");
    assert!(kernel.services.service_counters(index).translated > 0, "what was counted is kept");
    let last = settings.capacities.services - 1;
    assert_eq!(
        kernel.services.apply(&Batch { ops: service(last, 10_000) }).failure,
        None,
        "there is room"
    );
    assert_eq!(fs::read_dir(settings.maps_dir()).unwrap().count(), 13, "nothing is left beside");
}

#[test]
#[ignore = "needs root"]
fn a_map_that_was_half_grown_is_grown_by_the_next_daemon() {
    let mut bed = Bed::new("halfgrown");
    let mut kernel = start(&bed.settings).expect("opens");
    assert_eq!(kernel.services.apply(&Batch { ops: service(1, 0) }).failure, None);
    let mut before = kernel.services.read().unwrap();
    drop(kernel);
    // As if a daemon had died with one larger map beside, and another one moved over already.
    let maps = bed.settings.maps_dir();
    let beside = HashMap::<MapData, [u8; 20], u64>::create(999, 0).unwrap();
    beside.pin(maps.join("FRONTENDS-new")).unwrap();
    bed.settings.capacities.services = 128;
    drop(start(&bed.settings).expect("grows one"));
    bed.settings.capacities.frontends = 128;
    let mut kernel = start(&bed.settings).expect("grows the other");
    before.capacities = bed.settings.capacities;
    assert_eq!(kernel.services.read().unwrap(), before);
}

#[test]
#[ignore = "needs root"]
fn a_daemon_killed_at_any_moment_is_repaired_by_the_next() {
    let mut bed = Bed::new("killed");
    for round in 0..24u64 {
        if round % 8 == 0 {
            // From nothing, three times.
            cleanup(&bed.settings, false).unwrap();
        }
        // Every other daemon has more room, so some die while they grow the maps.
        bed.settings.capacities.backends += u32::try_from(round % 2).unwrap() * 1_000;
        // SAFETY: the child only opens the kernel and waits to be killed.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                let _kernel = start(&bed.settings);
                loop {
                    thread::sleep(Duration::from_secs(1));
                }
            }
            ForkResult::Parent { child } => {
                thread::sleep(Duration::from_millis(round * 37 % 160));
                kill(child, Signal::SIGKILL).unwrap();
                waitpid(child, None).unwrap();
            }
        }
        let mut kernel = start(&bed.settings).expect("the next daemon");
        let index = u32::try_from(round).unwrap();
        let batch = Batch { ops: service(index, index * 3) };
        assert_eq!(kernel.services.apply(&batch).failure, None);
        assert!(kernel.services.read().unwrap().services.contains_key(&index));
        assert_eq!(bed.attached(), 8, "round {round}");
    }
}

#[test]
#[ignore = "needs root"]
fn lost_pins_and_leftovers_are_repaired() {
    let bed = Bed::new("lost");
    drop(start(&bed.settings).expect("opens"));
    let (maps, links) = (bed.settings.maps_dir(), bed.settings.links_dir());
    fs::remove_file(maps.join("SERVICES")).unwrap();
    fs::remove_file(links.join("connect4")).unwrap();
    // As if one had died between pinning a new link and moving it over the old one.
    fs::rename(links.join("connect6"), links.join("connect6-new")).unwrap();
    let mut kernel = start(&bed.settings).expect("repairs");
    assert_eq!(bed.attached(), 8);
    assert_eq!(kernel.services.apply(&Batch { ops: service(1, 0) }).failure, None);
}

#[test]
#[ignore = "needs root"]
fn a_cgroup_that_went_away_and_came_back_is_attached_to_anew() {
    let bed = Bed::new("cgroup");
    let id = |hook| {
        let pin = PinnedLink::from_pin(bed.settings.links_dir().join(hook)).unwrap();
        FdLink::from(pin).info().unwrap().id()
    };
    drop(start(&bed.settings).expect("opens"));
    let before = id("connect4");
    drop(start(&bed.settings).expect("replaces"));
    assert_eq!(id("connect4"), before, "the link stays, its program changes");
    fs::remove_dir(&bed.settings.cgroup_root).unwrap();
    fs::create_dir(&bed.settings.cgroup_root).unwrap();
    drop(start(&bed.settings).expect("attaches"));
    assert_ne!(id("connect4"), before);
    assert_eq!(bed.attached(), 8);
}

#[test]
#[ignore = "needs root"]
fn pins_of_another_cluster_are_refused_and_stay_as_they_are() {
    let mut bed = Bed::new("foreign");
    bed.settings.cluster = Some(1);
    let mut kernel = start(&bed.settings).expect("opens");
    kernel.services.apply(&Batch { ops: service(1, 0) });
    let before = kernel.services.read().unwrap();
    drop(kernel);
    bed.settings.cluster = Some(2);
    let error = start(&bed.settings).expect_err("another cluster");
    assert!(matches!(error, Error::OtherCluster { .. }), "{error}");
    assert!(error.to_string().contains("towpath cleanup"));
    bed.settings.cluster = None;
    assert_eq!(start(&bed.settings).expect("opens").services.read().unwrap(), before);
}

#[test]
#[ignore = "needs root"]
fn the_first_cluster_that_is_told_later_keeps_the_pins() {
    let bed = Bed::new("bind");
    let mut kernel = start(&bed.settings).expect("opens before the cluster is known");
    assert_eq!(kernel.services.apply(&Batch { ops: service(1, 0) }).failure, None);
    assert_eq!((kernel.programs.bind(7), kernel.programs.bind(7)), (Ok(()), Ok(())));
    let before = kernel.services.read().unwrap();
    assert_eq!(before.config.cluster, 7);
    drop(kernel);
    let mut next = start(&bed.settings).expect("serves what is pinned");
    let error = next.programs.bind(8).expect_err("another cluster");
    assert!(error.to_string().contains("towpath cleanup"), "{error}");
    assert_eq!(next.services.read().unwrap(), before, "nothing was written");
    assert_eq!(next.programs.bind(7), Ok(()));
}

#[test]
#[ignore = "needs root"]
fn programs_taken_out_of_force_come_back() {
    let mut plane = Plane::new("heal");
    let at_vip = SocketAddr::new(Family::V4.vip(1), 80);
    let backend = Family::V4.backend(1);
    serve(&backend.to_string());
    serve(&at_vip.to_string());
    let index = plane.service(&[backend]);
    plane.cluster_ip(at_vip.ip(), 80, index, 0);
    let links = plane.bed.settings.links_dir();
    let heal = |plane: &mut Plane| plane.kernel.as_mut().unwrap().programs.heal();
    assert_eq!(heal(&mut plane), Ok(vec![]), "nothing is wrong");

    // As `bpftool link detach` does.
    out_of_force(&links.join("connect4"));
    assert_eq!(tcp(at_vip).unwrap().0, at_vip.to_string(), "not translated any more");
    assert_eq!(heal(&mut plane), Ok(vec!["connect4".to_owned()]));
    assert_eq!(tcp(at_vip).unwrap().0, backend.to_string());

    fs::remove_file(links.join("connect4")).unwrap();
    fs::remove_file(links.join("recvmsg6")).unwrap();
    let both = ["recvmsg6", "connect4"].map(str::to_owned).to_vec();
    assert_eq!(heal(&mut plane), Ok(both), "readers come first");
    assert_eq!(tcp(at_vip).unwrap().0, backend.to_string());

    plane.leave();
    let cgroup = plane.bed.settings.cgroup_root.clone();
    fs::remove_dir(&cgroup).unwrap();
    let error = heal(&mut plane).expect_err("no cgroup to attach to");
    assert!(error.to_string().contains(&*cgroup.to_string_lossy()), "{error}");
    fs::create_dir(&cgroup).unwrap();
    assert_eq!(heal(&mut plane).map(|all| all.len()), Ok(8), "a cgroup of the same name");
    plane.enter();
    assert_eq!(tcp(at_vip).unwrap().0, backend.to_string());
    assert_eq!(heal(&mut plane), Ok(vec![]));
    assert_eq!(plane.bed.attached(), 8);
}

/// BPF_LINK_DETACH, as `bpftool link detach pinned PIN` does.
fn out_of_force(pin: &std::path::Path) {
    let link = support::open_pin(pin);
    support::bpf(34, &[u64::from(link.as_raw_fd().unsigned_abs())]);
}

#[test]
#[ignore = "needs root"]
fn another_run_directory_does_not_make_a_second_writer() {
    let bed = Bed::new("rundir");
    let _first = start(&bed.settings).expect("opens");
    let mut second = bed.settings.clone();
    second.run_dir = bed.settings.run_dir.join("other");
    assert!(matches!(start(&second), Err(Error::Locked { .. })));
    assert!(matches!(cleanup(&second, false), Err(Error::Locked { .. })));
}

#[test]
#[ignore = "needs root"]
fn a_map_never_becomes_smaller_and_another_shape_is_refused() {
    let mut bed = Bed::new("shape");
    drop(start(&bed.settings).expect("opens"));
    bed.settings.capacities.frontends = 9;
    let mut kernel = start(&bed.settings).expect("adopts");
    assert_eq!(kernel.services.read().unwrap().capacities.frontends, 64);
    drop(kernel);
    let pin = bed.settings.maps_dir().join("FRONTENDS");
    fs::remove_file(&pin).unwrap();
    let odd = HashMap::<MapData, u32, u32>::create(4, 0).unwrap();
    odd.pin(&pin).unwrap();
    let error = start(&bed.settings).expect_err("another shape");
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

#[test]
#[ignore = "needs root"]
fn ordinary_directories_are_refused_by_name() {
    let bed = Bed::new("plain");
    let mut wrong = bed.settings.clone();
    wrong.pin_root = bed.settings.run_dir.join("pins");
    let error = start(&wrong).expect_err("no bpffs");
    assert!(matches!(error, Error::NoBpffs { .. }) && error.to_string().contains("mount"));
    let mut wrong = bed.settings.clone();
    wrong.cgroup_root = std::env::temp_dir();
    let error = start(&wrong).expect_err("no cgroup2");
    assert!(matches!(error, Error::NoCgroup2 { .. }) && error.to_string().contains("mount"));
}

#[test]
#[ignore = "needs root"]
fn the_probe_finds_everything_that_opening_needs() {
    let bed = Bed::new("probe");
    start(&bed.settings).expect("opens");
    for feature in probe(&bed.settings) {
        assert!(feature.present || !feature.needed, "{feature:?}");
    }
    let mut nowhere = bed.settings.clone();
    nowhere.cgroup_root = std::env::temp_dir();
    let missing: Vec<_> = probe(&nowhere).into_iter().filter(|feature| !feature.present).collect();
    assert!(missing.iter().any(|feature| feature.name == "cgroup2"), "{missing:?}");
}
