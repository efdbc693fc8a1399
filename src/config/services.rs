//! Which sockets and which addresses are routed.

use towpath_model::service::Cidr;

use super::{Fault, address::cidr, layers::Layers, suggest};

/// Settings of service routing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicesConfig {
    /// Whose sockets.
    pub socket_lb: SocketLb,
    /// Blocks that externalIPs may come from. Empty: externalIPs are not served, because a
    /// right to create Services would otherwise be one to take any address (CVE-2020-8554).
    pub external_ips: Vec<Cidr>,
}

/// Whose sockets are routed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SocketLb {
    /// Every socket on the node.
    #[default]
    All,
    /// Those of the host's network namespace: a service mesh sees what pods ask for.
    HostOnly,
}

pub(super) fn resolve(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<ServicesConfig> {
    let (args, file) = (layers.args, layers.file);
    let given = layers.text(args.socket_lb.as_ref(), "--socket-lb", file.socket_lb.as_ref());
    let socket_lb = match given.as_ref().map(|setting| setting.value.as_str()) {
        None | Some("all") => Some(SocketLb::All),
        Some("hostOnly") => Some(SocketLb::HostOnly),
        Some(_) => None,
    };
    if let (None, Some(given)) = (socket_lb, &given) {
        let action = suggest::advice(&given.value, &["all", "hostOnly"]);
        faults.push(given.fault("socketLB", "is neither all nor hostOnly", action));
    }
    let before = faults.len();
    let external_ips = layers
        .list(&args.external_ips, "--external-ips", file.external_ips.as_ref())
        .iter()
        .filter_map(|one| cidr(one, "externalIPs", faults))
        .collect();
    (faults.len() == before).then_some(())?;
    Some(ServicesConfig { socket_lb: socket_lb?, external_ips })
}
