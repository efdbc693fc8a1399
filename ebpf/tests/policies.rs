//! Policies in the kernel: batches into maps and back, and the verdict on each packet of a table, which
//! the loaded programs and the same decisions over the image give alike.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::{Ebpf, EbpfLoader, programs::SchedClassifier};
use support::{Bed, start};
use towpath_ebpf::Opened;
use towpath_image::{
    Batch, Image as _, Kernel as _, PolicyCapacities, PolicyImage, PolicyOp, PortTable,
    datapath::{
        Addr,
        decide::{Origin, PodTables, PolicyFlows, PolicyTables, pod_packet},
        packet::Bytes,
        policy::{
            BlockKey, BlockWord, Classes, DeviceWord, Direction, DirectionWord, PeerWord,
            PodRecord, PolicyConfig, PolicyFlowKey, PolicyFlowValue, RowKey, RowRecord, RowWord,
            Side,
        },
        protocol::{SCTP, TCP, UDP},
    },
};

const SMALL: PolicyCapacities =
    PolicyCapacities { pods: 8, peers: 64, blocks: 32, row_index: 32, rows: 16 };
/// Packets of a test run come by the loopback device.
const LOOPBACK: u32 = 1;

fn ip(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// One pod behind the loopback device, isolated both ways. Class 1 may do everything; class 2 ports 80 to
/// 90 of TCP and 53 of UDP; others nothing.
fn ops() -> Vec<PolicyOp> {
    let port = |number, port| PortTable::place(number, port).unwrap();
    let row = |classes: &[u16]| {
        let mut row = RowRecord::default();
        classes.iter().for_each(|class| row.allow(*class));
        row
    };
    let direction = DirectionWord::isolated(7, 0, Side::Odd);
    let record = PodRecord {
        ingress: direction,
        egress: direction,
        identity: 99,
        v4: ip("10.1.0.2").v4_word(),
        v6: ip("fd00::2"),
        generation: 3,
        reserved: [0; 4],
    };
    let peer = |text, class| {
        let classes = Classes { even: 0, odd: class };
        PolicyOp::PutPeer { addr: ip(text), classes }
    };
    let block = |text, prefix, class| {
        let key = BlockKey { prefix, addr: ip(text) };
        PolicyOp::PutBlock { key, classes: Classes::both(class) }
    };
    vec![
        PolicyOp::WriteRow { row: 1, record: RowRecord { words: [u64::MAX; 16] } },
        PolicyOp::WriteRow { row: 2, record: row(&[2, 600]) },
        PolicyOp::SetPorts { first: port(TCP, 0), last: port(TCP, 79), class: 1 },
        PolicyOp::SetPorts { first: port(TCP, 80), last: port(TCP, 90), class: 2 },
        PolicyOp::SetPorts { first: port(TCP, 91), last: port(UDP, 52), class: 3 },
        PolicyOp::SetPorts { first: port(UDP, 53), last: port(UDP, 53), class: 600 },
        PolicyOp::SetPorts { first: port(UDP, 54), last: port(SCTP, 65_535), class: 5 },
        PolicyOp::PutRow { key: RowKey { ruleset: 7, class: 1 }, row: 1 },
        PolicyOp::PutRow { key: RowKey { ruleset: 7, class: 2 }, row: 2 },
        peer("10.1.0.3", 1),
        peer("10.1.0.4", 2),
        peer("fd00::4", 2),
        block("172.16.0.0", 96 + 12, 2),
        block("172.16.9.0", 96 + 24, 0),
        PolicyOp::WritePod { slot: 4, record },
        PolicyOp::PutDevice { device: LOOPBACK, word: DeviceWord::bound(4) },
        PolicyOp::SetConfig { config: PolicyConfig { flags: PolicyConfig::CLOSED } },
    ]
}

fn opened(bed: &mut Bed) -> Opened {
    bed.settings.policy = Some(SMALL);
    start(&bed.settings).unwrap()
}

#[test]
#[ignore = "needs root"]
fn what_is_written_is_what_is_read() {
    let mut bed = Bed::new("policies");
    let mut opened = opened(&mut bed);
    let maps = opened.policy.as_mut().unwrap();
    let mut image = PolicyImage::with_capacities(SMALL);
    assert_eq!(maps.read().unwrap(), image, "nothing at first");
    let mut all = ops();
    all.extend([
        PolicyOp::StoreDirection {
            slot: 4,
            direction: Direction::Egress,
            word: DirectionWord::open(),
        },
        PolicyOp::DeletePeer { addr: ip("10.1.0.4") },
        PolicyOp::DeletePeer { addr: ip("10.9.9.9") },
        PolicyOp::DeleteRow { key: RowKey { ruleset: 7, class: 2 } },
        PolicyOp::DeleteBlock { key: BlockKey { prefix: 120, addr: ip("172.16.9.0") } },
        PolicyOp::PutDevice { device: 9, word: DeviceWord::UNBOUND },
        PolicyOp::DeleteDevice { device: LOOPBACK },
    ]);
    for op in all {
        image.apply(&op).unwrap();
        let applied = maps.apply(&Batch { ops: vec![op.clone()] });
        assert_eq!((applied.done, &applied.failure), (1, &None), "{op:?}");
        assert_eq!(maps.read().unwrap(), image, "{op:?}");
    }
    let unused = PolicyOp::StoreDirection {
        slot: 5,
        direction: Direction::Egress,
        word: DirectionWord::open(),
    };
    assert!(maps.apply(&Batch { ops: vec![unused] }).failure.is_some());
}

/// The image as the programs' tables, with flows of its own.
struct Host {
    image: PolicyImage,
    flows: RefCell<BTreeMap<PolicyFlowKey, PolicyFlowValue>>,
}

impl PolicyTables for Host {
    fn pod(&self, slot: u32) -> Option<PodRecord> {
        self.image.pod(slot)
    }
    fn peer(&self, addr: &Addr) -> Option<PeerWord> {
        self.image.peer(addr)
    }
    fn block(&self, addr: &Addr) -> Option<BlockWord> {
        self.image.block(addr)
    }
    fn row(&self, key: &RowKey) -> Option<RowWord> {
        self.image.row(key)
    }
    fn row_allows(&self, row: u32, port_class: u16) -> bool {
        self.image.row_allows(row, port_class)
    }
    fn port_class(&self, number: u8, port: u16) -> u16 {
        self.image.port_class(number, port)
    }
}

impl PolicyFlows for Host {
    fn flow(&self, key: &PolicyFlowKey) -> Option<PolicyFlowValue> {
        self.flows.borrow().get(key).copied()
    }
    fn keep_flow(&self, key: &PolicyFlowKey, value: &PolicyFlowValue) {
        self.flows.borrow_mut().insert(*key, *value);
    }
}

impl PodTables for Host {
    fn device(&self, index: u32) -> Option<DeviceWord> {
        self.image.devices.get(&index).copied()
    }
    fn config(&self) -> PolicyConfig {
        self.image.config
    }
}

fn l4(number: u8, from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    match number {
        TCP => bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 5 << 4, flags, 0, 0, 0, 0, 0, 0]),
        SCTP => bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, flags, 0, 0, 4]),
        _ => bytes.extend([0, 8, 0, 0]),
    }
    bytes
}

