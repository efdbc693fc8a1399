//! UDP endpoints in use: what a connected UDP socket may go on talking to.
//!
//! As kube-proxy decides (services.md 1.7): an address is in use while it is a *serving* endpoint,
//! whatever policy, topology and termination say about new flows; what a set holds is in use, too.
//! And while *any* proxied Service uses it, it stays: PEERS says where a socket was sent and not
//! through which Service, and a socket that another Service sent there must not be ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use towpath_model::{ObjectName, Protocol, View};
use towpath_proxy::ServicePlan;

/// UDP endpoints per Service, and how many Services use each.
#[derive(Debug, Default)]
pub(crate) struct UdpEndpoints {
    of_service: BTreeMap<ObjectName, Box<[SocketAddr]>>,
    users: BTreeMap<SocketAddr, u32>,
}

impl UdpEndpoints {
    /// Looks at one Service again. Answers whether an endpoint has lost its last user.
    pub(crate) fn update(
        &mut self,
        name: &ObjectName,
        plan: &ServicePlan,
        view: &View<'_>,
    ) -> bool {
        let new = in_use(name, plan, view);
        let old = self.of_service.remove(name).unwrap_or_default();
        for endpoint in &new {
            *self.users.entry(*endpoint).or_default() += 1;
        }
        let mut gone = false;
        for endpoint in &old {
            if let Some(users) = self.users.get_mut(endpoint) {
                *users -= 1;
                if *users == 0 {
                    self.users.remove(endpoint);
                    gone = true;
                }
            }
        }
        if !new.is_empty() {
            self.of_service.insert(name.clone(), new.into_iter().collect());
        }
        gone
    }

    /// Does any Service use it?
    pub(crate) fn contains(&self, endpoint: &SocketAddr) -> bool {
        self.users.contains_key(endpoint)
    }
}

fn in_use(name: &ObjectName, plan: &ServicePlan, view: &View<'_>) -> BTreeSet<SocketAddr> {
    let mut found = BTreeSet::new();
    let Some(service) = plan.service(name) else { return found };
    let ports = service.ports.iter().filter(|port| port.id.protocol == Protocol::Udp);
    for record in ports.flat_map(|port| port.records()) {
        let backends = record.sets.iter().flat_map(|set| set.backends.iter());
        found.extend(backends.map(|b| SocketAddr::new(b.addr.into(), u16::from_be(b.port))));
    }
    for slice in view.slices_of(name) {
        for port in slice.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            let serving = slice.endpoints.iter().filter(|endpoint| endpoint.serving);
            found.extend(serving.map(|endpoint| SocketAddr::new(endpoint.addr, port.port)));
        }
    }
    found
}
