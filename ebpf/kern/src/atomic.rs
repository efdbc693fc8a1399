//! What `core` does not have for this target.

/// `AtomicU64::fetch_add` does not exist on this target, and a relaxed one whose result is used is
/// miscompiled (ebpf-spike.md section 7): this one has no result.
#[inline(always)]
pub unsafe fn add_one(counter: *mut u64) {
    // SAFETY: the caller passes a pointer to eight aligned bytes of a map's value.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1u64);
    }
}
