//! The kernel's tables in names: never an index, a slot or a hash.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use towpath_image::{
    ServiceImage, ServiceOp,
    datapath::{
        BackendRecord, Empty, FrontendKey, FrontendKind, FrontendWord, NodeAddressValue, RangeKey,
        SetChoice, SetWord, protocol,
    },
};
use towpath_proxy::ServicePlan;

/// What identities stand for. What is forgotten by the plan may still be in the kernel.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) records: BTreeMap<u64, String>,
    pub(crate) nodes: BTreeMap<u64, String>,
}

impl Names {
    pub(crate) fn learn(&mut self, plan: &ServicePlan) {
        for port in plan.services().flat_map(|service| &service.ports) {
            self.records.insert(port.record.identity, port.id.to_string());
            for (node, record) in &port.per_node {
                self.records.insert(record.identity, format!("{} on {node}", port.id));
            }
        }
    }

    pub(crate) fn record(&self, image: &ServiceImage, index: u32) -> String {
        let known = image.services.get(&index).and_then(|r| self.records.get(&r.identity));
        known.map_or_else(|| "a record without a Service".to_owned(), ToString::to_string)
    }
}

/// FRONTENDS, then what they lead to.
pub(crate) fn tables(image: &ServiceImage, names: &Names) -> String {
    let frontends = image.frontends.iter().map(|(k, w)| frontend(image, names, k, *w));
    let mut lines: Vec<String> = frontends.collect();
    lines.sort();
    let mut services: Vec<String> =
        image.services.keys().map(|index| service(image, names, *index)).collect();
    services.sort();
    lines.extend(services);
    if lines.is_empty() {
        lines.push("empty".to_owned());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn frontend(image: &ServiceImage, names: &Names, key: &FrontendKey, word: FrontendWord) -> String {
    let key_text = key_text(names, key);
    if key.kind() == Some(FrontendKind::Guard) {
        return format!("{key_text} => refused");
    }
    let mut text = format!("{key_text} => {}", names.record(image, word.service()));
    let flags = [
        (FrontendWord::LOCAL_SET, "local endpoints"),
        (FrontendWord::PER_NODE, "another node's address: its own endpoints"),
        (FrontendWord::LOCAL_OUTSIDE, "packets from outside: local endpoints"),
        (FrontendWord::SOURCE_RANGES, "source ranges"),
        (FrontendWord::NODE_IN_RANGES, "which hold this node"),
    ];
    for (_, said) in flags.iter().filter(|(flag, _)| word.has(*flag)) {
        text.push_str(&format!(", {said}"));
    }
    text
}

fn key_text(names: &Names, key: &FrontendKey) -> String {
    let protocol = match key.protocol {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::SCTP => "sctp",
        _ => "any",
    };
    let port = u16::from_be(key.port);
    match key.kind().unwrap() {
        FrontendKind::Vip => {
            format!("{protocol} {}", SocketAddr::new(IpAddr::from(key.addr), port))
        }
        FrontendKind::Node => {
            let family = if key.addr.is_v4() { "IPv4" } else { "IPv6" };
            format!("{protocol} {family} nodePort {port}")
        }
        FrontendKind::NodeLocal => {
            let node = u64::from(key.addr.0[0]) | u64::from(key.addr.0[1]) << 32;
            let family = if key.addr.0[2] == 0 { "IPv6" } else { "IPv4" };
            format!("{protocol} {family} nodePort {port} of {}", names.nodes[&node])
        }
        FrontendKind::Guard => format!("any {} other ports", IpAddr::from(key.addr)),
    }
}

/// A record, with those of its sets that something leads to.
fn service(image: &ServiceImage, names: &Names, index: u32) -> String {
    let leading = image
        .frontends
        .iter()
        .filter(|(key, word)| word.service() == index && key.kind() != Some(FrontendKind::Guard));
    let outside = |word: &FrontendWord| word.has(FrontendWord::LOCAL_OUTSIDE);
    let sets = |(_, word): (_, &FrontendWord)| {
        [Some(word.set()), outside(word).then_some(SetChoice::Local)]
    };
    let used: BTreeSet<SetChoice> = leading.flat_map(sets).flatten().collect();
    let record = image.services[&index];
    let mut text = names.record(image, index);
    for choice in used {
        text.push_str(&format!(
            "\n    {}: {}",
            choice_text(choice),
            set(image, record.set(choice))
        ));
    }
    if record.flags != 0 {
        text.push_str(&format!("\n    affinity: {} s", record.affinity_seconds));
    }
    text
}

const fn choice_text(choice: SetChoice) -> &'static str {
    match choice {
        SetChoice::Cluster => "cluster",
        SetChoice::Local => "local",
    }
}

fn set(image: &ServiceImage, word: SetWord) -> String {
    if word.count() != 0 {
        return backends(image.extent(word));
    }
    match word.meaning() {
        Empty::Refuse => "no endpoint: refused".to_owned(),
        Empty::Leave => "no endpoint that the policy allows: left alone".to_owned(),
    }
}

fn backends(records: &[BackendRecord]) -> String {
    let mut all: Vec<SocketAddr> = records
        .iter()
        .map(|b| SocketAddr::new(IpAddr::from(b.addr), u16::from_be(b.port)))
        .collect();
    all.sort();
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// NODE_ADDRESSES.
pub(crate) fn nodes(image: &ServiceImage, names: &Names) -> String {
    let line = |(addr, value): (IpAddr, &NodeAddressValue)| {
        let node = names.nodes.get(&value.node).map_or("?", String::as_str);
        let own = if value.flags & NodeAddressValue::OWN == 0 { "" } else { ", this node" };
        let loopback = value.flags & NodeAddressValue::LOOPBACK != 0;
        let only = if loopback { ", host only" } else { "" };
        format!("{addr}: {node}{own}{only}\n")
    };
    let all: BTreeMap<IpAddr, _> =
        image.node_addresses.iter().map(|(addr, value)| (IpAddr::from(*addr), value)).collect();
    all.into_iter().map(line).collect()
}

fn range(key: &RangeKey) -> String {
    let family = if key.addr.is_v4() { 128 } else { 32 };
    format!("{}/{}", IpAddr::from(key.addr), key.prefix - family)
}

/// Operations in their order. The image is the one after them.
pub(crate) fn writes(ops: &[ServiceOp], image: &ServiceImage, names: &Names) -> String {
    let mut text = String::new();
    for op in ops {
        text.push_str(&match op {
            ServiceOp::WriteBackends { records, .. } => {
                format!("new extent: {}", backends(records))
            }
            ServiceOp::WriteService { record, .. } if record.identity == 0 => {
                "clear a record".to_owned()
            }
            ServiceOp::WriteService { record, .. } => {
                let name = names.records.get(&record.identity);
                format!("new record: {}", name.map_or("?", String::as_str))
            }
            ServiceOp::StoreSet { index, choice, word } => {
                let what = if word.count() == 0 { "empty set" } else { "set" };
                let name = names.record(image, *index);
                format!("flip the {} {what} of {name}", choice_text(*choice))
            }
            ServiceOp::PutFrontend { key, .. } => format!("put {}", key_text(names, key)),
            ServiceOp::DeleteFrontend { key } => format!("delete {}", key_text(names, key)),
            ServiceOp::PutNodeAddress { addr, .. } => format!("put node {}", IpAddr::from(*addr)),
            ServiceOp::DeleteNodeAddress { addr } => format!("delete node {}", IpAddr::from(*addr)),
            ServiceOp::PutRange { key } => format!("put range {}", range(key)),
            ServiceOp::DeleteRange { key } => format!("delete range {}", range(key)),
        });
        text.push('\n');
    }
    text
}
