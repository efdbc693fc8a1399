//! Makes an address local to the node by a route, without giving it to a device: what is sent to it
//! from this node or its pods comes to our sockets, and no address appears where tools list them.
//!
//! The node's own queries come from an address of the node: the kernel would take the ClusterIP itself
//! otherwise, and a datagram to it, at a port that the Service does not have, is refused like any.

use std::{io, net::IpAddr};

use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{RouteMessage, RouteScope, RouteType},
};

/// The kernel's table of local addresses.
const LOCAL: u32 = 255;
/// The loopback device is the first of every network namespace.
const LOOPBACK: u32 = 1;

fn message(address: IpAddr, source: Option<IpAddr>) -> io::Result<RouteMessage> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let mut route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, length)
        .map_err(io::Error::other)?
        .output_interface(LOOPBACK)
        .table_id(LOCAL)
        .scope(RouteScope::Host)
        .kind(RouteType::Local);
    if let Some(source) = source {
        route = route.pref_source(source).map_err(io::Error::other)?;
    }
    Ok(route.build())
}

/// Makes an address local; one that is already stays so. `source`: from which address this node asks.
pub(super) async fn add(
    handle: &Handle,
    address: IpAddr,
    source: Option<IpAddr>,
) -> io::Result<()> {
    let route = handle.route().add(message(address, source)?).replace();
    route.execute().await.map_err(io::Error::other)
}

/// Takes that back.
pub(super) async fn remove(handle: &Handle, address: IpAddr) -> io::Result<()> {
    handle.route().del(message(address, None)?).execute().await.map_err(io::Error::other)
}
