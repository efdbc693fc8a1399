//! Heads of requests and responses, as they go on.

use std::{net::SocketAddr, str};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{self, Entry},
    uri::{self, Authority, PathAndQuery, Scheme},
};

use crate::fail::Fail;

/// Headers that speak of one connection (RFC 9110 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
];
/// What a backend believes about a client is what this proxy saw; what the client claims goes.
const CLAIMED: [&str; 8] = [
    "forwarded",
    "proxy",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-scheme",
];
const ORIGINAL: HeaderName = HeaderName::from_static("x-original-forwarded-for");

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    pub(crate) client: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) secure: bool,
}

/// The protocol that a request wants to change to. Never HTTP/2 (`h2c`): requests in that tunnel would
/// reach the endpoint past every route, and RFC 9113 3.1 has done away with it.
pub(crate) fn wanted_upgrade(request: &Request<impl Sized>) -> Option<HeaderValue> {
    let asks = tokens(request.headers()).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let one = request.version() == Version::HTTP_11 && asks;
    let protocol = request.headers().get(header::UPGRADE).filter(|_| one)?;
    let mut all = request.headers().get_all(header::UPGRADE).iter();
    (!all.any(|value| offers_http_2(value.as_bytes()))).then(|| protocol.clone())
}

/// Is HTTP/2 among the protocols of this Upgrade? Then it is never taken: an endpoint might choose it.
pub(crate) fn offers_http_2(upgrade: &[u8]) -> bool {
    upgrade.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

/// Takes out what speaks of this connection.
pub(crate) fn strip(headers: &mut HeaderMap) {
    // `Connection: host` must not take a header that requests need.
    let needed = |name: &HeaderName| *name == header::HOST || *name == header::CONTENT_LENGTH;
    let listed: Vec<HeaderName> = tokens(headers)
        .filter_map(|token| token.parse().ok())
        .filter(|name| !needed(name))
        .collect();
    for name in HOP_BY_HOP.iter().chain(&listed) {
        headers.remove(name);
    }
}

/// Makes the client's headers those of the request to an endpoint.
pub(crate) fn forward(
    headers: &mut HeaderMap,
    host: HeaderValue,
    from: From,
    id: HeaderValue,
    upgrade: Option<HeaderValue>,
) {
    strip(headers);
    // Limits were looked at; an endpoint that says 100 would say it to nothing.
    headers.remove(header::EXPECT);
    // To CGI and its like X_Real_IP and X-Real-IP are one: nginx drops the first by default.
    let underscored: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    underscored.iter().for_each(|name| _ = headers.remove(name));
    if let Some(claimed) = headers.get("x-forwarded-for").cloned() {
        headers.insert(ORIGINAL, claimed);
    }
    CLAIMED.iter().for_each(|name| _ = headers.remove(*name));
    join_cookies(headers);
    let text = |text: String| HeaderValue::try_from(text).ok();
    let client = text(from.client.ip().to_canonical().to_string());
    let scheme = HeaderValue::from_static(if from.secure { "https" } else { "http" });
    let set = [
        ("x-forwarded-for", client.clone()),
        ("x-real-ip", client),
        ("x-forwarded-host", Some(host.clone())),
        ("x-forwarded-port", text(from.local.port().to_string())),
        ("x-forwarded-proto", Some(scheme.clone())),
        ("x-forwarded-scheme", Some(scheme.clone())),
        ("x-scheme", Some(scheme)),
        ("x-request-id", Some(id)),
    ];
    for (name, value) in set {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    headers.insert(header::HOST, host);
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Another Host than the client's, which stays told as `X-Forwarded-Host`.
pub(crate) fn say_host(headers: &mut HeaderMap, host: Option<&str>) {
    if let Some(host) = host.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(header::HOST, host);
    }
}

/// Tells the endpoint of what the path was rewritten without.
pub(crate) fn say_prefix(headers: &mut HeaderMap, prefix: Option<&str>) {
    if let Some(prefix) = prefix.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert("x-forwarded-prefix", prefix);
    }
}

/// Makes the request one of HTTP/2 to an endpoint, after [`forward`]. `endpoint`: stands for a host that
/// the client did not say.
pub(crate) fn for_http_2(
    parts: &mut http::request::Parts,
    tls: bool,
    endpoint: Option<&SocketAddr>,
) -> Result<(), Fail> {
    let host = parts.headers.remove(header::HOST).filter(|host| !host.is_empty());
    let host = match (host, endpoint) {
        (Some(host), _) => Authority::try_from(host.as_bytes()).ok(),
        (None, endpoint) => endpoint.and_then(|at| Authority::try_from(at.to_string()).ok()),
    };
    let mut uri = uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(host.ok_or(Fail(StatusCode::BAD_REQUEST, "bad_host"))?);
    let target = parts.uri.path_and_query().cloned();
    uri.path_and_query = Some(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let bad_path = |_error| Fail(StatusCode::BAD_REQUEST, "bad_path");
    parts.uri = Uri::from_parts(uri).map_err(bad_path)?;
    parts.version = Version::HTTP_2;
    // gRPC's servers want it, and trailers are passed on.
    parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    Ok(())
}

/// Is it a call of gRPC? Its clients speak nothing but HTTP/2; gRPC-Web is HTTP with a body of its own.
pub(crate) fn is_grpc(request: &Request<impl Sized>) -> bool {
    let of_type = |request: &Request<_>| {
        let said = request.headers().get(header::CONTENT_TYPE);
        let rest = said.and_then(|said| said.as_bytes().strip_prefix(b"application/grpc"));
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    };
    request.version() == Version::HTTP_2 && of_type(request)
}

/// HTTP/2 may cut a Cookie into several (RFC 9113 8.2.3), HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let Entry::Occupied(cookies) = headers.entry(header::COOKIE) else { return };
    if cookies.iter().count() < 2 {
        return;
    }
    let parts: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// May a request be sent again when its connection closed before an answer (RFC 9110 9.2.2)?
pub(crate) fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}
