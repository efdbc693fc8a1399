//! The engine's numbers, in the daemon's registry.

use prometheus::{Error, core::Collector};
use towpath_ingress::Register;

use crate::metrics::Registry;

impl Register for Registry {
    fn add<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, Error> {
        Self::add(self, metric)
    }
}
