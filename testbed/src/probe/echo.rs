//! Echo servers: they answer every line, and every datagram, with their name and the peer they see;
//! what begins with [`ECHO`] comes back as it is, and a request of HTTP has an answer of HTTP.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::{http, measure};

/// What comes back as it is begins with this.
pub(super) const ECHO: &str = "echo ";
/// A connection that says nothing for so long is let go.
const IDLE: Duration = Duration::from_secs(120);

/// Serves these ports, TCP and UDP, both families, for ever; says `ready` when it does.
///
/// # Errors
/// When a port is taken.
pub fn serve(name: &str, ports: &[u16], cpu: Option<usize>) -> Result<()> {
    if let Some(cpu) = cpu {
        measure::pin(cpu)?;
    }
    for port in ports {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(true)?;
        socket.bind(&any.into()).with_context(|| format!("TCP port {port}"))?;
        socket.listen(4096)?;
        let listener: TcpListener = socket.into();
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(false)?;
        socket.bind(&any.into()).with_context(|| format!("UDP port {port}"))?;
        let udp: UdpSocket = socket.into();
        let (tcp_name, udp_name) = (name.to_owned(), name.to_owned());
        thread::spawn(move || accept(&listener, &tcp_name));
        thread::spawn(move || datagrams(&udp, &udp_name));
    }
    println_now("ready")?;
    loop {
        thread::park();
    }
}

/// One line on standard output, now.
pub(super) fn println_now(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

fn accept(listener: &TcpListener, name: &str) {
    for stream in listener.incoming().flatten() {
        let name = name.to_owned();
        thread::spawn(move || answer(stream, &name));
    }
}

/// Whatever ends a connection is the client's business.
fn answer(mut stream: TcpStream, name: &str) -> Option<()> {
    stream.set_read_timeout(Some(IDLE)).ok()?;
    stream.set_nodelay(true).ok()?;
    let peer = canonical(stream.peer_addr().ok()?);
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).ok()? == 0 {
            return Some(());
        }
        if http::is_request(&line) {
            http::answer(&mut lines, &mut stream, name, peer).ok()?;
        } else if line.starts_with(ECHO) {
            stream.write_all(line.as_bytes()).ok()?;
        } else {
            stream.write_all(format!("{name} {peer}\n").as_bytes()).ok()?;
        }
    }
}

fn datagrams(socket: &UdpSocket, name: &str) {
    let mut buffer = [0u8; 65_536];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        let message = &buffer[..length];
        let _client_gone = if message.starts_with(ECHO.as_bytes()) {
            socket.send_to(message, peer)
        } else {
            socket.send_to(format!("{name} {}", canonical(peer)).as_bytes(), peer)
        };
    }
}

/// Without the v4-mapped form.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
