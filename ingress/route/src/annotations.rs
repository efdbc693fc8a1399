//! What is honoured of the annotations of ingress-nginx, and what becomes of a route whose annotation is
//! not: one that restricts or changes requests closes it, one that tunes is left out with a problem, and
//! one that never did anything is passed over.

use std::sync::Arc;

use towpath_model::{Code, Ingress, Key, Kind, Problem};

use crate::{Policy, Settings};

/// Why a route is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// An annotation that restricts who may send requests is not honoured.
    Restricts,
    /// An annotation that changes what the backend gets is not honoured.
    Changes,
}

/// Begin of names that restrict access.
const RESTRICTING: &[&str] = &[
    "allowlist-source-range",
    "auth-",
    "denylist-source-range",
    "enable-global-auth",
    "enable-modsecurity",
    "enable-owasp",
    "global-auth",
    "modsecurity-",
    "satisfy",
    "whitelist-source-range",
];

/// Names that change which requests a backend gets, or in which form: served without them, another
/// path or protocol would reach it.
const CHANGING: &[&str] = &[
    "app-root",
    "backend-protocol",
    "configuration-snippet",
    "fastcgi-",
    "permanent-redirect",
    "rewrite-target",
    "secure-backends",
    "server-snippet",
    "ssl-passthrough",
    "stream-snippet",
    "temporal-redirect",
    "upstream-vhost",
    "use-regex",
];

/// Without effect here because they ask for what is done anyway, or nowhere.
const IDLE: &[&str] = &[
    "connection-proxy-header",
    "enable-access-log",
    "enable-rewrite-log",
    "enable-websockets",
    "http2-push-preload",
    "preserve-trailing-slash",
    "proxy-buffer-size",
    "proxy-buffering",
    "proxy-buffers-number",
    "proxy-busy-buffers-size",
    "proxy-http-version",
    "proxy-max-temp-file-size",
    "session-cookie-hash",
    "websocket-services",
];

/// ingress-nginx's default, which its users count on.
const BODY_MAX: u64 = 1 << 20;

/// What an Ingress's annotations come to.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) policy: Arc<Policy>,
    /// Plain requests of hosts that have a certificate are sent to HTTPS.
    pub(crate) ssl_redirect: bool,
    /// Plain requests are sent to HTTPS, certificate or not.
    pub(crate) force_ssl_redirect: bool,
    pub(crate) closed: Option<Refusal>,
    /// The Ingress is a canary of another one: it is not served by itself.
    pub(crate) canary: bool,
}

pub(crate) fn read(ingress: &Ingress, settings: &Settings, problems: &mut Vec<Problem>) -> Read {
    let mut read = Read {
        policy: Arc::default(),
        ssl_redirect: settings.ssl_redirect,
        force_ssl_redirect: false,
        closed: None,
        canary: false,
    };
    let mut policy = Policy { body_max: Some(BODY_MAX) };
    for (name, value) in &ingress.annotations {
        let wrong = match &**name {
            "ssl-redirect" => flag(value, &mut read.ssl_redirect),
            "force-ssl-redirect" => flag(value, &mut read.force_ssl_redirect),
            "canary" => flag(value, &mut read.canary),
            "proxy-body-size" => size(value, &mut policy.body_max),
            "backend-protocol" if value.eq_ignore_ascii_case("HTTP") => Ok(()),
            // The switch that says no asks for nothing.
            _ if matches!(&**value, "" | "false" | "off") => Ok(()),
            name => {
                other(name, ingress, &mut read.closed, problems);
                Ok(())
            }
        };
        if let Err(wanted) = wrong {
            let why = format!("not {wanted}; it is as if it was not there");
            problems.push(problem(ingress, name, Code::AnnotationIgnored, &why, "write it so"));
        }
    }
    if read.canary {
        let why = "a canary of another Ingress, which is not honoured: it gets no requests";
        problems.push(problem(ingress, "canary", Code::AnnotationIgnored, why, "remove it"));
    }
    read.policy = Arc::new(policy);
    read
}

fn other(name: &str, of: &Ingress, closed: &mut Option<Refusal>, problems: &mut Vec<Problem>) {
    let begins = |names: &[&str]| names.iter().any(|known| name.starts_with(known));
    let refusal = match () {
        () if begins(IDLE) || name.starts_with("canary-") => return,
        () if begins(RESTRICTING) => Refusal::Restricts,
        () if begins(CHANGING) => Refusal::Changes,
        () => {
            let why = "not honoured; requests are served without it";
            let action = "remove it, or expect what happens without it";
            problems.push(problem(of, name, Code::AnnotationIgnored, why, action));
            return;
        }
    };
    // Of two reasons the graver one is named.
    if *closed != Some(Refusal::Restricts) {
        *closed = Some(refusal);
    }
    let what = match refusal {
        Refusal::Restricts => "restricts access",
        Refusal::Changes => "changes what the backend gets",
    };
    let why = format!("{what} and is not honoured: the routes of this Ingress answer 503");
    let action = "remove it, or let another controller serve this Ingress";
    problems.push(problem(of, name, Code::RouteClosed, &why, action));
}

fn problem(of: &Ingress, name: &str, code: Code, why: &str, action: &str) -> Problem {
    let key = Key { kind: Kind::Ingress, name: of.meta.name.clone() };
    let prefix = towpath_model::ingress::ANNOTATION_PREFIX;
    let field = format!("metadata.annotations[{prefix}{name}]");
    Problem::new(code, Some(key), &field, why, action)
}

fn flag(value: &str, into: &mut bool) -> Result<(), &'static str> {
    // As Go's ParseBool, which ingress-nginx reads with.
    *into = match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => return Err("`true` or `false`"),
    };
    Ok(())
}

/// nginx's sizes: bytes, or with k, m or g; 0 is no limit.
fn size(value: &str, into: &mut Option<u64>) -> Result<(), &'static str> {
    const WANTED: &str = "a size such as `8m`";
    let value = value.trim();
    let (digits, unit) = match value.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (value.get(..at), 1 << 10),
        Some((at, 'm' | 'M')) => (value.get(..at), 1 << 20),
        Some((at, 'g' | 'G')) => (value.get(..at), 1 << 30),
        _ => (Some(value), 1u64),
    };
    let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(WANTED)?;
    *into = match number.checked_mul(unit).ok_or(WANTED)? {
        0 => None,
        bytes => Some(bytes),
    };
    Ok(())
}

impl Default for Policy {
    fn default() -> Self {
        Self { body_max: Some(BODY_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_nginxs() {
        for (value, bytes) in [
            ("8m", Some(Some(8 << 20))),
            ("10", Some(Some(10))),
            ("1K", Some(Some(1024))),
            ("2g", Some(Some(2 << 30))),
            ("0", Some(None)),
            ("0m", Some(None)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("+1", None),
            ("1t", None),
            ("99999999999999999999", None),
            ("18446744073709551615g", None),
        ] {
            let mut read = Some(7);
            let result = size(value, &mut read);
            assert_eq!(result.ok().map(|()| read), bytes, "{value}");
        }
    }
}
