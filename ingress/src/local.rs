//! Futures of hyper on the worker's own thread.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
};

use tokio::sync::Notify;

/// Runs them there.
#[derive(Clone)]
pub(crate) struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Runs them there, and tells whenever one of them made a step.
#[derive(Clone, Default)]
pub(crate) struct Watched(pub(crate) Rc<Notify>);

impl<F> hyper::rt::Executor<F> for Watched
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let stepped = Rc::clone(&self.0);
        tokio::task::spawn_local(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                let step = future.as_mut().poll(cx);
                stepped.notify_one();
                step
            })
            .await
        });
    }
}
