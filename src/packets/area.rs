//! Packets as an area of the loop: which devices translate them.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use towpath_image::{
    Attachment, Attachments, Batch, Image as _, Kernel, KernelError, PacketImage, PacketOp,
    datapath::{DeviceRecord, PacketCounters},
};
use towpath_model::{
    Changes, Code, Key, Kind, NodeDevice, NodeDevices, Problem, Stream, Synced, View,
};

use super::sweeper::{Looks, Told, looks};
use crate::{
    clock::{Clock, Millis, Now},
    reconcile::{Area, Failure, Outcome, Planned, Published},
};

/// What must be listed before devices are bound anew.
pub static NEEDS: [Stream; 1] = [Stream::all(Kind::Node)];

/// What problems name.
const DEVICES: &str = "devices of this node";
/// So long after the last flow that found no port it is a problem still.
const SHORT_MS: Millis = 60_000;
/// A flow table of which so many parts of ten are used is a problem.
const NEARLY: u64 = 9;

/// The maps of packets.
pub trait PacketKernel: Kernel<PacketImage> {
    /// What became of packets so far.
    fn counters(&self) -> PacketCounters;
}

impl PacketKernel for towpath_ebpf::LiveMaps<PacketImage> {
    fn counters(&self) -> PacketCounters {
        Self::counters(self)
    }
}

/// The devices that bring packets from outside and from pods, and what the kernel knows of them.
pub struct Packets {
    kernel: Box<dyn PacketKernel>,
    /// What the kernel holds.
    held: PacketImage,
    /// What it should hold.
    wanted: PacketImage,
    /// What an earlier daemon left at devices; then what is wanted there.
    attachments: Attachments,
    /// What was read of the devices, once it was.
    seen: Option<NodeDevices>,
    /// The devices of pods that it was planned for.
    pods: Vec<u32>,
    failure: Option<String>,
    flows: Looks,
    capacity: u32,
    /// NetworkPolicies judge what comes out of pods.
    judged: bool,
    /// Flows that found no port or no room, when it was last looked.
    no_port: u64,
    /// When that was seen to grow; `None`: long ago.
    no_port_since: Option<Millis>,
}

impl Packets {
    /// Over what the kernel holds now, and has in force at devices; and what its sweeper is told by.
    /// `capacity`: of the flow table; `judged`: NetworkPolicies judge what comes out of pods.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub(super) fn new(
        mut kernel: Box<dyn PacketKernel>,
        attachments: Attachments,
        (capacity, judged): (u32, bool),
    ) -> Result<(Self, Told), KernelError> {
        let held = kernel.read()?;
        let no_port = kernel.counters().no_port;
        let (flows, told) = looks();
        let wanted = held.clone();
        let (seen, failure, no_port_since, pods) = (None, None, None, Vec::new());
        let area = Self {
            kernel,
            held,
            wanted,
            attachments,
            seen,
            pods,
            failure,
            flows,
            capacity,
            judged,
            no_port,
            no_port_since,
        };
        Ok((area, told))
    }

    /// What became of packets so far.
    #[must_use]
    pub fn counters(&self) -> PacketCounters {
        self.kernel.counters()
    }

    /// Takes note of flows that found no port.
    fn look(&mut self, now: Millis) {
        let no_port = self.kernel.counters().no_port;
        if no_port != self.no_port {
            (self.no_port, self.no_port_since) = (no_port, Some(now));
        } else if self.is_over(now) {
            self.no_port_since = None;
        }
    }

    fn is_over(&self, now: Millis) -> bool {
        self.no_port_since.is_some_and(|since| now.saturating_sub(since) >= SHORT_MS)
    }

    /// From what is held to what is wanted; what leaves makes room first.
    fn batch(&self) -> Batch<PacketOp> {
        let (held, wanted) = (&self.held.devices, &self.wanted.devices);
        let puts = wanted.iter().filter(|(index, record)| held.get(index) != Some(record));
        let puts =
            puts.map(|(index, record)| PacketOp::PutDevice { index: *index, record: *record });
        let gone = held.keys().filter(|index| !wanted.contains_key(index));
        let gone = gone.map(|index| PacketOp::DeleteDevice { index: *index });
        Batch { ops: gone.chain(puts).collect() }
    }
}

/// What programs are to know of these devices.
///
/// Where a pod reaches itself the device that leads there needs a source for it; one without an address
/// takes the node's, as the kernel would.
fn image(devices: &NodeDevices, pods: &[u32], judged: bool) -> PacketImage {
    let own = || devices.devices.iter().filter(|device| !device.pods);
    let (v4, v6) = (own().find_map(|device| device.v4), own().find_map(|device| device.v6));
    let record = |index: u32, device: Option<&NodeDevice>| {
        let mut flags = if device.is_none_or(|device| device.pods) { DeviceRecord::POD } else { 0 };
        if judged && pods.contains(&index) {
            flags |= DeviceRecord::POD | DeviceRecord::JUDGED;
        }
        let borrows = flags & DeviceRecord::POD != 0;
        let v4 = device.and_then(|device| device.v4).or_else(|| v4.filter(|_| borrows));
        let v6 = device.and_then(|device| device.v6).or_else(|| v6.filter(|_| borrows));
        DeviceRecord {
            v4: v4.map_or_else(Default::default, |ip| std::net::IpAddr::from(ip).into()),
            v6: v6.map_or_else(Default::default, |ip| std::net::IpAddr::from(ip).into()),
            flags,
            reserved: 0,
        }
    };
    // The ports of a bridge are known by no route of their own.
    let ports = pods.iter().map(|index| (*index, record(*index, None)));
    let routed =
        devices.devices.iter().map(|device| (device.index, record(device.index, Some(device))));
    PacketImage { devices: ports.chain(routed).collect() }
}

