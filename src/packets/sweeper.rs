//! Removes flows that have expired. For the programs they are absent already: what is swept is memory.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use towpath_ebpf::FlowTable;

use super::PacketMetrics;

/// Time between two sweeps.
const REST: Duration = Duration::from_secs(10);
/// The same while the table fills.
const HURRY: Duration = Duration::from_secs(1);

/// The area's end: what the last sweep left. The sweeper ends with it.
#[derive(Debug)]
pub(super) struct Looks {
    pub(super) entries: Arc<AtomicU64>,
    _ends: mpsc::Sender<()>,
}

/// The sweeper's end.
#[derive(Debug)]
pub(super) struct Told {
    entries: Arc<AtomicU64>,
    ended: mpsc::Receiver<()>,
}

/// Both ends.
pub(super) fn looks() -> (Looks, Told) {
    let entries = Arc::new(AtomicU64::new(0));
    let (ends, ended) = mpsc::channel();
    (Looks { entries: Arc::clone(&entries), _ends: ends }, Told { entries, ended })
}

/// Looks through the flow table again and again.
pub(super) struct Sweeper {
    pub(super) flows: FlowTable,
    pub(super) metrics: Arc<PacketMetrics>,
    pub(super) looks: Told,
}

impl Sweeper {
    /// On a thread of its own, until the area ends.
    pub(super) fn start(self) -> io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("flow-sweep".into()).spawn(move || {
            let mut rest = Duration::ZERO;
            while let Err(mpsc::RecvTimeoutError::Timeout) = self.looks.ended.recv_timeout(rest) {
                rest = self.look();
            }
        })
    }

    /// One sweep; how long until the next.
    fn look(&self) -> Duration {
        let capacity = self.flows.capacity();
        match self.flows.sweep() {
            Ok(swept) => {
                self.metrics.flows(swept.entries, capacity);
                self.looks.entries.store(swept.entries as u64, Ordering::Relaxed);
                let filling = swept.entries as u64 * 2 > u64::from(capacity);
                if filling { HURRY } else { REST }
            }
            Err(error) => {
                tracing::warn!(%error, "flows of packets could not be swept");
                REST
            }
        }
    }
}
