//! The same cases for the fake and for the live kernel: what the fake promises, the kernel keeps.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::net::{IpAddr, Ipv4Addr};

use support::{Bed, start};
use towpath_image::{
    Applied, Batch, Capacities, FakeKernel, Image as _, Kernel, KernelError, MapName, ServiceImage,
    ServiceOp,
    datapath::{
        Addr, BackendRecord, Empty, FrontendKey, FrontendWord, NodeAddressValue, ServiceRecord,
        SetChoice, SetWord, protocol,
    },
};

const SMALL: Capacities =
    Capacities { frontends: 16, services: 8, backends: 64, node_addresses: 4 };

fn ip(last: u8) -> Addr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)).into()
}

fn put(last: u8) -> ServiceOp {
    let key = FrontendKey::vip(ip(last), 80, protocol::TCP);
    ServiceOp::PutFrontend { key, word: FrontendWord::new(&key, u32::from(last), 0) }
}

fn delete(last: u8) -> ServiceOp {
    ServiceOp::DeleteFrontend { key: FrontendKey::vip(ip(last), 80, protocol::TCP) }
}

fn service(index: u32) -> ServiceOp {
    let record = ServiceRecord {
        identity: u64::from(index) + 1,
        sets: [SetWord::new(index, 1, 1), SetWord::empty(Empty::Leave, 1)],
        ..ServiceRecord::default()
    };
    ServiceOp::WriteService { index, record }
}

fn node(last: u8, node: u64) -> ServiceOp {
    ServiceOp::PutNodeAddress {
        addr: ip(last),
        value: NodeAddressValue { node, flags: 1, reserved: 0 },
    }
}

fn backends(base: u32, count: u8) -> ServiceOp {
    let records = (0..count).map(|n| BackendRecord::new(ip(n), 8080)).collect();
    ServiceOp::WriteBackends { base, records }
}

fn apply(kernel: &mut dyn Kernel<ServiceImage>, ops: Vec<ServiceOp>) -> Applied {
    kernel.apply(&Batch { ops })
}

fn full(map: MapName, capacity: u32) -> Option<KernelError> {
    Some(KernelError::Full { map, capacity })
}

fn what_is_written_is_read(kernel: &mut dyn Kernel<ServiceImage>) {
    let mut wanted = kernel.read().unwrap();
    let word = SetWord::new(7, 3, 9);
    let ops = vec![
        backends(3, 5),
        service(0),
        service(7),
        put(1),
        put(2),
        put(1),
        node(9, 4),
        node(9, 5),
        ServiceOp::StoreSet { index: 7, choice: SetChoice::Local, word },
        delete(2),
        delete(99),
        ServiceOp::DeleteNodeAddress { addr: ip(77) },
        ServiceOp::WriteService { index: 0, record: ServiceRecord::default() },
    ];
    ops.iter().for_each(|op| wanted.apply(op).unwrap());
    assert_eq!(apply(kernel, ops), Applied { done: 13, failure: None });
    assert_eq!(kernel.read().unwrap(), wanted);
    assert_eq!(wanted.services.len(), 1);
}

fn a_full_hash_stops_the_batch_and_replacing_still_fits(kernel: &mut dyn Kernel<ServiceImage>) {
    let puts: Vec<_> = (0..20).map(put).collect();
    let applied = apply(kernel, puts);
    assert_eq!(applied, Applied { done: 16, failure: full(MapName::FRONTENDS, 16) });
    assert_eq!(apply(kernel, vec![put(3), put(4)]).failure, None);
    assert_eq!(apply(kernel, vec![delete(3), put(19), put(18)]).done, 2, "room for one");
    let nodes = (0..9).map(|last| node(last, 1)).collect();
    let applied = apply(kernel, nodes);
    assert_eq!(applied, Applied { done: 4, failure: full(MapName::NODE_ADDRESSES, 4) });
}

fn an_index_out_of_range_changes_nothing(kernel: &mut dyn Kernel<ServiceImage>) {
    let before = kernel.read().unwrap();
    for (op, failure) in [
        (service(8), full(MapName::SERVICES, 8)),
        (backends(63, 2), full(MapName::BACKENDS, 64)),
        (backends(u32::MAX, 2), full(MapName::BACKENDS, 64)),
        (
            ServiceOp::StoreSet {
                index: 5,
                choice: SetChoice::Cluster,
                word: SetWord::new(1, 1, 1),
            },
            full(MapName::SERVICES, 8),
        ),
    ] {
        assert_eq!(apply(kernel, vec![op.clone()]), Applied { done: 0, failure }, "{op:?}");
    }
    assert_eq!(kernel.read().unwrap(), before);
}

fn a_failure_in_the_middle_leaves_the_prefix(kernel: &mut dyn Kernel<ServiceImage>) {
    let mut wanted = kernel.read().unwrap();
    let ops = vec![backends(0, 3), service(1), put(1), service(8), put(2)];
    ops[..3].iter().for_each(|op| wanted.apply(op).unwrap());
    let applied = apply(kernel, ops);
    assert_eq!(applied, Applied { done: 3, failure: full(MapName::SERVICES, 8) });
    assert_eq!(kernel.read().unwrap(), wanted);
}

fn random_batches_end_in_the_same_image(kernel: &mut dyn Kernel<ServiceImage>) {
    let mut model = FakeKernel::new(SMALL);
    model.image.config = kernel.read().unwrap().config;
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut roll = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..300 {
        let ops: Vec<_> = (0..roll(12))
            .map(|_| {
                let last = u8::try_from(roll(24)).unwrap();
                match roll(8) {
                    0..=2 => put(last),
                    3 => delete(last),
                    4 => service(u32::from(last) / 2),
                    5 => node(last % 6, u64::from(last)),
                    6 => ServiceOp::DeleteNodeAddress { addr: ip(last % 6) },
                    _ => backends(u32::from(last) * 3, last % 4 + 1),
                }
            })
            .collect();
        assert_eq!(apply(kernel, ops.clone()), apply(&mut model, ops));
        let same = trimmed(kernel.read().unwrap()) == trimmed(model.image.clone());
        assert!(same, "the images differ");
    }
}

/// The kernel cannot tell a slot that was never written from one that was written with zero.
fn trimmed(mut image: ServiceImage) -> ServiceImage {
    while image.backends.last() == Some(&BackendRecord::default()) {
        image.backends.pop();
    }
    image
}

fn live(name: &str, case: impl Fn(&mut dyn Kernel<ServiceImage>)) {
    let mut bed = Bed::new(name);
    bed.settings.capacities = SMALL;
    case(&mut start(&bed.settings).expect("opens").services);
}

macro_rules! battery {
    ($($case:ident),+ $(,)?) => {
        mod on_the_fake_kernel {
            $(#[test]
            fn $case() {
                super::$case(&mut super::FakeKernel::new(super::SMALL));
            })+
        }
        mod on_the_live_kernel {
            $(#[test]
            #[ignore = "needs root"]
            fn $case() {
                super::live(stringify!($case), |kernel| super::$case(kernel));
            })+
        }
    };
}

battery!(
    what_is_written_is_read,
    a_full_hash_stops_the_batch_and_replacing_still_fits,
    an_index_out_of_range_changes_nothing,
    a_failure_in_the_middle_leaves_the_prefix,
    random_batches_end_in_the_same_image,
);
