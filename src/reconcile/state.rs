//! What the loop owns, and one turn of it.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use tokio::sync::mpsc;
use towpath_image::{Kernel, Observed};
use towpath_model::{Event, ObjectName, Problem, Relist, Store};
use towpath_proxy::{Layout, ServicePlan, plan};

use super::{Clock, Entry, Graces, Ledger, Outcome, audit, effects::Effects};

/// The kernel, written and looked at.
pub trait Door: Kernel + Observed + Send {}
impl<T: Kernel + Observed + Send> Door for T {}

/// Milliseconds between two audits of a loop that has nothing else to do.
const AUDIT_EVERY_MS: u64 = 5 * 60 * 1000;

/// Store, plan, layout, ledger and the kernel door.
pub struct State {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) plan: ServicePlan,
    pub(crate) layout: Layout,
    pub(crate) kernel: Box<dyn Door>,
    pub(crate) ledger: Ledger,
    pub(crate) audited: audit::Last,
    relists: mpsc::Sender<Relist>,
    graces: Graces,
    effects: Effects,
    /// When the oldest event that is not yet in the kernel was received.
    waiting_since: Option<Instant>,
}
