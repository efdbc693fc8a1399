//! Requests.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    Shared,
    select::Selector,
    store::{self, Meets, Refusal},
    watch,
    writes::Write,
};

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Largest object that is taken.
const OBJECT_MAX: usize = 16 << 20;

pub(super) async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if shared.faults.is_away() {
            continue;
        }
        // A reply must not wait for the next one: latency is what is measured here.
        let _not_tcp = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cut = shared.faults.cut();
            let for_requests = Arc::clone(&shared);
            let service = service_fn(move |request| {
                let shared = Arc::clone(&for_requests);
                async move { Ok::<_, Infallible>(answer(request, shared).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ended = connection => {}
                _cut = cut.changed() => {}
            }
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Response<Body> {
    if shared.faults.is_mute() {
        std::future::pending::<()>().await;
    }
    if shared.faults.has_too_many() {
        let mut response = status(StatusCode::TOO_MANY_REQUESTS, "too many requests");
        response.headers_mut().insert("Retry-After", http::HeaderValue::from_static("1"));
        return response;
    }
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/livez" | "/readyz" | "/healthz" => return text(StatusCode::OK, "ok"),
        "/version" => {
            let version = json!({ "major": "1", "minor": "37", "gitVersion": "v1.37.0" });
            return body(StatusCode::OK, version.to_string());
        }
        _ => {}
    }
    let Some(target) = Target::parse(&path) else {
        return status(StatusCode::NOT_FOUND, "no such resource");
    };
    let resource = match &target.subresource {
        Some(sub) => format!("{}/{sub}", target.resource),
        None => target.resource.clone(),
    };
    if let Some(code) = shared.faults.refuses(&resource) {
        return status(code, &format!("{resource} are refused"));
    }
    if !request.method().is_safe() {
        return write(request, &path, &target, &shared).await;
    }
    let query = query(request.uri().query().unwrap_or_default());
    match (request.method(), &target.name) {
        (&Method::GET, None) if query.get("watch").is_some_and(|w| w == "1" || w == "true") => {
            watch::watch(&target, &query, shared)
        }
        (&Method::GET, None) => list(&target, &query, &shared),
        (&Method::GET, Some(name)) => {
            let key = format!("{}/{name}", target.namespace);
            let (all, _) = shared.objects.list(&target.resource);
            match all.into_iter().find(|(known, _)| *known == key) {
                Some((_, json)) => body(StatusCode::OK, json),
                None => status(StatusCode::NOT_FOUND, "not found"),
            }
        }
        _ => status(StatusCode::METHOD_NOT_ALLOWED, "not allowed"),
    }
}

/// Carries a write out, and records it with what was answered.
async fn write(
    request: Request<Incoming>,
    path: &str,
    target: &Target,
    shared: &Shared,
) -> Response<Body> {
    let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default());
    let query = query.to_owned();
    let Ok(collected) = Limited::new(request.into_body(), OBJECT_MAX).collect().await else {
        return status(StatusCode::PAYLOAD_TOO_LARGE, "too large");
    };
    let bytes = collected.to_bytes();
    let object = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
    let response = if path.ends_with("/status") && shared.faults.has_conflict() {
        refusal(&Refusal::Modified)
    } else {
        written(&method, target, object.clone(), shared)
    };
    shared.writes.note(Write {
        method: method.to_string(),
        path: path.to_owned(),
        query,
        body: object,
        status: response.status().as_u16(),
    });
    response
}

fn written(method: &Method, target: &Target, mut object: Value, shared: &Shared) -> Response<Body> {
    let Target { resource, namespace, name, subresource } = target;
    // An object is in the namespace of its path.
    if !namespace.is_empty() && object["metadata"].is_object() {
        object["metadata"]["namespace"] = namespace.as_str().into();
    }
    let objects = &shared.objects;
    let kept = match (method, name, subresource.as_deref()) {
        (&Method::POST, None, None) => objects.write(object, Meets::Nothing),
        (&Method::PUT, _, None) => objects.write(object, Meets::Version),
        (&Method::PATCH, Some(name), Some("status")) => {
            objects.patch_status(resource, format!("{namespace}/{name}"), &object)
        }
        (&Method::DELETE, Some(name), None) => {
            objects.delete(resource, namespace, name);
            return status(StatusCode::OK, "deleted");
        }
        _ => return status(StatusCode::METHOD_NOT_ALLOWED, "not allowed"),
    };
    match kept {
        Ok(json) if method == Method::POST => body(StatusCode::CREATED, json),
        Ok(json) => body(StatusCode::OK, json),
        Err(why) => refusal(&why),
    }
}

fn refusal(why: &Refusal) -> Response<Body> {
    let code = match why {
        Refusal::Bad(_) => StatusCode::BAD_REQUEST,
        Refusal::Absent => StatusCode::NOT_FOUND,
        Refusal::Exists | Refusal::Modified => StatusCode::CONFLICT,
    };
    status(code, &why.to_string())
}

/// What a path names.
pub(super) struct Target {
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    /// Such as `status`.
    pub(super) subresource: Option<String>,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let (version, rest) = match path.strip_prefix("/apis/") {
            // Group and version.
            Some(path) => path.split_at(path.match_indices('/').nth(1)?.0),
            None => ("v1", path.strip_prefix("/api/v1")?),
        };
        let rest = rest.strip_prefix('/')?;
        let mut parts = rest.trim_end_matches('/').split('/');
        let mut resource = parts.next()?;
        let mut namespace = "";
        let mut name = parts.next();
        if resource == "namespaces"
            && let Some(within) = name
            && let Some(inner) = parts.next()
        {
            (namespace, resource, name) = (within, inner, parts.next());
        }
        if store::resource(resource).is_none_or(|known| known.api_version != version) {
            return None;
        }
        let subresource = name.and_then(|_| parts.next()).map(str::to_owned);
        Some(Self {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.map(str::to_owned),
            subresource,
        })
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

/// Percent-decoding, as far as selectors need it.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match byte {
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => bytes.push(high << 4 | low),
                _ => bytes.push(byte),
            },
            b'+' => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A list is wanted of a version that is still to come.
pub(super) fn too_new(query: &BTreeMap<String, String>, version: u64) -> Option<Response<Body>> {
    let wanted: u64 = query.get("resourceVersion")?.parse().ok()?;
    let why = format!("Too large resource version: {wanted}, current: {version}");
    (wanted > version).then(|| status(StatusCode::GATEWAY_TIMEOUT, &why))
}

/// Pages: `continue` is the key after which the page begins.
fn list(target: &Target, query: &BTreeMap<String, String>, shared: &Shared) -> Response<Body> {
    let (all, version) = shared.objects.list(&target.resource);
    if let Some(refusal) = too_new(query, version) {
        return refusal;
    }
    let limit = query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(usize::MAX);
    let after = query.get("continue").cloned();
    let selector = Selector::of(query, &target.namespace);
    let mut rest = all
        .into_iter()
        .filter(|(key, json)| {
            after.as_ref().is_none_or(|after| key > after) && selector.matches(json)
        })
        .peekable();
    let mut items = Vec::new();
    let mut last = String::new();
    while items.len() < limit
        && let Some((key, json)) = rest.next()
    {
        items.push(damaged(shared, &key, json));
        last = key;
    }
    let token = if rest.peek().is_some() { last } else { String::new() };
    let mut text = format!(
        r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","continue":"{token}"}},"items":["#
    )
    .into_bytes();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(item);
    }
    text.extend_from_slice(b"]}");
    body(StatusCode::OK, text)
}

/// The object as it is, or damaged on request.
pub(super) fn damaged(shared: &Shared, key: &str, json: Bytes) -> Bytes {
    if !shared.faults.is_corrupt(key) {
        return json;
    }
    let Ok(mut object) = serde_json::from_slice::<Value>(&json) else { return json };
    object["spec"] = 5.into();
    object["endpoints"] = 5.into();
    Bytes::from(object.to_string())
}

pub(super) fn body(code: StatusCode, content: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(content.into()).boxed_unsync());
    *response.status_mut() = code;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

fn text(code: StatusCode, content: &'static str) -> Response<Body> {
    let mut response =
        Response::new(Full::new(Bytes::from_static(content.as_bytes())).boxed_unsync());
    *response.status_mut() = code;
    response
}

pub(super) fn status(code: StatusCode, message: &str) -> Response<Body> {
    let kind = json!({
        "kind": "Status", "apiVersion": "v1", "code": code.as_u16(), "message": message,
        "status": if code.is_success() { "Success" } else { "Failure" },
    });
    body(code, kind.to_string())
}
