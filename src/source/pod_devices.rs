//! Which devices of this node lead to which pods' addresses, and which are its own.
//!
//! The host's end of a pod's pair of devices says in which network namespace the other end is
//! (`IFLA_LINK_NETNSID`) and its index there (`IFLA_LINK`); the addresses of that end are read through
//! the same number (`IFA_TARGET_NETNSID`). So a device is known to be a pod's before the pod sends
//! anything, whatever the CNI plugin is called and however it routes. Pairs that lead out of the node (a
//! node that is itself in a namespace) are told apart by their routes: through a gateway, or to a block.
//!
//! A pod's own namespace sends no notices here, so devices whose other end has no address yet are read
//! again soon.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_sys::AsyncSocket as _;
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
        route::{RouteAttribute, RouteMessage, RouteType},
    },
};
use towpath_model::{Code, Event, NodeDevices, NodeFact, PodDevice, Problem};

use super::{Feed, Health, LoopEnded, node_devices};

/// Read again although nothing was heard: addresses of pods change without a notice.
const REREAD: Duration = Duration::from_secs(5);
/// Read again while a pod's end has no address yet.
const PENDING: Duration = Duration::from_millis(50);
/// A device without addresses for so many readings is read no more often than others.
const PATIENCE: u32 = 1_200;
/// Notices come in bursts: wait for the rest of the burst.
const SETTLE: Duration = Duration::from_millis(2);
/// The kernel answers a dump at once; longer means that the answer was lost.
const ANSWER: Duration = Duration::from_secs(5);
/// What `status` calls it.
const ORIGIN: &str = "devices of pods";
/// Before netlink is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// Feeds the pod-facing devices of the network namespace in which it is first polled: now, and whenever
/// they change.
///
/// # Errors
/// When the loop has ended.
pub async fn run(feed: Feed, health: Health) -> Result<(), LoopEnded> {
    let mut told = Told::default();
    loop {
        match follow(&feed, &health, &mut told).await {
            Ok(never) => match never {},
            Err(Stop::Loop(ended)) => return Err(ended),
            Err(Stop::Netlink(cause)) => {
                let why = format!(
                    "cannot be read over netlink ({cause}): new pods stay closed, known devices as they are"
                );
                let action = "allow NETLINK_ROUTE sockets; it is tried again every second";
                let problem = Problem::new(Code::DevicesUnreadable, None, ORIGIN, &why, action);
                health.note(ORIGIN, vec![problem]);
                tokio::time::sleep(REOPEN).await;
            }
        }
    }
}

/// What was told last.
#[derive(Default)]
struct Told {
    pods: Option<Arc<[PodDevice]>>,
    node: Option<Arc<NodeDevices>>,
}

impl Told {
    /// Tells what is new.
    async fn send(
        &mut self,
        feed: &Feed,
        pods: Vec<PodDevice>,
        node: NodeDevices,
    ) -> Result<(), Stop> {
        let mut events = Vec::new();
        if self.pods.as_deref() != Some(&pods[..]) {
            let pods: Arc<[PodDevice]> = pods.into();
            events.push(Event::Local(NodeFact::PodDevices(Arc::clone(&pods))));
            self.pods = Some(pods);
        }
        if self.node.as_deref() != Some(&node) {
            let node = Arc::new(node);
            events.push(Event::Local(NodeFact::NodeDevices(Arc::clone(&node))));
            self.node = Some(node);
        }
        match events.is_empty() {
            true => Ok(()),
            false => feed.send(events).await.map_err(Stop::Loop),
        }
    }
}

enum Stop {
    Loop(LoopEnded),
    Netlink(io::Error),
}

impl From<io::Error> for Stop {
    fn from(cause: io::Error) -> Self {
        Self::Netlink(cause)
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn follow(
    feed: &Feed,
    health: &Health,
    told: &mut Told,
) -> Result<std::convert::Infallible, Stop> {
    // Subscribed before the first read, so that no change falls between the two.
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
    ];
    let (mut connection, handle, mut notices) = rtnetlink::new_multicast_connection(&groups)?;
    // Without it the kernel ignores which namespace's addresses are asked for, and gives its own.
    connection.socket_mut().socket_mut().set_netlink_get_strict_chk(true)?;
    let connection = tokio::spawn(connection);
    let _ended_with_us = AbortOnDrop(connection.abort_handle());
    let mut without_address = 0;
    loop {
        let (devices, node) = tokio::time::timeout(ANSWER, read(&handle))
            .await
            .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
        let pending = devices.iter().any(|device| device.addresses.is_empty());
        without_address = if pending { without_address + 1 } else { 0 };
        told.send(feed, devices, node).await?;
        health.note(ORIGIN, Vec::new());
        let soon = pending && without_address < PATIENCE;
        let reread = tokio::time::sleep(if soon { PENDING } else { REREAD });
        tokio::pin!(reread);
        loop {
            tokio::select! {
                () = &mut reread => break,
                notice = notices.next() => match notice {
                    Some((message, _)) if concerns_devices(&message) => break,
                    Some(_) => {}
                    None => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
                },
            }
        }
        tokio::time::sleep(SETTLE).await;
        while let Some(Some(_)) = notices.next().now_or_never() {}
    }
}

const fn concerns_devices(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    matches!(
        message.payload,
        NetlinkPayload::Overrun(_)
            | NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewLink(_)
                    | RouteNetlinkMessage::DelLink(_)
                    | RouteNetlinkMessage::NewRoute(_)
                    | RouteNetlinkMessage::DelRoute(_)
                    | RouteNetlinkMessage::NewAddress(_)
                    | RouteNetlinkMessage::DelAddress(_)
            )
    )
}

