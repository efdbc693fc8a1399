//! The question a hook asks, and the named answers.

use crate::{addr::Addr, keys::protocol, records::BackendRecord, words::SetWord};

/// An address and a port, both in network order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SocketAddress {
    /// Address.
    pub addr: Addr,
    /// Port, network order.
    pub port: u16,
}

impl SocketAddress {
    /// `port` in network order.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: Addr, port: u16) -> Self {
        Self { addr, port }
    }

    /// Equal? (Word by word: comparing arrays as slices costs a call in the kernel.)
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.addr.0, other.addr.0);
        self.port == other.port && d == h && c == g && b == f && a == e
    }

    /// The order of extents, the same as [`BackendRecord::order`].
    #[inline(always)]
    #[must_use]
    pub const fn before(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.addr.0, other.addr.0);
        if a != e {
            return a < e;
        }
        if b != f {
            return b < f;
        }
        if c != g {
            return c < g;
        }
        if d != h {
            return d < h;
        }
        self.port < other.port
    }
}

impl From<BackendRecord> for SocketAddress {
    #[inline(always)]
    fn from(backend: BackendRecord) -> Self {
        Self::new(backend.addr, backend.port)
    }
}

/// Which system call asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// connect(), TCP or UDP.
    Connect,
    /// A datagram with a destination of its own.
    Send,
}

/// One socket call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Which call.
    pub call: Call,
    /// IP protocol number.
    pub protocol: u8,
    /// Where it wants to go.
    pub to: SocketAddress,
    /// The address that the socket is bound to; unspecified: to none.
    pub from: Addr,
    /// Cookie of the socket's network namespace.
    pub netns: u64,
    /// Cookie of the socket; used by UDP only.
    pub socket: u64,
}

/// A backend, and what it was chosen from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Index into SERVICES.
    pub service: u32,
    /// Identity of the service when the client is to keep this backend, else 0.
    pub affinity: u64,
    /// The set in force.
    pub word: SetWord,
    /// Where the flow goes.
    pub backend: SocketAddress,
}

/// Every answer there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// No frontend: not ours.
    Untouched,
    /// Sockets of pods are left alone (`socketLB: hostOnly`).
    HostOnly,
    /// A clusterIP without such a port.
    UnknownPort,
    /// No usable endpoint anywhere.
    NoEndpoint {
        /// Index into SERVICES.
        service: u32,
    },
    /// Only endpoints elsewhere, which the policy does not allow.
    NoLocalEndpoint {
        /// Index into SERVICES.
        service: u32,
    },
    /// The frontend has source ranges. A packet's source is in none of them, nor is a socket's of the host's;
    /// a pod's socket is left to the packet path.
    SourceRanges {
        /// Index into SERVICES.
        service: u32,
    },
    /// The address is left alone: this node's own DNS server answers there.
    OwnDns {
        /// Index into SERVICES.
        service: u32,
    },
    /// The tables contradict each other (an extent outside the array, an endpoint of the other
    /// family). The audit repairs them; until then the address is left alone.
    Damaged {
        /// Index into SERVICES.
        service: u32,
    },
    /// To this backend.
    Translate(Choice),
}

/// What the hook does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing.
    Leave,
    /// ECONNREFUSED.
    Refuse,
    /// Replace the destination.
    Rewrite(SocketAddress),
}

impl Verdict {
    /// What follows for this call. A UDP connect() is never refused (services.md 1.3: it is the next
    /// call on the socket that sees ECONNREFUSED).
    #[inline(always)]
    #[must_use]
    pub const fn action(&self, request: &Request) -> Action {
        match self {
            Self::Translate(choice) => Action::Rewrite(choice.backend),
            Self::UnknownPort | Self::NoEndpoint { .. } => {
                if request.protocol == protocol::TCP || matches!(request.call, Call::Send) {
                    Action::Refuse
                } else {
                    Action::Leave
                }
            }
            _ => Action::Leave,
        }
    }
}
