//! Keys of the maps. No padding anywhere: the kernel compares keys byte by byte.

use crate::addr::Addr;

/// IP protocol numbers that Services know.
pub mod protocol {
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// What the address of a [`FrontendKey`] means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FrontendKind {
    /// A clusterIP, load balancer or external address.
    Vip = 0,
    /// A nodePort on any node's address; the key's address is the family's "any".
    Node = 1,
    /// A nodePort with externalTrafficPolicy Local on one remote node: that node's endpoints.
    NodeLocal = 2,
    /// The address is a clusterIP: ports that no frontend has are refused. Port and protocol 0.
    Guard = 3,
}

/// Key of FRONTENDS, 20 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FrontendKey {
    /// Address, or what [`FrontendKind`] says.
    pub addr: Addr,
    /// Port, network order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`FrontendKind`].
    pub kind: u8,
}

impl FrontendKey {
    /// `port` in host order.
    #[inline(always)]
    #[must_use]
    pub const fn vip(addr: Addr, port: u16, protocol: u8) -> Self {
        Self { addr, port: port.to_be(), protocol, kind: FrontendKind::Vip as u8 }
    }
    /// A nodePort of the family of `addr`; `port` in host order.
    #[inline(always)]
    #[must_use]
    pub const fn node(addr: Addr, port: u16, protocol: u8) -> Self {
        Self {
            addr: addr.any_of_family(),
            port: port.to_be(),
            protocol,
            kind: FrontendKind::Node as u8,
        }
    }
    /// A nodePort of the family of `addr` on the node with this identity; `port` in host order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the identity")]
    pub const fn node_local(addr: Addr, node: u64, port: u16, protocol: u8) -> Self {
        let any = addr.any_of_family();
        Self {
            addr: Addr([node as u32, (node >> 32) as u32, any.0[2], 0]),
            port: port.to_be(),
            protocol,
            kind: FrontendKind::NodeLocal as u8,
        }
    }
    /// The guard of a clusterIP.
    #[inline(always)]
    #[must_use]
    pub const fn guard(addr: Addr) -> Self {
        Self { addr, port: 0, protocol: 0, kind: FrontendKind::Guard as u8 }
    }
    /// What kind of key this is; `None` for a number this version does not know.
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> Option<FrontendKind> {
        Some(match self.kind {
            0 => FrontendKind::Vip,
            1 => FrontendKind::Node,
            2 => FrontendKind::NodeLocal,
            3 => FrontendKind::Guard,
            _ => return None,
        })
    }
    /// 32 bits derived from the key (murmur3 finaliser over its five words).
    #[inline(always)]
    #[must_use]
    pub const fn check(&self) -> u32 {
        let last = (self.port as u32) << 16 | (self.protocol as u32) << 8 | self.kind as u32;
        let mut h = mix(self.addr.0[0] ^ 0x9e37_79b9);
        h = mix(h ^ self.addr.0[1]);
        h = mix(h ^ self.addr.0[2]);
        h = mix(h ^ self.addr.0[3]);
        mix(h ^ last)
    }
}

/// Key of SOURCE_RANGES (longest prefix), 24 bytes: a block of addresses from which a service may be reached
/// by frontends that have source ranges.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RangeKey {
    /// Prefix length: the 32 bits of the index, and those of the address.
    pub prefix: u32,
    /// Index into SERVICES. Ranges come before the record at that index and go after it, so a change of
    /// ranges is a change of index, and no client meets half of one.
    pub service: u32,
    /// First address of the block.
    pub addr: Addr,
}

impl RangeKey {
    /// The first `length` bits of `addr`, in its own family's count (of IPv4 32 at most).
    #[must_use]
    pub const fn new(service: u32, addr: Addr, length: u8) -> Self {
        let length = length as u32 + if addr.is_v4() { 96 } else { 0 };
        let length = if length > 128 { 128 } else { length };
        Self { prefix: 32 + length, service, addr: addr.prefix(length) }
    }

    /// The key that one address is looked up by.
    #[inline(always)]
    #[must_use]
    pub const fn of(service: u32, addr: &Addr) -> Self {
        Self { prefix: 160, service, addr: *addr }
    }

    /// Is this address, of a client of this service, in the block?
    #[must_use]
    pub const fn contains(&self, service: u32, addr: &Addr) -> bool {
        self.service == service && addr.prefix(self.prefix.saturating_sub(32)).is(&self.addr)
    }
}

/// By service first.
impl Ord for RangeKey {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.service, self.addr, self.prefix).cmp(&(other.service, other.addr, other.prefix))
    }
}

impl PartialOrd for RangeKey {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[inline(always)]
pub(crate) const fn mix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// Key of AFFINITY: which client, which service port. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AffinityKey {
    /// Client: a network namespace cookie ([`AffinityKey::of_namespace`]) or a source address.
    pub client: Addr,
    /// Identity of the service port (`ServiceRecord::identity`), stable over index changes.
    pub service: u64,
}

impl AffinityKey {
    /// A pod (or the host) is its network namespace: equivalent to its address (services.md 1.5).
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the cookie")]
    pub const fn of_namespace(cookie: u64, service: u64) -> Self {
        Self { client: Addr([cookie as u32, (cookie >> 32) as u32, u32::MAX, 0]), service }
    }
}

/// Key of CHOICES: what an unconnected UDP socket has chosen, in both directions. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChoiceKey {
    /// Socket cookie.
    pub socket: u64,
    /// Frontend or backend address.
    pub addr: Addr,
    /// Its port, network order.
    pub port: u16,
    /// 0: from frontend to backend; 1: from backend to frontend.
    pub direction: u16,
    /// Always zero.
    pub zero: u32,
}

impl ChoiceKey {
    /// From a frontend to the backend that this socket uses for it; `port` in network order.
    #[inline(always)]
    #[must_use]
    pub const fn forward(socket: u64, addr: Addr, port: u16) -> Self {
        Self { socket, addr, port, direction: 0, zero: 0 }
    }
    /// From a backend to the frontend that this socket reaches it by; `port` in network order.
    #[inline(always)]
    #[must_use]
    pub const fn reverse(socket: u64, addr: Addr, port: u16) -> Self {
        Self { socket, addr, port, direction: 1, zero: 0 }
    }
}

const _: () = assert!(size_of::<FrontendKey>() == 20);
const _: () = assert!(size_of::<AffinityKey>() == 24);
const _: () = assert!(size_of::<RangeKey>() == 24);
const _: () = assert!(size_of::<ChoiceKey>() == 32);
