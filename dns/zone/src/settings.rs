//! What is set once for a zone.

use towpath_model::ObjectName;

use crate::name::{Name, label};

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
            // DNS flag day 2020: what passes every path in one fragment.
            udp_size: 1232,
        }
    }

    /// Key of a Service: its name and namespace as labels.
    pub(crate) fn key(name: &ObjectName) -> Option<Box<[u8]>> {
        let (service, namespace) = (label(&name.name)?, label(&name.namespace)?);
        Some([service, namespace].concat().into())
    }
}
