//! By which devices this node routes packets: its own, and those that pods are behind.
//!
//! A device counts that has an address, is up, and has an Ethernet header to replace. What belongs to
//! another (a bridge's port, a bond's slave) has its packets seen there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
};
use towpath_model::{NodeDevice, NodeDevices};

/// What these lists say. `behind`: indices that pods are behind.
pub(super) fn of(
    links: &[LinkMessage],
    addresses: &[AddressMessage],
    behind: &BTreeSet<u32>,
) -> NodeDevices {
    let (mut v4, mut v6): (BTreeMap<u32, Ipv4Addr>, BTreeMap<u32, Ipv6Addr>) = Default::default();
    for message in addresses {
        match reachable(message) {
            Some(IpAddr::V4(ip)) => {
                v4.entry(message.header.index).or_insert(ip);
            }
            Some(IpAddr::V6(ip)) => {
                v6.entry(message.header.index).or_insert(ip);
            }
            None => {}
        }
    }
    let mut devices: Vec<NodeDevice> = links
        .iter()
        .filter(|link| {
            let index = link.header.index;
            let addressed = v4.contains_key(&index) || v6.contains_key(&index);
            behind.contains(&index) || (addressed && is_own(link))
        })
        .map(|link| {
            let index = link.header.index;
            let pods = behind.contains(&index);
            NodeDevice {
                index,
                name: name(link).into(),
                pods,
                v4: v4.get(&index).copied(),
                v6: v6.get(&index).copied(),
            }
        })
        .collect();
    devices.sort_unstable();
    NodeDevices { devices, forwards: ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map(is_on) }
}

fn is_own(link: &LinkMessage) -> bool {
    let owned = link.attributes.iter().any(|one| matches!(one, LinkAttribute::Controller(_)));
    let header = &link.header;
    header.link_layer_type == LinkLayerType::Ether && header.flags.contains(LinkFlags::Up) && !owned
}

fn name(link: &LinkMessage) -> &str {
    let named = link.attributes.iter().find_map(|one| match one {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    });
    named.unwrap_or_default()
}

/// An address that answers can be sent to, and that does not go away soon.
fn reachable(message: &AddressMessage) -> Option<IpAddr> {
    let (mut local, mut address, mut flags) = (None, None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let passing = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    let header = message.header.flags;
    // Of IPv6 the flag says that the address is a temporary one (RFC 8981).
    let v6 = message.header.family == AddressFamily::Inet6;
    let temporary = v6 && header.contains(AddressHeaderFlags::Secondary);
    let global = message.header.scope == AddressScope::Universe;
    local.or(address).filter(|_| global && !temporary && !flags.intersects(passing))
}

/// A switch of the network namespace that this thread is in.
fn is_on(switch: &str) -> bool {
    let text = fs::read_to_string(format!("/proc/sys/net/{switch}"));
    text.is_ok_and(|text| text.trim() != "0")
}
