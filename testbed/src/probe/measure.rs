//! Timed exchanges: loops run inside the client process, so that its questions cost nothing.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use super::{
    agent::{Compared, Reached},
    client::{Answer, PATIENCE, short},
};

/// CLOCK_MONOTONIC: the same in every process of the machine.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs this process on one processor only.
pub(super) fn pin(cpu: usize) -> io::Result<Answer> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(("pinned".to_owned(), None))
}

/// In turn, so that whatever disturbs the machine disturbs both.
pub(super) fn compare(
    one: SocketAddr,
    other: SocketAddr,
    udp: bool,
    count: u32,
) -> io::Result<Compared> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0u8; 512];
    let mut exchange = |to: SocketAddr| -> io::Result<u64> {
        let began = Instant::now();
        if udp {
            socket.send_to(b"who\n", to)?;
            socket.recv_from(&mut buffer)?;
        } else {
            short(to, PATIENCE)?;
        }
        Ok(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    };
    // Warm: neighbours, caches, the socket's choice.
    for to in [one, other, one, other] {
        exchange(to)?;
    }
    let mut sums = Compared { one: 0, other: 0 };
    for round in 0..count {
        if round % 2 == 0 {
            sums.one += exchange(one)?;
            sums.other += exchange(other)?;
        } else {
            sums.other += exchange(other)?;
            sums.one += exchange(one)?;
        }
    }
    Ok(sums)
}

/// Requests on one connection.
pub(super) fn kept(
    connection: &mut Option<BufReader<TcpStream>>,
    to: SocketAddr,
    requests: u32,
) -> io::Result<Answer> {
    if connection.is_none() {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        *connection = Some(BufReader::new(stream));
    }
    let Some(stream) = connection else { return Err(io::ErrorKind::NotConnected.into()) };
    let mut line = "opened".to_owned();
    for _ in 0..requests {
        stream.get_mut().write_all(b"who\n")?;
        line.clear();
        stream.read_line(&mut line)?;
    }
    Ok((line, None))
}

/// Connects again and again.
pub(super) fn until(to: SocketAddr, name: &str, timeout: Duration) -> Reached {
    let began = Instant::now();
    let mut tries = 0;
    while began.elapsed() < timeout {
        let at = monotonic_ns();
        tries += 1;
        // Soon again: an address without a server swallows the first packets.
        if let Ok((line, _)) = short(to, Duration::from_millis(10))
            && line.split(' ').next() == Some(name)
        {
            return Reached { at: Some(at), tries };
        }
    }
    Reached { at: None, tries }
}
