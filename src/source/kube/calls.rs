//! Single requests, for what writes to the API (`report`).

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use kube::client::Body;
use towpath_model::{Kind, ObjectName};

use super::{
    ConnectError, KubeSettings,
    address::Api,
    error::WatchError,
    request::{self, whole},
};
use crate::source::Health;

/// One request, answer included: shorter than the time in which a Lease must be renewed.
const LIMIT: Duration = Duration::from_secs(4);
/// A page of pods is the largest answer that is asked for.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server's answer is no success; after how long it wants to be asked again.
    #[error("the server answers {0}: {1}")]
    Refused(StatusCode, String, Option<Duration>),
    /// There is no answer, or none that can be read.
    #[error("{0}")]
    Unreached(String),
}

impl CallError {
    /// For how long the server asked to be left in peace.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Refused(_, _, Some(after)) => *after,
            _ => Duration::ZERO,
        }
    }
}

/// A way to the API server for single requests, with the failover of the watches.
pub struct Calls {
    api: Api,
    namespace: String,
}

impl Calls {
    /// Reads the configuration; connects with the first request.
    ///
    /// # Errors
    /// When the configuration for reaching the API server cannot be read.
    pub async fn new(settings: &KubeSettings, health: Health) -> Result<Self, ConnectError> {
        let api = Api::new(settings, health).await?;
        let namespace = api.client().1.default_namespace().to_owned();
        Ok(Self { api, namespace })
    }

    /// The daemon's own namespace: its pod's, or the one of the kubeconfig's context.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Reads.
    ///
    /// # Errors
    /// When there is no success within a few seconds.
    pub async fn get(&self, path: &str) -> Result<Vec<u8>, CallError> {
        let request = Request::get(path).body(Body::empty());
        self.answer(request).await
    }

    /// Writes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: String,
    ) -> Result<Vec<u8>, CallError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body.into_bytes()));
        self.answer(request).await
    }

    async fn answer(
        &self,
        request: Result<Request<Body>, http::Error>,
    ) -> Result<Vec<u8>, CallError> {
        let request = request.map_err(|error| CallError::Unreached(error.to_string()))?;
        let (number, client) = self.api.client();
        let asking = async {
            let response = request::send(&client, request, LIMIT).await?;
            whole(response.into_body(), ANSWER_BYTES_MAX, LIMIT).await
        };
        let outcome = tokio::time::timeout(LIMIT, asking).await;
        let error = match outcome.unwrap_or(Err(WatchError::Silence(LIMIT))) {
            Ok(body) => return Ok(body),
            Err(error) => error,
        };
        if error.blames_the_address() {
            // Another request may have said so of this client already.
            let _next = self.api.failed(number);
        }
        if error.asks_for_credentials() {
            self.api.renew(number).await;
        }
        Err(match error {
            WatchError::Status(status, why, after) => CallError::Refused(status, why, after),
            WatchError::Gone(why) => CallError::Refused(StatusCode::GONE, why, None),
            other => CallError::Unreached(other.to_string()),
        })
    }
}

/// Where one object is.
#[must_use]
pub fn object_path(kind: Kind, name: &ObjectName) -> String {
    request::object(kind, name)
}

/// A name as a segment of a path, or a value in a query.
#[must_use]
pub fn escaped(text: &str) -> String {
    request::escaped(text)
}
