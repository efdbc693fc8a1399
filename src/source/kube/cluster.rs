//! Which cluster the API server serves: the UID of its namespace kube-system, as everybody tells
//! clusters apart. Needs `get` on that one namespace.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde::Deserialize;
use tokio::time::{self, Instant};
use towpath_image::chain;

use super::{ConnectError, KubeSettings, address::Api};
use crate::{backoff::Backoff, source::Health};

const PATH: &str = "/api/v1/namespaces/kube-system";
/// One attempt.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A namespace is small.
const BYTES_MAX: usize = 1 << 20;

/// What the API server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cluster {
    /// This one.
    Uid(String),
    /// There is no such namespace.
    Absent,
    /// It may not be read; why.
    Forbidden(String),
    /// No answer in time; why.
    Unanswered(String),
}

/// Only what is read.
#[derive(Deserialize)]
struct Namespace {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    uid: String,
}

/// Asks until there is an answer, for as long as `patience`.
///
/// # Errors
/// When the configuration for reaching the API server cannot be read at all.
pub async fn cluster(settings: &KubeSettings, patience: Duration) -> Result<Cluster, ConnectError> {
    let api = Api::new(settings, Health::default()).await?;
    let mut backoff = Backoff::new(settings.patience.wait_min, settings.patience.wait_max);
    let until = Instant::now() + patience;
    loop {
        let (number, client) = api.client();
        let why = match time::timeout(ATTEMPT, ask(&client)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => why,
            Err(_elapsed) => "no answer in time".to_owned(),
        };
        // No other task has this `Api`: nothing else can have failed with its client.
        let _next = api.failed(number);
        let wait = backoff.wait();
        if Instant::now() + wait >= until {
            return Ok(Cluster::Unanswered(why));
        }
        time::sleep(wait).await;
    }
}

async fn ask(client: &kube::Client) -> Result<Cluster, String> {
    let request = Request::get(PATH).body(Body::empty()).map_err(|error| error.to_string())?;
    let response = client.send(request).await.map_err(|error| chain(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    let said = || {
        let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        format!("{status}: {text}")
    };
    match status {
        StatusCode::NOT_FOUND => Ok(Cluster::Absent),
        StatusCode::FORBIDDEN => Ok(Cluster::Forbidden(said())),
        _ if status.is_success() => {
            let namespace: Namespace =
                serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            let uid = namespace.metadata.uid;
            // One without a UID is nothing to tell clusters apart by.
            Ok(if uid.is_empty() { Cluster::Absent } else { Cluster::Uid(uid) })
        }
        _ => Err(said()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;
    use crate::{clock::SystemClock, config::Access, source::kube::Patience};

    /// Asks a server that gives these answers, one for each connection.
    async fn asked(answers: Vec<(&'static str, &'static str)>, patience: Duration) -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                assert!(head.starts_with("GET /api/v1/namespaces/kube-system HTTP/1.1"), "{head}");
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\nusers: [{{name: t, user: {{}}}}]\n\
             clusters: [{{name: t, cluster: {{server: \"http://{at}\"}}}}]\n\
             contexts: [{{name: t, context: {{cluster: t, user: t}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let settings = KubeSettings {
            access: Access::Kubeconfig(kubeconfig),
            api_servers: Vec::new(),
            run_dir: dir.path().to_owned(),
            node_name: "n".to_owned(),
            clock: SystemClock::start(),
            patience: Patience {
                wait_min: Duration::from_millis(10),
                wait_max: Duration::from_millis(20),
                ..Patience::default()
            },
        };
        let answer = cluster(&settings, patience).await.unwrap();
        server.join().unwrap();
        answer
    }

    const PATIENT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_cluster_is_its_kube_system_namespace() {
        let namespace = r#"{"kind":"Namespace","metadata":{"name":"kube-system","uid":"0c2b"}}"#;
        let answer = asked(vec![("200 OK", namespace)], PATIENT).await;
        assert_eq!(answer, Cluster::Uid("0c2b".to_owned()));
    }

    #[tokio::test]
    async fn a_failure_is_asked_again_and_a_refusal_is_not() {
        let uid = r#"{"metadata":{"uid":"1"}}"#;
        let answers = vec![("500 No", "oops"), ("429 Later", ""), ("200 OK", "{"), ("200 OK", uid)];
        assert_eq!(asked(answers, PATIENT).await, Cluster::Uid("1".to_owned()));
        let answer = asked(vec![("403 Forbidden", "may not get")], PATIENT).await;
        assert_eq!(answer, Cluster::Forbidden("403 Forbidden: may not get".to_owned()));
        assert_eq!(asked(vec![("404 Not Found", "")], PATIENT).await, Cluster::Absent);
        assert_eq!(asked(vec![("200 OK", r#"{"metadata":{}}"#)], PATIENT).await, Cluster::Absent);
    }

    #[tokio::test]
    async fn patience_ends() {
        let answer = asked(vec![("503 Away", "no")], Duration::from_millis(1)).await;
        assert!(matches!(&answer, Cluster::Unanswered(why) if why.contains("503")), "{answer:?}");
    }
}
