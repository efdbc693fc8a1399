//! Cross-origin resource sharing, as routes ask for it.
//!
//! Values are copied out of the policy for each answer: only routes that ask for it pay.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use towpath_route::Policy;

use crate::body::Body;

/// What the answer to one request tells.
pub(crate) struct Told {
    policy: Arc<Policy>,
    origin: HeaderValue,
}

impl Told {
    /// `None`: its route tells nothing to requests of this origin.
    pub(crate) fn of(policy: &Arc<Policy>, request: &Request<impl Sized>) -> Option<Self> {
        let cors = policy.cors.as_ref()?;
        let origin = request.headers().get(header::ORIGIN).and_then(|text| text.to_str().ok());
        let origin = HeaderValue::try_from(cors.allowed(origin)?).ok()?;
        Some(Self { policy: Arc::clone(policy), origin })
    }

    /// The answer to a browser that asks before it sends: ingress-nginx takes every OPTIONS for one.
    pub(crate) fn preflight(request: &Request<impl Sized>) -> Option<Response<Body>> {
        if request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(Body::Text(None));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let text = HeaderValue::from_static("text/plain charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        Some(response)
    }

    /// What the endpoint said of it is replaced.
    pub(crate) fn put(self, headers: &mut HeaderMap) {
        let Some(cors) = &self.policy.cors else { return };
        let mut say = |name: HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        say(header::ACCESS_CONTROL_ALLOW_METHODS, &cors.methods);
        say(header::ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers);
        say(header::ACCESS_CONTROL_MAX_AGE, &cors.max_age.to_string());
        if cors.credentials {
            say(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if !cors.exposed.is_empty() {
            say(header::ACCESS_CONTROL_EXPOSE_HEADERS, &cors.exposed);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
    }
}
