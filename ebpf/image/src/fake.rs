//! A kernel in memory that fails on order.

use crate::{Applied, Batch, Capacities, Image, Kernel, KernelError, ServiceImage};

/// The same door as the live one to an area's maps.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel<I> {
    /// What it holds.
    pub image: I,
    /// Operations that succeed before the next failure; `None`: none fails.
    pub fail_after: Option<usize>,
    /// What that failure is.
    pub failure: Option<KernelError>,
    /// Every state it went through, when asked to keep them: one image per operation.
    pub history: Option<Vec<I>>,
    /// Why the next reading fails, once.
    pub unreadable: Option<KernelError>,
}

impl FakeKernel<ServiceImage> {
    /// Empty maps of these sizes.
    #[must_use]
    pub fn new(capacities: Capacities) -> Self {
        Self::over(ServiceImage::with_capacities(capacities))
    }
}

impl<I: Image> FakeKernel<I> {
    /// Maps that hold this.
    #[must_use]
    pub fn over(image: I) -> Self {
        Self { image, ..Self::default() }
    }

    /// The operation after the next `successes` fails with `failure`, once.
    pub fn fail_after(&mut self, successes: usize, failure: KernelError) {
        self.fail_after = Some(successes);
        self.failure = Some(failure);
    }
}

impl<I: Image> Kernel<I> for FakeKernel<I> {
    fn read(&mut self) -> Result<I, KernelError> {
        self.unreadable.take().map_or_else(|| Ok(self.image.clone()), Err)
    }

    fn apply(&mut self, batch: &Batch<I::Op>) -> Applied {
        for (done, op) in batch.ops.iter().enumerate() {
            let ordered = match &mut self.fail_after {
                Some(0) => {
                    self.fail_after = None;
                    self.failure.take()
                }
                Some(left) => {
                    *left -= 1;
                    None
                }
                None => None,
            };
            if let Some(failure) = ordered.or_else(|| self.image.apply(op).err()) {
                return Applied { done, failure: Some(failure) };
            }
            if let Some(history) = &mut self.history {
                history.push(self.image.clone());
            }
        }
        Applied { done: batch.ops.len(), failure: None }
    }
}

#[cfg(test)]
mod tests {
    use towpath_datapath::{Addr, FrontendKey, FrontendWord, protocol};

    use super::*;
    use crate::{MapName, ServiceOp};

    fn put(port: u16) -> ServiceOp {
        let key = FrontendKey::vip(Addr::ANY_V4, port, protocol::TCP);
        ServiceOp::PutFrontend { key, word: FrontendWord::new(&key, 1, 0) }
    }

    #[test]
    fn a_full_map_stops_a_batch_and_keeps_the_prefix() {
        let mut kernel = FakeKernel::new(Capacities { frontends: 2, ..Capacities::default() });
        let applied = kernel.apply(&Batch { ops: vec![put(1), put(2), put(3), put(4)] });
        assert_eq!(applied.done, 2);
        assert_eq!(
            applied.failure,
            Some(KernelError::Full { map: MapName::FRONTENDS, capacity: 2 })
        );
        assert_eq!(kernel.image.frontends.len(), 2);
        assert_eq!(kernel.apply(&Batch { ops: vec![put(2)] }).failure, None, "replacing fits");
    }

    #[test]
    fn a_failure_on_order_strikes_once() {
        let mut kernel = FakeKernel::new(Capacities::default());
        kernel.fail_after(1, KernelError::Full { map: MapName::FRONTENDS, capacity: 9 });
        let batch = Batch { ops: vec![put(1), put(2)] };
        assert_eq!(kernel.apply(&batch).done, 1);
        assert_eq!(kernel.apply(&batch), Applied { done: 2, failure: None });
    }
}
