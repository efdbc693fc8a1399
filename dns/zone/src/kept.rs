//! A zone as bytes, kept over a restart.
//!
//! A line, `towpath-dns-zone 1 DIGEST`, and the zone as JSON, of which DIGEST is the SHA-256. It is read as
//! if a stranger had written it: names, labels and addresses go through what makes records of objects,
//! and one that does not pass refuses the whole. There is nothing in it but what DNS answers, and where.

use std::{fmt::Write as _, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use towpath_model::{ObjectName, Protocol, service::Cidr, why_unroutable};

use crate::{
    Name, Settings, Snapshot, Zones,
    name::label,
    records::{Addresses, Host, Port, Records, ServiceKind, key, longest_host},
};

/// The version of the form. Another one is refused: what is kept is written anew within seconds.
const MAGIC: &str = "towpath-dns-zone 1 ";

/// A zone, and what is needed besides to serve it before anything is listed.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The zone; [`Snapshot::stale`] once it was read.
    pub snapshot: Snapshot,
    /// Where it is served, and from which addresses the node asks.
    pub place: KeptPlace,
}

/// Where a zone is served.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptPlace {
    /// The cluster, where it is known.
    pub cluster: Option<String>,
    /// Addresses at which it is served.
    pub addresses: Vec<IpAddr>,
    /// Addresses from which the node asks.
    pub sources: Vec<IpAddr>,
}

