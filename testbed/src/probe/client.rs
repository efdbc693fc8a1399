//! The client process: does what each line of its input says.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    agent::{Ask, Seen},
    echo::{ECHO, canonical, println_now},
    http,
    load::Running,
    measure, names,
};

/// Answers questions from standard input until it closes.
///
/// # Errors
/// When a question is not understood: the maker and its client are of one build.
pub fn serve_agent() -> Result<()> {
    let mut kept: BTreeMap<u32, UdpSocket> = BTreeMap::new();
    let mut connection = None;
    let mut tunnel = None;
    let mut load = None;
    for line in io::stdin().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Ask::Tcp { to, mapped, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                serde_json::to_string(&seen(|| tcp(address(to, mapped), timeout)))?
            }
            Ask::Udp { to, connected, mapped, keep, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                let to = address(to, mapped);
                let seen = seen(|| {
                    let socket = match keep.and_then(|number| kept.remove(&number)) {
                        Some(socket) => socket,
                        None => udp_socket(to, connected)?,
                    };
                    let answer = datagram(&socket, to, connected, timeout);
                    // A socket that was ended under its owner is of no more use.
                    let alive = answer.as_ref().map_or_else(is_passing, |_| true);
                    if let Some(number) = keep.filter(|_| alive) {
                        kept.insert(number, socket);
                    }
                    answer
                });
                serde_json::to_string(&seen)?
            }
            Ask::Echo { to, bytes, udp } => serde_json::to_string(&seen(|| echo(to, bytes, udp)))?,
            Ask::Resolve { server, name, record, tcp, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                serde_json::to_string(&names::resolve(server, &name, &record, tcp, timeout))?
            }
            Ask::Http(ask) => serde_json::to_string(&http::ask(&ask, &mut tunnel))?,
            Ask::Line { line } => serde_json::to_string(&seen(|| {
                let tunnel = tunnel.as_mut().ok_or(io::ErrorKind::NotConnected)?;
                Ok((tunnel.line(&line)?, None))
            }))?,
            Ask::Pin { cpu } => serde_json::to_string(&seen(|| measure::pin(cpu)))?,
            Ask::Compare { one, other, udp, count } => {
                serde_json::to_string(&measure::compare(one, other, udp, count)?)?
            }
            Ask::Kept { to, requests } => {
                let seen = seen(|| measure::kept(&mut connection, to, requests));
                serde_json::to_string(&seen)?
            }
            Ask::Until { to, name, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                serde_json::to_string(&measure::until(to, &name, timeout))?
            }
            Ask::Load { to, per_second, millis } => {
                load = Some(Running::start(to, per_second, Duration::from_millis(millis)));
                continue;
            }
            Ask::LoadEnd => {
                serde_json::to_string(&load.take().context("no load was started")?.end())?
            }
        };
        println_now(&answer)?;
    }
    Ok(())
}

/// The v4-mapped form, if it is asked for.
fn address(to: SocketAddr, mapped: bool) -> SocketAddr {
    match to.ip() {
        IpAddr::V4(v4) if mapped => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
        _ => to,
    }
}

/// What the server said, and whom the client sees.
pub(super) type Answer = (String, Option<SocketAddr>);

pub(super) fn seen(exchange: impl FnOnce() -> io::Result<Answer>) -> Seen {
    let began = Instant::now();
    let result = exchange();
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match result {
        Ok((text, peer)) => {
            let (name, client) = text.trim().split_once(' ').unwrap_or_else(|| (text.trim(), ""));
            Seen {
                outcome: "ok".to_owned(),
                name: name.to_owned(),
                client: client.parse().ok(),
                peer: peer.map(canonical),
                micros,
            }
        }
        Err(error) => {
            Seen { outcome: outcome(&error), name: String::new(), client: None, peer: None, micros }
        }
    }
}

pub(super) fn outcome(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// The socket can be used again.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
    matches!(error.kind(), ConnectionRefused | TimedOut | WouldBlock)
}

fn tcp(to: SocketAddr, timeout: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    stream.write_all(b"who\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((line, Some(peer)))
}

pub(super) fn udp_socket(to: SocketAddr, connected: bool) -> io::Result<UdpSocket> {
    let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if to.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if connected {
        socket.connect(&to.into())?;
    } else if to.is_ipv6() {
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    }
    Ok(socket.into())
}

fn datagram(
    socket: &UdpSocket,
    to: SocketAddr,
    connected: bool,
    timeout: Duration,
) -> io::Result<Answer> {
    socket.set_read_timeout(Some(timeout))?;
    let mut buffer = [0u8; 2048];
    if connected {
        socket.send(b"who\n")?;
        let (length, _) = socket.recv_from(&mut buffer)?;
        let peer = socket.peer_addr()?;
        return Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), Some(peer)));
    }
    socket.send_to(b"who\n", to)?;
    let (length, from) = socket.recv_from(&mut buffer)?;
    Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), Some(from)))
}

/// A long message and the same one back.
fn echo(to: SocketAddr, bytes: usize, udp: bool) -> io::Result<Answer> {
    let filling = (b'a'..=b'z').cycle().take(bytes.saturating_sub(ECHO.len() + 1));
    let message: Vec<u8> = ECHO.bytes().chain(filling).chain([b'\n']).collect();
    let mut back = vec![0; message.len()];
    let peer = if udp {
        let socket = udp_socket(to, false)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(&message, to)?;
        let (length, from) = socket.recv_from(&mut back)?;
        back.truncate(length);
        from
    } else {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&message)?;
        stream.read_exact(&mut back)?;
        stream.peer_addr()?
    };
    if back != message {
        return Err(io::Error::other("something else came back"));
    }
    Ok((String::new(), Some(peer)))
}

/// One connection of a load, or of a comparison, at most.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Closed with a reset, so that no port rests for a minute.
pub(super) fn short(to: SocketAddr, patience: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"who\n")?;
    let mut buffer = [0u8; 256];
    let length = stream.read(&mut buffer)?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), None))
}
