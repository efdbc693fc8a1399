//! What was typed after `towpath explain`, taken apart.

use std::net::IpAddr;

use towpath_model::Protocol;

/// Why something that was typed cannot be answered, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct NotUnderstood {
    pub(super) error: String,
    pub(super) action: String,
}

impl NotUnderstood {
    pub(super) fn new(error: impl Into<String>, action: impl Into<String>) -> Self {
        Self { error: error.into(), action: action.into() }
    }
}

/// `TARGET[:PORT][/tcp|/udp|/sctp]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) host: Host<'a>,
    pub(super) port: Option<PortWanted<'a>>,
    /// As typed; `None`: TCP, or the only one that there is.
    pub(super) protocol: Option<Protocol>,
}

/// Before the port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

/// After the colon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PortWanted<'a> {
    Number(u16),
    /// The name of a port of a Service.
    Name(&'a str),
}

impl<'a> Wanted<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, NotUnderstood> {
        let (rest, protocol) = protocol(text);
        if let Some(ip) = address(rest) {
            return Ok(Self { host: Host::Address(ip), port: None, protocol });
        }
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = port.map(|port| read_port(text, port)).transpose()?;
        let host = match address(host) {
            Some(ip) => Host::Address(ip),
            None if is_name(host) => Host::Name(host),
            None => return Err(unknown(text)),
        };
        Ok(Self { host, port, protocol })
    }
}

/// An IPv4 address that is written as one of IPv6 is an IPv4 address: sockets connect to it.
fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

fn protocol(text: &str) -> (&str, Option<Protocol>) {
    let named = |word: &str| match word.to_ascii_lowercase().as_str() {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    };
    match text.rsplit_once('/').map(|(rest, word)| (rest, named(word))) {
        Some((rest, Some(protocol))) => (rest, Some(protocol)),
        _ => (text, None),
    }
}

fn read_port<'a>(text: &str, port: &'a str) -> Result<PortWanted<'a>, NotUnderstood> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if digits && number != 0 => Ok(PortWanted::Number(number)),
        _ if !digits && is_label(port) => Ok(PortWanted::Name(port)),
        _ => Err(NotUnderstood::new(
            format!("{text:?} has no port after its colon"),
            "a port is a number from 1 to 65535, or the name of a Service's port",
        )),
    }
}

fn unknown(text: &str) -> NotUnderstood {
    NotUnderstood::new(
        format!("{text:?} is neither an address nor a name"),
        "write TARGET[:PORT][/udp]; TARGET is a Service (NAME, NAMESPACE/NAME, NAME.NAMESPACE), a DNS \
         name, an address or a pod",
    )
}

fn is_label(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let starts = text.bytes().next().is_some_and(|byte| byte != b'-');
    starts && text.len() <= 63 && text.bytes().all(fine)
}

/// A name of DNS, or a namespace and a name.
pub(super) fn is_name(text: &str) -> bool {
    let (namespace, name) = text.split_once('/').unwrap_or(("x", text));
    let name = name.strip_suffix('.').unwrap_or(name);
    is_label(namespace) && name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        let v6: IpAddr = "fd00::1".parse().unwrap();
        let v4: IpAddr = "10.96.0.9".parse().unwrap();
        let number = |port| Some(PortWanted::Number(port));
        let rows = [
            ("cart", Host::Name("cart"), None, None),
            ("shop/cart:80", Host::Name("shop/cart"), number(80), None),
            (
                "cart.shop:http/tcp",
                Host::Name("cart.shop"),
                Some(PortWanted::Name("http")),
                Some(Protocol::Tcp),
            ),
            (
                "cart.shop.svc.cluster.local.:53/UDP",
                Host::Name("cart.shop.svc.cluster.local."),
                number(53),
                Some(Protocol::Udp),
            ),
            ("shop/cart/udp", Host::Name("shop/cart"), None, Some(Protocol::Udp)),
            ("10.96.0.9", Host::Address(v4), None, None),
            ("10.96.0.9:80", Host::Address(v4), number(80), None),
            ("10.96.0.9/sctp", Host::Address(v4), None, Some(Protocol::Sctp)),
            ("fd00::1", Host::Address(v6), None, None),
            ("[fd00::1]", Host::Address(v6), None, None),
            ("[fd00::1]:443/tcp", Host::Address(v6), number(443), Some(Protocol::Tcp)),
        ];
        for (text, host, port, protocol) in rows {
            assert_eq!(Wanted::parse(text), Ok(Wanted { host, port, protocol }), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        let long = "a".repeat(64);
        for text in [
            "",
            "a b",
            "cart:",
            "cart:0",
            "cart:65536",
            "cart:-1",
            "a/b/c",
            "[fd00::1]80",
            ":80",
            "a..b",
            &long,
            "caf\u{e9}",
            "x/",
        ] {
            let refused = Wanted::parse(text).unwrap_err();
            assert!(!refused.error.is_empty() && !refused.action.is_empty(), "{text:?}");
        }
    }
}
