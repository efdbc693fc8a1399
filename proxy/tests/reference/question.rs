//! What a socket asks and every answer there is: the words that reference, kernel and tests share.

use std::{collections::BTreeSet, net::IpAddr};

/// One question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Probe {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    /// As IP numbers them: 6 is TCP, 17 UDP, 132 SCTP.
    pub(crate) protocol: u8,
    /// The socket is in the host's network namespace, not in a pod's.
    pub(crate) host: bool,
    /// A datagram with a destination of its own, not a connect().
    pub(crate) datagram: bool,
}

/// When the caller sees ECONNREFUSED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    AtOnce,
    Later,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    NotAService,
    HostOnly,
    UnknownPort(When),
    NoEndpoint(When),
    NoLocalEndpoint,
    SourceRanges,
    Damaged,
    /// One of these, which a client keeps for so many seconds.
    OneOf(BTreeSet<(IpAddr, u16)>, Option<u32>),
}
