//! Ends connected UDP sockets whose backend is gone.
//!
//! A connected UDP socket was translated once, when it connected, and would talk to a dead endpoint
//! for ever: UDP has no reset (services.md 5, cilium#12859; 7.4 d). In the daemon's own network
//! namespace `sock_diag` can end it: its owner reads `ECONNABORTED` and connects again.
//! Only sockets that were translated are touched: who dialled the endpoint's own address chose it.
//! Sockets inside pods live in other namespaces, which this does not enter.

use std::{collections::BTreeSet, io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::{
    SockDiagDestroy, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

/// A backend: its address and port.
pub(super) type Backend = (IpAddr, u16);

/// What one sweep found and did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sweep {
    /// Translated sockets connected to a removed backend.
    pub(super) seen: u64,
    /// Of those, ended.
    pub(super) ended: u64,
    /// Of those, closed or connected elsewhere by their owner before we came.
    pub(super) gone: u64,
    /// Connected to a removed backend without our translation; left alone.
    pub(super) untranslated: u64,
}

/// Why sockets can not be swept.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    /// The kernel lists UDP sockets only with a certain option.
    #[error(
        "the kernel does not list UDP sockets: build it with CONFIG_INET_UDP_DIAG or load the \
         module udp_diag; until then connected UDP sockets stay on backends that are gone"
    )]
    NoList,
    /// The kernel ends sockets only with a certain option. Said once.
    #[error(
        "the kernel does not end sockets for us: it was built without CONFIG_INET_DIAG_DESTROY; \
         connected UDP sockets stay on backends that are gone until their owner connects again"
    )]
    NoEnd,
    /// Netlink failed.
    #[error("sock_diag: {what} failed: {cause}")]
    System {
        /// Which step.
        what: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

/// Sweeps, and remembers what the kernel can not do.
#[derive(Debug, Default)]
pub(super) struct StaleSockets {
    can_not: bool,
}

impl StaleSockets {
    /// Lists the connected UDP sockets of the calling thread's network namespace once per family
    /// and ends those whose peer is in `removed` and of which `is_ours` (the socket's cookie, its
    /// peer) says that the socket programs chose that peer.
    ///
    /// # Errors
    /// When the kernel refuses. What it can not do at all is an error once; after that such a
    /// sweep does nothing.
    pub(super) fn sweep(
        &mut self,
        removed: &BTreeSet<Backend>,
        is_ours: impl FnMut(u64, Backend) -> bool,
    ) -> Result<Sweep, SweepError> {
        if removed.is_empty() || self.can_not {
            return Ok(Sweep::default());
        }
        let result = sweep(removed, is_ours);
        self.can_not = matches!(result, Err(SweepError::NoList | SweepError::NoEnd));
        result
    }
}

fn sweep(
    removed: &BTreeSet<Backend>,
    mut is_ours: impl FnMut(u64, Backend) -> bool,
) -> Result<Sweep, SweepError> {
    let door = open()?;
    // An IPv6 socket may be connected to an IPv4 peer (v4-mapped), so its list is always needed.
    let mut stale = list(&door, AF_INET6, removed)?;
    if removed.iter().any(|(ip, _)| ip.is_ipv4()) {
        stale.append(&mut list(&door, AF_INET, removed)?);
    }
    let mut swept = Sweep::default();
    for socket in stale {
        if !is_ours(u64::from_ne_bytes(socket.id.cookie), socket.backend) {
            swept.untranslated += 1;
            continue;
        }
        swept.seen += 1;
        match end(&door, &socket) {
            Ok(()) => swept.ended += 1,
            Err(cause) => match cause.raw_os_error() {
                Some(libc::ENOENT | libc::ESTALE) => swept.gone += 1,
                Some(libc::EOPNOTSUPP) => return Err(SweepError::NoEnd),
                _ => return Err(SweepError::System { what: "ending a socket", cause }),
            },
        }
    }
    Ok(swept)
}

struct Stale {
    family: u8,
    id: SocketId,
    backend: Backend,
}

fn open() -> Result<Socket, SweepError> {
    let fail = |cause| SweepError::System { what: "opening netlink", cause };
    let mut door = Socket::new(NETLINK_SOCK_DIAG).map_err(fail)?;
    door.bind_auto().map_err(fail)?;
    door.connect(&SocketAddr::new(0, 0)).map_err(fail)?;
    // The kernel answers within the call; a bound all the same, nothing here may block for ever.
    let timeout = nix::sys::time::TimeVal::new(5, 0);
    nix::sys::socket::setsockopt(&door, nix::sys::socket::sockopt::ReceiveTimeout, &timeout)
        .map_err(|errno| fail(errno.into()))?;
    Ok(door)
}

/// Connected UDP sockets of one family whose peer is a removed backend.
fn list(door: &Socket, family: u8, removed: &BTreeSet<Backend>) -> Result<Vec<Stale>, SweepError> {
    let mut wanted = any_socket(family);
    // The kernel compares ports while it walks: usually one port is all that changed.
    if let (Some(first), Some(last)) =
        (removed.iter().map(|(_, port)| *port).min(), removed.iter().map(|(_, port)| *port).max())
        && first == last
    {
        wanted.destination_port = first;
    }
    let request = request(family, wanted, StateFlags::ESTABLISHED);
    let fail = |cause: io::Error| match cause.raw_os_error() {
        Some(libc::ENOENT) => SweepError::NoList,
        _ => SweepError::System { what: "listing UDP sockets", cause },
    };
    send(door, SockDiagMessage::InetRequest(request), NLM_F_REQUEST | NLM_F_DUMP).map_err(fail)?;
    let mut found = Vec::new();
    receive(door, |message: SockDiagMessage| {
        if let SockDiagMessage::InetResponse(response) = message
            && let Some(stale) = stale(family, *response, removed)
        {
            found.push(stale);
        }
    })
    .map_err(fail)?;
    Ok(found)
}

fn stale(family: u8, response: InetResponse, removed: &BTreeSet<Backend>) -> Option<Stale> {
    let id = response.header.socket_id;
    let backend = (id.destination_address.to_canonical(), id.destination_port);
    removed.contains(&backend).then_some(Stale { family, id, backend })
}

/// Ends exactly this socket: the kernel looks it up by its addresses and compares the cookie.
fn end(door: &Socket, socket: &Stale) -> io::Result<()> {
    let request = request(socket.family, socket.id.clone(), StateFlags::all());
    let message = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
    send(door, message, NLM_F_REQUEST | NLM_F_ACK)?;
    receive(door, |_: SockDiagMessage| ())
}

const fn request(family: u8, socket_id: SocketId, states: StateFlags) -> InetRequest {
    let extensions = ExtensionFlags::empty();
    InetRequest { family, protocol: IPPROTO_UDP, extensions, states, socket_id }
}

fn any_socket(family: u8) -> SocketId {
    let mut id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    id.cookie = [u8::MAX; 8];
    id
}

fn send<T>(door: &Socket, message: T, flags: u16) -> io::Result<()>
where
    T: NetlinkSerializable + Into<NetlinkPayload<T>>,
{
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut packet = NetlinkMessage::new(header, message.into());
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    door.send(&bytes, 0).map(|_sent| ())
}

/// Reads up to the end of a dump or the acknowledgement.
fn receive<T: NetlinkDeserializable>(door: &Socket, mut each: impl FnMut(T)) -> io::Result<()> {
    // The kernel fills at most 32 KiB per read of a dump (netlink_dump).
    let mut datagram: Vec<u8> = Vec::with_capacity(64 * 1024);
    loop {
        datagram.clear();
        door.recv(&mut datagram, 0)?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<T>::deserialize(rest)
                .map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause))?;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => each(inner),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => {
                    return error.code.map_or(Ok(()), |_code| Err(error.to_io()));
                }
                _ => {}
            }
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            // Messages in a datagram start on multiples of four (NLMSG_ALIGN).
            rest = rest.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
        }
    }
}
