//! EndpointSlice, trimmed.

use std::{net::IpAddr, sync::Arc};

use crate::{Family, Meta, ObjectName, Protocol, store::kept_by_meta};

/// An EndpointSlice with the label `kubernetes.io/service-name`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSlice {
    /// Metadata.
    pub meta: Meta,
    /// The Service it belongs to.
    pub service: ObjectName,
    /// Value of the label `service.kubernetes.io/service-proxy-name`, when present.
    pub proxy_name: Option<Box<str>>,
    /// Is the label `service.kubernetes.io/headless` present? (kube-proxy's watch leaves such slices
    /// out, also when the Service itself has no such label.)
    pub headless_label: bool,
    /// `addressType`; `None` for FQDN and unknown types, which are not routed.
    pub family: Option<Family>,
    /// Ports with a name and a number other than 0.
    pub ports: Box<[SlicePort]>,
    /// Endpoints with at least one address.
    pub endpoints: Box<[Endpoint]>,
    /// Annotation `endpoints.kubernetes.io/last-change-trigger-time`, as written.
    pub triggered: Option<Box<str>>,
}

kept_by_meta!(EndpointSlice, owner: service);

/// One port of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlicePort {
    /// Name; empty for the unnamed port.
    pub name: Box<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Number, never 0.
    pub port: u16,
}

/// One endpoint of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `addresses[0]`, the only one that counts.
    pub addr: IpAddr,
    /// conditions.ready, absent = true.
    pub ready: bool,
    /// conditions.serving, absent = true.
    pub serving: bool,
    /// conditions.terminating, absent = false.
    pub terminating: bool,
    /// hostname: its name below that of the Service, for DNS. Few endpoints have one: behind one more
    /// pointer it takes the others half the room.
    pub hostname: Option<Box<Box<str>>>,
    /// nodeName.
    pub node: Option<Arc<str>>,
    /// hints.forZones: names; `None` and empty both mean no hint.
    pub zone_hints: Option<Box<[Arc<str>]>>,
    /// hints.forNodes: names; `None` and empty both mean no hint.
    pub node_hints: Option<Box<[Arc<str>]>>,
}
