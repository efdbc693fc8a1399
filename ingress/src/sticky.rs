//! Requests of one browser go to one endpoint.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, header};
use towpath_route::{Affinity, EndpointSet, Policy, Route, SameSite};

/// What a request's cookie says, and what its answer's may have to.
pub(crate) struct Sticky {
    policy: Arc<Policy>,
    path: Arc<str>,
    set: Arc<EndpointSet>,
    said: Option<SocketAddr>,
}

impl Sticky {
    /// `None`: its route asks for none.
    pub(crate) fn of(route: &Route, set: &Arc<EndpointSet>, headers: &HeaderMap) -> Option<Self> {
        let affinity = route.policy.affinity.as_ref()?;
        let said = said(headers, &affinity.cookie);
        let at = said.and_then(|key| set.keys.iter().position(|known| *known == key));
        let said = at.and_then(|at| set.endpoints.get(at)).copied();
        // A browser sends no cookie back for an expression.
        let path = match &route.pattern {
            Some(_) => "/".into(),
            None if route.origin.path.is_empty() => "/".into(),
            None => Arc::clone(&route.origin.path),
        };
        Some(Self { policy: Arc::clone(&route.policy), path, set: Arc::clone(set), said })
    }

    /// The endpoint that the cookie says is tried first.
    pub(crate) fn lead(&self, endpoints: &mut Vec<SocketAddr>) {
        if let Some(said) = self.said {
            endpoints.retain(|endpoint| *endpoint != said);
            endpoints.insert(0, said);
        }
    }

    /// Says which endpoint answered, where the browser does not know.
    pub(crate) fn put(&self, answered: SocketAddr, secure: bool, headers: &mut HeaderMap) {
        let Some(affinity) = &self.policy.affinity else { return };
        let known = match self.said {
            None => false,
            Some(said) => said == answered || !affinity.change_on_failure,
        };
        let at = self.set.endpoints.iter().position(|endpoint| *endpoint == answered);
        if let Some(key) = at.and_then(|at| self.set.keys.get(at)).filter(|_| !known)
            && let Ok(cookie) = HeaderValue::try_from(cookie(affinity, *key, &self.path, secure))
        {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// The first cookie of the name that can be one of ours.
fn said(headers: &HeaderMap, name: &str) -> Option<u64> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|text| text.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    let values = pairs.filter(|(known, _)| known.trim() == name).map(|(_, value)| value.trim());
    let mut ours = values
        .filter(|value| value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()));
    ours.find_map(|value| u64::from_str_radix(value, 16).ok())
}

fn cookie(affinity: &Affinity, key: u64, path: &str, secure: bool) -> String {
    let mut text = format!("{}={key:016x}", affinity.cookie);
    // Writing into a text does not fail.
    let _written = write!(text, "; Path={}", affinity.path.as_deref().unwrap_or(path));
    if let Some(domain) = &affinity.domain {
        let _written = write!(text, "; Domain={domain}");
    }
    if let Some(seconds) = affinity.expires {
        let span = Duration::from_secs(seconds.unsigned_abs());
        let now = SystemTime::now();
        let date = if seconds < 0 { now.checked_sub(span) } else { now.checked_add(span) };
        let date = httpdate::fmt_http_date(date.unwrap_or(now).max(UNIX_EPOCH));
        let _written = write!(text, "; Expires={date}");
    }
    if let Some(seconds) = affinity.max_age {
        let _written = write!(text, "; Max-Age={seconds}");
    }
    if affinity.secure.unwrap_or(secure) {
        text.push_str("; Secure");
    }
    text.push_str("; HttpOnly");
    text.push_str(match affinity.same_site {
        None => "",
        Some(SameSite::None) => "; SameSite=None",
        Some(SameSite::Lax) => "; SameSite=Lax",
        Some(SameSite::Strict) => "; SameSite=Strict",
    });
    text
}
