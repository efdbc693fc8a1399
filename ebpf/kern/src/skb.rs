//! A packet of a device's.

use core::ptr::addr_of_mut;

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use towpath_datapath::packet::Packet;

/// A packet's bytes, copied by a helper: it takes any offset, and packets whose headers lie in pages.
pub struct Skb {
    pub skb: *mut __sk_buff,
}

impl Skb {
    #[inline(always)]
    fn load<T: Copy>(&self, at: u32, zero: T) -> Option<T> {
        let mut value = zero;
        let to = addr_of_mut!(value).cast();
        // SAFETY: the helper writes as many bytes as the value has, or none and an error.
        let error = unsafe { bpf_skb_load_bytes(self.skb.cast(), at, to, size_of::<T>() as u32) };
        if error == 0 { Some(value) } else { None }
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn byte(&self, at: u32) -> Option<u8> {
        self.load(at, 0u8)
    }

    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        self.load(at, 0u16)
    }

    #[inline(always)]
    fn word(&self, at: u32) -> Option<u32> {
        self.load(at, 0u32)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the kernel passes a valid context; the verifier checks the field.
        unsafe { (*self.skb).len }
    }
}
