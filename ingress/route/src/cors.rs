//! Cross-origin resource sharing, as ingress-nginx answers it.

/// What is told, as headers have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cors {
    /// Scripts of which sites may read answers.
    pub origins: Origins,
    /// `Access-Control-Allow-Methods`.
    pub methods: Box<str>,
    /// `Access-Control-Allow-Headers`.
    pub headers: Box<str>,
    /// `Access-Control-Allow-Credentials: true` is told.
    pub credentials: bool,
    /// `Access-Control-Expose-Headers`; empty: not told.
    pub exposed: Box<str>,
    /// `Access-Control-Max-Age`, in seconds.
    pub max_age: i64,
}

/// Sites whose scripts may read answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    /// All: told as `*`, also to requests that name no site.
    Any,
    /// Those that are listed.
    Listed(Box<[Site]>),
}

/// One site. `*` stands for one label that is the first of its host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// In lower case; of one with `*`, what stands before it.
    before: Box<str>,
    /// What stands behind `*`.
    behind: Option<Box<str>>,
}

impl Site {
    /// `null`, or a scheme and a host, with a port or without.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Some(Self { before: text.into(), behind: None });
        }
        let (scheme, authority) = text.split_once("://")?;
        let host = match authority.rsplit_once(':') {
            Some((_, port)) if port.is_empty() || !port.bytes().all(|it| it.is_ascii_digit()) => {
                return None;
            }
            Some((host, _)) => host,
            None => authority,
        };
        let wild = host.strip_prefix("*.");
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let fine = !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_lowercase())
            && wild.unwrap_or(host).bytes().all(known);
        if !fine {
            return None;
        }
        Some(match text.split_once('*') {
            Some((before, behind)) => Self { before: before.into(), behind: Some(behind.into()) },
            None => Self { before: text.into(), behind: None },
        })
    }

    fn is(&self, origin: &str) -> bool {
        let Some(behind) = &self.behind else { return origin.eq_ignore_ascii_case(&self.before) };
        let Some((begin, rest)) = origin.split_at_checked(self.before.len()) else { return false };
        let end = rest.len().checked_sub(behind.len()).and_then(|at| rest.split_at_checked(at));
        let Some((label, end)) = end else { return false };
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        begin.eq_ignore_ascii_case(&self.before)
            && end.eq_ignore_ascii_case(behind)
            && !label.is_empty()
            && label.bytes().all(is_label)
    }
}

impl Cors {
    /// What `Access-Control-Allow-Origin` says to a request whose `Origin` is this; `None`: nothing is
    /// told.
    #[must_use]
    pub fn allowed<'o>(&self, origin: Option<&'o str>) -> Option<&'o str> {
        match &self.origins {
            Origins::Any => Some("*"),
            Origins::Listed(listed) => {
                origin.filter(|origin| listed.iter().any(|known| known.is(origin)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_compared_as_ingress_nginx_compares_them() {
        for (listed, origin, same) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "HTTPS://A.Example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:444", false),
            ("https://a.example", "https://aXexample", false),
            ("https://a.example:444", "https://a.example:444", true),
            ("https://*.example", "https://a.example", true),
            ("https://*.example", "https://b.a.example", false),
            ("https://*.example", "https://.example", false),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://evil.test/.example", false),
            ("https://*.example:8", "https://a.example:8", true),
            ("own://a.example", "own://a.example", true),
            ("null", "null", true),
            ("null", "https://null", false),
        ] {
            assert_eq!(Site::parse(listed).unwrap().is(origin), same, "{listed} {origin}");
        }
        for text in ["a.example", "https://a b", "https://a.example:x", "https://a.*.b", "x", ""] {
            assert_eq!(Site::parse(text), None, "{text}");
        }
    }
}
