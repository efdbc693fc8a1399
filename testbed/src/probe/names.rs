//! DNS: a client that asks one question, and a server of names outside the cluster.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

use super::{
    agent::Resolved,
    client::{outcome, udp_socket},
    echo::println_now,
};

/// A server that every question is put to has no need to change its id.
const ID: u16 = 0x7410;
/// Seconds for which an answer of the server holds.
const TTL: u32 = 60;

/// Asks one question. Over UDP the socket is connected, as in the C library.
pub(super) fn resolve(
    server: SocketAddr,
    name: &str,
    record: &str,
    tcp: bool,
    timeout: Duration,
) -> Resolved {
    let answered = exchange(server, name, record, tcp, timeout);
    answered.unwrap_or_else(|error| Resolved { code: outcome(&error), answers: Vec::new() })
}

fn exchange(
    server: SocketAddr,
    name: &str,
    record: &str,
    tcp: bool,
    timeout: Duration,
) -> io::Result<Resolved> {
    let record: RecordType = record.parse().map_err(io::Error::other)?;
    let name = Name::from_ascii(name).map_err(io::Error::other)?;
    let mut query = Message::new(ID, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, record));
    let message = query.to_vec().map_err(io::Error::other)?;
    let reply =
        if tcp { over_tcp(server, &message, timeout) } else { over_udp(server, &message, timeout) };
    let reply = Message::from_vec(&reply?).map_err(io::Error::other)?;
    if reply.metadata.id != ID || reply.queries != query.queries {
        return Err(io::Error::other("an answer to something else"));
    }
    let code = match reply.metadata.response_code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        other => other.to_string(),
    };
    let mut answers: Vec<_> = reply.answers.iter().map(|answer| answer.data.to_string()).collect();
    answers.sort();
    Ok(Resolved { code, answers })
}

fn over_udp(server: SocketAddr, message: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let socket = udp_socket(server, true)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(message)?;
    let mut reply = vec![0; 4096];
    let length = socket.recv(&mut reply)?;
    reply.truncate(length);
    Ok(reply)
}

fn over_tcp(server: SocketAddr, message: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write(&mut stream, message)?;
    read(&mut stream)
}

/// A message after its length (RFC 1035 4.2.2).
fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes();
    stream.write_all(&[&length[..], message].concat())
}

fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Serves these names at an address, UDP and TCP, for ever; others do not exist. Says `ready` when it
/// does.
///
/// # Errors
/// When the address is taken, or a name is none.
pub fn serve_names(at: SocketAddr, names: &[(String, IpAddr)]) -> Result<()> {
    let parse = |(name, address): &(String, IpAddr)| {
        Ok((Name::from_ascii(name).with_context(|| name.clone())?, *address))
    };
    let names: Vec<_> = names.iter().map(parse).collect::<Result<_>>()?;
    let listener = TcpListener::bind(at).with_context(|| format!("TCP {at}"))?;
    let socket = UdpSocket::bind(at).with_context(|| format!("UDP {at}"))?;
    let others = names.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let names = others.clone();
            // Whatever ends a connection is the client's business.
            thread::spawn(move || {
                while let Ok(message) = read(&mut stream) {
                    let Some(reply) = answer(&names, &message) else { return };
                    if write(&mut stream, &reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    println_now("ready")?;
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(reply) = answer(&names, &buffer[..length]) {
            let _client_gone = socket.send_to(&reply, client);
        }
    }
}

fn answer(names: &[(Name, IpAddr)], message: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(message).ok()?;
    let asked = query.queries.first()?;
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.add_query(asked.clone());
    let known: Vec<_> = names.iter().filter(|(name, _)| name == asked.name()).collect();
    if known.is_empty() {
        reply.metadata.response_code = ResponseCode::NXDomain;
    }
    for (name, address) in known {
        let data = RData::from(*address);
        if data.record_type() == asked.query_type() {
            reply.add_answer(Record::from_rdata(name.clone(), TTL, data));
        }
    }
    reply.to_vec().ok()
}
