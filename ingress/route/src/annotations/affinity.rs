//! `affinity` and `session-cookie-*`: requests of one browser go to one endpoint.

use towpath_model::{Code, Ingress, Problem};

use super::{problem, values::flag};
use crate::{Affinity, SameSite};

/// What the names of these annotations begin with.
pub(super) const PREFIX: &str = "session-cookie-";

const NAME: &str = "INGRESSCOOKIE";

pub(super) fn read(ingress: &Ingress, problems: &mut Vec<Problem>) -> Option<Box<Affinity>> {
    let kind = ingress.annotation("affinity").map(str::trim).filter(|kind| !kind.is_empty())?;
    let mut ignored = |name: &str, why: &str| {
        let action = "write it as ingress-nginx's documentation says";
        problems.push(problem(ingress, name, Code::AnnotationIgnored, why, action));
    };
    if kind != "cookie" {
        ignored("affinity", "not `cookie`; it is as if it was not there");
        return None;
    }
    let mut affinity = Affinity {
        cookie: NAME.into(),
        path: None,
        domain: None,
        max_age: None,
        expires: None,
        same_site: None,
        secure: None,
        change_on_failure: false,
    };
    for (name, value) in &ingress.annotations {
        let Some(setting) = name.strip_prefix(PREFIX) else { continue };
        let value = value.trim();
        let wrong = match setting {
            // Without effect in ingress-nginx, too.
            "hash" => Ok(()),
            _ if value.is_empty() => Ok(()),
            "name" => token(value, |name| affinity.cookie = name),
            "path" => text(value, |path| affinity.path = Some(path)),
            "domain" => text(value, |domain| affinity.domain = Some(domain)),
            "max-age" => number(value, &mut affinity.max_age),
            "expires" => number(value, &mut affinity.expires),
            "samesite" => same_site(value, &mut affinity.same_site),
            "secure" => switch(value, |on| affinity.secure = Some(on)),
            "change-on-failure" => switch(value, |on| affinity.change_on_failure = on),
            "conditional-samesite-none" if value == "false" => Ok(()),
            _ => Err("a setting that is honoured"),
        };
        if let Err(wanted) = wrong {
            ignored(name, &format!("not {wanted}; it is as if it was not there"));
        }
    }
    Some(Box::new(affinity))
}

/// The name of a cookie (RFC 6265).
fn token(value: &str, put: impl FnOnce(Box<str>)) -> Result<(), &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !value.bytes().all(known) {
        return Err("a name of letters, digits, `-`, `.`, `_` and `~`");
    }
    put(value.into());
    Ok(())
}

fn text(value: &str, put: impl FnOnce(Box<str>)) -> Result<(), &'static str> {
    if !value.bytes().all(|byte| byte.is_ascii_graphic() && !b";,\"\\".contains(&byte)) {
        return Err("of signs that a cookie may have");
    }
    put(value.into());
    Ok(())
}

fn number(value: &str, into: &mut Option<i64>) -> Result<(), &'static str> {
    /// As far as a date goes.
    const MAX: i64 = 100 * 365 * 86_400;
    let seconds: i64 = value.parse().map_err(|_not| "a number of seconds")?;
    *into = Some(seconds.clamp(-MAX, MAX));
    Ok(())
}

fn same_site(value: &str, into: &mut Option<SameSite>) -> Result<(), &'static str> {
    *into = Some(match value {
        "None" => SameSite::None,
        "Lax" => SameSite::Lax,
        "Strict" => SameSite::Strict,
        _ => return Err("one of None, Lax, Strict"),
    });
    Ok(())
}

fn switch(value: &str, put: impl FnOnce(bool)) -> Result<(), &'static str> {
    let mut on = false;
    flag(value, &mut on)?;
    put(on);
    Ok(())
}