fn frame(from: &str, to: &str, number: u8, inside: &[u8]) -> Vec<u8> {
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let length = u16::try_from(inside.len()).unwrap();
    let mut bytes = vec![0; 12];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([0x08, 0x00, 0x45, 0]);
            bytes.extend((20 + length).to_be_bytes());
            bytes.extend([0, 1, 0, 0, 64, number, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(length.to_be_bytes());
            bytes.extend([number, 64]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
        }
        _ => panic!("two families"),
    }
    bytes.extend(inside);
    bytes
}

/// BPF_PROG_TEST_RUN; `came_by`: the device that the packet came in by, 0: the node itself sent it.
fn run(program: &SchedClassifier, packet: &[u8], came_by: u32) -> i32 {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        program: u32,
        answer: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context_size_in: u32,
        context_size_out: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        cpu: u32,
        batch: u32,
        pad: u32,
    }
    let mut context = [0u32; 48];
    // `ingress_ifindex` of `struct __sk_buff`.
    context[9] = came_by;
    let mut attr = Attr {
        program: program.fd().unwrap().as_fd().as_raw_fd().unsigned_abs(),
        size_in: u32::try_from(packet.len()).unwrap(),
        data_in: packet.as_ptr() as u64,
        context_size_in: u32::try_from(size_of_val(&context)).unwrap(),
        context_in: context.as_ptr() as u64,
        ..Attr::default()
    };
    // SAFETY: the buffers are as long as the attribute says and outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, 10, std::ptr::from_mut(&mut attr), size_of::<Attr>())
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    attr.answer.cast_signed()
}

fn programs(bed: &Bed) -> Ebpf {
    let mut loader = EbpfLoader::new();
    let pins = fs::read_dir(bed.settings.maps_dir()).unwrap();
    let pins: Vec<_> = pins.map(|pin| pin.unwrap().path()).collect();
    for pin in &pins {
        loader.map_pin_path(pin.file_name().unwrap().to_str().unwrap(), pin.as_path());
    }
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("objects/pods.o");
    let mut ebpf = loader.load_file(object).expect("loads");
    for (_, program) in ebpf.programs_mut() {
        let program: &mut SchedClassifier = program.try_into().unwrap();
        program.load().expect("the verifier takes it");
    }
    ebpf
}

