//! The control socket: HTTP over a unix socket that only its owner may open.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{net::UnixListener, time};

use super::{
    Admin,
    http::{Handler, answer, connection, json},
};

/// Serves `config.socket`; the socket of a daemon that died is replaced (the writer's lock says
/// that there is no other).
pub(super) async fn serve(admin: Arc<Admin>) {
    let path = admin.config.socket.clone();
    let handler = handler(Arc::clone(&admin));
    let listener = loop {
        if let Some(dir) = path.parent()
            && let Err(error) = fs::create_dir_all(dir)
        {
            tracing::warn!(dir = %dir.display(), %error, "making the run directory");
        }
        let _not_there = fs::remove_file(&path);
        let bound = UnixListener::bind(&path).and_then(|listener| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map(|()| listener)
        });
        match bound {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the control socket: trying again");
                time::sleep(Duration::from_secs(2)).await;
            }
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                tokio::spawn(connection(stream, Arc::clone(&handler)));
            }
            Err(error) => {
                tracing::debug!(%error, "accepting on the control socket");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn handler(admin: Arc<Admin>) -> Handler {
    Arc::new(move |request| {
        let busy = || {
            let text = "the control loop did not answer in time; try again\n";
            answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", text)
        };
        match request.uri().path() {
            "/v1/status" => match admin.answers.status() {
                Some(reply) => json(StatusCode::OK, &reply),
                None => busy(),
            },
            "/v1/services" => {
                let query = request.uri().query().unwrap_or_default();
                let name = query.split('&').find_map(|part| part.strip_prefix("name="));
                match admin.answers.services(name.map(str::to_owned)) {
                    Some(reply) => json(StatusCode::OK, &reply),
                    None => busy(),
                }
            }
            _ => answer(StatusCode::NOT_FOUND, "text/plain", "known: /v1/status, /v1/services\n"),
        }
    })
}