impl Area for Packets {
    const NAME: &'static str = "packets";

    fn needs(&self) -> &[Stream] {
        &NEEDS
    }

    fn attachments(&self) -> Attachments {
        self.attachments.clone()
    }

    fn plan(
        &mut self,
        view: &View<'_>,
        _changes: &Changes,
        _synced: &Synced,
        _clock: &dyn Clock,
    ) -> Planned {
        // Until devices were read, what is in force stays so.
        let Some(devices) = view.node_devices() else { return Planned::default() };
        let pods: Vec<u32> = view.pod_devices().iter().map(|device| device.index).collect();
        let same = self.seen.as_ref() == Some(devices);
        if same && self.pods == pods {
            return Planned::default();
        }
        self.wanted = image(devices, &pods, self.judged);
        let own = devices.devices.iter().filter(|device| !device.pods);
        let indices = own.clone().map(|device| device.index);
        self.attachments = Attachment::of_packets(indices.chain(pods.iter().copied()));
        if !same {
            let names: Vec<&str> = own.map(|device| &*device.name).collect();
            tracing::info!(devices = ?names, "packets from outside are translated at these devices");
        }
        (self.seen, self.pods) = (Some(devices.clone()), pods);
        Planned { attachments: Some(self.attachments.clone()), ..Planned::default() }
    }

    fn publish(&mut self, _synced: &Synced, clock: &dyn Clock) -> Published {
        self.look(clock.now_ms());
        let batch = self.batch();
        self.failure = None;
        if !batch.ops.is_empty() {
            let applied = self.kernel.apply(&batch);
            for op in batch.ops.iter().take(applied.done) {
                // It was carried out: the image takes it, too.
                let _taken = self.held.apply(op);
            }
            self.failure = applied.failure.map(|failure| failure.to_string());
        }
        let pending = self.failure.is_some();
        Published { failure: self.failure.clone().map(Failure), pending }
    }

    fn repair(&mut self, _view: &View<'_>, _clock: &dyn Clock) -> Result<(), Failure> {
        self.held = self.kernel.read().map_err(|error| Failure(error.to_string()))?;
        Ok(())
    }

    fn outcome(&self, _of: &Key) -> Outcome {
        self.failure.clone().map_or(Outcome::Done, Outcome::Failed)
    }

    fn problems(&self, out: &mut Vec<Problem>) {
        out.extend(self.seen.iter().flat_map(of_devices));
        let entries = self.flows.entries.load(Ordering::Relaxed);
        let short = self.no_port_since.is_some();
        if entries * 10 > u64::from(self.capacity) * NEARLY || short {
            let lately =
                if short { ", and flows found no port or no room in the last minute" } else { "" };
            let why = format!(
                "{entries} of {} entries are used{lately}: a flow that finds none is dropped, those that are \
                 there go on",
                self.capacity
            );
            let action =
                "look for a client that opens connections without end; more nodes share the load";
            out.push(Problem::new(Code::FlowsFull, None, "flows of packets", &why, action));
        }
    }

    fn is_due(&self, now: Now) -> bool {
        // Counters are memory that is shared with the kernel: no syscall.
        self.kernel.counters().no_port != self.no_port || self.is_over(now.ms())
    }
}

/// What is wrong with the devices that were read.
fn of_devices(devices: &NodeDevices) -> Vec<Problem> {
    let mut problems = Vec::new();
    let own: Vec<_> = devices.devices.iter().filter(|device| !device.pods).collect();
    if own.is_empty() {
        let why = "none is up, has an address, an Ethernet header, and no pods behind it: nothing from \
                   outside is translated";
        let action = "the daemon runs in the host's network namespace (hostNetwork: true)";
        problems.push(Problem::new(Code::NoWayIn, None, DEVICES, why, action));
    }
    let families: BTreeSet<usize> = own
        .iter()
        .flat_map(|device| [device.v4.map(|_| 0), device.v6.map(|_| 1)])
        .flatten()
        .collect();
    for family in families.into_iter().filter(|family| !devices.forwards[*family]) {
        let (name, switch) =
            [("IPv4", "net.ipv4.ip_forward"), ("IPv6", "net.ipv6.conf.all.forwarding")][family];
        let why = format!("{name} packets are not forwarded: those from outside reach no pod");
        let action = format!("set {switch}=1");
        problems.push(Problem::new(Code::NotForwarding, None, DEVICES, &why, &action));
    }
    problems
}

#[cfg(test)]
mod tests;
