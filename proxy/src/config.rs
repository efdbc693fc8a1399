//! Settings of the compile step.

use std::net::IpAddr;

use towpath_model::service::Cidr;

use crate::Share;

/// What a person may choose.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProxyConfig {
    /// `spec.externalIPs` are served only inside these blocks (CVE-2020-8554: any tenant may write
    /// them). Empty: none is served.
    pub external_ips: Vec<Cidr>,
    /// How much of the tables one Service may use.
    pub share: Share,
}

impl ProxyConfig {
    pub(crate) fn allows_external_ip(&self, ip: IpAddr) -> bool {
        self.external_ips.iter().any(|block| block.contains(ip))
    }
}
