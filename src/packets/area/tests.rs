use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use towpath_image::{Applied, FakeKernel, MapName};
use towpath_model::{Event, NodeDevice, NodeFact, PodDevice, Store};

use super::*;
use crate::clock::ManualClock;

/// A kernel that the test can look into.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<(FakeKernel<PacketImage>, PacketCounters)>>);

impl Kernel<PacketImage> for Shared {
    fn read(&mut self) -> Result<PacketImage, KernelError> {
        self.0.lock().unwrap().0.read()
    }
    fn apply(&mut self, batch: &Batch<PacketOp>) -> Applied {
        self.0.lock().unwrap().0.apply(batch)
    }
}

impl PacketKernel for Shared {
    fn counters(&self) -> PacketCounters {
        self.0.lock().unwrap().1
    }
}

fn device(index: u32, pods: bool, v4: &str) -> NodeDevice {
    NodeDevice { index, name: format!("d{index}").into(), pods, v4: v4.parse().ok(), v6: None }
}

struct Bed {
    store: Store,
    kernel: Shared,
    area: Packets,
    clock: ManualClock,
}

impl Bed {
    fn new(held: Attachments) -> Self {
        Self::judged(held, false)
    }

    fn judged(held: Attachments, judged: bool) -> Self {
        let kernel = Shared::default();
        let (area, _told) = Packets::new(Box::new(kernel.clone()), held, (100, judged)).unwrap();
        let mut store = Store::new("n");
        for event in [Event::Init(NEEDS[0].clone()), Event::InitDone(NEEDS[0].clone())] {
            store.feed(event);
        }
        Self { store, kernel, area, clock: ManualClock::default() }
    }

    fn says(&mut self, devices: &[NodeDevice], forwards: bool) {
        let devices = NodeDevices { devices: devices.to_vec(), forwards: [forwards; 2] };
        self.store.feed(Event::Local(NodeFact::NodeDevices(Arc::new(devices))));
    }

    /// A turn: what is planned to be attached, and what became of the writes.
    fn turn(&mut self) -> (Option<Attachments>, Published) {
        let (view, changes) = self.store.commit();
        let synced = view.synced(&NEEDS).unwrap();
        let planned = self.area.plan(&view, &changes, &synced, &self.clock);
        (planned.attachments, self.area.publish(&synced, &self.clock))
    }

    fn codes(&self) -> Vec<Code> {
        let mut problems = Vec::new();
        self.area.problems(&mut problems);
        problems.iter().map(|problem| problem.code).collect()
    }

    fn held(&self) -> Vec<(u32, u32)> {
        let kernel = self.kernel.0.lock().unwrap();
        kernel.0.image.devices.iter().map(|(index, record)| (*index, record.flags)).collect()
    }
}

#[test]
fn the_nodes_own_devices_carry_programs_and_those_of_pods_are_known() {
    let mut bed = Bed::new(Attachments::new());
    bed.says(
        &[device(2, false, "192.0.2.1"), device(5, true, ""), device(7, false, "10.9.0.1")],
        true,
    );
    let (attachments, published) = bed.turn();
    assert_eq!(attachments, Some(Attachment::of_packets([2, 7])));
    assert_eq!((published.failure, published.pending), (None, false));
    assert_eq!(bed.held(), [(2, 0), (5, DeviceRecord::POD), (7, 0)]);
    bed.says(&[device(2, false, "192.0.2.1")], true);
    assert_eq!(bed.turn().0, Some(Attachment::of_packets([2])));
    assert_eq!(bed.held(), [(2, 0)]);
    assert_eq!(bed.turn().0, None, "nothing changed");
    assert!(bed.codes().is_empty());
}

