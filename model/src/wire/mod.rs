//! The API's JSON, as far as it is read: one file per kind.
//!
//! Every field is optional or has a default, unknown enum values are kept as text and judged during
//! conversion, and what is not needed is skipped without being built. An object that cannot be
//! understood is reported by name and never harms another.

mod address;
pub(crate) mod config_map;
mod decode;
pub(crate) mod ingress;
pub(crate) mod ingress_class;
mod list;
mod map;
mod meta;
pub(crate) mod namespace;
pub(crate) mod network_policy;
pub(crate) mod node;
pub mod pod;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod service_cidr;
pub(crate) mod slice;
mod status;
mod wrong_type;

pub(crate) use address::readable_address;
pub use decode::{Bad, decode, identify};
pub(crate) use decode::{Wrong, decode_service, read, read_as};
pub use list::{ListMeta, decode_list};
pub(crate) use slice::SERVICE_LABEL;
