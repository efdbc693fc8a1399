//! What is honoured of the annotations of ingress-nginx, and what becomes of a route whose annotation is
//! not: one that restricts or changes requests closes it, one that tunes is left out with a problem, and
//! one that never did anything is passed over.

use std::sync::Arc;

use towpath_model::{Code, Ingress, Key, Kind, Problem};

use crate::{Policy, Protocol, Settings};

mod affinity;
mod auth;
mod cors;
mod endpoint_tls;
mod ranges;
mod redirect;
mod rewrite;
mod values;

use values::{flag, seconds, size};

/// Why a route is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// An annotation that restricts who may send requests is not honoured.
    Restricts,
    /// An annotation that changes what the backend gets is not honoured.
    Changes,
}

/// Begin of names that restrict access.
const RESTRICTING: &[&str] =
    &["auth-", "enable-modsecurity", "enable-owasp", "global-auth", "modsecurity-", "satisfy"];

/// Names that change which requests a backend gets, or in which form: served without them, another
/// path or protocol would reach it.
const CHANGING: &[&str] = &[
    "configuration-snippet",
    "fastcgi-",
    "secure-backends",
    "server-snippet",
    "ssl-passthrough",
    "stream-snippet",
];

/// Without effect here because they ask for what is done anyway, or nowhere.
const IDLE: &[&str] = &[
    "relative-redirects",
    "affinity-canary-behavior",
    "affinity-mode",
    "client-body-buffer-size",
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
    "websocket-services",
];

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
    /// Paths of the Ingress are expressions, as far as they can be.
    pub(crate) regex: bool,
}

pub(crate) fn read(ingress: &Ingress, settings: &Settings, problems: &mut Vec<Problem>) -> Read {
    let mut read = Read {
        policy: Arc::default(),
        ssl_redirect: settings.ssl_redirect,
        force_ssl_redirect: false,
        closed: None,
        canary: false,
        regex: false,
    };
    let mut policy = Policy::default();
    for (name, value) in &ingress.annotations {
        let wrong = match &**name {
            "ssl-redirect" => flag(value, &mut read.ssl_redirect),
            "force-ssl-redirect" => flag(value, &mut read.force_ssl_redirect),
            "canary" => flag(value, &mut read.canary),
            "proxy-body-size" => size(value, &mut policy.body_max),
            "backend-protocol" if value.trim().eq_ignore_ascii_case("FCGI") => {
                close(Refusal::Changes, name, ingress, &mut read.closed, problems);
                Ok(())
            }
            "backend-protocol" => protocol(value, &mut policy.protocol),
            "proxy-connect-timeout" => seconds(value, &mut policy.times.connect),
            "proxy-send-timeout" => seconds(value, &mut policy.times.send),
            "proxy-read-timeout" => seconds(value, &mut policy.times.read),
            // Read below: what one says depends on another.
            "enable-cors" | "rewrite-target" | "use-regex" | "x-forwarded-prefix" => Ok(()),
            name if ranges::NAMES.contains(&name) || auth::NAMES.contains(&name) => Ok(()),
            // None is configured that could be left out.
            "enable-global-auth" => Ok(()),
            "affinity" => Ok(()),
            name if redirect::NAMES.contains(&name) => Ok(()),
            name if [endpoint_tls::PREFIX, cors::PREFIX, affinity::PREFIX]
                .iter()
                .any(|it| name.starts_with(it)) =>
            {
                Ok(())
            }
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
    policy.tls = endpoint_tls::read(ingress, &mut read.closed, problems);
    policy.cors = cors::read(ingress, problems);
    policy.affinity = affinity::read(ingress, problems);
    policy.auth = auth::read(ingress, &mut read.closed, problems);
    match ranges::read(ingress) {
        Ok(ranges) => policy.ranges = ranges,
        Err(name) => close(Refusal::Restricts, name, ingress, &mut read.closed, problems),
    }
    redirect::read(ingress, &mut policy, &mut read.closed, problems);
    read.regex = rewrite::read(ingress, &mut policy, &mut read.closed, problems);
    read.policy = Arc::new(policy);
    read
}

/// As ingress-nginx, which compares without regard to case and takes HTTP for what it does not know.
fn protocol(value: &str, into: &mut Option<Protocol>) -> Result<(), &'static str> {
    const KNOWN: [(&str, Protocol); 5] = [
        ("HTTP", Protocol::Http),
        ("HTTPS", Protocol::Https),
        ("GRPC", Protocol::Grpc),
        ("GRPCS", Protocol::Grpcs),
        ("AUTO_HTTP", Protocol::Auto),
    ];
    let known = KNOWN.iter().find(|(name, _)| value.trim().eq_ignore_ascii_case(name));
    let (_, protocol) = known.ok_or("one of HTTP, HTTPS, GRPC, GRPCS, AUTO_HTTP")?;
    *into = Some(*protocol);
    Ok(())
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
    close(refusal, name, of, closed, problems);
}

/// Closes the routes of an Ingress, and says for which annotation.
fn close(
    refusal: Refusal,
    name: &str,
    of: &Ingress,
    closed: &mut Option<Refusal>,
    problems: &mut Vec<Problem>,
) {
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
