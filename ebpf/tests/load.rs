//! The checked-in object on the real kernel: loads, attaches, is adopted, is cleaned up.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::net::{IpAddr, Ipv4Addr};

use support::Bed;
use towpath_ebpf::{Error, LiveKernel, cleanup, detach, program_runs};
use towpath_image::{
    Applied, Batch, Image, Kernel as _, Op,
    datapath::{
        BackendRecord, Empty, FrontendKey, FrontendWord, ServiceRecord, SetChoice, SetWord,
        protocol,
    },
};

fn vip(last: u8) -> FrontendKey {
    FrontendKey::vip(IpAddr::V4(Ipv4Addr::new(10, 96, 0, last)).into(), 80, protocol::TCP)
}

fn service(index: u32, base: u32) -> Vec<Op> {
    let record = ServiceRecord {
        identity: u64::from(index) + 1,
        sets: [SetWord::new(base, 1, 1), SetWord::empty(Empty::Leave, 1)],
        ..ServiceRecord::default()
    };
    let key = vip(u8::try_from(index).unwrap());
    vec![
        Op::WriteBackends {
            base,
            records: vec![BackendRecord::new(Ipv4Addr::new(127, 0, 0, 9).into(), 8080)],
        },
        Op::WriteService { index, record },
        Op::PutFrontend { key, word: FrontendWord::new(&key, index, 0) },
    ]
}

#[test]
#[ignore = "needs root"]
fn what_is_written_is_read_back_also_by_the_next_daemon() {
    let bed = Bed::new("readback");
    let mut kernel = LiveKernel::open(&bed.settings).expect("opens");
    let mut wanted = Image::with_capacities(bed.settings.capacities);
    let mut batch = Batch::default();
    for index in 0..5 {
        batch.ops.extend(service(index, index * 3));
    }
    batch.ops.push(Op::StoreSet {
        index: 2,
        choice: SetChoice::Local,
        word: SetWord::new(6, 1, 9),
    });
    batch.ops.push(Op::DeleteFrontend { key: vip(4) });
    batch.ops.push(Op::DeleteFrontend { key: vip(200) });
    let applied = kernel.apply(&batch);
    assert_eq!(applied, Applied { done: batch.ops.len(), failure: None });
    batch.ops.iter().for_each(|op| wanted.apply(op).unwrap());
    let read = kernel.read().unwrap();
    wanted.config = read.config;
    assert_eq!(read, wanted);
    drop(kernel);
    let mut next = LiveKernel::open(&bed.settings).expect("adopts");
    assert_eq!(next.read().unwrap(), wanted);
}

#[test]
#[ignore = "needs root"]
fn a_second_writer_is_refused_by_name() {
    let bed = Bed::new("second");
    let _first = LiveKernel::open(&bed.settings).expect("opens");
    let error = LiveKernel::open(&bed.settings).expect_err("locked");
    assert!(matches!(&error, Error::Locked { pid, .. } if *pid == std::process::id().to_string()));
}

#[test]
#[ignore = "needs root"]
fn a_full_map_stops_the_batch_where_it_is_full() {
    let mut bed = Bed::new("full");
    bed.settings.capacities.frontends = 8;
    let mut kernel = LiveKernel::open(&bed.settings).expect("opens");
    let puts = (0..20).map(|last| {
        let key = vip(last);
        Op::PutFrontend { key, word: FrontendWord::new(&key, 0, 0) }
    });
    let applied = kernel.apply(&Batch { ops: puts.collect() });
    let held = kernel.read().unwrap().frontends.len();
    assert!(applied.failure.is_some() && applied.done == held, "{applied:?}, {held} held");
}

#[test]
#[ignore = "needs root"]
fn links_are_replaced_in_place_and_clean_up_leaves_nothing() {
    let bed = Bed::new("links");
    let mut ids = Vec::new();
    for _ in 0..3 {
        drop(LiveKernel::open(&bed.settings).expect("opens"));
        ids.push(bed.attached());
    }
    assert!(ids.iter().all(|attached| *attached == 8), "eight programs, never more: {ids:?}");
    detach(&bed.settings).unwrap();
    assert_eq!(bed.attached(), 0);
    let would = cleanup(&bed.settings, true).unwrap();
    assert!(would.iter().any(|path| path.ends_with("FRONTENDS")), "{would:?}");
    assert_eq!(cleanup(&bed.settings, false).unwrap(), would);
    assert!(!bed.settings.pin_root.exists());
    let _all = program_runs();
}
