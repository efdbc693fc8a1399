//! What the control socket says: a stable schema, the same that `-o json` prints.
//!
//! Rules: fields are added, never renamed or removed, within one `apiVersion`; a reader ignores what
//! it does not know. Names are the API's (camelCase); times are RFC 3339 or seconds as numbers.

mod services;
mod status;

pub use services::{
    Backend, Frontend, FrontendKind, KernelView, PortReply, ServiceCounts, ServiceReply,
    ServicesReply, SetView,
};
pub use status::{
    Audit, Brake, HealthReply, KernelReply, KindReply, MapReply, NotServed, ProblemReply,
    ProblemsReply, ProgramReply, ServicesSummary, SourceReply, StatusReply,
};

/// Version of the schema.
pub const API_VERSION: &str = "towpath/v1";
