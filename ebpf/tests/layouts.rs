//! A version with another layout: its maps are filled from those that are pinned before any program is
//! replaced, in both directions.
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
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
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
    net::{Family, ask, ask_peer, serve, tcp, udp_socket},
    plane::Plane,
    start,
};
use towpath_ebpf::{Error, Former, LivePrograms, OpenMap, Row, Settings, Table, open};
use towpath_image::{
    Attachment, Batch, Kernel as _, KernelError, MapName, Programs as _, ServiceOp,
    datapath::{
        ChoiceKey, ChoiceValue, FrontendKey, FrontendWord, NodeAddressValue, SetWord, protocol,
    },
};

fn of_layout(settings: &Settings, layout: u32) -> Settings {
    Settings { layout, ..settings.clone() }
}

/// Layout 1 is the first that a test has, whatever this version's is.
fn first(name: &str) -> Bed {
    let mut bed = Bed::new(name);
    bed.settings.layout = 1;
    bed
}

/// Directories of maps.
fn layouts(settings: &Settings) -> Vec<String> {
    let entries = fs::read_dir(&settings.pin_root).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "links").collect();
    names.sort();
    names
}

fn put(last: u8) -> ServiceOp {
    let key = FrontendKey::vip(Ipv4Addr::new(10, 96, 0, last).into(), 80, protocol::TCP);
    ServiceOp::PutFrontend { key, word: FrontendWord::new(&key, 1, 0) }
}

#[test]
#[ignore = "needs root"]
fn another_layout_takes_over_under_load_and_no_call_is_lost() {
    let mut plane = Plane::with("layouts", |settings| settings.layout = 1);
    let backend = Family::V4.backend(1);
    let at_vip = SocketAddr::new(Family::V4.vip(1), 80);
    serve(&backend.to_string());
    serve(&at_vip.to_string());
    let index = plane.service(&[backend]);
    plane.cluster_ip(at_vip.ip(), 80, index, 0);
    plane.node("10.2.0.1", 1, NodeAddressValue::OWN);
    let settings = plane.bed.settings.clone();
    let mut before = plane.kernel.as_mut().unwrap().services.read().unwrap();
    let kept = udp_socket(at_vip);
    kept.connect(at_vip).unwrap();
    assert_eq!(kept.peer_addr().unwrap(), at_vip);

    let stop = AtomicBool::new(false);
    let until_stopped = |call: &dyn Fn() -> (String, SocketAddr)| {
        let mut answers = BTreeMap::<_, u64>::new();
        while !stop.load(Ordering::Relaxed) {
            *answers.entry(call()).or_default() += 1;
        }
        answers
    };
    let (opened, answers) = thread::scope(|scope| {
        let connects = scope.spawn(|| until_stopped(&|| tcp(at_vip).unwrap()));
        let datagrams = scope.spawn(|| {
            let socket = udp_socket(at_vip);
            until_stopped(&|| ask(&socket, at_vip).unwrap())
        });
        drop(plane.kernel.take());
        let mut opened = Vec::new();
        for (turn, layout) in [2, 1, 2, 2, 9, 1, 3, 1].into_iter().enumerate() {
            let mut settings = of_layout(&settings, layout);
            // Some grow at the same time.
            settings.capacities.frontends += 100 * u32::try_from(turn / 2).unwrap();
            opened.push(start(&settings).and_then(|mut kernel| {
                before.capacities = settings.capacities;
                Ok((kernel.services.read()? == before, layouts(&settings), layout))
            }));
            thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
        (opened, [connects.join().expect("connects"), datagrams.join().expect("datagrams")])
    });
    for opened in opened {
        let (same, dirs, layout) = opened.expect("opens");
        assert!(same, "layout {layout} holds what the one before did");
        assert_eq!(dirs, [format!("v{layout}")], "the other one went");
    }
    for answers in answers {
        let total: u64 = answers.values().sum();
        let right = answers.get(&(backend.to_string(), at_vip));
        assert!(total > 100 && right == Some(&total), "the VIP never answers: {answers:?}");
    }
    assert_eq!(kept.peer_addr().unwrap(), at_vip, "what sockets remember is carried over");
    assert_eq!(ask_peer(&kept).unwrap(), (backend.to_string(), at_vip));
    let kernel = start(&settings).expect("opens");
    assert_eq!(kernel.programs.started_empty(), [] as [MapName; 0]);
    assert!(kernel.services.peers().all().unwrap().len() == 1);
    assert_eq!(plane.bed.attached(), 8);
}

#[test]
#[ignore = "needs root"]
fn until_programs_run_on_it_a_fresh_layout_changes_nothing() {
    let bed = first("unattached");
    let mut kernel = start(&bed.settings).expect("opens");
    assert_eq!(kernel.services.apply(&Batch { ops: vec![put(1)] }).failure, None);
    drop(kernel);
    let newer = of_layout(&bed.settings, 2);
    let mut kernel = open(&newer).expect("opens");
    assert_eq!(layouts(&newer), ["v1", "v2-new"]);
    // Maps of one shape are one map; what a version writes before it is in force, it answers for.
    assert_eq!(kernel.services.read().unwrap().frontends.len(), 1);
    assert_eq!(kernel.programs.heal(), Ok(vec![]), "nothing is wanted yet");
    drop(kernel);

    let mut kernel = open(&newer).expect("begins anew");
    assert_eq!(layouts(&newer), ["v1", "v2-new"]);
    // The cgroup is away: no program can be attached.
    fs::remove_dir(&bed.settings.cgroup_root).unwrap();
    let applied = kernel.programs.attach(&Attachment::of_sockets());
    assert!(applied.done == 0 && applied.failure.is_some(), "{applied:?}");
    assert_eq!(layouts(&newer), ["v1", "v2-new"]);
    fs::create_dir(&bed.settings.cgroup_root).unwrap();
    assert_eq!(kernel.programs.attach(&Attachment::of_sockets()).failure, None);
    assert_eq!(layouts(&newer), ["v2"]);
    assert_eq!(kernel.programs.heal(), Ok(vec![]), "pins are looked for where they are now");
    drop(kernel);
    let mut kernel = start(&bed.settings).expect("the older version");
    assert_eq!(layouts(&newer), ["v1"]);
    assert_eq!(kernel.services.read().unwrap().frontends.len(), 1);
}

#[test]
#[ignore = "needs root"]
fn pins_of_another_cluster_do_not_fill_a_fresh_layout() {
    let mut bed = first("foreign");
    bed.settings.cluster = Some(1);
    let mut kernel = start(&bed.settings).expect("opens");
    assert_eq!(kernel.services.apply(&Batch { ops: vec![put(1)] }).failure, None);
    let before = kernel.services.read().unwrap();
    drop(kernel);
    let foreign = Settings { cluster: Some(2), ..of_layout(&bed.settings, 2) };
    assert!(matches!(open(&foreign), Err(Error::OtherCluster { .. })));
    let mut kernel = start(&bed.settings).expect("opens");
    assert_eq!(kernel.services.read().unwrap(), before);
    assert_eq!(layouts(&bed.settings), ["v1"]);
}

#[test]
#[ignore = "needs root"]
fn a_version_killed_at_any_moment_loses_nothing_for_either() {
    let mut bed = first("killed");
    for round in 0..24u8 {
        bed.settings.capacities.backends += u32::from(round % 2) * 1_000;
        let settings = of_layout(&bed.settings, u32::from(round % 3));
        // SAFETY: the child only opens the kernel and waits to be killed.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                let _kernel = start(&settings);
                loop {
                    thread::sleep(Duration::from_secs(1));
                }
            }
            ForkResult::Parent { child } => {
                thread::sleep(Duration::from_millis(u64::from(round) * 37 % 160));
                kill(child, Signal::SIGKILL).unwrap();
                waitpid(child, None).unwrap();
            }
        }
        let settings = of_layout(&bed.settings, u32::from(round / 2 % 2));
        let mut kernel = start(&settings).expect("the next one");
        let held = kernel.services.read().unwrap().frontends.len();
        assert_eq!(held, usize::from(round), "round {round}");
        assert_eq!(kernel.services.apply(&Batch { ops: vec![put(round)] }).failure, None);
        assert_eq!((bed.attached(), layouts(&settings).len()), (8, 1), "round {round}");
    }
}

