//! Does the DNS server of this node serve? What decides is its own beat, not whether a process exists: a
//! server that is frozen, killed or starved is as good as none.

use super::Tables;
use crate::records::HeartbeatRecord;

/// Nanoseconds without a beat after which a thread does not serve.
pub const STALE_AFTER: u64 = 300_000_000;
/// Nanoseconds of beats without a pause after which it is trusted again: one that comes and goes does not
/// take its clients along each time.
pub const BACK_AFTER: u64 = 1_000_000_000;

/// The oldest beat decides: each thread has clients that no other one answers.
#[inline(always)]
pub fn alive<T: Tables>(tables: &T) -> bool {
    let now = tables.nanoseconds();
    let mut beating = false;
    for slot in 0..HeartbeatRecord::BEATS {
        let beat = tables.beat(slot);
        if beat.last != 0 {
            // Saturating: the clock that is read here may be a tick behind that of the beat.
            let fresh = now.saturating_sub(beat.last) < STALE_AFTER;
            if !fresh || now.saturating_sub(beat.since) < BACK_AFTER {
                return false;
            }
            beating = true;
        }
    }
    beating
}
