//! The 64-bit words that are read and written in one piece: what makes a change atomic.

use crate::keys::FrontendKey;

/// Which of a service's two backend sets a frontend uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SetChoice {
    /// Endpoints usable cluster-wide (index 0 of `ServiceRecord::sets`).
    Cluster = 0,
    /// Endpoints of this node, or of the node a per-node service is for (index 1).
    Local = 1,
}

/// What an empty set means for a new flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Empty {
    /// No usable endpoint anywhere: refuse at once (services.md 1.3, "reject").
    Refuse,
    /// Endpoints exist, but none that this policy may use: leave the address alone ("drop").
    Leave,
}

/// One backend set: where its extent begins in BACKENDS, how long it is, and an epoch.
///
/// Bits 0..32 base, 32..48 count, 48..64 epoch. A count of zero carries the meaning of emptiness in
/// the base (0 refuse, 1 leave). The epoch changes with every publication, so that an equal word
/// means an equal set, also when an extent is reused.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SetWord(pub u64);

impl SetWord {
    /// A set with `count` > 0 backends at `base`.
    #[inline(always)]
    #[must_use]
    pub const fn new(base: u32, count: u16, epoch: u16) -> Self {
        Self(base as u64 | (count as u64) << 32 | (epoch as u64) << 48)
    }
    /// A set without backends.
    #[inline(always)]
    #[must_use]
    pub const fn empty(meaning: Empty, epoch: u16) -> Self {
        Self::new(matches!(meaning, Empty::Leave) as u32, 0, epoch)
    }
    /// First slot of the extent.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the base")]
    pub const fn base(self) -> u32 {
        self.0 as u32
    }
    /// Number of backends.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "bits 32..48 are the count")]
    pub const fn count(self) -> u16 {
        (self.0 >> 32) as u16
    }
    /// Publication number, wrapping.
    #[inline(always)]
    #[must_use]
    pub const fn epoch(self) -> u16 {
        (self.0 >> 48) as u16
    }
    /// What the emptiness means, when the count is zero.
    #[inline(always)]
    #[must_use]
    pub const fn meaning(self) -> Empty {
        if self.base() == 1 { Empty::Leave } else { Empty::Refuse }
    }
}

/// Value of FRONTENDS: which service, how it is used, and a check of the key.
///
/// Bits 0..24 service index, 24..32 flags, 32..64 [`FrontendKey::check`]. The check exists because
/// an element of a kernel hash map may be recycled for another key while a program reads it; a word
/// whose check does not fit the key that was asked for is looked up once more.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FrontendWord(pub u64);

impl FrontendWord {
    /// Highest service index plus one that fits.
    pub const SERVICES_MAX: u32 = 1 << 24;
    /// Flag: use the local set, not the cluster set.
    pub const LOCAL_SET: u8 = 1;
    /// Flag: only sources in the service's ranges may come in. A pod's socket has no source address yet:
    /// what it sends is judged as packets.
    pub const SOURCE_RANGES: u8 = 1 << 1;
    /// Flag, on [`crate::FrontendKind::Node`] only: a remote node's address is answered by that
    /// node's own endpoints ([`crate::FrontendKind::NodeLocal`]), externalTrafficPolicy Local.
    pub const PER_NODE: u8 = 1 << 2;
    /// Flag: reachable from outside the cluster (NodePort, load balancer, external address).
    pub const EXTERNAL: u8 = 1 << 3;
    /// Flag: packets from outside the cluster use the local set (externalTrafficPolicy Local).
    /// Sockets are short-circuited and do not look at it. Layout 1 had no such flag.
    pub const LOCAL_OUTSIDE: u8 = 1 << 4;

    /// Flag: a DNS server of this node's own answers at this address while its heartbeat is fresh, and the
    /// sets are for when it is not. Before there was such a flag the sets led to the address itself.
    pub const OWN_DNS: u8 = 1 << 5;

    /// Flag, beside [`Self::SOURCE_RANGES`]: the ranges hold this node's address, which a socket of the
    /// host's that is bound to none will have.
    pub const NODE_IN_RANGES: u8 = 1 << 6;

    /// For `key`. `service` must be below [`Self::SERVICES_MAX`]; higher bits are cut off.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: &FrontendKey, service: u32, flags: u8) -> Self {
        Self((service & 0x00ff_ffff) as u64 | (flags as u64) << 24 | (key.check() as u64) << 32)
    }
    /// Index into SERVICES.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "masked to 24 bits")]
    pub const fn service(self) -> u32 {
        self.0 as u32 & 0x00ff_ffff
    }
    /// Flags of this frontend.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "bits 24..32 are the flags")]
    pub const fn flags(self) -> u8 {
        (self.0 >> 24) as u8
    }
    /// Are these flags set?
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u8) -> bool {
        self.flags() & flags == flags
    }
    /// The set in force for this frontend.
    #[inline(always)]
    #[must_use]
    pub const fn set(self) -> SetChoice {
        if self.has(Self::LOCAL_SET) { SetChoice::Local } else { SetChoice::Cluster }
    }
    /// Does this word belong to `key`?
    #[inline(always)]
    #[must_use]
    pub const fn fits(self, key: &FrontendKey) -> bool {
        (self.0 >> 32) as u32 == key.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addr, FrontendKind, protocol};

    #[test]
    fn a_set_word_keeps_its_parts_apart() {
        let w = SetWord::new(u32::MAX, u16::MAX, 7);
        assert_eq!((w.base(), w.count(), w.epoch()), (u32::MAX, u16::MAX, 7));
        let empty = SetWord::empty(Empty::Leave, 3);
        assert_eq!((empty.count(), empty.meaning(), empty.epoch()), (0, Empty::Leave, 3));
        assert_eq!(SetWord::default().meaning(), Empty::Refuse);
    }

    #[test]
    fn a_frontend_word_fits_its_own_key_only() {
        let key = FrontendKey::vip(Addr::ANY_V4, 80, protocol::TCP);
        let other = FrontendKey::vip(Addr::ANY_V4, 81, protocol::TCP);
        let w = FrontendWord::new(&key, 0x00ab_cdef, FrontendWord::LOCAL_SET);
        assert_eq!((w.service(), w.set()), (0x00ab_cdef, SetChoice::Local));
        assert!(w.fits(&key) && !w.fits(&other));
        assert_eq!(key.kind(), Some(FrontendKind::Vip));
    }
}
