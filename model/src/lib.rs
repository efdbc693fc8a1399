//! What the cluster said, as one consistent picture.
//!
//! Events go into a [`Store`]; a commit gives a [`View`] (everything, now) and [`Changes`] (what is
//! different since the last commit). Pure: no sockets, files, clocks, randomness or logs.
#![forbid(unsafe_code)]

mod brake;
mod changes;
mod codes;
mod config_map;
mod event;
mod fields;
pub mod ingress;
mod ingress_class;
mod kinds;
pub mod names;
mod namespace;
mod nearest;
pub mod network_policy;
pub mod node;
mod object;
pub mod pod;
mod problem;
mod secret;
pub mod select;
pub mod service;
mod service_cidr;
pub mod slice;
mod store;
mod stream;
pub mod synth;
mod unroutable;
mod view;
pub mod wire;

pub use brake::Removals;
pub use changes::Change;
pub use codes::Code;
pub use config_map::ConfigMap;
pub use event::{Event, NodeDevice, NodeDevices, NodeFact, PodDevice, Relist};
pub use fields::unknown_fields;
pub use ingress::Ingress;
pub use ingress_class::IngressClass;
pub use kinds::{Changes, Kind, Kinds, Object, ROWS, Row};
pub use namespace::Namespace;
pub use nearest::nearest;
pub use network_policy::NetworkPolicy;
pub use node::Node;
pub use object::{Family, Key, Meta, ObjectName, Protocol};
pub use pod::Pod;
pub use problem::Problem;
pub use secret::{Secret, SecretBytes};
pub use service::Service;
pub use service_cidr::ServiceCIDR;
pub use slice::{Endpoint, EndpointSlice, SlicePort};
pub use store::Store;
pub use stream::{Scope, Stream};
pub use unroutable::why_unroutable;
pub use view::{Synced, View};
pub use wire::{Bad, decode};
