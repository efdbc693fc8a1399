//! Requests that a route sends elsewhere.

use http::{HeaderValue, Response, StatusCode, header};
use towpath_route::{Route, Target};

use crate::body::Body;

/// To where `app-root` says, which nginx looks at before anything else. `authority` is as the client said
/// it; without one it is the same host anyway.
pub(crate) fn to_root(
    route: &Route,
    path: &str,
    (authority, secure): (&str, bool),
) -> Option<Response<Body>> {
    let root = route.policy.app_root.as_ref().filter(|_| path == "/" && is_open(route))?;
    let scheme = if secure { "https" } else { "http" };
    let to = match authority {
        "" => root.to_string(),
        host => format!("{scheme}://{host}{root}"),
    };
    answer(StatusCode::FOUND, &to)
}

/// To where `permanent-redirect` or `temporal-redirect` says.
pub(crate) fn elsewhere(route: &Route) -> Option<Response<Body>> {
    let redirect = route.policy.redirect.as_ref().filter(|_| is_open(route))?;
    answer(StatusCode::from_u16(redirect.code).ok()?, &redirect.to)
}

const fn is_open(route: &Route) -> bool {
    !matches!(route.target, Target::Closed(_))
}

fn answer(status: StatusCode, to: &str) -> Option<Response<Body>> {
    let mut response = Response::new(Body::Text(None));
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(to).ok()?);
    Some(response)
}
