//! `permanent-redirect`, `temporal-redirect`, `app-root` and `upstream-vhost`.

use towpath_model::{Code, Ingress, Problem};

use super::{Refusal, close, problem};
use crate::{Policy, Redirect, request_host};

/// The names that are read here.
pub(super) const NAMES: [&str; 6] = [
    "app-root",
    "permanent-redirect",
    "permanent-redirect-code",
    "temporal-redirect",
    "temporal-redirect-code",
    "upstream-vhost",
];

pub(super) fn read(
    ingress: &Ingress,
    policy: &mut Policy,
    closed: &mut Option<Refusal>,
    problems: &mut Vec<Problem>,
) {
    let text = |name: &str| ingress.annotation(name).map(str::trim).filter(|it| !it.is_empty());
    // Left out, requests would reach an endpoint that none shall reach.
    let mut refuse = |name: &str, problems: &mut Vec<Problem>| {
        close(Refusal::Changes, name, ingress, closed, problems);
    };
    // The temporal one wins, as in ingress-nginx.
    for (name, usual, last) in [("permanent-redirect", 301, 308), ("temporal-redirect", 302, 307)] {
        let Some(to) = text(name) else { continue };
        let code_name = format!("{name}-code");
        let said = text(&code_name);
        let code = said.and_then(|said| said.parse().ok()).filter(|it| (300..=last).contains(it));
        if let (Some(_), None) = (said, code) {
            let why = format!("not a status from 300 to {last}; {usual} is answered");
            let ignored = Code::AnnotationIgnored;
            problems.push(problem(ingress, &code_name, ignored, &why, "write a status"));
        }
        match to.starts_with("http://") || to.starts_with("https://") {
            true if to.bytes().all(is_plain) => {
                let code = code.unwrap_or(usual);
                policy.redirect = Some(Box::new(Redirect { code, to: to.into() }));
            }
            _ => refuse(name, problems),
        }
    }
    if let Some(root) = text("app-root") {
        match root.starts_with('/') && !root.starts_with("//") && root.bytes().all(is_plain) {
            true => policy.app_root = Some(root.into()),
            false => refuse("app-root", problems),
        }
    }
    if let Some(host) = text("upstream-vhost") {
        match request_host(host) {
            Ok(_) => policy.upstream_host = Some(host.into()),
            Err(_no_host) => refuse("upstream-vhost", problems),
        }
    }
}

/// What ingress-nginx takes in an address.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b',' | b'?' | b'&' | b'=')
}
