//! The maps as the decisions about packets see them.

use core::ptr::addr_of_mut;

use aya_ebpf::programs::TcContext;
use towpath_datapath::{
    Addr, AffinityKey, AffinityValue, DeviceRecord,
    decide::{
        Beside,
        flow::{Flows, Start},
        nat::{self, Tried},
        node::Pods,
        packets::{PacketTables, Tally},
    },
    flow::{FlowEntry, Tuple},
};

use crate::{
    atomic::add_one,
    lookups::Maps,
    maps::AFFINITY,
    packet_maps::{DEVICES, FLOW_TABLE, PACKETS, work},
    route::{Route, route},
};

/// BPF_NOEXIST: only if there is none.
const NEW: u64 = 1;
/// BPF_EXIST: only over one that is there.
const HELD: u64 = 2;

/// The maps, and the packet of this run.
pub struct Kernel<'a>(pub &'a TcContext);

impl Beside for Kernel<'_> {
    type Tables = Maps;

    #[inline(always)]
    fn tables(&self) -> &Maps {
        &Maps
    }
}

/// The flow table alone.
pub struct Flow;

impl Flows for Flow {
    #[inline(always)]
    fn flow(&self, key: &Tuple) -> Option<FlowEntry> {
        // SAFETY: copied out at once; the entry's check tells a recycled element.
        unsafe { FLOW_TABLE.get(key).copied() }
    }
    #[inline(always)]
    fn insert_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool {
        FLOW_TABLE.insert(key, entry, NEW).is_ok()
    }
    #[inline(always)]
    fn replace_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool {
        FLOW_TABLE.insert(key, entry, 0).is_ok()
    }
    #[inline(always)]
    fn take_over(&self, key: &Tuple, found: &FlowEntry, entry: &FlowEntry) -> bool {
        if found.used == entry.used {
            return false;
        }
        let Some(held) = FLOW_TABLE.get_ptr_mut(key) else { return self.insert_flow(key, entry) };
        // SAFETY: eight aligned bytes of an element (its layout is asserted). An element that was
        // recycled meanwhile holds another stamp. From the swap on others see a flow that is in use.
        let stamp =
            unsafe { swap(addr_of_mut!((*held).used).cast(), found.stamp(), entry.stamp()) };
        stamp == found.stamp() && FLOW_TABLE.insert(key, entry, HELD).is_ok()
    }
    #[inline(always)]
    fn remove_flow(&self, key: &Tuple) {
        // There may be none: that is as good.
        let _ = FLOW_TABLE.remove(key);
    }
}

impl Flows for Kernel<'_> {
    #[inline(always)]
    fn flow(&self, key: &Tuple) -> Option<FlowEntry> {
        Flow.flow(key)
    }
    #[inline(always)]
    fn insert_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool {
        Flow.insert_flow(key, entry)
    }
    #[inline(always)]
    fn replace_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool {
        Flow.replace_flow(key, entry)
    }
    #[inline(always)]
    fn take_over(&self, key: &Tuple, found: &FlowEntry, entry: &FlowEntry) -> bool {
        Flow.take_over(key, found, entry)
    }
    #[inline(always)]
    fn remove_flow(&self, key: &Tuple) {
        Flow.remove_flow(key);
    }
    #[inline(always)]
    fn try_port(&self, _start: &Start, port: u16, now: u32) -> Tried {
        match try_port(u32::from(port), now) {
            CLAIMED => Tried::Claimed,
            TAKEN => Tried::Taken,
            closing => Tried::Closing((closing >> 32) as u32),
        }
    }
    #[inline(always)]
    fn take_port(&self, _start: &Start, port: u16, now: u32) -> bool {
        take_port(u32::from(port), now) == CLAIMED
    }
}

const TAKEN: u64 = 0;
const CLAIMED: u64 = 1;
const CLOSING: u64 = 2;

/// For the flow that this run begins.
#[inline(never)]
fn try_port(port: u32, now: u32) -> u64 {
    let Some(work) = work() else { return TAKEN };
    // SAFETY: this CPU's element of the map; written before anything is claimed.
    match nat::try_port(&Flow, unsafe { &(*work).start }, port as u16, now) {
        Tried::Claimed => CLAIMED,
        Tried::Taken => TAKEN,
        Tried::Closing(used) => CLOSING | u64::from(used) << 32,
    }
}

#[inline(never)]
fn take_port(port: u32, now: u32) -> u64 {
    let Some(work) = work() else { return TAKEN };
    // SAFETY: as above.
    let taken = nat::take_port(&Flow, unsafe { &(*work).start }, port as u16, now);
    if taken { CLAIMED } else { TAKEN }
}

#[inline(always)]
pub fn device(index: u32) -> DeviceRecord {
    // SAFETY: copied out at once.
    unsafe { DEVICES.get(&index).copied().unwrap_or_default() }
}

impl Pods for Kernel<'_> {
    #[inline(always)]
    fn is_here(&self, addr: &Addr) -> bool {
        match route(self.0, &addr.any_of_family(), addr, 1) {
            Route::Here => true,
            Route::By { device: by, .. } => device(by).flags & DeviceRecord::POD != 0,
            Route::TooBig(_) | Route::None => false,
        }
    }
}

impl PacketTables for Kernel<'_> {
    #[inline(always)]
    fn source_for(&self, to: &Addr) -> Addr {
        let Route::By { device: by, .. } = route(self.0, &to.any_of_family(), to, 1) else {
            return Addr::ANY_V6;
        };
        let record = device(by);
        if to.is_v4() { record.v4 } else { record.v6 }
    }
    #[inline(always)]
    fn keep_client(&self, key: &AffinityKey, value: &AffinityValue) {
        let _ = AFFINITY.insert(key, value, 0);
    }
    #[inline(always)]
    fn tally(&self, what: Tally) {
        let Some(counters) = PACKETS.get_ptr_mut(0) else { return };
        // SAFETY: the element of the array.
        unsafe {
            add_one(match what {
                Tally::Begun => addr_of_mut!((*counters).begun),
                Tally::Refused => addr_of_mut!((*counters).refused),
                Tally::Answered => addr_of_mut!((*counters).answered),
                Tally::NoLocalEndpoint => addr_of_mut!((*counters).no_local),
                Tally::NoPort => addr_of_mut!((*counters).no_port),
                Tally::NoWay => addr_of_mut!((*counters).no_way),
                Tally::Lost => addr_of_mut!((*counters).lost),
                Tally::SourceRanges => addr_of_mut!((*counters).source_ranges),
            });
        }
    }
}

/// Puts `new` in the place of `old`, if that is what is there; answers what was there.
///
/// SAFETY: the caller passes a pointer to eight aligned bytes of a map's value.
#[inline(always)]
unsafe fn swap(at: *mut u64, old: u64, new: u64) -> u64 {
    let found;
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({at} + 0, r0, {new})",
            at = in(reg) at,
            new = in(reg) new,
            inlateout("r0") old => found,
        );
    }
    found
}