/// A pair of devices with its other end elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pair {
    index: u32,
    /// The bridge that it belongs to.
    bridge: Option<u32>,
    /// The namespace of the other end.
    namespace: i32,
    /// The index of the other end there.
    other: u32,
}

async fn read(handle: &Handle) -> io::Result<(Vec<PodDevice>, NodeDevices)> {
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
    let (devices, behind) = pods(handle, &links).await?;
    let addresses: Vec<AddressMessage> =
        handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
    Ok((devices, node_devices::of(&links, &addresses, &behind)))
}

/// Devices of pods, and what pods are behind: those, or the bridges that they belong to.
async fn pods(
    handle: &Handle,
    links: &[LinkMessage],
) -> io::Result<(Vec<PodDevice>, BTreeSet<u32>)> {
    let pairs: Vec<Pair> = links.iter().filter_map(pair).collect();
    if pairs.is_empty() {
        return Ok(Default::default());
    }
    let mut behind = BTreeSet::new();
    let out = leading_out(handle).await?;
    let (mut devices, mut known) = (Vec::new(), BTreeMap::new());
    for pair in pairs {
        let through = pair.bridge.unwrap_or(pair.index);
        // A bridge has the block of its pods; a device of its own has none.
        if out.gateways.contains(&through)
            || (pair.bridge.is_none() && out.blocks.contains(&pair.index))
        {
            continue;
        }
        let found = match known.entry(pair.namespace) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(unread) => {
                let read = addresses(handle, pair.namespace).await;
                unread.insert(gone_or(read)?)
            }
        };
        let of = found.get(&pair.other);
        let addresses = of.into_iter().flatten().copied().collect();
        devices.push(PodDevice { index: pair.index, addresses });
        behind.insert(through);
    }
    devices.sort_unstable();
    Ok((devices, behind))
}

/// A namespace that is gone since has no addresses, and soon no device. Any other error says nothing about
/// the pod: the whole reading failed.
fn gone_or<T: Default>(read: io::Result<T>) -> io::Result<T> {
    match read {
        Err(error)
            if [Some(libc::EINVAL), Some(libc::ENOENT), Some(libc::ESRCH)]
                .contains(&error.raw_os_error()) =>
        {
            Ok(T::default())
        }
        read => read,
    }
}

fn pair(link: &LinkMessage) -> Option<Pair> {
    let (mut is_pair, mut bridge, mut namespace, mut other) = (false, None, None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::LinkInfo(info) => {
                is_pair |= info.iter().any(|one| matches!(one, LinkInfo::Kind(InfoKind::Veth)));
            }
            LinkAttribute::Controller(index) => bridge = Some(*index),
            LinkAttribute::LinkNetNsId(id) => namespace = Some(*id),
            LinkAttribute::Link(index) => other = Some(*index),
            _ => {}
        }
    }
    let index = link.header.index;
    is_pair.then_some(Pair { index, bridge, namespace: namespace?, other: other? })
}

/// Devices by what their routes say.
#[derive(Debug, Default)]
struct LeadingOut {
    /// A gateway is behind them.
    gateways: BTreeSet<u32>,
    /// A whole block is behind them.
    blocks: BTreeSet<u32>,
}

async fn leading_out(handle: &Handle) -> io::Result<LeadingOut> {
    let mut found = LeadingOut::default();
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    for request in [v4, v6] {
        let routes = handle.route().get(filterless(request)).execute();
        let routes: Vec<RouteMessage> = routes.try_collect().await.map_err(io::Error::other)?;
        routes.iter().for_each(|route| found.note(route));
    }
    Ok(found)
}

/// A strict kernel takes what a request says for a filter: this one says the family only.
fn filterless(request: RouteMessage) -> RouteMessage {
    let mut all = RouteMessage::default();
    all.header.address_family = request.header.address_family;
    all
}

impl LeadingOut {
    fn note(&mut self, route: &RouteMessage) {
        if route.header.kind != RouteType::Unicast {
            return;
        }
        let (mut device, mut gateway, mut to) = (None, false, None);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => device = Some(*index),
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => gateway = true,
                RouteAttribute::Destination(address) => to = Some(address),
                _ => {}
            }
        }
        let Some(device) = device else { return };
        let whole = match route.header.address_family {
            AddressFamily::Inet => 32,
            _ => 128,
        };
        use rtnetlink::packet_route::route::RouteAddress;
        // Every device has a link-local block, and one of all multicast addresses.
        let everywhere = matches!(to, Some(RouteAddress::Inet6(v6))
            if v6.is_unicast_link_local() || v6.is_multicast());
        if gateway {
            self.gateways.insert(device);
        } else if route.header.destination_prefix_length < whole && !everywhere {
            self.blocks.insert(device);
        }
    }
}

/// The addresses of a namespace by device, sorted.
async fn addresses(handle: &Handle, namespace: i32) -> io::Result<BTreeMap<u32, BTreeSet<IpAddr>>> {
    let mut found: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = AddressMessage::default();
        request.header.family = family;
        request.attributes.push(AddressAttribute::TargetNetNsId(namespace));
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetAddress(request));
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut handle = handle.clone();
        let mut answers = handle.request(message).map_err(io::Error::other)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                    if let Some(ip) = in_namespace(&address, namespace) {
                        found.entry(address.header.index).or_default().insert(ip);
                    }
                }
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(error.to_io());
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// An address that others can reach; of this namespace only: a kernel that does not know the question
/// answers with its own.
fn in_namespace(message: &AddressMessage, namespace: i32) -> Option<IpAddr> {
    let (mut local, mut address, mut of) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::TargetNetNsId(id) => of = Some(*id),
            _ => {}
        }
    }
    let ip = local.or(address).filter(|_| of == Some(namespace))?;
    let own_link = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    (!ip.is_loopback() && !own_link).then_some(ip)
}

#[cfg(test)]
mod tests;
