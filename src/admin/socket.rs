//! The control socket: HTTP/1 and JSON for the command line, for root and the daemon's own user.

use std::{
    fs, io, os::unix::fs::PermissionsExt, path::Path, path::PathBuf, sync::Arc, time::Duration,
};

use http::StatusCode;
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

use super::{
    Answers,
    api::{API_VERSION, ProblemsReply},
    http::{Answer, Asked, json, parameter, serve},
    ports::{Pauses, Ports, is_passing},
};

/// What `status` calls it.
pub(super) const LISTENER: &str = "control socket";
/// The loop answers within this time, or the asker is told that it did not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;

/// Listens at `path` and answers, for as long as the task lives.
pub(super) async fn run(path: PathBuf, ports: Arc<Ports>, answers: Arc<dyn Answers>) {
    let mut pauses = Pauses::new();
    loop {
        match listen(&path) {
            Ok(open) => {
                ports.opened(LISTENER, None);
                pauses = Pauses::new();
                let error = accept(open, &ports, &answers).await;
                ports.failed(LISTENER, "control", &path.display().to_string(), &error);
            }
            Err(error) => {
                ports.failed(LISTENER, "control", &path.display().to_string(), &error);
            }
        }
        pauses.wait().await;
    }
}

/// Takes the place of a socket that nobody answers on.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_other) => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there"));
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(_absent) => {}
    }
    let open = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(open)
}

async fn accept(open: UnixListener, ports: &Arc<Ports>, answers: &Arc<dyn Answers>) -> io::Error {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let own = nix::unistd::geteuid().as_raw();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = match open.accept().await {
            Ok((stream, _from)) => stream,
            Err(error) if is_passing(&error) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(error) => return error,
        };
        while connections.try_join_next().is_some() {}
        // The mode of the socket says the same; this holds also where the mode was changed.
        if !stream.peer_cred().is_ok_and(|peer| may_ask(peer.uid(), own)) {
            tracing::warn!("refused a control connection of another user");
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            ports.refused("control");
            continue;
        };
        let (ports, answers) = (Arc::clone(ports), Arc::clone(answers));
        connections.spawn(async move {
            connection(stream, ports, answers).await;
            drop(place);
        });
    }
}

const fn may_ask(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

async fn connection(stream: UnixStream, ports: Arc<Ports>, answers: Arc<dyn Answers>) {
    let handler = move |asked| reply(asked, Arc::clone(&ports), Arc::clone(&answers));
    serve(stream, Arc::new(handler)).await;
}

async fn reply(asked: Asked, ports: Arc<Ports>, answers: Arc<dyn Answers>) -> Answer {
    match asked.path.as_str() {
        "/v1/status" => {
            told(move || {
                let mut status = answers.status();
                status.problems.extend(ports.problems());
                status
            })
            .await
        }
        "/v1/problems" => {
            told(move || {
                let mut problems = answers.status().problems;
                problems.extend(ports.problems());
                ProblemsReply { api_version: API_VERSION.to_owned(), problems }
            })
            .await
        }
        "/v1/services" => {
            let name = parameter(&asked.query, "name");
            told(move || answers.services(name.as_deref())).await
        }
        _ => failure(
            StatusCode::NOT_FOUND,
            "no such question",
            "ask /v1/status, /v1/services or /v1/problems; a newer towpath may know more",
        ),
    }
}

/// Asks on a thread that may wait.
async fn told<T: Serialize + Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Answer {
    let asked = tokio::task::spawn_blocking(move || serde_json::to_vec(&ask()));
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(Ok(body))) => json(StatusCode::OK, body),
        Ok(Ok(Err(error))) => failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("the reply can not be written: {error}"),
            "report this",
        ),
        Ok(Err(_panicked)) => failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "answering failed",
            "see the daemon's log and report this",
        ),
        Err(_late) => failure(
            StatusCode::GATEWAY_TIMEOUT,
            "the daemon is too busy to answer",
            "ask again; if it stays so, see its log",
        ),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    api_version: &'a str,
    error: &'a str,
    action: &'a str,
}

fn failure(status: StatusCode, error: &str, action: &str) -> Answer {
    let body = Failure { api_version: API_VERSION, error, action };
    json(status, serde_json::to_vec(&body).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_may_ask() {
        assert!(may_ask(0, 1000) && may_ask(1000, 1000));
        assert!(!may_ask(1001, 1000) && !may_ask(1, 0));
    }
}
