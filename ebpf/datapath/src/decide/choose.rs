//! From a frontend to a backend.

use super::{Choice, Search, SocketAddress, Tables, Verdict};
use crate::{
    addr::Addr,
    keys::AffinityKey,
    records::ServiceRecord,
    words::{Empty, FrontendWord, SetWord},
};

/// A binary search over at most 65,535 elements ends within 16 steps; one more is a margin that the
/// verifier can count.
const STEPS: u32 = 17;

/// Is this address in the set? Extents are sorted.
#[inline(always)]
pub fn contains<T: Search>(tables: &T, set: SetWord, wanted: &SocketAddress) -> bool {
    let mut low = set.base();
    let mut high = low.wrapping_add(u32::from(set.count()));
    for _ in 0..STEPS {
        if low >= high {
            return false;
        }
        let middle = low.wrapping_add(high.wrapping_sub(low) >> 1);
        let Some(backend) = tables.backend(middle) else { return false };
        let here = SocketAddress::from(backend);
        if here.is(wanted) {
            return true;
        }
        if here.before(wanted) {
            low = middle.wrapping_add(1);
        } else {
            high = middle;
        }
    }
    false
}

/// A backend for a new flow of this client, of this family. The set word was read once by the caller: what is decided here is right
/// for that set, whatever is published meanwhile.
#[inline(always)]
pub(super) fn choose<T: Tables>(
    tables: &T,
    client: Addr,
    v4: bool,
    frontend: FrontendWord,
    set: SetWord,
    random: u32,
    now: u32,
) -> Verdict {
    let service = frontend.service();
    if set.count() == 0 {
        return match set.meaning() {
            Empty::Refuse => Verdict::NoEndpoint { service },
            Empty::Leave => Verdict::NoLocalEndpoint { service },
        };
    }
    let Some(record) = tables.service(service) else { return Verdict::Damaged { service } };
    let affinity = if record.flags & ServiceRecord::AFFINITY != 0 { record.identity } else { 0 };
    if affinity != 0 {
        let key = AffinityKey { client, service: affinity };
        if let Some(kept) = tables.affinity(&key) {
            let backend = SocketAddress::new(kept.addr, kept.port);
            // Saturating: another CPU may have written with a clock that is a tick ahead of ours.
            let fresh = now.saturating_sub(kept.used) < record.affinity_seconds;
            if fresh && backend.addr.is_v4() == v4 && tables.in_set(set, &backend) {
                return Verdict::Translate(Choice { service, affinity, word: set, backend });
            }
        }
    }
    let slot = set.base().wrapping_add(pick(random, set.count()));
    let Some(backend) = tables.backend(slot) else { return Verdict::Damaged { service } };
    let backend = SocketAddress::from(backend);
    if backend.port == 0 || backend.addr.is_v4() != v4 {
        return Verdict::Damaged { service };
    }
    Verdict::Translate(Choice { service, affinity, word: set, backend })
}

/// Uniform over 0..count.
#[inline(always)]
const fn pick(random: u32, count: u16) -> u32 {
    ((random as u64).wrapping_mul(count as u64) >> 32) as u32
}
