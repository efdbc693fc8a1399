//! Keys and values of the policy maps. Sizes are asserted, every byte is named.
//!
//! An address belongs to a *class*; a pod's direction is judged by a *ruleset*; (ruleset, class) leads
//! to a *row*, which has a bit for each *port class*. Words are read in one piece. A class is kept
//! twice, for two *sides*: a pod's word says which side it reads, so that any number of addresses
//! change their class for a pod at the moment when its word is stored.

use crate::{addr::Addr, keys::mix};

/// Rows have this many bits.
pub const PORT_CLASSES: u16 = 1024;
/// The port class of everything without a TCP, UDP or SCTP port.
pub const PORT_CLASS_OTHER: u16 = 0;
/// Elements of the port table: four ports each, 65,536 ports of three protocols.
pub const PORT_ELEMENTS: u32 = 3 * 65_536 / 4;
/// The class of addresses that no selector and no block matches.
pub const CLASS_WORLD: u16 = 0;
/// In a [`PeerWord`]: the class is what the blocks say.
pub const CLASS_OF_BLOCKS: u16 = u16::MAX;

/// Which of its two classes an address has for a reader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Side {
    /// The first.
    #[default]
    Even,
    /// The second.
    Odd,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

/// Which way a packet goes, seen from the pod.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl Direction {
    /// The way back.
    #[inline(always)]
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

/// Two classes, by side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Classes {
    /// For [`Side::Even`].
    pub even: u16,
    /// For [`Side::Odd`].
    pub odd: u16,
}

impl Classes {
    /// The same on both sides.
    #[must_use]
    pub const fn both(class: u16) -> Self {
        Self { even: class, odd: class }
    }

    /// Of a side.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, side: Side) -> u16 {
        match side {
            Side::Even => self.even,
            Side::Odd => self.odd,
        }
    }

    /// With another class on one side.
    #[must_use]
    pub const fn with(self, side: Side, class: u16) -> Self {
        match side {
            Side::Even => Self { even: class, odd: self.odd },
            Side::Odd => Self { even: self.even, odd: class },
        }
    }
}

/// Value of POLICY_PEERS (hash by [`Addr`]): two classes, and a check of the key, because an element
/// of a kernel hash map may be recycled for another key while a program reads it.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PeerWord(pub u64);

impl PeerWord {
    /// For this address.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: &Addr, classes: Classes) -> Self {
        let classes = classes.even as u64 | (classes.odd as u64) << 16;
        Self(classes | (addr.check() as u64) << 32)
    }

    /// Its classes.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two low halves")]
    pub const fn classes(self) -> Classes {
        Classes { even: self.0 as u16, odd: (self.0 >> 16) as u16 }
    }

    /// Was it written for this address?
    #[inline(always)]
    #[must_use]
    pub const fn fits(self, addr: &Addr) -> bool {
        self.0 >> 32 == addr.check() as u64
    }
}

/// Key of POLICY_BLOCKS (longest prefix): 20 bytes. IPv4 blocks are below `::ffff:0:0/96`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BlockKey {
    /// Prefix length, 0 to 128.
    pub prefix: u32,
    /// First address.
    pub addr: Addr,
}

/// Value of POLICY_BLOCKS, 4 bytes: what [`PeerWord`] says, without a check, which a trie needs not.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BlockWord(pub u32);

impl BlockWord {
    /// Of these classes.
    #[must_use]
    pub const fn new(classes: Classes) -> Self {
        Self(classes.even as u32 | (classes.odd as u32) << 16)
    }

    /// Its classes.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub const fn classes(self) -> Classes {
        Classes { even: self.0 as u16, odd: (self.0 >> 16) as u16 }
    }
}

/// How one direction of a pod is judged: stored in one piece. All zero: not isolated.
///
/// Bit 0 isolated, bit 1 side, bits 8..32 ruleset, 32..56 the row of classes that have none of their
/// own, which allows what any peer may.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DirectionWord(pub u64);

impl DirectionWord {
    /// Highest number of a ruleset, or of a row, plus one.
    pub const NUMBERS_MAX: u32 = 1 << 24;

    /// Isolated.
    #[must_use]
    pub const fn isolated(ruleset: u32, row: u32, side: Side) -> Self {
        let numbers = ((ruleset & 0x00ff_ffff) as u64) << 8 | ((row & 0x00ff_ffff) as u64) << 32;
        Self(1 | (matches!(side, Side::Odd) as u64) << 1 | numbers)
    }

    /// Not isolated.
    #[must_use]
    pub const fn open() -> Self {
        Self(0)
    }

    /// Does a ruleset decide?
    #[inline(always)]
    #[must_use]
    pub const fn is_isolated(self) -> bool {
        self.0 & 1 != 0
    }

