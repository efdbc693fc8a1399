//! Why a list or a watch ended, and what a person can do about it.

use std::time::Duration;

use http::StatusCode;
use towpath_image::chain;
use towpath_model::{Code, Problem, Stream};

use super::decoder::TooLong;
use crate::source::LoopEnded;

/// After so many watches in a row that end at once and say nothing, everything is listed again.
/// client-go does so after the first; a list costs the server far more than a watch.
const EMPTY_MAX: u32 = 3;

/// Why a list or a watch ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error(transparent)]
    Loop(#[from] LoopEnded),
    #[error("the store asks for a new list")]
    Asked,
    #[error("the version is too old: {0}")]
    Gone(String),
    #[error("the server does not stream lists: {0}")]
    NoStreaming(String),
    #[error("nothing was heard for {0:?}")]
    Silence(Duration),
    /// A streaming list neither went on nor ended, whatever bookmarks came meanwhile.
    #[error("a streaming list brought no object and no end for {0:?}")]
    Stalled(Duration),
    /// A watch that was accepted brought nothing and ended within a moment, so many times in a row.
    #[error("the server accepts the watch and ends it at once ({times} times in a row): {why}")]
    Empty { times: u32, why: String },
    #[error("the server answers {0}: {1}")]
    Status(StatusCode, String, Option<Duration>),
    /// What was sent cannot be read, and would not be readable when it is sent again.
    #[error("{0}")]
    Unreadable(String),
    #[error("the connection is not secure: {0}")]
    Untrusted(String),
    #[error("{0}")]
    Broken(String),
    #[error("the server ended the stream")]
    End,
}

impl From<TooLong> for WatchError {
    fn from(error: TooLong) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl WatchError {
    /// A watch does not go on from its version after this: everything is listed again. Refused
    /// connections, 401, 403, 429 and most other failures are no reason for a list: client-go's
    /// rule, because a list costs the server a thousand times what a watch costs.
    pub(super) fn loses_the_version(&self) -> bool {
        match self {
            Self::Gone(_) | Self::Unreadable(_) | Self::Asked => true,
            // The server may end them because of the version, and would for ever.
            Self::Empty { times, .. } => times.is_multiple_of(EMPTY_MAX),
            _ if self.is_of_another_past() => true,
            Self::Status(code, ..) => matches!(
                *code,
                StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY
            ),
            _ => false,
        }
    }

    /// The server does not know this version, or not yet: its past was replaced.
    pub(super) fn is_of_another_past(&self) -> bool {
        matches!(self, Self::Status(StatusCode::GATEWAY_TIMEOUT, why, _)
            if why.contains("Too large resource"))
    }

    /// Credentials or certificates may have been replaced on disk.
    pub(super) const fn asks_for_credentials(&self) -> bool {
        matches!(self, Self::Status(StatusCode::UNAUTHORIZED, ..) | Self::Untrusted(_))
    }

    /// Another address of the API server may do better.
    pub(super) fn blames_the_address(&self) -> bool {
        match self {
            Self::Silence(_)
            | Self::Stalled(_)
            | Self::Empty { .. }
            | Self::Broken(_)
            | Self::Untrusted(_) => true,
            Self::Status(code, ..) => code.is_server_error(),
            _ => false,
        }
    }

    /// What `status` says while it is so. Refusals are said at once, because they do not pass by
    /// themselves; others once they are `lasting`.
    pub(super) fn problem(&self, stream: &Stream, lasting: bool) -> Option<Problem> {
        let what = resource(stream);
        let action = match self {
            Self::Status(StatusCode::UNAUTHORIZED, ..) => {
                "check the credentials of this daemon (token, certificate, kubeconfig); they are \
                 read again with every attempt"
                    .to_owned()
            }
            Self::Status(StatusCode::FORBIDDEN, ..) => {
                format!("allow this daemon's account to get, list and watch {what}")
            }
            Self::Untrusted(_) => "check the certificate authority and the address of the API \
                 server in the kubeconfig; they are read again with every attempt"
                .to_owned(),
            Self::Stalled(_) => {
                "what is known stays in force; the list is asked for in pages from \
                 now on; check what stands between this daemon and the API server"
                    .to_owned()
            }
            _ if lasting => {
                "what is known stays in force; check that the API server can be reached".to_owned()
            }
            _ => return None,
        };
        Some(Problem::new(
            Code::StreamEnds,
            None,
            &format!("watch of {what}"),
            &self.to_string(),
            &action,
        ))
    }
}

/// A stream, called by the API's plural: `pods (namespace shop)`.
pub(super) fn resource(stream: &Stream) -> String {
    let (row, name) = (stream.kind.row(), stream.to_string());
    format!("{}{}", row.plural, name.strip_prefix(row.name).unwrap_or_default())
}

/// A failed request, as what it is.
pub(super) fn of_request(error: &(dyn std::error::Error + 'static)) -> WatchError {
    match tls_error(error) {
        Some(tls) => WatchError::Untrusted(tls.to_string()),
        None => WatchError::Broken(chain(error)),
    }
}

fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    // An I/O error is not the source of what it carries: it passes itself over.
    let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match carried {
        Some(carried) => tls_error(carried),
        None => tls_error(error.source()?),
    }
}
