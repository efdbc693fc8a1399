//! The cluster's DNS zone: objects in, answers in wire form out.
//!
//! [`Zones`] follows the objects and holds a [`Snapshot`], which is immutable and cheap to clone: it
//! shares everything that did not change with the one before. [`answer()`] answers one message from a
//! snapshot, without allocating. Pure: time and what rotates answers are arguments.
//!
//! Sources: the Kubernetes DNS specification 1.1.0, RFC 1035, 2308, 6604, 6891, 8020; where those are
//! silent, CoreDNS.
#![forbid(unsafe_code)]

mod answer;
mod kept;
mod labels;
mod name;
mod problems;
mod query;
mod records;
mod reverse;
mod settings;
mod snapshot;
mod write;
mod zones;

pub use answer::{Client, Miss, Outcome, Reply, Transport, answer, respond};
pub use kept::{Kept, KeptPlace, Unkept, keep, read_kept, sealed};
pub use name::Name;
pub use query::{Edns, Query, Refusal};
pub use settings::{PodRecords, Settings, UDP_SIZE};
pub use snapshot::Snapshot;
pub use zones::{NEEDS, Zones};

/// Response codes (RFC 1035, RFC 6891).
pub mod rcode {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// The message could not be understood.
    pub const FORMERR: u16 = 1;
    /// The server failed.
    pub const SERVFAIL: u16 = 2;
    /// There is no such name.
    pub const NXDOMAIN: u16 = 3;
    /// The server does not do this.
    pub const NOTIMP: u16 = 4;
    /// The server will not do this.
    pub const REFUSED: u16 = 5;
    /// An EDNS version that the server does not know.
    pub const BADVERS: u16 = 16;
}

/// Types of records that are told apart.
pub mod rtype {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Another name of it.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Host and port of a service.
    pub const SRV: u16 = 33;
    /// EDNS.
    pub const OPT: u16 = 41;
    /// Transfer of what changed.
    pub const IXFR: u16 = 251;
    /// Transfer of a zone.
    pub const AXFR: u16 = 252;
    /// Every type.
    pub const ANY: u16 = 255;
}