    /// Which classes it reads.
    #[inline(always)]
    #[must_use]
    pub const fn side(self) -> Side {
        if self.0 & 2 != 0 { Side::Odd } else { Side::Even }
    }

    /// Number of the ruleset.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "masked to 24 bits")]
    pub const fn ruleset(self) -> u32 {
        (self.0 >> 8) as u32 & 0x00ff_ffff
    }

    /// The row of classes without one.
    #[inline(always)]
    #[must_use]
    pub const fn default_row(self) -> u32 {
        (self.0 >> 32) as u32 & 0x00ff_ffff
    }
}

/// Key of POLICY_ROW_INDEX, 8 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RowKey {
    /// Number of the ruleset.
    pub ruleset: u32,
    /// Class of the peer.
    pub class: u32,
}

impl RowKey {
    #[inline(always)]
    const fn check(self) -> u32 {
        mix(mix(self.ruleset ^ 0x9e37_79b9) ^ self.class)
    }
}

/// Value of POLICY_ROW_INDEX: number of a row, and a check of the key.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RowWord(pub u64);

impl RowWord {
    /// For this key.
    #[must_use]
    pub const fn new(key: RowKey, row: u32) -> Self {
        Self(row as u64 | (key.check() as u64) << 32)
    }

    /// Number of the row.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    pub const fn row(self) -> u32 {
        self.0 as u32
    }

    /// Was it written for this key?
    #[inline(always)]
    #[must_use]
    pub const fn fits(self, key: RowKey) -> bool {
        self.0 >> 32 == key.check() as u64
    }
}

/// One element of POLICY_ROWS (array, mmapable): a bit for each port class. 128 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RowRecord {
    /// Class `c` is bit `c % 64` of word `c / 64`.
    pub words: [u64; 16],
}

impl RowRecord {
    /// With this class allowed.
    pub const fn allow(&mut self, class: u16) {
        self.words[class as usize / 64 % 16] |= 1 << (class % 64);
    }

    /// Is this class allowed?
    #[must_use]
    pub const fn allows(&self, class: u16) -> bool {
        self.words[class as usize / 64 % 16] >> (class % 64) & 1 != 0
    }
}

/// One element of POLICY_PODS (array, mmapable): a pod of this node. 64 bytes; all zero: unused. The
/// addresses of a slot in use never change: a pod whose addresses change gets another slot.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PodRecord {
    /// What comes to the pod.
    pub ingress: DirectionWord,
    /// What comes from the pod.
    pub egress: DirectionWord,
    /// Hash of namespace, name and addresses; 0 only when unused.
    pub identity: u64,
    /// Its IPv6 address, or `::`.
    pub v6: Addr,
    /// Its IPv4 address in network order, or 0.
    pub v4: u32,
    /// Number of this use of the slot: flows of an earlier pod are none of this one.
    pub generation: u32,
    /// Always zero.
    pub reserved: [u32; 4],
}

impl PodRecord {
    /// Of a direction.
    #[inline(always)]
    #[must_use]
    pub const fn word(&self, direction: Direction) -> DirectionWord {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }

    /// Is this one of its addresses?
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, addr: &Addr) -> bool {
        if addr.is_v4() {
            return self.v4 != 0 && addr.v4_word() == self.v4;
        }
        let ([a, b, c, d], [e, f, g, h]) = (self.v6.0, addr.0);
        a == e && b == f && c == g && d == h && (a | b | c | d) != 0
    }
}

/// Value of POLICY_DEVICES (hash by interface index): whose device it is.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DeviceWord(pub u64);

impl DeviceWord {
    /// No pod is known for it: closed, but for what the node itself sends, neighbours and DHCP.
    pub const UNBOUND: Self = Self(0);

    /// The device of the pod in this slot.
    #[must_use]
    pub const fn bound(slot: u32) -> Self {
        Self(1 << 32 | slot as u64)
    }

    /// The pod's slot.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    pub const fn slot(self) -> Option<u32> {
        if self.0 >> 32 == 1 { Some(self.0 as u32) } else { None }
    }
}

/// Key of POLICY_FLOWS, 28 bytes: a connection of a pod, whichever end opened it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PolicyFlowKey {
    /// The other end.
    pub peer: Addr,
    /// The pod's slot, with 8 bits of its generation above.
    pub pod: u32,
    /// The pod's port, network order.
    pub own_port: u16,
    /// The other port, network order.
    pub peer_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero of a flow. 1 or 2, then zeroes: not a flow, but that the beginning of a fragmented datagram
    /// passed to or from the pod; its number is in place of the ports.
    pub zero: [u8; 3],
}

/// Value of POLICY_FLOWS: who opened it, and when a packet was last seen. 8 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PolicyFlowValue {
    /// Seconds of the kernel's monotonic clock.
    pub seen: u32,
    /// [`PolicyFlowValue::FROM_POD`], [`PolicyFlowValue::TO_POD`], [`PolicyFlowValue::FROM_NODE`].
    pub opener: u32,
}