/// What version 1 left: what unconnected sockets have chosen was in FLOWS, frontends did not say
/// what packets from outside get. No list is needed to take it over.
#[test]
#[ignore = "needs root"]
fn the_pins_of_layout_1_fill_layout_2() {
    const CHOICES: MapName = MapName::CHOICES;
    let bed = first("one-to-two");
    let mut kernel = start(&bed.settings).expect("opens");
    let key = FrontendKey::node(Ipv4Addr::LOCALHOST.into(), 30_080, protocol::TCP);
    let flags = FrontendWord::EXTERNAL | FrontendWord::PER_NODE;
    let external = ServiceOp::PutFrontend { key, word: FrontendWord::new(&key, 1, flags) };
    assert_eq!(kernel.services.apply(&Batch { ops: vec![put(1), external] }).failure, None);
    let before = kernel.services.read().unwrap();
    drop(kernel);
    let dir = bed.settings.maps_dir();
    let vip = Ipv4Addr::new(10, 96, 0, 1).into();
    let chosen = (
        ChoiceKey::forward(7, vip, 53),
        ChoiceValue { word: SetWord::new(3, 2, 1), addr: vip, port: 9, reserved: [0; 3] },
    );
    let map = OpenMap::pinned(&dir.join(CHOICES.as_str()), CHOICES).unwrap();
    assert_eq!(map.hash().unwrap().put(&[chosen.0], &[chosen.1]).1, None);
    drop(map);
    // A bpffs renames within a directory.
    fs::rename(dir.join("CHOICES"), dir.join("FLOWS")).unwrap();

    // Programs of layout 1 go on writing FLOWS until theirs are replaced.
    let old = OpenMap::pinned(&dir.join("FLOWS"), MapName::new("FLOWS")).unwrap();
    let settings = of_layout(&bed.settings, 2);
    let mut kernel = start(&settings).expect("opens");
    let later = (ChoiceKey::forward(8, vip, 53), chosen.1);
    assert_eq!(old.hash().unwrap().put(&[later.0], &[later.1]).1, None);
    assert_eq!(kernel.programs.started_empty(), [] as [MapName; 0]);
    assert_eq!(kernel.services.read().unwrap(), before);
    let map = OpenMap::pinned(&settings.maps_dir().join(CHOICES.as_str()), CHOICES).unwrap();
    let mut held = map.hash::<ChoiceKey, ChoiceValue>().unwrap().all().unwrap();
    held.sort_by_key(|(key, _)| *key != chosen.0);
    assert_eq!(held, [chosen, later], "it is the same map");
    assert_eq!(layouts(&settings), ["v2"], "FLOWS went with its directory");
}