/// Why bytes are no zone to serve.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unkept {
    /// It is of another cluster, domain or Service: it belonged to a daemon with other settings.
    #[error("it is of another {0}")]
    Other(&'static str),
    /// Another version wrote it, or it is something else.
    #[error("its first line is not that of this version")]
    Version,
    /// It is damaged.
    #[error("its content does not have the digest of its first line")]
    Damaged,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Something in it cannot be in a zone.
    #[error("{0} cannot be in a zone")]
    Impossible(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    domain: String,
    service: String,
    serial: u32,
    place: KeptPlace,
    namespaces: Vec<String>,
    blocks: Vec<String>,
    services: Vec<KeptService>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptService {
    name: String,
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    external: Option<String>,
    /// ClusterIPs; a headless Service has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<KeptHost>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ports: Vec<KeptPort>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptHost {
    label: String,
    named: bool,
    addresses: Vec<IpAddr>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptPort {
    protocol: String,
    name: String,
    number: u16,
    /// Of a headless Service: hosts that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hosts: Option<Vec<u32>>,
}

/// A zone that was planned, as bytes.
///
/// # Errors
/// When there is no JSON of it, which does not happen.
pub fn keep(snapshot: &Snapshot, place: &KeptPlace) -> Result<Vec<u8>, Unkept> {
    let settings = snapshot.settings();
    let object = snapshot.namespaces.iter().filter(|(_, presence)| presence.object);
    let mut namespaces: Vec<_> = object.map(|(name, _)| text(name)).collect();
    namespaces.sort_unstable();
    let mut services: Vec<_> = snapshot.services.values().map(|records| service(records)).collect();
    services.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let whole = Whole {
        domain: settings.domain.to_string(),
        service: settings.service.to_string(),
        serial: snapshot.serial,
        place: place.clone(),
        namespaces,
        blocks: snapshot.blocks.iter().map(|b| format!("{}/{}", b.base, b.prefix)).collect(),
        services,
    };
    let json = serde_json::to_vec(&whole).map_err(|e| Unkept::Unreadable(e.to_string()))?;
    Ok(sealed(&json))
}

/// The first line, and this JSON after it.
#[must_use]
pub fn sealed(json: &[u8]) -> Vec<u8> {
    [MAGIC.as_bytes(), digest(json).as_bytes(), b"\n", json].concat()
}

/// The zone of these bytes, for these settings and this cluster.
///
/// # Errors
/// When they are no such zone.
pub fn read_kept(bytes: &[u8], settings: &Settings, cluster: Option<&str>) -> Result<Kept, Unkept> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(Unkept::Version)?;
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Unkept::Version)?;
    let (said, json) = rest.split_at(end);
    let json = json.get(1..).unwrap_or_default();
    if said != digest(json).as_bytes() {
        return Err(Unkept::Damaged);
    }
    let whole: Whole =
        serde_json::from_slice(json).map_err(|e| Unkept::Unreadable(e.to_string()))?;
    if whole.place.cluster.as_deref() != cluster {
        return Err(Unkept::Other("cluster"));
    }
    if whole.domain != settings.domain.to_string() {
        return Err(Unkept::Other("domain"));
    }
    if whole.service != settings.service.to_string() {
        return Err(Unkept::Other("Service"));
    }
    let impossible = |what: &str| Unkept::Impossible(what.to_owned());
    let served = &whole.place.addresses;
    if served.len() > 2 || served.iter().any(|ip| why_unroutable(*ip).is_some()) {
        return Err(impossible("an address that is served"));
    }
    let mut zones = Zones::new(settings.clone()).ok_or_else(|| impossible("the domain"))?;
    for name in &whole.namespaces {
        let label = label(name).ok_or_else(|| impossible("the name of a namespace"))?;
        zones.presence(&label, |presence| presence.object = true);
    }
    let blocks = whole.blocks.iter().map(|text| Cidr::parse(text));
    let blocks = blocks.collect::<Option<Arc<[_]>>>();
    zones.now.blocks = blocks.ok_or_else(|| impossible("a block of addresses"))?;
    for service in &whole.services {
        let records = records(settings, service).ok_or_else(|| {
            impossible(&format!("Service {}/{}", service.namespace, service.name))
        })?;
        zones.replace(records.key.clone(), Some(records));
    }
    zones.now.serial = whole.serial;
    zones.now.stale = true;
    Ok(Kept { snapshot: zones.now, place: whole.place })
}

fn digest(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

/// A label in wire form, as text; all of ours are ASCII.
fn text(label: &[u8]) -> String {
    String::from_utf8_lossy(label.get(1..).unwrap_or_default()).into_owned()
}

fn service(records: &Records) -> KeptService {
    let length = records.key.first().map_or(0, |length| usize::from(*length)) + 1;
    let (name, namespace) = records.key.split_at(length.min(records.key.len()));
    let external = match &records.kind {
        ServiceKind::External(name) => Some(name.to_string()),
        _ => None,
    };
    let own = matches!(records.kind, ServiceKind::ClusterIp);
    let host = |host: &Host| KeptHost {
        label: text(&host.label),
        named: host.named,
        addresses: host.addresses.each().collect(),
    };
    let port = |port: &Port| KeptPort {
        protocol: port.protocol.as_str().to_owned(),
        name: String::from_utf8_lossy(&port.name).into_owned(),
        number: port.number,
        hosts: port.hosts.as_ref().map(|hosts| hosts.to_vec()),
    };
    KeptService {
        name: text(name),
        namespace: text(namespace),
        external,
        addresses: if own { records.own.each().collect() } else { Vec::new() },
        hosts: records.hosts.iter().map(host).collect(),
        ports: records.ports.iter().map(port).collect(),
    }
}

/// `None`: no compiled Service looks like this.
fn records(settings: &Settings, kept: &KeptService) -> Option<Records> {
    let key = key(settings, &ObjectName::new(&kept.namespace, &kept.name))?;
    if let Some(external) = &kept.external {
        let name = Name::parse(external).filter(|name| name.wire() != [0])?;
        let nothing = kept.addresses.is_empty() && kept.hosts.is_empty() && kept.ports.is_empty();
        return nothing.then(|| Records {
            key,
            kind: ServiceKind::External(name),
            own: Addresses::default(),
            hosts: [].into(),
            ports: [].into(),
        });
    }
    let longest = longest_host(settings, &key);
    let hosts = kept.hosts.iter().map(|host| {
        let label = label(&host.label).filter(|label| label.len() <= longest)?;
        let addresses = Addresses::of(host.addresses.iter().copied());
        (addresses.count() > 0).then_some(Host { label, named: host.named, addresses })
    });
    let hosts = hosts.collect::<Option<Box<[_]>>>()?;
    let headless = kept.addresses.is_empty();
    let port = |kept: &KeptPort| port(kept, hosts.len(), headless);
    let ports = kept.ports.iter().map(port).collect::<Option<Box<[_]>>>()?;
    // As they are searched.
    let in_order = hosts.is_sorted_by(|a, b| a.label < b.label) && ports.is_sorted_by(|a, b| a < b);
    if !in_order || (headless && hosts.is_empty()) {
        return None;
    }
    let (kind, own) = match headless {
        true => {
            let all = hosts.iter().flat_map(|host| host.addresses.each());
            (ServiceKind::Headless, Addresses::of(all))
        }
        false => (ServiceKind::ClusterIp, Addresses::of(kept.addresses.iter().copied())),
    };
    Some(Records { key, kind, own, hosts, ports })
}

fn port(kept: &KeptPort, hosts: usize, headless: bool) -> Option<Port> {
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let protocol = all.into_iter().find(|protocol| protocol.as_str() == kept.protocol)?;
    let there = |at: &u32| usize::try_from(*at).is_ok_and(|at| at < hosts);
    let fits = match &kept.hosts {
        Some(at) => {
            headless && !at.is_empty() && at.iter().all(there) && at.is_sorted_by(|a, b| a < b)
        }
        None => !headless,
    };
    // In lower case, as it is compared.
    let named = !kept.name.bytes().any(|b| b.is_ascii_uppercase());
    (fits && named).then(|| Port {
        protocol,
        name: kept.name.as_bytes().into(),
        number: kept.number,
        hosts: kept.hosts.as_deref().map(Into::into),
    })
}
