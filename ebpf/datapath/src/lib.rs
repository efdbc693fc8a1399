//! Layouts of the kernel's maps and the decisions that kernel programs take.
//!
//! Everything here runs twice: inside the kernel (compiled into `ebpf/kern`) and on the host, in
//! property tests and in `explain`. It knows nothing of aya, of system calls or of the cluster.
//!
//! Byte order: addresses and ports are kept in **network order**, exactly as a socket address or a
//! packet holds them; every other number is in the machine's own order.
#![no_std]
#![forbid(unsafe_code)]

pub mod addr;
pub mod decide;
pub mod flow;
pub mod keys;
pub mod packet;
pub mod policy;
pub mod records;
pub mod words;

pub use addr::Addr;
pub use keys::{AffinityKey, ChoiceKey, FrontendKey, FrontendKind, RangeKey, protocol};
pub use records::{
    AffinityValue, BackendRecord, Beat, ChoiceValue, ConfigRecord, DeviceRecord, HeartbeatRecord,
    NodeAddressValue, PacketCounters, PeerValue, ServiceCounters, ServiceRecord, SocketRecord,
    TotalCounters,
};
pub use words::{Empty, FrontendWord, SetChoice, SetWord};

/// Version of every layout in this crate: part of the pin directory's name (`v<LAYOUT>`). It goes up
/// with each change of a shape or a meaning. The maps of another version are taken over when a version
/// starts (ebpf/README.md, "Another layout"): same shapes as they are, others converted.
///
/// 2: what unconnected sockets have chosen is in CHOICES (in 1: FLOWS, of the same shape); frontends
/// say whether packets from outside use the local set, which is filled for them (in 1: never; a word
/// without the flag means the cluster set in both). HEARTBEAT and the flag of frontends that asks for it came
/// later, beside the others: an older version of 2 leaves both alone and uses the sets. So did
/// SOURCE_RANGES: what has ranges is closed to an older version's packets.
pub const LAYOUT: u32 = 2;
