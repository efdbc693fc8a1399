//! What is set once for a zone.

use towpath_model::ObjectName;

use crate::{
    Query, Transport,
    name::{Name, label},
};

/// The largest message over UDP that is answered with, and that others are asked for: what passes every
/// path in one fragment (DNS flag day 2020).
pub const UDP_SIZE: u16 = 1232;
/// What every client takes over UDP (RFC 1035 4.2.1, RFC 6891 6.2.3).
const UDP_LEAST: u16 = 512;

/// Whether pods have records by their addresses (CoreDNS's `pods`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PodRecords {
    /// None has.
    Disabled,
    /// `1-2-3-4.namespace.pod.zone` is 1.2.3.4, whether or not a pod has that address.
    #[default]
    Insecure,
}

/// Settings of a zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The cluster's domain.
    pub domain: Name,
    /// Time to live of records, in seconds.
    pub ttl: u32,
    /// Time to live of "there is no such name" and "it has no such record".
    pub negative_ttl: u32,
    /// Records of pods.
    pub pods: PodRecords,
    /// The Service under which this server is reached.
    pub service: ObjectName,
    /// The largest answer over UDP, for clients that take so much (EDNS).
    pub udp_size: u16,
}

impl Settings {
    /// Those of kubeadm's CoreDNS, but for the negative TTL, which is short: a Service that was just
    /// created is to be found (kubernetes/kubernetes#92559).
    #[must_use]
    pub fn of_domain(domain: Name) -> Self {
        Self {
            domain,
            ttl: 30,
            negative_ttl: 5,
            pods: PodRecords::Insecure,
            service: ObjectName::new("kube-system", "kube-dns"),
            udp_size: UDP_SIZE,
        }
    }

    /// How large the answer to this question may be.
    #[must_use]
    pub fn limit(&self, transport: Transport, query: &Query<'_>) -> usize {
        match transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => {
                let asked = query.edns.map_or(UDP_LEAST, |edns| edns.udp_size);
                usize::from(asked.clamp(UDP_LEAST, self.udp_size.max(UDP_LEAST)))
            }
        }
    }

    /// Key of a Service: its name and namespace as labels.
    pub(crate) fn key(name: &ObjectName) -> Option<Box<[u8]>> {
        let (service, namespace) = (label(&name.name)?, label(&name.namespace)?);
        Some([service, namespace].concat().into())
    }
}
