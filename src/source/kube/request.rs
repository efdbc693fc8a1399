//! One request to the API server: bounded in time and in size.

use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time;
use towpath_model::{Kind, ObjectName, Scope, Stream};

use super::error::{WatchError, of_request};

/// What is read of an answer that is a refusal.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);
/// A whole answer takes this many times the patience with a silence: 6 minutes for the largest list.
const SILENCES_OF_AN_ANSWER: u32 = 4;
/// A server that asks for more time than this is asked again all the same.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Where a stream is listed and watched, up to where the rest of the query follows. `node`: this node.
pub(super) fn stream(stream: &Stream, node: &str) -> String {
    let (kind, query) = (stream.kind, |name: &str, text: &str| match text {
        "" => String::new(),
        text => format!("{name}={}&", escaped(text)),
    });
    let field = |name: &str, value: &str| query("fieldSelector", &format!("{name}={value}"));
    match &stream.scope {
        Scope::All => format!("{}?", path(kind, "")),
        Scope::Namespace(namespace) => format!("{}?", path(kind, namespace)),
        Scope::Named(ObjectName { namespace, name }) => {
            format!("{}?{}", path(kind, namespace), field("metadata.name", name))
        }
        Scope::Node => format!("{}?{}", path(kind, ""), field("spec.nodeName", node)),
        Scope::Selected { labels, fields } => {
            let (labels, fields) = (query("labelSelector", labels), query("fieldSelector", fields));
            format!("{}?{labels}{fields}", path(kind, ""))
        }
    }
}

/// Where one object is.
pub(super) fn object(kind: Kind, name: &ObjectName) -> String {
    format!("{}/{}", path(kind, &name.namespace), escaped(&name.name))
}

fn path(kind: Kind, namespace: &str) -> String {
    let (root, plural) = (kind.row().root(), kind.row().plural);
    match namespace {
        "" => format!("{root}/{plural}"),
        namespace => format!("{root}/namespaces/{}/{plural}", escaped(namespace)),
    }
}

/// All but the unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Names, versions and tokens come from the server and go back to it: percent-encoded (RFC 3986,
/// 2.3), so that no text of them can change the request.
pub(super) fn escaped(text: &str) -> String {
    let out = utf8_percent_encode(text, RESERVED).to_string();
    // A segment of dots alone would be another path.
    if text.bytes().all(|byte| byte == b'.') { out.replace('.', "%2E") } else { out }
}

/// Sends a GET; anything but success is a `WatchError`.
pub(super) async fn get(
    client: &Client,
    target: &str,
    silence: Duration,
) -> Result<Response<Body>, WatchError> {
    let request = Request::get(target)
        // A newer server leaves managedFields out when asked (KEP-5958); older ones ignore it.
        .header(header::ACCEPT, "application/json;drop=metadata.managedFields, application/json")
        .body(Body::empty())
        .map_err(|error| WatchError::Broken(error.to_string()))?;
    send(client, request, silence).await
}

/// Sends a request; anything but success is a `WatchError`.
pub(super) async fn send(
    client: &Client,
    request: Request<Body>,
    silence: Duration,
) -> Result<Response<Body>, WatchError> {
    let response = time::timeout(silence, client.send(request))
        .await
        .map_err(|_elapsed| WatchError::Silence(silence))?
        .map_err(|error| of_request(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    // A refusal is one whether or not its reason can be read.
    let body = whole(response.into_body(), REFUSAL_BYTES_MAX, silence.min(REFUSAL_PATIENCE));
    let text = body.await.map(|body| reason(&body)).unwrap_or_default();
    Err(if status == StatusCode::GONE {
        WatchError::Gone(text)
    } else {
        WatchError::Status(status, text, after)
    })
}

/// The message of a `Status`, or the beginning of whatever it is.
fn reason(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Status {
        message: String,
    }
    let text = match serde_json::from_slice::<Status>(body) {
        Ok(status) => status.message,
        Err(_not_a_status) => String::from_utf8_lossy(body).into_owned(),
    };
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A whole body, of this size at most; `silence` is the patience with each piece of it, and some
/// times as much with all of them: a server that sends a byte now and then sends no answer.
pub(super) async fn whole(
    mut body: Body,
    max: usize,
    silence: Duration,
) -> Result<Vec<u8>, WatchError> {
    let mut bytes = Vec::new();
    let end = time::Instant::now() + silence * SILENCES_OF_AN_ANSWER;
    loop {
        let frame = time::timeout_at(end.min(time::Instant::now() + silence), body.frame());
        let frame = frame.await.map_err(|_elapsed| WatchError::Silence(silence))?;
        let Some(frame) = frame else { return Ok(bytes) };
        let frame = frame.map_err(|error| WatchError::Broken(error.to_string()))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > max {
            let why = format!("the server sent more than {} MiB in one answer", max >> 20);
            return Err(WatchError::Unreadable(why));
        }
        bytes.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_server_calls_its_objects_leaves_their_place() {
        let of = |namespace: &str, name: &str| {
            object(Kind::EndpointSlice, &ObjectName::new(namespace, name))
        };
        let base = "/apis/discovery.k8s.io/v1/namespaces";
        assert_eq!(of("shop", "cart-7x.y"), format!("{base}/shop/endpointslices/cart-7x.y"));
        assert_eq!(
            of("..", "a/../b?x#y z"),
            format!("{base}/%2E%2E/endpointslices/a%2F..%2Fb%3Fx%23y%20z")
        );
        assert_eq!(object(Kind::Node, &ObjectName::new("", "n")), "/api/v1/nodes/n");
    }

    #[test]
    fn a_scope_is_a_path_and_selectors() {
        let of = |kind, scope| stream(&Stream { kind, scope }, "n&1");
        let slices = "/apis/discovery.k8s.io/v1";
        let selected = |labels, fields| Scope::Selected { labels, fields };
        for (found, expected) in [
            (of(Kind::Service, Scope::All), "/api/v1/services?".to_owned()),
            (
                of(Kind::EndpointSlice, Scope::Namespace("a b".into())),
                format!("{slices}/namespaces/a%20b/endpointslices?"),
            ),
            (
                of(Kind::Service, Scope::Named(ObjectName::new("shop", "cart"))),
                "/api/v1/namespaces/shop/services?fieldSelector=metadata.name%3Dcart&".to_owned(),
            ),
            (
                of(Kind::Node, Scope::Named(ObjectName::new("", "n"))),
                "/api/v1/nodes?fieldSelector=metadata.name%3Dn&".to_owned(),
            ),
            (
                of(Kind::Service, Scope::Node),
                "/api/v1/services?fieldSelector=spec.nodeName%3Dn%261&".to_owned(),
            ),
            (
                of(Kind::Service, selected("a in (b)", "c=d")),
                "/api/v1/services?labelSelector=a%20in%20%28b%29&fieldSelector=c%3Dd&".to_owned(),
            ),
            (
                of(Kind::Service, selected("", "c=d")),
                "/api/v1/services?fieldSelector=c%3Dd&".to_owned(),
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_refusal_is_said_in_the_servers_words() {
        assert_eq!(reason(br#"{"kind":"Status","message":"no such\nthing"}"#), "no such thing");
        assert_eq!(reason(b"<html>\xff"), "<html>\u{fffd}");
    }
}
