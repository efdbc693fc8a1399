//! Services compiled into what this node must translate.
//!
//! `plan` turns a [`towpath_model::View`] into a [`ServicePlan`] (what is wanted), [`Layout`] turns
//! changes of the plan into an ordered [`towpath_image::Batch`]. Pure: both are functions of their
//! arguments, time included.
#![forbid(unsafe_code)]

mod claims;
mod compile;
mod config;
mod explain;
mod health_ports;
mod identities;
mod identity;
mod layout;
mod not_routed;
mod plan;
mod planned;
mod ranges;
mod share;

use towpath_model::{Kind, Stream};

pub use claims::Claim;
pub use config::ProxyConfig;
pub use explain::{Answer, EndpointFact, Holder, Question, Trace, Via, endpoints, explain, trace};
pub use identity::{node_identity, service_identity};
pub use layout::{Found, Hold, Layout, Refused};
pub use not_routed::NotRouted;
pub use plan::{PlanDelta, ServicePlan, plan};
pub use planned::{
    FrontendSource, FrontendTarget, HealthCheck, PlannedFrontend, PlannedPort, PlannedRecord,
    PlannedService, PlannedSet, ServicePortId,
};
pub use share::Share;
pub use towpath_image::Millis;

/// The streams that a plan is made of: before they are listed there is none.
pub const NEEDS: [Stream; 3] =
    [Stream::all(Kind::Node), Stream::all(Kind::Service), Stream::all(Kind::EndpointSlice)];
