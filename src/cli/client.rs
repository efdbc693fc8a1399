//! Asks the daemon of this node over its control socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::UnixStream;

use super::output::{Exit, Failure};
use crate::config::{RUN_DIR, control_socket};

/// The daemon says itself when it is too busy, well before this.
const TIMEOUT: Duration = Duration::from_secs(20);
/// 10,000 Services take a tenth of it.
const BYTES_MAX: usize = 256 << 20;

/// Which daemon.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Target {
    /// Run directory of the daemon to ask
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    pub(super) run_dir: PathBuf,
}

impl Target {
    /// Asks and reads the JSON of the reply.
    pub(super) fn ask(&self, question: &str) -> Result<Value, Failure> {
        let socket = control_socket(&self.run_dir);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = runtime
            .block_on(async { tokio::time::timeout(TIMEOUT, exchange(&socket, question)).await });
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in 20 seconds");
        let (status, body) = asked
            .unwrap_or_else(|_elapsed| Err(late().into()))
            .map_err(|error| unreachable(&socket, &*error))?;
        let value = serde_json::from_slice::<Value>(&body).map_err(|error| {
            let what = format!("{} does not speak JSON: {error}", socket.display());
            Failure::problem(what, "is it the control socket of a towpath daemon?")
        })?;
        if status == StatusCode::OK {
            return Ok(value);
        }
        let said = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        Err(Failure::problem(
            format!("the daemon says {status}: {}", said("error")),
            said("action"),
        ))
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(socket: &Path, question: &str) -> Result<(StatusCode, Bytes), AnyError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(question)
        .header(header::HOST, "towpath")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await?.to_bytes();
    driver.abort();
    Ok((status, body))
}

/// Which socket, why not, what to do.
fn unreachable(socket: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let next = match kind {
        Some(io::ErrorKind::NotFound) => {
            "no daemon runs here with this run directory: start `towpath run`, or name its \
             directory with --run-dir (in a cluster, ask inside the pod of this node)"
        }
        Some(io::ErrorKind::ConnectionRefused) => {
            "the daemon that made this socket is gone: see its log, then start `towpath run`"
        }
        Some(io::ErrorKind::PermissionDenied) => "ask as root, or as the user the daemon runs as",
        _ => "the daemon may be stuck: see its log",
    };
    Failure {
        exit: Exit::Unreachable,
        what: format!("no daemon answers on {}: {error}", socket.display()),
        next: next.to_owned(),
    }
}

/// All that a query string may have other than letters and digits (RFC 3986, 2.3), and the slash of
/// names.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A value of a query string, escaped.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("shop/cart-1"), "shop/cart-1");
        assert_eq!(escaped("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }

    #[test]
    fn without_an_answer_it_says_what_was_tried() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target { run_dir: dir.path().to_owned() };
        let failure = target.ask("/v1/status").unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        let socket = dir.path().join("control.sock");
        let expected = format!("no daemon answers on {}: No such file", socket.display());
        assert!(failure.what.starts_with(&expected), "{}", failure.what);
        assert!(failure.next.contains("towpath run"), "{}", failure.next);
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let failure = target.ask("/v1/status").unwrap_err();
        assert!(failure.what.contains("Connection refused"), "{}", failure.what);
        assert!(failure.next.contains("is gone"), "{}", failure.next);
    }
}
