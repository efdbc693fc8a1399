//! What happens to a socket call: pure functions over the tables.
//!
//! [`connect()`] says what it would do and writes nothing, so `explain` can ask the same question;
//! [`settle_connect`] and [`sendmsg`] also write what the kernel owns. Nothing here can panic: a panic
//! is an endless loop to the verifier (ebpf-spike.md section 7).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod choose;
mod connect;
mod datagram;
mod lookup;
mod peer;
mod tables;
mod verdict;

pub use choose::contains;
pub use connect::{connect, settle_connect};
pub use datagram::{recvmsg, sendmsg};
pub use peer::getpeername;
pub use tables::{Count, Search, TableMut, Tables};
pub use verdict::{Action, Call, Choice, Request, SocketAddress, Verdict};
