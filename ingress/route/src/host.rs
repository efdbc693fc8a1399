//! Host names: of requests, and of rules.

use std::borrow::Cow;

/// A Host or `:authority` that is none: the request is answered with 400.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the Host is not a host name with an optional port")]
pub struct BadHost;

/// The host of an authority as routes are found by it: without port, in lower case, without a trailing
/// dot. An address is a host like others: rules name none, so it leads to those without a host.
///
/// # Errors
/// When it is not `host[:port]`.
pub fn request_host(authority: &str) -> Result<Cow<'_, str>, BadHost> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(_) => authority.find(']').map_or((authority, "@"), |end| authority.split_at(end + 1)),
        None => authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon)),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.is_empty() || (port.starts_with(':') && digits.parse::<u16>().is_ok());
    if !(is_port || port == ":") || digits.starts_with('+') {
        return Err(BadHost);
    }
    let known = |byte: u8| is_host_byte(byte) || (host.starts_with('[') && b"[]:".contains(&byte));
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || !host.bytes().all(known) {
        return Err(BadHost);
    }
    Ok(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// What registered names and addresses are made of; other bytes of RFC 3986's `reg-name` are in no name.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// The host of a rule or of TLS, in the form of [`request_host`]; why it cannot be used.
pub(crate) fn rule_host(written: &str) -> Result<Box<str>, &'static str> {
    let host = written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    if written.is_empty() {
        return Ok(Box::default());
    }
    if name.is_empty() || name.len() > 253 || name.split('.').any(|label| !is_label(label)) {
        return Err("not a host name, nor one whose first label is `*`");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err("an address: rules name hosts");
    }
    Ok(host.into())
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.len() <= 63 && label.bytes().all(is_host_byte)
}

/// What follows the first label, under which a wildcard host is kept.
pub(crate) fn parent(host: &str) -> Option<&str> {
    let (label, parent) = host.split_once('.')?;
    (!label.is_empty() && !parent.is_empty()).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_requests() {
        for (authority, host) in [
            ("a.example", Some("a.example")),
            ("A.Example.:8080", Some("a.example")),
            ("a.example:", Some("a.example")),
            ("[::1]:80", Some("[::1]")),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("a_b.example", Some("a_b.example")),
            ("", None),
            (":80", None),
            (".", None),
            ("a:b", None),
            ("a:+1", None),
            ("a:99999", None),
            ("a b", None),
            ("user@a", None),
            ("[::1", None),
            ("a/b", None),
            ("a,b", None),
        ] {
            assert_eq!(request_host(authority).ok().as_deref(), host, "{authority}");
        }
    }

    #[test]
    fn hosts_of_rules() {
        for (written, host) in [
            ("", Some("")),
            ("Foo.Com.", Some("foo.com")),
            ("*.foo.com", Some("*.foo.com")),
            ("*", None),
            ("*.", None),
            ("a.*.com", None),
            ("foo..com", None),
            ("10.0.0.1", None),
            ("foo.com:80", None),
        ] {
            assert_eq!(rule_host(written).ok().as_deref(), host, "{written}");
        }
    }
}
