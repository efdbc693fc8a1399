//! The control socket: HTTP/1 and JSON for the command line, for root and the daemon's own user.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use http::StatusCode;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};

use super::{
    Admin, Route,
    connections::{Admitted, Connections, Places},
    http::{self as small, Answer, Asked, Busy, json},
    ports::{is_passing, pauses},
};
use crate::{api::VERSION, state_file};

/// What `status` calls it.
const LISTENER: &str = "control socket";
/// The loop answers within this time, or the asker is told that it did not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Time between two looks whether the socket is still in its place: an emptied run directory
/// would leave a daemon that cannot be asked.
const LOOK: Duration = Duration::from_secs(2);
/// Connections at a time; all of them are of one who may ask.
const PLACES: Places = Places { all: 16, each: 16 };

/// Listens and answers, for as long as the task lives.
pub(super) async fn serve(admin: Arc<Admin>) {
    let path = admin.config.socket.clone();
    let mut pauses = pauses();
    loop {
        let error = match listen(&path) {
            Ok(open) => {
                admin.servers.ports.opened(LISTENER, None);
                pauses.reset();
                match accept(open, &admin).await {
                    Some(error) => error,
                    None => return,
                }
            }
            Err(error) => error,
        };
        admin.servers.metrics.listen_failed("control");
        admin.servers.ports.failed(LISTENER, &path.display().to_string(), &error);
        tokio::select! {
            () = tokio::time::sleep(pauses.wait()) => {}
            () = admin.servers.drains() => return,
        }
    }
}

/// Takes the place of a socket without a daemon behind it.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        state_file::directory(parent)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_other) => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there"));
        }
        // Also what was never a socket refuses: that stays, and binding says so.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if fs::symlink_metadata(path)?.file_type().is_socket() {
                fs::remove_file(path)?;
            }
        }
        Err(_absent) => {}
    }
    let open = UnixListener::bind(path)?;
    // Until here the mode is the umask's; a client that gets in meanwhile is refused by `accept`.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(open)
}

/// Accepts until the listener fails, and says why; `None`: the daemon drains, and every question was
/// answered.
async fn accept(open: UnixListener, admin: &Arc<Admin>) -> Option<io::Error> {
    let mut connections = Connections::new(PLACES);
    let own = nix::unistd::geteuid().as_raw();
    let path = &admin.config.socket;
    let bound = place(path);
    let mut look = tokio::time::interval(LOOK);
    loop {
        let accepted = tokio::select! {
            accepted = open.accept() => accepted,
            _ = look.tick() => {
                if bound.is_some() && place(path) == bound {
                    continue;
                }
                let why = "it was removed from its place";
                return Some(io::Error::new(io::ErrorKind::NotFound, why));
            }
            () = admin.servers.drains() => {
                drop(open);
                connections.drain().await;
                return None;
            }
        };
        let stream = match accepted {
            Ok((stream, _from)) => stream,
            Err(error) if is_passing(&error) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(error) => return Some(error),
        };
        // The mode of the socket says the same; this holds also where the mode was changed.
        if !stream.peer_cred().is_ok_and(|peer| may_ask(peer.uid(), own)) {
            tracing::warn!("refused a control connection of another user");
            continue;
        }
        let asked = Arc::clone(admin);
        let admitted = connections.admit(None, |busy| connection(stream, asked, busy));
        if admitted != Admitted::Free {
            admin.servers.metrics.connection_refused("control");
        }
    }
}

/// Which file is there; `None`: none.
fn place(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

const fn may_ask(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

async fn connection(stream: UnixStream, admin: Arc<Admin>, busy: Busy) {
    small::serve(stream, Arc::new(move |asked| reply(asked, Arc::clone(&admin))), busy).await;
}

async fn reply(asked: Asked, admin: Arc<Admin>) -> Answer {
    let Some(route) = admin.routes.iter().find(|route| route.path == asked.path) else {
        let known: Vec<&str> = admin.routes.iter().map(|route| route.path).collect();
        let action = format!("ask {}; a newer towpath may know more", known.join(" or "));
        return failure(StatusCode::NOT_FOUND, "no such question", &action);
    };
    told(route.clone(), asked.query).await
}

/// Asks on a thread that may wait: no other answer waits with it.
async fn told(route: Route, query: String) -> Answer {
    let asked = tokio::task::spawn_blocking(move || (route.ask)(&query));
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(Some(answer))) => answer,
        Ok(Err(_panicked)) => failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "answering failed",
            "see the daemon's log and report this",
        ),
        Ok(Ok(None)) | Err(_) => failure(
            StatusCode::GATEWAY_TIMEOUT,
            "the control loop did not answer in time",
            "ask again; if it stays so, see the daemon's log",
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
    json(status, &Failure { api_version: VERSION, error, action })
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