#[test]
fn what_pods_send_is_translated_at_each_pods_own_device() {
    let mut bed = Bed::new(Attachments::new());
    // A bridge that pods are behind, and two of its ports; a pod's device of its own.
    bed.says(
        &[device(2, false, "192.0.2.1"), device(5, true, "10.9.0.1"), device(8, true, "")],
        true,
    );
    let pods = [6, 7, 8].map(|index| PodDevice { index, addresses: Box::default() });
    bed.store.feed(Event::Local(NodeFact::PodDevices(pods.to_vec().into())));
    assert_eq!(bed.turn().0, Some(Attachment::of_packets([2, 6, 7, 8])));
    let pod = DeviceRecord::POD;
    assert_eq!(bed.held(), [(2, 0), (5, pod), (6, pod), (7, pod), (8, pod)]);
    let source = |index| {
        let kernel = bed.kernel.0.lock().unwrap();
        std::net::IpAddr::from(kernel.0.image.devices[&index].v4).to_string()
    };
    assert_eq!([source(5), source(8)], ["10.9.0.1", "192.0.2.1"], "its own, or else the node's");
    bed.store.feed(Event::Local(NodeFact::PodDevices(pods[..1].to_vec().into())));
    assert_eq!(bed.turn().0, Some(Attachment::of_packets([2, 6])));
}

#[test]
fn where_policies_judge_the_pods_own_devices_say_so_and_no_other() {
    let mut bed = Bed::judged(Attachments::new(), true);
    bed.says(
        &[device(2, false, "192.0.2.1"), device(5, true, "10.9.0.1"), device(8, true, "")],
        true,
    );
    let pods = [6, 8].map(|index| PodDevice { index, addresses: Box::default() });
    bed.store.feed(Event::Local(NodeFact::PodDevices(pods.to_vec().into())));
    bed.turn();
    let (pod, judged) = (DeviceRecord::POD, DeviceRecord::POD | DeviceRecord::JUDGED);
    assert_eq!(bed.held(), [(2, 0), (5, pod), (6, judged), (8, judged)]);
}

#[test]
fn until_devices_are_read_what_is_in_force_stays() {
    let before = Attachment::of_packets([3]);
    let mut bed = Bed::new(before.clone());
    assert_eq!(bed.turn().0, None);
    assert_eq!(Area::attachments(&bed.area), before);
    assert!(bed.codes().is_empty(), "nothing is known to be wrong");
}

#[test]
fn a_write_that_fails_is_tried_again() {
    let mut bed = Bed::new(Attachments::new());
    let full = KernelError::full(MapName::DEVICES, 1);
    bed.kernel.0.lock().unwrap().0.fail_after(1, full.clone());
    bed.says(&[device(2, false, "192.0.2.1"), device(5, true, "")], true);
    let published = bed.turn().1;
    assert_eq!((published.failure, published.pending), (Some(Failure(full.to_string())), true));
    assert_eq!(bed.held(), [(2, 0)]);
    assert_eq!(bed.turn().1.failure, None);
    assert_eq!(bed.held().len(), 2);
}

#[test]
fn what_keeps_packets_out_is_a_problem() {
    let mut bed = Bed::new(Attachments::new());
    bed.says(&[device(5, true, "")], true);
    bed.turn();
    assert_eq!(bed.codes(), [Code::NoWayIn]);
    bed.says(&[device(2, false, "192.0.2.1")], false);
    bed.turn();
    assert_eq!(bed.codes(), [Code::NotForwarding], "of the one family that it has an address of");
    bed.says(&[device(2, false, "192.0.2.1")], true);
    bed.turn();
    assert!(!bed.area.is_due(bed.clock.now()));
    bed.kernel.0.lock().unwrap().1.no_port = 1;
    assert!(bed.area.is_due(bed.clock.now()));
    bed.turn();
    assert_eq!(bed.codes(), [Code::FlowsFull]);
    assert!(!bed.area.is_due(bed.clock.now()), "it is known");
    bed.clock.advance(Duration::from_millis(SHORT_MS));
    assert!(bed.area.is_due(bed.clock.now()));
    bed.turn();
    assert!(bed.codes().is_empty(), "none for a minute: it is over");
    bed.area.flows.entries.store(91, Ordering::Relaxed);
    assert_eq!(bed.codes(), [Code::FlowsFull]);
    bed.area.flows.entries.store(90, Ordering::Relaxed);
    assert!(bed.codes().is_empty());
}
