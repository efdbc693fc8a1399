//! `allowlist-source-range`, `whitelist-source-range` and `denylist-source-range`.

use std::net::IpAddr;

use towpath_model::{Ingress, service::Cidr};

use crate::Ranges;

/// The names; the second one is the older name of the first.
pub(super) const NAMES: [&str; 3] =
    ["allowlist-source-range", "whitelist-source-range", "denylist-source-range"];

/// # Errors
/// The annotation that is no list of ranges: it restricts, so it closes.
pub(super) fn read(ingress: &Ingress) -> Result<Option<Box<Ranges>>, &'static str> {
    let [allow, white, deny] = NAMES.map(|name| ingress.annotation(name).map(|text| (name, text)));
    let of = |said: Option<(&'static str, &str)>| match said {
        None => Ok(None),
        Some((name, text)) => list(text).ok_or(name).map(Some),
    };
    // Also the one that does not count is read: a slip in it would else be seen by none.
    let (allowed, white, denied) = (of(allow)?, of(white)?, of(deny)?);
    let ranges = Ranges { denied: denied.unwrap_or_default(), allowed: allowed.or(white) };
    Ok((ranges != Ranges::default()).then(|| Box::new(ranges)))
}

/// Ranges and addresses with commas between them.
fn list(text: &str) -> Option<Box<[Cidr]>> {
    let one = |text: &str| match text.trim().parse::<IpAddr>() {
        Ok(ip) => Cidr::parse(&format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })),
        Err(_no_address) => Cidr::parse(text),
    };
    text.split(',').map(one).collect()
}
