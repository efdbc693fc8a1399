//! What the kernel's maps hold ([`Image`]), an ordered change to it ([`Batch`]), and the door
//! through which it is made ([`Kernel`]).
//!
//! Pure: the live door is `towpath-ebpf`; [`FakeKernel`] is the same door with failures on order.
#![forbid(unsafe_code)]

mod batch;
mod cluster;
mod fake;
mod image;
mod kernel;

pub use batch::{Batch, Op};
pub use cluster::cluster_identity;
pub use fake::FakeKernel;
pub use image::{Capacities, Image};
pub use kernel::{Applied, Counters, Kernel, KernelError, MapName, Observed};
pub use towpath_datapath as datapath;