/// A row: what the packet is, the packet, where it goes, which device it came by, does it pass?
type Row = (&'static str, Vec<u8>, Direction, u32, bool);

fn table() -> Vec<Row> {
    use Direction::{Egress, Ingress};
    const POD: &str = "10.1.0.2";
    let tcp = |from, to, ports: (u16, u16), flags| {
        frame(from, to, TCP, &l4(TCP, ports.0, ports.1, flags))
    };
    let udp = |from, to, ports: (u16, u16)| frame(from, to, UDP, &l4(UDP, ports.0, ports.1, 0));
    let sctp = |from, to, port| frame(from, to, SCTP, &l4(SCTP, 7, port, 1));
    let (syn, ack) = (2, 16);
    let out = LOOPBACK;
    vec![
        ("anything for class 1", tcp("10.1.0.3", POD, (4000, 22), syn), Ingress, 7, true),
        ("SCTP for class 1", sctp("10.1.0.3", POD, 99), Ingress, 7, true),
        (
            "ICMP for class 1",
            frame("10.1.0.3", POD, 1, &[8, 0, 0, 0, 0, 1, 0, 1]),
            Ingress,
            7,
            true,
        ),
        ("the first port", tcp("10.1.0.4", POD, (4000, 80), syn), Ingress, 7, true),
        ("the last port", tcp("10.1.0.4", POD, (4000, 90), syn), Ingress, 7, true),
        ("the port below", tcp("10.1.0.4", POD, (4000, 79), syn), Ingress, 7, false),
        ("the port above", tcp("10.1.0.4", POD, (4000, 91), syn), Ingress, 7, false),
        ("TCP's port by UDP", udp("10.1.0.4", POD, (4000, 80)), Ingress, 7, false),
        ("UDP's port", udp("10.1.0.4", POD, (4000, 53)), Ingress, 7, true),
        ("SCTP is not TCP", sctp("10.1.0.4", POD, 80), Ingress, 7, false),
        (
            "ICMP for class 2",
            frame("10.1.0.4", POD, 1, &[8, 0, 0, 0, 0, 1, 0, 1]),
            Ingress,
            7,
            false,
        ),
        ("IPv6", tcp("fd00::4", "fd00::2", (4000, 80), syn), Ingress, 7, true),
        ("IPv6, another port", tcp("fd00::4", "fd00::2", (4000, 70), syn), Ingress, 7, false),
        ("a block", tcp("172.20.0.1", POD, (4000, 80), syn), Ingress, 7, true),
        ("what a block excepts", tcp("172.16.9.1", POD, (4000, 80), syn), Ingress, 7, false),
        ("a stranger", tcp("192.0.2.1", POD, (4000, 80), syn), Ingress, 7, false),
        ("the node itself", tcp("192.0.2.1", POD, (4000, 80), syn), Ingress, 0, true),
        ("out, allowed", tcp(POD, "10.1.0.4", (5000, 80), syn), Egress, out, true),
        ("its answer", tcp("10.1.0.4", POD, (80, 5000), syn | ack), Ingress, 7, true),
        ("no answer to that", tcp("10.1.0.4", POD, (81, 5000), syn | ack), Ingress, 7, false),
        ("out, denied", tcp(POD, "10.1.0.4", (5001, 22), syn), Egress, out, false),
        ("its answer", tcp("10.1.0.4", POD, (22, 5001), syn | ack), Ingress, 7, false),
        ("a query", udp(POD, "10.1.0.4", (6000, 53)), Egress, out, true),
        ("its answer", udp("10.1.0.4", POD, (53, 6000)), Ingress, 7, true),
        ("another's source", tcp("10.1.0.9", "10.1.0.3", (5000, 80), syn), Egress, out, false),
        ("another's destination", tcp("10.1.0.3", "10.1.0.9", (5000, 80), syn), Ingress, 7, false),
        ("half a header", frame(POD, "10.1.0.3", TCP, &[0, 80, 0, 80]), Egress, out, false),
    ]
}

#[test]
#[ignore = "needs root"]
fn each_packet_gets_the_verdict_that_the_decisions_give_it() {
    let mut bed = Bed::new("verdicts");
    let mut opened = opened(&mut bed);
    let maps = opened.policy.as_mut().unwrap();
    let mut image = PolicyImage::with_capacities(SMALL);
    ops().iter().for_each(|op| image.apply(op).unwrap());
    assert_eq!(maps.apply(&Batch { ops: ops() }).failure, None);
    let host = Host { image, flows: RefCell::default() };
    let ebpf = programs(&bed);
    let mut denied = 0;
    for (what, packet, direction, came_by, passes) in table() {
        let origin = if came_by == 0 { Origin::Node } else { Origin::Elsewhere };
        let decided = pod_packet(&Bytes(&packet), &host, LOOPBACK, direction, origin, 1);
        assert_eq!(decided.passes(), passes, "{what}: {decided:?}");
        let name = if direction == Direction::Ingress { "pod_in" } else { "pod_out" };
        let program: &SchedClassifier = ebpf.program(name).unwrap().try_into().unwrap();
        // TC_ACT_UNSPEC, TC_ACT_SHOT.
        assert_eq!(run(program, &packet, came_by), if passes { -1 } else { 2 }, "{what}");
        denied += u64::from(!passes);
    }
    let counted = maps.counters();
    let all = [
        counted.denied_to_pod,
        counted.denied_from_pod,
        counted.spoofed,
        counted.unreadable,
        counted.not_for_it,
    ];
    assert_eq!(all.iter().sum::<u64>(), denied, "{counted:?}");
    assert!(all.iter().all(|count| *count > 0), "{counted:?}");
}
