//! Service, trimmed to what routing and DNS read (services.md 1.1).

use std::net::IpAddr;

use crate::{Family, Meta, Protocol, store::kept_by_meta};

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Metadata.
    pub meta: Meta,
    /// Value of the label `service.kubernetes.io/service-proxy-name`, when present.
    pub proxy_name: Option<Box<str>>,
    /// Is the label `service.kubernetes.io/headless` present?
    pub headless_label: bool,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.clusterIPs` (or `spec.clusterIP`) without "None"; at most one of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// clusterIP is "None".
    pub headless: bool,
    /// `spec.ipFamilies`.
    pub ip_families: Vec<Family>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `spec.externalName`.
    pub external_name: Option<Box<str>>,
    /// `status.loadBalancer.ingress` entries that have an IP.
    pub load_balancer: Vec<LoadBalancerIngress>,
    /// `spec.loadBalancerSourceRanges`, trimmed of white space; entries that do not parse are left
    /// out with a problem.
    pub source_ranges: Vec<Cidr>,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`, 0 for none.
    pub health_check_node_port: u16,
    /// sessionAffinity ClientIP: its timeout in seconds (default 10800). `None`: no affinity.
    pub affinity_seconds: Option<u32>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `spec.selector`, sorted; empty when absent. (A map would cost 400 bytes per Service.)
    pub selector: Box<[(Box<str>, Box<str>)]>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
}

kept_by_meta!(Service);

/// `spec.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the variants are the API's names")]
pub enum ServiceType {
    #[default]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
    /// A value this version does not know: treated as ClusterIP would be, with a problem.
    Unknown,
}

/// `Cluster` or `Local`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the variants are the API's names")]
pub enum TrafficPolicy {
    #[default]
    Cluster,
    Local,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadBalancerIngress {
    /// Its address.
    pub ip: IpAddr,
    /// ipMode is "Proxy": traffic must really go to the load balancer (KEP-1860).
    pub proxied: bool,
}

/// A block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cidr {
    /// First address of the block (host bits cleared).
    pub base: IpAddr,
    /// Prefix length.
    pub prefix: u8,
}

impl Cidr {
    /// From `a.b.c.d/n` or `x::/n`; host bits are cleared.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = text.trim().split_once('/')?;
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return None; // "+8" is a number to Rust
        }
        let (base, prefix) = (base.parse().ok()?, prefix.parse().ok()?);
        let masked = mask(base, prefix)?;
        Some(Self { base: masked, prefix })
    }

    /// Is `ip` inside?
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        mask(ip, self.prefix) == Some(self.base)
    }
}

/// Clears the host bits; `None` when the prefix is too long for the family.
fn mask(ip: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    Some(match ip {
        IpAddr::V4(v4) => {
            let host = 32u32.checked_sub(prefix)?;
            let net = u32::MAX.checked_shl(host).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & net).into())
        }
        IpAddr::V6(v6) => {
            let host = 128u32.checked_sub(prefix)?;
            let net = u128::MAX.checked_shl(host).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & net).into())
        }
    })
}

/// One entry of `spec.ports`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Name; empty for the only, unnamed port.
    pub name: Box<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port, never 0.
    pub port: u16,
    /// nodePort, 0 for none.
    pub node_port: u16,
    /// targetPort: the synthesis of slices reads it, and what policies say of DNS.
    pub target: TargetPort,
    /// appProtocol: only Ingress reads it.
    pub app_protocol: AppProtocol,
}

/// `appProtocol`, as far as a proxy has to speak differently for it (KEP-3726, and the names of IANA).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum AppProtocol {
    /// Absent, HTTP/1.1 and what is spoken over it (`kubernetes.io/ws`), or a protocol that is not known.
    #[default]
    Http,
    /// HTTP/2 without TLS: `kubernetes.io/h2c`, `grpc`.
    Http2,
    /// HTTP/1.1 over TLS: `https`, `kubernetes.io/wss`.
    Https,
}

/// `targetPort`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetPort {
    /// A number (default: the port itself).
    Number(u16),
    /// The name of a container port.
    Name(Box<str>),
}
