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
pub mod records;
pub mod words;

pub use addr::Addr;
pub use keys::{AffinityKey, FlowKey, FrontendKey, FrontendKind, protocol};
pub use records::{
    AffinityValue, BackendRecord, ConfigRecord, FlowValue, NodeAddressValue, PeerValue,
    ServiceCounters, ServiceRecord, SocketRecord, TotalCounters,
};
pub use words::{Empty, FrontendWord, SetChoice, SetWord};

/// Version of every layout in this crate. Maps of another version are never opened: the number is
/// part of the pin directory's name (`v<LAYOUT>`).
pub const LAYOUT: u32 = 1;
