//! What the node knows about itself without the API server: its addresses.
//!
//! A NodePort is served on every address of the node, also on those that no Node object lists
//! (services.md 1.9), so the kernel's own list is read over netlink and followed. The whole list is
//! read again after every notice instead of being patched: notices can be lost (`ENOBUFS`), lists
//! can not, and an address changes a few times a day.

use std::{io, net::IpAddr, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
    },
};
use tokio::sync::watch;
use towpath_model::{Code, Event, NodeFact, Problem};

use super::{Feed, Health, LoopEnded};

/// Read again although nothing was heard.
const REREAD: Duration = Duration::from_secs(60);
/// Notices come in bursts (one per device of a new pod): wait for the rest of the burst.
const SETTLE: Duration = Duration::from_millis(5);
/// The kernel answers a dump at once; longer means that the answer was lost.
const ANSWER: Duration = Duration::from_secs(5);
/// What `status` calls it.
const ORIGIN: &str = "addresses of this node";
/// Before netlink is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// Feeds the addresses of the network namespace in which it is first polled: now, and whenever they
/// change. A netlink socket that fails is opened again. `known` becomes true with the first list: a
/// source that lists before it would have addresses removed that no Node object names.
///
/// # Errors
/// When the loop has ended.
pub async fn run(feed: Feed, health: Health, known: watch::Sender<bool>) -> Result<(), LoopEnded> {
    let mut follower = Follower { feed, health, known, told: None };
    loop {
        match follower.follow().await {
            Ok(never) => match never {},
            Err(Stop::Loop(ended)) => return Err(ended),
            Err(Stop::Netlink(cause)) => {
                follower.health.note(ORIGIN, vec![unread(&cause)]);
                tokio::time::sleep(REOPEN).await;
            }
        }
    }
}

fn unread(cause: &io::Error) -> Problem {
    let why = format!(
        "cannot be read over netlink ({cause}): nothing is routed anew before, and NodePorts stay on \
         the addresses that were known"
    );
    Problem::new(
        Code::NodeAddressesUnreadable,
        None,
        ORIGIN,
        &why,
        "allow NETLINK_ROUTE sockets; it is tried again every second",
    )
}

/// Reads addresses and tells what is new.
struct Follower {
    feed: Feed,
    health: Health,
    known: watch::Sender<bool>,
    told: Option<Vec<IpAddr>>,
}

enum Stop {
    Loop(LoopEnded),
    Netlink(io::Error),
}

impl From<LoopEnded> for Stop {
    fn from(ended: LoopEnded) -> Self {
        Self::Loop(ended)
    }
}

impl From<io::Error> for Stop {
    fn from(cause: io::Error) -> Self {
        Self::Netlink(cause)
    }
}

impl Follower {
    async fn follow(&mut self) -> Result<std::convert::Infallible, Stop> {
        // Subscribed before the first read, so that no change falls between the two.
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, mut notices) = rtnetlink::new_multicast_connection(&groups)?;
        let connection = tokio::spawn(connection);
        let _ended_with_us = AbortOnDrop(connection.abort_handle());
        loop {
            let addresses = tokio::time::timeout(ANSWER, read(&handle))
                .await
                .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
            if self.told.as_ref() != Some(&addresses) {
                self.feed.send(vec![Event::Local(NodeFact::Addresses(addresses.clone()))]).await?;
                self.told = Some(addresses);
                self.known.send_replace(true);
            }
            self.health.note(ORIGIN, Vec::new());
            let reread = tokio::time::sleep(REREAD);
            tokio::pin!(reread);
            loop {
                tokio::select! {
                    () = &mut reread => break,
                    notice = notices.next() => match notice {
                        Some((message, _)) if concerns_addresses(&message) => break,
                        Some(_) => {}
                        None => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
                    },
                }
            }
            tokio::time::sleep(SETTLE).await;
            while let Some(Some(_)) = notices.next().now_or_never() {}
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const fn concerns_addresses(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    matches!(
        message.payload,
        // Overrun: the receive buffer was full and notices are lost (ENOBUFS, netlink(7)).
        NetlinkPayload::Overrun(_)
            | NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_)
            )
    )
}

/// All addresses of the namespace, sorted, each once.
async fn read(handle: &Handle) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = handle
        .address()
        .get()
        .execute()
        .try_filter_map(|message| std::future::ready(Ok(own_address(&message))))
        .try_collect()
        .await
        .map_err(io::Error::other)?;
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// The address that this node answers for, when others can reach it there.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let mut local = None;
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point device ADDRESS is the peer's and LOCAL is ours; elsewhere IPv6
            // has ADDRESS only (linux/if_addr.h).
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Dadfailed) => {
                return None;
            }
            _ => {}
        }
    }
    if message.header.flags.contains(AddressHeaderFlags::Dadfailed) {
        return None;
    }
    local.or(address).filter(|ip| reachable(*ip))
}

const fn reachable(ip: IpAddr) -> bool {
    let private_to_a_link = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !private_to_a_link
}

#[cfg(test)]
mod tests;
