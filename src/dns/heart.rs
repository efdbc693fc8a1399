//! The server's life signs, where the programs see them.

use towpath_dns::{Heart, Pulse};
use towpath_ebpf::{Heartbeat, prompt};

/// In the kernel's map.
pub(super) struct InKernel(pub(super) Heartbeat);

struct Beating {
    pulse: towpath_ebpf::Pulse,
    begun: bool,
}

impl Heart for InKernel {
    fn pulse(&self) -> Option<Box<dyn Pulse>> {
        let beating = |pulse| Box::new(Beating { pulse, begun: false }) as Box<dyn Pulse>;
        self.0.pulse().map(beating)
    }
}

impl Pulse for Beating {
    fn beat(&mut self) {
        // On the thread that serves: clients wait for it, however busy the node is.
        if !std::mem::replace(&mut self.begun, true)
            && let Err(error) = prompt()
        {
            tracing::debug!(%error, "a thread that serves DNS is scheduled like any other");
        }
        self.pulse.beat();
    }
}
