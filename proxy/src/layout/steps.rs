//! A batch by its steps.

use towpath_image::{Batch, ServiceOp};

/// Operations by the step they belong to (see the module above).
#[derive(Default)]
pub(super) struct Steps {
    pub(super) records_cleared: Vec<ServiceOp>,
    pub(super) addresses_deleted: Vec<ServiceOp>,
    pub(super) backends: Vec<ServiceOp>,
    /// Before the records that they are of.
    pub(super) ranges: Vec<ServiceOp>,
    pub(super) records: Vec<ServiceOp>,
    pub(super) sets: Vec<ServiceOp>,
    /// Remote nodes' own, before the nodePorts that lead to them.
    pub(super) per_node_put: Vec<ServiceOp>,
    pub(super) frontends_put: Vec<ServiceOp>,
    pub(super) guards_put: Vec<ServiceOp>,
    pub(super) guards_deleted: Vec<ServiceOp>,
    pub(super) frontends_deleted: Vec<ServiceOp>,
    pub(super) addresses_put: Vec<ServiceOp>,
}

impl Steps {
    /// In the one safe order.
    pub(super) fn into_batch(self) -> Batch<ServiceOp> {
        let mut ops = self.records_cleared;
        let rest = [
            self.addresses_deleted,
            self.backends,
            self.ranges,
            self.records,
            self.sets,
            self.per_node_put,
            self.frontends_put,
            self.guards_put,
            self.guards_deleted,
            self.frontends_deleted,
            self.addresses_put,
        ];
        for mut step in rest {
            ops.append(&mut step);
        }
        Batch { ops }
    }
}
