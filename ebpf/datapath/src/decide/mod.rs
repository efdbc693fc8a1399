//! What happens to a socket call or to a packet: pure functions over the tables.
//!
//! [`connect()`] says what it would do and writes nothing, so `explain` can ask the same question;
//! [`settle_connect`] and [`sendmsg`] also write what the kernel owns. Nothing here can panic: a panic
//! is an endless loop to the verifier (ebpf-spike.md section 7).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod choose;
mod connect;
mod datagram;
pub mod errors;
pub mod flow;
pub mod guard;
mod heartbeat;
mod lookup;
pub mod nat;
pub mod node;
pub mod packets;
mod peer;
mod pod;
mod policy;
mod tables;
mod verdict;

pub use choose::contains;
pub use connect::{connect, settle_connect};
pub use datagram::{recvmsg, sendmsg};
pub use heartbeat::{BACK_AFTER, STALE_AFTER, alive};
pub use node::{Dispatch, dispatch};
pub use peer::getpeername;
pub use pod::{PodTables, PodVerdict, pod_packet};
pub use policy::{
    DATAGRAM_FLOW_SECONDS, Origin, PolicyFlows, PolicyTables, PolicyTuple, PolicyVerdict, Segment,
    forward, has_openings, policy, related,
};
pub use tables::{Beside, Count, Search, TableMut, Tables};
pub use verdict::{Action, Call, Choice, Request, SocketAddress, Verdict};
