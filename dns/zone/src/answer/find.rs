//! What a name is.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use towpath_model::Protocol;

use crate::{PodRecords, Snapshot, labels::Labels, records::Records};

/// What a name of the cluster's domain is.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// It does not exist.
    Absent,
    /// It exists because of names below it (RFC 8020).
    Ancestor,
    /// The domain itself.
    Apex,
    /// The server's name in SOA records.
    Server,
    /// The version of the specification.
    Version,
    /// A Service.
    Service(&'a Arc<Records>),
    /// An endpoint of a Service.
    Host(&'a Arc<Records>, usize),
    /// A port of a Service.
    Port(&'a Arc<Records>, Protocol, &'a [u8]),
    /// A pod by its address.
    Pod(IpAddr),
}

/// `asked`: the labels left of the domain.
pub(super) fn find<'a>(snapshot: &'a Snapshot, asked: &Labels<'a>) -> Found<'a> {
    let Some(top) = asked.last(0) else { return Found::Apex };
    let found = match top {
        _ if asked.deeper() => None,
        b"svc" => service(snapshot, asked),
        b"pod" => pod(snapshot, asked),
        b"dns" => match asked.count() {
            1 => Some(Found::Ancestor),
            2 => asked.last(1).filter(|label| *label == b"ns").map(|_| Found::Server),
            _ => None,
        },
        b"dns-version" => (asked.count() == 1).then_some(Found::Version),
        _ => None,
    };
    found.unwrap_or(Found::Absent)
}

/// Below `svc`.
fn service<'a>(snapshot: &'a Snapshot, asked: &Labels<'a>) -> Option<Found<'a>> {
    if let found @ Some(_) = namespace(snapshot, asked) {
        return found;
    }
    let records = snapshot.services.get(asked.run(1, 2)?)?;
    match asked.count() {
        3 => Some(Found::Service(records)),
        4 => {
            let label = asked.last(3)?;
            match protocol(label) {
                Some(protocol) => {
                    let named = |port: &&crate::records::Port| {
                        port.protocol == protocol && !port.name.is_empty()
                    };
                    records.ports.iter().find(named).map(|_| Found::Ancestor)
                }
                None => records.host(label).map(|host| Found::Host(records, host)),
            }
        }
        5 => {
            let protocol = protocol(asked.last(3)?)?;
            let name = asked.last(4)?.strip_prefix(b"_")?;
            let is =
                |port: &&crate::records::Port| port.protocol == protocol && *port.name == *name;
            let found = !name.is_empty() && records.ports.iter().any(|port| is(&port));
            found.then_some(Found::Port(records, protocol, name))
        }
        _ => None,
    }
}

/// `svc` and `pod` themselves, and a namespace below.
fn namespace<'a>(snapshot: &Snapshot, asked: &Labels<'_>) -> Option<Found<'a>> {
    match asked.count() {
        1 => Some(Found::Ancestor),
        2 => snapshot.has_namespace(asked.run(1, 1)?).then_some(Found::Ancestor),
        _ => None,
    }
}

/// Below `pod`.
fn pod<'a>(snapshot: &Snapshot, asked: &Labels<'_>) -> Option<Found<'a>> {
    if snapshot.zone.settings.pods == PodRecords::Disabled {
        return None;
    }
    if let found @ Some(_) = namespace(snapshot, asked) {
        return found;
    }
    if asked.count() != 3 || !snapshot.has_namespace(asked.run(1, 1)?) {
        return None;
    }
    undashed(asked.last(2)?).map(Found::Pod)
}

fn protocol(label: &[u8]) -> Option<Protocol> {
    match label {
        b"_tcp" => Some(Protocol::Tcp),
        b"_udp" => Some(Protocol::Udp),
        b"_sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// An address written with dashes, read as CoreDNS reads it.
fn undashed(label: &[u8]) -> Option<IpAddr> {
    let mut text = [0; 63];
    let text = text.get_mut(..label.len())?;
    text.copy_from_slice(label);
    let dashes = label.iter().filter(|byte| **byte == b'-').count();
    let v4 = dashes == 3 && !label.windows(2).any(|two| two == b"--");
    for byte in text.iter_mut().filter(|byte| **byte == b'-') {
        *byte = if v4 { b'.' } else { b':' };
    }
    let text = std::str::from_utf8(text).ok()?;
    if v4 {
        text.parse::<Ipv4Addr>().ok().map(IpAddr::from)
    } else {
        text.parse::<Ipv6Addr>().ok().map(IpAddr::from)
    }
}
