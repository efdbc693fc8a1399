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
}
