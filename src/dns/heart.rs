//! The server's life signs, where the programs see them.

use towpath_dns::{Heart, Pulse};
use towpath_ebpf::Heartbeat;

/// In the kernel's map.
pub(super) struct InKernel(pub(super) Heartbeat);

struct Beating(towpath_ebpf::Pulse);

impl Heart for InKernel {
    fn pulse(&self) -> Option<Box<dyn Pulse>> {
        self.0.pulse().map(|pulse| Box::new(Beating(pulse)) as Box<dyn Pulse>)
    }
}

impl Pulse for Beating {
    fn beat(&mut self) {
        self.0.beat();
    }
}
