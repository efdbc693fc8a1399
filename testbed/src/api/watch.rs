//! Watches.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::{sync::watch, time};

use super::{
    Shared,
    select::Selector,
    serve::{self, Body, Target, body, damaged, status},
    store::{self, Happening},
};

/// Bytes that are sent in one piece at most, so that a reader can begin.
const CHUNK: usize = 256 << 10;

/// One stream.
struct Stream {
    shared: Arc<Shared>,
    resource: String,
    selector: Selector,
    version: u64,
    latest: watch::Receiver<u64>,
    /// Objects of the initial list that are still to be sent, last first.
    initial: Vec<(String, Bytes)>,
    /// The bookmark that ends the initial list is still to be sent.
    announces: bool,
    bookmarks: bool,
    ends_at: time::Instant,
    ended: bool,
}

pub(super) fn watch(
    target: &Target,
    query: &BTreeMap<String, String>,
    shared: Arc<Shared>,
) -> Response<Body> {
    let is = |name: &str| query.get(name).is_some_and(|value| value == "true");
    let streams_list = is("sendInitialEvents");
    if streams_list && shared.faults.refuses_streaming() {
        let why =
            "sendInitialEvents is forbidden for watch unless the WatchList feature is enabled";
        return status(StatusCode::UNPROCESSABLE_ENTITY, why);
    }
    let wanted: u64 = query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
    let (mut initial, version) = if streams_list || wanted == 0 {
        shared.objects.list(&target.resource)
    } else {
        (Vec::new(), wanted)
    };
    if let Some(refusal) = serve::too_new(query, version).filter(|_| streams_list) {
        return refusal;
    }
    let selector = Selector::of(query, &target.namespace);
    initial.retain(|(_, json)| selector.matches(json));
    initial.reverse();
    let seconds = query.get("timeoutSeconds").and_then(|s| s.parse().ok()).unwrap_or(300);
    if shared.faults.sends_garbage() {
        return body(StatusCode::OK, Bytes::from_static(b"\x16\x03\x01<html>\xff\xfe{{{\n"));
    }
    let stream = Stream {
        latest: shared.objects.latest(),
        resource: target.resource.clone(),
        selector,
        version,
        initial,
        announces: streams_list,
        bookmarks: is("allowWatchBookmarks"),
        ends_at: time::Instant::now() + Duration::from_secs(seconds),
        ended: false,
        shared,
    };
    let frames = stream::unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(chunk)), stream))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

impl Stream {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = BytesMut::new();
        while out.len() < CHUNK
            && let Some((key, json)) = self.initial.pop()
        {
            line(&mut out, "ADDED", &damaged(&self.shared, &key, json));
        }
        if self.initial.is_empty() && self.announces {
            self.announces = false;
            self.bookmark(&mut out, true);
        }
        if !out.is_empty() {
            return Some(out.freeze());
        }
        let every = self.shared.faults.bookmarks_every();
        let mut quiet = time::interval_at(time::Instant::now() + every, every);
        loop {
            self.latest.borrow_and_update();
            match self.shared.objects.since(&self.resource, self.version) {
                Some((news, version)) => {
                    self.version = version;
                    news.into_iter().for_each(|happening| self.write(&mut out, happening));
                }
                None => {
                    self.ended = true;
                    let gone =
                        br#"{"kind":"Status","code":410,"message":"too old resource version"}"#;
                    line(&mut out, "ERROR", gone);
                }
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
            tokio::select! {
                changed = self.latest.changed() => changed.ok()?,
                _tick = quiet.tick(), if self.bookmarks => {
                    self.bookmark(&mut out, false);
                    return Some(out.freeze());
                }
                () = time::sleep_until(self.ends_at) => return None,
            }
        }
    }

    fn write(&self, out: &mut BytesMut, happening: Happening) {
        // An object that leaves the selection is deleted, for who selects; one that never was in it
        // too, which does no harm.
        let what = if self.selector.matches(&happening.json) { happening.what } else { "DELETED" };
        line(out, what, &damaged(&self.shared, &happening.key, happening.json));
    }

    fn bookmark(&self, out: &mut BytesMut, end: bool) {
        let annotations =
            if end { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
        let version = self.version;
        let (kind, api) = match store::resource(&self.resource) {
            Some(known) => (known.kind, known.api_version),
            None => ("", ""),
        };
        let object = format!(
            r#"{{"kind":"{kind}","apiVersion":"{api}","metadata":{{"resourceVersion":"{version}"{annotations}}}}}"#
        );
        line(out, "BOOKMARK", object.as_bytes());
    }
}

fn line(out: &mut BytesMut, what: &str, object: &[u8]) {
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(what.as_bytes());
    out.extend_from_slice(br#"","object":"#);
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
}
