//! The maps as the decisions see them: look-ups by value.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
    programs::SockAddrContext,
};
use towpath_datapath::{
    Addr, AffinityKey, AffinityValue, ChoiceKey, ChoiceValue, PeerValue, SocketRecord,
    decide::{Beside, Count, SocketAddress, TableMut},
};

use crate::{
    atomic::add_one,
    context::Family,
    lookups::Maps,
    maps::AFFINITY,
    socket_maps::{CHOICES, COUNTERS, PEERS, SOCKETS, TOTALS},
};

/// The maps, and the socket of this call.
pub struct Kernel<'a> {
    pub ctx: &'a SockAddrContext,
    pub family: Family,
}

impl Beside for Kernel<'_> {
    type Tables = Maps;

    #[inline(always)]
    fn tables(&self) -> &Maps {
        &Maps
    }
}

impl TableMut for Kernel<'_> {
    #[inline(always)]
    fn keep_affinity(&self, key: &AffinityKey, value: &AffinityValue) {
        // An LRU has always room; a lost entry costs a client its backend, nothing else.
        let _ = AFFINITY.insert(key, value, 0);
    }

    #[inline(always)]
    fn choice(&self, key: &ChoiceKey) -> Option<ChoiceValue> {
        // SAFETY: copied out at once.
        unsafe { CHOICES.get(key).copied() }
    }

    #[inline(always)]
    fn keep_choice(&self, key: &ChoiceKey, value: &ChoiceValue) {
        let _ = CHOICES.insert(key, value, 0);
    }

    #[inline(always)]
    fn record(&self) -> SocketRecord {
        let storage = addr_of!(SOCKETS).cast_mut().cast();
        // SAFETY: the verifier knows both as a storage map and a socket; the record is never
        // changed in place, and its memory outlives this program's run (RCU).
        unsafe {
            let found = bpf_sk_storage_get(storage, self.socket(), core::ptr::null_mut(), 0);
            found.cast::<SocketRecord>().as_ref().copied().unwrap_or_default()
        }
    }

    #[inline(always)]
    fn keep_record(&self, record: &SocketRecord) -> bool {
        let storage = addr_of!(SOCKETS).cast_mut().cast();
        let mut value = *record;
        let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
        // SAFETY: as above; the kernel copies the value before the record can be seen.
        let made = unsafe {
            bpf_sk_storage_get(storage, self.socket(), addr_of_mut!(value).cast(), create)
        };
        !made.is_null()
    }

    #[inline(always)]
    fn drop_record(&self) {
        let storage = addr_of!(SOCKETS).cast_mut().cast();
        // SAFETY: as above. There may be none: that is a success.
        unsafe { bpf_sk_storage_delete(storage, self.socket()) };
    }

    #[inline(always)]
    fn note_peer(&self, socket: u64, backend: &SocketAddress) {
        let value = PeerValue { addr: backend.addr, port: backend.port, reserved: [0; 3] };
        let _ = PEERS.insert(&socket, &value, 0);
    }

    #[inline(always)]
    fn forget_peer(&self, socket: u64) {
        // There may be none: that is as good.
        let _ = PEERS.remove(&socket);
    }

    #[inline(always)]
    fn peer(&self) -> SocketAddress {
        // SAFETY: the socket of this call; the verifier checks offsets and widths.
        unsafe {
            let sk = (*self.ctx.sock_addr).__bindgen_anon_1.sk;
            let addr = match self.family {
                Family::V4 => Addr::from_v4_word((*sk).dst_ip4),
                Family::V6 => {
                    Addr([(*sk).dst_ip6[0], (*sk).dst_ip6[1], (*sk).dst_ip6[2], (*sk).dst_ip6[3]])
                }
            };
            SocketAddress::new(addr, (*sk).dst_port)
        }
    }

    #[inline(always)]
    fn count(&self, service: u32, what: Count) {
        let Some(counters) = COUNTERS.get_ptr_mut(service) else { return };
        // SAFETY: an element of the array.
        unsafe {
            add_one(match what {
                Count::Translated => addr_of_mut!((*counters).translated),
                Count::Refused => addr_of_mut!((*counters).refused),
                Count::NoLocal => addr_of_mut!((*counters).no_local),
                Count::Untranslated => addr_of_mut!((*counters).untranslated),
            });
        }
    }

    #[inline(always)]
    fn count_unknown_port(&self) {
        let Some(totals) = TOTALS.get_ptr_mut(0) else { return };
        // SAFETY: the element of the array.
        unsafe { add_one(addr_of_mut!((*totals).unknown_port)) }
    }

    #[inline(always)]
    fn count_evicted(&self) {
        let Some(totals) = TOTALS.get_ptr_mut(0) else { return };
        // SAFETY: the element of the array.
        unsafe { add_one(addr_of_mut!((*totals).choices_evicted)) }
    }

    #[inline(always)]
    fn count_untracked(&self) {
        let Some(totals) = TOTALS.get_ptr_mut(0) else { return };
        // SAFETY: the element of the array.
        unsafe { add_one(addr_of_mut!((*totals).untracked)) }
    }
}

impl Kernel<'_> {
    #[inline(always)]
    fn socket(&self) -> *mut core::ffi::c_void {
        // SAFETY: a field of the context; never null in these hooks.
        unsafe { (*self.ctx.sock_addr).__bindgen_anon_1.sk.cast() }
    }
}