const RULES: MapName = MapName::new("RULES");
const ROWS: MapName = MapName::new("ROWS");
const SEEN: MapName = MapName::new("SEEN");

fn wider(from: &OpenMap, to: &OpenMap) -> Result<(), KernelError> {
    let held = from.hash::<u32, u64>()?.all()?;
    let (keys, values): (Vec<_>, Vec<_>) =
        held.into_iter().map(|(key, value)| (u64::from(key) << 32, value)).unzip();
    to.hash()?.put(&keys, &values).1.map_or(Ok(()), Err)
}

/// RULES has wider keys from the second version on, which the third does not know of.
const FIRST: Table = Table {
    area: "rules",
    rows: &[
        Row::hash::<u32, u64>(RULES, |_| 4),
        Row::array::<u64>(ROWS, |_| 8),
        Row::single::<u64>(SEEN).alone(),
    ],
};
const SECOND: Table = Table {
    area: "rules",
    rows: &[
        Row::hash::<u64, u64>(RULES, |_| 2).formerly(Former {
            name: RULES,
            key: 4,
            value: 8,
            convert: wider,
            same: false,
        }),
        Row::array::<u64>(ROWS, |_| 8),
        Row::single::<u64>(SEEN).alone(),
    ],
};

/// What a version finds: rules, the first row, what was seen; and what started empty.
fn rules(settings: &Settings, table: &Table) -> (BTreeMap<u64, u64>, u64, u64, Vec<MapName>) {
    let mut programs = LivePrograms::open(settings, &[table]).expect("opens");
    assert_eq!(programs.attach(&Attachment::of_sockets()).failure, None);
    let map = |name: MapName| {
        let pin = settings.maps_dir().join(name.as_str());
        OpenMap::pinned(&pin, name).expect("its pin")
    };
    let held = match map(RULES).hash::<u64, u64>() {
        Ok(rules) => rules.all().unwrap(),
        Err(_) => {
            let rules = map(RULES).hash::<u32, u64>().unwrap();
            rules.all().unwrap().into_iter().map(|(key, row)| (u64::from(key), row)).collect()
        }
    };
    let first = |name| map(name).array::<u64>().unwrap().get(0).unwrap();
    let empty = programs.started_empty().to_vec();
    (held.into_iter().collect(), first(ROWS), first(SEEN), empty)
}

#[test]
#[ignore = "needs root"]
fn a_map_of_another_shape_is_converted_or_its_area_starts_empty() {
    let bed = first("convert");
    assert_eq!(rules(&bed.settings, &FIRST), (BTreeMap::new(), 0, 0, vec![]));
    let pin = |name: MapName| {
        OpenMap::pinned(&bed.settings.maps_dir().join(name.as_str()), name).unwrap()
    };
    let all = ([1u32, 2, 3], [10u64, 20, 30]);
    assert_eq!(pin(RULES).hash().unwrap().put(&all.0, &all.1).1, None);
    assert!(pin(ROWS).array::<u64>().unwrap().set(0, 7));
    assert!(pin(SEEN).array::<u64>().unwrap().set(0, 5));

    let newer = of_layout(&bed.settings, 2);
    // With room for all, though fewer are configured.
    let wide = BTreeMap::from([(1 << 32, 10), (2 << 32, 20), (3 << 32, 30)]);
    assert_eq!(rules(&newer, &SECOND), (wide.clone(), 7, 5, vec![]));
    assert_eq!(rules(&newer, &SECOND), (wide, 7, 5, vec![]), "it is its own now");
    // Back again: the older one cannot read the rules, and rows mean nothing without them.
    assert_eq!(rules(&bed.settings, &FIRST), (BTreeMap::new(), 0, 5, vec![RULES, ROWS]));
    assert_eq!(layouts(&bed.settings), ["v1"]);
}
