//! What the control socket answers: a path, and a question that may wait for the loop.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::http::{Answer, json, parameter};

/// Answers a query string; `None`: not in time.
type Ask = dyn Fn(&str) -> Option<Answer> + Send + Sync;

/// One question of the control socket.
#[derive(Clone)]
pub struct Route {
    pub(super) path: &'static str,
    pub(super) ask: Arc<Ask>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The parameters of a question.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a>(&'a str);

impl Parameters<'_> {
    /// The value of a parameter, percent-decoded.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        parameter(self.0, name)
    }
}

impl Route {
    /// Answers `path` with JSON. `ask` may wait for the loop; `None`: it did not answer in time.
    pub fn json<T: Serialize>(
        path: &'static str,
        ask: impl Fn(Parameters<'_>) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        let ask = move |query: &str| {
            let reply = ask(Parameters(query))?;
            Some(json(StatusCode::OK, &reply))
        };
        Self { path, ask: Arc::new(ask) }
    }
}
