//! Which Services are not routed at all, and why (services.md 1.1).

use std::fmt;

use towpath_model::{Service, service::ServiceType};

/// Why a Service is not routed. Each is as its author asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotRouted<'a> {
    /// The label `service.kubernetes.io/service-proxy-name` names another proxy.
    OtherProxy(&'a str),
    /// The label `service.kubernetes.io/headless` is present.
    HeadlessLabel,
    /// Type ExternalName.
    ExternalName,
    /// `clusterIP: None`.
    Headless,
    /// No cluster IP was allocated yet.
    NoClusterIp,
}

impl<'a> NotRouted<'a> {
    /// `None`: the Service is routed.
    #[must_use]
    pub fn of(service: &'a Service) -> Option<Self> {
        if let Some(proxy) = &service.proxy_name {
            Some(Self::OtherProxy(proxy))
        } else if service.headless_label {
            Some(Self::HeadlessLabel)
        } else if service.service_type == ServiceType::ExternalName {
            Some(Self::ExternalName)
        } else if service.headless {
            Some(Self::Headless)
        } else if service.cluster_ips.is_empty() {
            Some(Self::NoClusterIp)
        } else {
            None
        }
    }
}

impl fmt::Display for NotRouted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherProxy(proxy) => {
                return write!(
                    f,
                    "its label service.kubernetes.io/service-proxy-name leaves it to the proxy {proxy:?}"
                );
            }
            Self::HeadlessLabel => "its label service.kubernetes.io/headless says it is headless",
            Self::ExternalName => "it is of type ExternalName, a DNS name without an address",
            Self::Headless => "it is headless (clusterIP: None), DNS names its endpoints",
            Self::NoClusterIp => "it has no cluster IP yet",
        })
    }
}
