//! What the kernel's maps hold, an ordered change to it ([`Batch`]), and the doors through which it
//! is made: [`Kernel`] to the maps of one area (an [`Image`] each), [`Programs`] to what is attached.
//!
//! Pure: the live doors are in `towpath-ebpf`; [`FakeKernel`] and [`FakePrograms`] are the same doors
//! with failures on order.
#![forbid(unsafe_code)]

mod attachments;
mod cluster;
mod error;
mod extents;
mod fake;
mod fake_programs;
mod image;
mod indices;
mod kernel;
mod name;
mod packets;
mod policies;
mod retired;
mod services;

pub use attachments::{At, Attachment, Attachments, Hook, HookKind, Made};
pub use cluster::cluster_identity;
pub use error::{KernelError, chain};
pub use extents::{Extent, FreeExtents};
pub use fake::FakeKernel;
pub use fake_programs::FakePrograms;
pub use image::{Batch, Image};
pub use indices::FreeIndices;
pub use kernel::{Applied, Counters, Kernel, Observed, Programs};
pub use name::MapName;
pub use packets::{DEVICES_MAX, PacketImage, PacketOp};
pub use policies::{PolicyCapacities, PolicyImage, PolicyOp, PortTable};
pub use retired::{Millis, REST_MS, Retired};
pub use services::{Capacities, SOURCE_RANGES_MAX, ServiceImage, ServiceOp};
pub use towpath_datapath as datapath;
