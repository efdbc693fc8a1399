//! Ingresses compiled into a table of routes.
//!
//! [`RoutePlan::update`] turns a [`towpath_model::View`] into three snapshots: a [`RouteTable`] (which
//! request goes where), [`EndpointSets`] (which endpoints a Service's port has now) and the certificates
//! that hosts want. Endpoints change far more often than routes, so a table names Services by a
//! [`Slot`] and never an endpoint. Pure: a function of its arguments.
#![forbid(unsafe_code)]

mod annotations;
mod build;
mod certs;
mod class;
mod cors;
mod endpoints;
mod host;
mod host_table;
mod path;
mod pattern;
mod plan;
mod policy;
mod read;
mod slots;
mod table;
mod template;

use towpath_model::{Kind, Stream};

pub use annotations::Refusal;
pub use certs::{Certificates, Wish};
pub use class::Settings;
pub use cors::{Cors, Origins, Site};
pub use endpoints::{EndpointSet, EndpointSets, Missing, endpoint_key};
pub use host::{BadHost, request_host};
pub use host_table::{HostTable, Origin, Route, Target};
pub use path::{BadPath, normalise};
pub use pattern::{Pattern, Rewrite};
pub use plan::{RoutePlan, Update};
pub use policy::{
    Affinity, Asked, EndpointTls, ExternalAuth, Policy, Protocol, Ranges, Redirect, SameSite,
    Times, TlsVersions,
};
pub use slots::{BackendRef, Slot};
pub use table::{Found, RouteTable};
pub use template::{Template, Variable};

/// The streams that routes are made of: before they are listed there is no table.
pub const NEEDS: [Stream; 5] = [
    Stream::all(Kind::Node),
    Stream::all(Kind::Service),
    Stream::all(Kind::EndpointSlice),
    Stream::all(Kind::Ingress),
    Stream::all(Kind::IngressClass),
];

/// A map whose order is never seen, with the same hashes in every run.
type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;
