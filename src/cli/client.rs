//! Asking the daemon over its control socket.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::de::DeserializeOwned;

use crate::config::control_socket;

/// The daemon did not answer.
#[derive(Debug, thiserror::Error)]
#[error(
    "the daemon cannot be reached at {socket}: {cause}; is `towpath run` running on this node, as \
     the same user, with this --run-dir?"
)]
pub(super) struct Unreachable {
    socket: String,
    cause: String,
}

/// Longer than the daemon waits for its loop.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer at most: ten thousand Services in full are far below.
const ANSWER_MAX: u64 = 256 << 20;

/// One GET. The daemon closes the connection after its answer, so the answer ends where it ends.
pub(super) fn get<T: DeserializeOwned>(run_dir: &Path, path: &str) -> Result<T, Unreachable> {
    let socket = control_socket(run_dir);
    let unreachable = |cause: String| Unreachable { socket: socket.display().to_string(), cause };
    let answer = exchange(&socket, path).map_err(|error| unreachable(error.to_string()))?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| unreachable("no HTTP answer".to_owned()))?;
    if !head.starts_with("HTTP/1.1 200") {
        let line = head.lines().next().unwrap_or_default();
        return Err(unreachable(format!("{line}: {}", body.trim())));
    }
    serde_json::from_str(body).map_err(|error| unreachable(format!("its answer: {error}")))
}

fn exchange(socket: &Path, path: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: an answer in one piece, never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: towpath\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    Ok(answer.replacen("HTTP/1.0", "HTTP/1.1", 1))
}