impl PolicyFlowValue {
    /// The pod opened it.
    pub const FROM_POD: u32 = 1;
    /// The peer opened it.
    pub const TO_POD: u32 = 2;
    /// The node itself opened it, to the pod.
    pub const FROM_NODE: u32 = 3;
}

/// The one element of POLICY_COUNTERS: packets that did not pass, by reason. 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PolicyCounters {
    /// To a pod, and no rule allows it.
    pub denied_to_pod: u64,
    /// From a pod, likewise.
    pub denied_from_pod: u64,
    /// From a pod with a source that is not its own.
    pub spoofed: u64,
    /// At a device whose pod is not known yet.
    pub unbound: u64,
    /// Of an isolated pod, and not understood.
    pub unreadable: u64,
    /// For another address than the pod's, as bridges flood.
    pub not_for_it: u64,
    /// Always zero.
    pub reserved: [u64; 2],
}

/// The one element of POLICY_CONFIG.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PolicyConfig {
    /// [`PolicyConfig::CLOSED`] or 0.
    pub flags: u64,
}

impl PolicyConfig {
    /// Devices of pods that are not bound yet are closed. Set while there is any policy.
    pub const CLOSED: u64 = 1;
}

const _: () = assert!(size_of::<BlockKey>() == 20);
const _: () = assert!(size_of::<RowKey>() == 8);
const _: () = assert!(size_of::<RowRecord>() == 128);
const _: () = assert!(size_of::<PodRecord>() == 64);
const _: () = assert!(size_of::<PolicyFlowKey>() == 28);
const _: () = assert!(size_of::<PolicyCounters>() == 64);
const _: () = assert!(size_of::<PolicyFlowValue>() == 8);

/// Place of a port among those of TCP, of UDP, of SCTP.
#[inline(always)]
#[must_use]
pub const fn port_number(protocol: u8, port: u16) -> Option<u32> {
    let base = match protocol {
        crate::protocol::TCP => 0,
        crate::protocol::UDP => 65_536,
        crate::protocol::SCTP => 131_072,
        _ => return None,
    };
    Some(base | port as u32)
}

/// Place of a port in the port table: element, and which of its four.
#[inline(always)]
#[must_use]
pub const fn port_place(protocol: u8, port: u16) -> Option<(u32, u32)> {
    match port_number(protocol, port) {
        Some(at) => Some((at >> 2, at & 3)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_what_was_put_in() {
        let addr = Addr::from_v4_word(7);
        let word = PeerWord::new(&addr, Classes { even: 3, odd: CLASS_OF_BLOCKS });
        assert_eq!(word.classes(), Classes { even: 3, odd: CLASS_OF_BLOCKS });
        assert!(word.fits(&addr) && !word.fits(&Addr::from_v4_word(8)));
        let word = DirectionWord::isolated(0x00ab_cdef, 0x0012_3456, Side::Odd);
        assert_eq!(
            (word.ruleset(), word.default_row(), word.side()),
            (0x00ab_cdef, 0x0012_3456, Side::Odd)
        );
        assert!(word.is_isolated() && !DirectionWord::open().is_isolated());
        let key = RowKey { ruleset: 1, class: 2 };
        let word = RowWord::new(key, 77);
        assert!(word.row() == 77 && word.fits(key) && !word.fits(RowKey { ruleset: 2, class: 1 }));
        assert_eq!((DeviceWord::bound(0).slot(), DeviceWord::UNBOUND.slot()), (Some(0), None));
        let blocks = BlockWord::new(Classes { even: 9, odd: 8 });
        assert_eq!((blocks.classes().of(Side::Even), blocks.classes().of(Side::Odd)), (9, 8));
    }

    #[test]
    fn every_port_has_a_place_of_its_own() {
        assert_eq!(port_place(6, 0), Some((0, 0)));
        assert_eq!(port_place(17, 65_535), Some((32_767, 3)));
        assert_eq!(port_place(132, 65_535), Some((PORT_ELEMENTS - 1, 3)));
        assert_eq!(port_place(1, 8), None);
    }

    #[test]
    fn a_pod_has_its_addresses_and_no_others() {
        let v6 = Addr([1, 2, 3, 4]);
        let pod = PodRecord { v4: 9, v6, ..PodRecord::default() };
        assert!(pod.has(&Addr::from_v4_word(9)) && pod.has(&v6));
        let none = PodRecord::default();
        assert!(!pod.has(&Addr::from_v4_word(8)) && !pod.has(&Addr([1, 2, 3, 5])));
        assert!(!none.has(&Addr::ANY_V4) && !none.has(&Addr::ANY_V6), "unset is no address");
    }
}
