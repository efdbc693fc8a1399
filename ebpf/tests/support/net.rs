//! Network namespaces of a test's own, servers that say who they are, sockets of every kind.
#![allow(dead_code, reason = "not every test binary uses every word")]

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};

/// IPv6 addresses that every namespace here has, besides all of 10.0.0.0/8.
const V6: [&str; 6] = ["fd96::1", "fd96::2", "fd96::3", "fd01::1", "fd01::2", "fd02::1"];

/// Puts this thread into a new network namespace with a loopback device that has all our addresses.
pub(crate) fn fresh_net() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (needs root)");
    let v4 = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Up, then a class A address: on loopback that makes the whole of 10.0.0.0/8 local.
    let mut request = ifreq("lo");
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).expect("a small number");
    ioctl(&v4, libc::SIOCSIFFLAGS, &mut request);
    let mut request = ifreq("lo:1");
    let address = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).expect("a small number"),
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([10, 255, 0, 1]) },
        sin_zero: [0; 8],
    };
    // SAFETY: both are 16 bytes of plain data.
    request.ifr_ifru.ifru_addr =
        unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) };
    ioctl(&v4, libc::SIOCSIFADDR, &mut request);
    let v6 = UdpSocket::bind("[::]:0").expect("a socket");
    for text in V6 {
        let ip: Ipv6Addr = text.parse().expect("an address");
        let addr = libc::in6_addr { s6_addr: ip.octets() };
        let mut request = libc::in6_ifreq { ifr6_addr: addr, ifr6_prefixlen: 128, ifr6_ifindex: 1 };
        ioctl(&v6, libc::SIOCSIFADDR, &mut request);
    }
}

fn ifreq(name: &str) -> libc::ifreq {
    // SAFETY: plain data, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::try_from(from).expect("ASCII");
    }
    request
}

fn ioctl<T>(socket: &UdpSocket, request: libc::Ioctl, argument: &mut T) {
    // SAFETY: the argument is what the request expects.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
}

/// Runs in a thread with a network namespace of its own: another pod.
pub(crate) fn in_pod<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                fresh_net();
                work()
            })
            .join()
            .expect("what happens in the pod")
    })
}

/// TCP and UDP servers at this address, in this thread's namespace; they answer with their address.
/// They end with the process.
pub(crate) fn serve(address: &str) {
    let address: SocketAddr = address.parse().expect("an address");
    let tcp = bind(|| TcpListener::bind(address));
    thread::spawn(move || {
        for mut stream in tcp.incoming().map_while(Result::ok) {
            // A client that went away again is not this server's business.
            stream.write_all(address.to_string().as_bytes()).unwrap_or_default();
        }
    });
    let udp = bind(|| UdpSocket::bind(address));
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            udp.send_to(address.to_string().as_bytes(), from).unwrap_or_default();
        }
    });
}

/// A new IPv6 address can be used once the kernel has looked at it in the background.
fn bind<T>(mut attempt: impl FnMut() -> io::Result<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match attempt() {
            Ok(socket) => return socket,
            Err(error) => assert!(Instant::now() < patience, "binding: {error}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Who answers a TCP connection, and whom the socket thinks it talks to.
pub(crate) fn tcp(to: SocketAddr) -> io::Result<(String, SocketAddr)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(20))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut answer = String::new();
    let peer = stream.peer_addr()?;
    stream.read_to_string(&mut answer)?;
    Ok((answer, peer))
}

/// An unconnected UDP socket of the address's family.
pub(crate) fn udp_socket(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    socket
}

/// As [`udp_socket`], but native IPv6 has a source that is no VIP: left to itself the kernel would
/// take the destination, because all VIPs are local here.
pub(crate) fn udp_socket_of_a_client(to: SocketAddr) -> UdpSocket {
    match to {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => {
            let socket = bind(|| UdpSocket::bind("[fd02::1]:0"));
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            socket
        }
        _ => udp_socket(to),
    }
}

/// Sends a datagram: who answered, and where from as the socket sees it.
pub(crate) fn ask(socket: &UdpSocket, to: SocketAddr) -> io::Result<(String, SocketAddr)> {
    socket.send_to(b"who", to)?;
    answer(socket)
}

/// As [`ask`], on a connected socket.
pub(crate) fn ask_peer(socket: &UdpSocket) -> io::Result<(String, SocketAddr)> {
    socket.send(b"who")?;
    answer(socket)
}

fn answer(socket: &UdpSocket) -> io::Result<(String, SocketAddr)> {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer)?;
    Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), from))
}

/// A UDP server that sends back what it gets, whole. It ends with the process.
pub(crate) fn mirror(address: &str) {
    let address: SocketAddr = address.parse().expect("an address");
    let socket = bind(|| UdpSocket::bind(address));
    thread::spawn(move || {
        let mut buffer = vec![0; 70_000];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], from).unwrap_or_default();
        }
    });
}

/// The kernel's number for a socket.
pub(crate) fn cookie(socket: &UdpSocket) -> u64 {
    let (mut cookie, mut length) = (0u64, 8);
    // SAFETY: the option writes eight bytes.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
    cookie
}

/// connect(AF_UNSPEC): the socket is unconnected again.
pub(crate) fn disconnect(socket: &UdpSocket) {
    // SAFETY: plain data, for which zero is a value: AF_UNSPEC.
    let unspecified: libc::sockaddr = unsafe { std::mem::zeroed() };
    // SAFETY: an address of that length.
    let answer = unsafe { libc::connect(socket.as_raw_fd(), &raw const unspecified, 16) };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
}

/// The three kinds of destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
    /// AF_INET6 with an IPv4-mapped address.
    Mapped,
}

pub(crate) const FAMILIES: [Family; 3] = [Family::V4, Family::V6, Family::Mapped];

impl Family {
    /// As a socket of this family names an address of the frontend's family.
    pub(crate) fn names(self, ip: IpAddr, port: u16) -> SocketAddr {
        match (self, ip) {
            (Self::Mapped, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), port),
            _ => SocketAddr::new(ip, port),
        }
    }
    /// 10.96.0.n or fd96::n.
    pub(crate) fn vip(self, n: u8) -> IpAddr {
        let text = match self {
            Self::V6 => format!("fd96::{n}"),
            _ => format!("10.96.0.{n}"),
        };
        text.parse().expect("an address")
    }
    /// 10.1.0.n or fd01::n.
    pub(crate) fn backend(self, n: u8) -> SocketAddr {
        let text = match self {
            Self::V6 => format!("[fd01::{n}]:8080"),
            _ => format!("10.1.0.{n}:8080"),
        };
        text.parse().expect("an address")
    }
}
