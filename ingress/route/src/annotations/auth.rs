//! `auth-url` and what belongs to it: another server is asked about each request.

use towpath_model::{Code, Ingress, ObjectName, Problem, ingress::BackendPort};

use super::{Refusal, close, problem, values::flag};
use crate::{Asked, BackendRef, ExternalAuth, Template, host::rule_host};

/// The names that are read here.
pub(super) const NAMES: &[&str] = &[
    "auth-always-set-cookie",
    "auth-cache-duration",
    "auth-cache-key",
    "auth-keepalive",
    "auth-keepalive-requests",
    "auth-keepalive-share-vars",
    "auth-keepalive-timeout",
    "auth-method",
    "auth-request-redirect",
    "auth-response-headers",
    "auth-signin",
    "auth-signin-redirect-param",
    "auth-url",
];

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

pub(super) fn read(
    ingress: &Ingress,
    closed: &mut Option<Refusal>,
    problems: &mut Vec<Problem>,
) -> Option<Box<ExternalAuth>> {
    // The others say nothing without it, as in ingress-nginx.
    ingress.annotation("auth-url").filter(|url| !url.trim().is_empty())?;
    let auth = read_all(ingress).map_err(|name| {
        close(Refusal::Restricts, name, ingress, closed, problems);
    });
    let mut auth = auth.ok()?;
    let mut ignored = |name: &str, why: &str| {
        let action = "remove it, or expect what happens without it";
        problems.push(problem(ingress, name, Code::AnnotationIgnored, why, action));
    };
    for name in ["auth-cache-duration", "auth-cache-key"] {
        if ingress.annotation(name).is_some_and(|text| !text.is_empty()) {
            ignored(name, "not honoured: the server is asked about every request");
        }
    }
    let cookie = ingress.annotation("auth-always-set-cookie");
    if let Some(Err(wanted)) = cookie.map(|text| flag(text, &mut auth.always_set_cookie)) {
        ignored("auth-always-set-cookie", &format!("not {wanted}; it is as if it was not there"));
    }
    Some(Box::new(auth))
}

/// # Errors
/// The annotation that is not honoured as it is written.
fn read_all(ingress: &Ingress) -> Result<ExternalAuth, &'static str> {
    let text = |name: &str| ingress.annotation(name).map(str::trim).filter(|it| !it.is_empty());
    let url = text("auth-url").ok_or("auth-url")?;
    let (tls, asked, target) = server(url).ok_or("auth-url")?;
    let method = match text("auth-method") {
        None => None,
        Some(method) => Some(METHODS.into_iter().find(|it| *it == method).ok_or("auth-method")?),
    };
    let mut headers = Vec::new();
    for name in text("auth-response-headers").unwrap_or_default().split(',').map(str::trim) {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match name {
            "" => {}
            // What an endpoint reads the request by is not another server's to say.
            _ if !name.bytes().all(known) || is_framing(name) => {
                return Err("auth-response-headers");
            }
            name => headers.push(name.to_ascii_lowercase().into()),
        }
    }
    let template = |name: &'static str| match text(name) {
        None => Ok(None),
        Some(text) if text.bytes().any(|byte| byte.is_ascii_control()) => Err(name),
        Some(text) => Template::parse(text).map(Some).ok_or(name),
    };
    let signin = match text("auth-signin") {
        None => None,
        Some(url) => Some(with_redirect(url, text("auth-signin-redirect-param"))?),
    };
    Ok(ExternalAuth {
        tls,
        asked,
        target,
        method,
        headers: headers.into(),
        signin,
        redirect: template("auth-request-redirect")?,
        always_set_cookie: false,
    })
}

fn is_framing(name: &str) -> bool {
    let framing = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];
    framing.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Over TLS or not, which server, and its target.
fn server(url: &str) -> Option<(bool, Asked, Template)> {
    let known = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\<>^`|".contains(&byte);
    if !url.bytes().all(known) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let tls = match &*scheme.to_ascii_lowercase() {
        "http" => false,
        "https" => true,
        // The server is asked itself: what matters is which one.
        "$scheme" | "$pass_access_scheme" => false,
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let target = match target {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    let target = Template::parse(target.split('#').next().unwrap_or_default())?;
    let template = Template::parse(authority)?;
    if template.is_own_host() {
        return Some((tls, Asked::OwnHost, target));
    }
    let plain = template.plain()?;
    let (host, port) = match plain.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => (plain, if tls { 443 } else { 80 }),
    };
    let host = rule_host(host).ok().filter(|host| !host.is_empty() && !host.starts_with('*'))?;
    let mut labels = host.split('.');
    let asked = match (labels.next(), labels.next(), labels.next()) {
        (Some(name), Some(namespace), Some("svc")) => {
            let service = ObjectName::new(namespace, name);
            Asked::Service(BackendRef { service, port: BackendPort::Number(port) }, host)
        }
        _ => Asked::Host(host),
    };
    Some((tls, asked, target))
}

/// Where a client signs in, with the place to come back to.
fn with_redirect(url: &str, name: Option<&str>) -> Result<Template, &'static str> {
    let name = name.unwrap_or("rd");
    if url.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("auth-signin");
    }
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if !name.bytes().all(plain) {
        return Err("auth-signin-redirect-param");
    }
    let back = "$pass_access_scheme://$http_host$escaped_request_uri";
    let text = match url.split_once('?') {
        None => format!("{url}?{name}={back}"),
        Some((_, "")) => format!("{url}{name}={back}"),
        Some((_, query)) => {
            let says = |pair: &str| {
                pair.split_once('=').is_some_and(|(it, to)| it == name && !to.is_empty())
            };
            match query.split('&').any(says) {
                true => url.to_owned(),
                false => format!("{url}&{name}={back}"),
            }
        }
    };
    Template::parse(&text).ok_or("auth-signin")
}
