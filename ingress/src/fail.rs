//! Answers of the proxy itself. Each says why, in a header that operators can search for, and none
//! names an endpoint.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::body::Body;

pub(crate) const REASON: HeaderName = HeaderName::from_static("x-towpath-reason");

/// Status and reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fail(pub(crate) StatusCode, pub(crate) &'static str);

impl Fail {
    pub(crate) fn response(self) -> Response<Body> {
        let Self(status, reason) = self;
        let text = format!("{} {reason}\n", status.as_str());
        let mut response = Response::new(Body::Text(Some(Bytes::from(text))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(REASON, HeaderValue::from_static(reason));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response
    }

    /// The same to a client of gRPC, which reads no status of HTTP: an answer of trailers only, with the
    /// code that gRPC's own table gives the status (doc/http-grpc-status-mapping.md of gRPC).
    pub(crate) fn grpc(self) -> Response<Body> {
        let Self(status, reason) = self;
        let code = match status.as_u16() {
            400 => "13",                   // INTERNAL
            401 => "16",                   // UNAUTHENTICATED
            403 => "7",                    // PERMISSION_DENIED
            404 => "12",                   // UNIMPLEMENTED
            429 | 502 | 503 | 504 => "14", // UNAVAILABLE
            _ => "2",                      // UNKNOWN
        };
        let mut response = Response::new(Body::Text(None));
        let headers = response.headers_mut();
        headers.insert(REASON, HeaderValue::from_static(reason));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(code));
        headers.insert("grpc-message", HeaderValue::from_static(reason));
        response
    }
}
