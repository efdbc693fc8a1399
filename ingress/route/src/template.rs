//! Texts with variables of nginx, as annotations may hold them.

/// A text with variables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Box<[Part]>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

/// What of a request a variable stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Variable {
    /// `$host`: without a port.
    Host,
    /// `$http_host`, `$best_http_host`: as the client said it.
    Authority,
    /// `$scheme`, `$pass_access_scheme`.
    Scheme,
    /// `$request_uri`: path and query as the client sent them.
    Target,
    /// `$escaped_request_uri`: the same as the value of a parameter.
    EscapedTarget,
    /// `$args`, `$query_string`.
    Query,
    /// `$request_method`.
    Method,
    /// `$remote_addr`.
    Client,
    /// `$request_id`, `$req_id`.
    Id,
    /// `$http_` and a header's name, with `-` for each `_`.
    Header(Box<str>),
}

impl Variable {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "host" => Self::Host,
            "http_host" | "best_http_host" => Self::Authority,
            "scheme" | "pass_access_scheme" => Self::Scheme,
            "request_uri" => Self::Target,
            "escaped_request_uri" => Self::EscapedTarget,
            "args" | "query_string" => Self::Query,
            "request_method" => Self::Method,
            "remote_addr" => Self::Client,
            "request_id" | "req_id" => Self::Id,
            other => Self::Header(other.strip_prefix("http_")?.replace('_', "-").into()),
        })
    }
}

impl Template {
    /// `None`: it holds a variable that is not known.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let name = |text: &str| {
                let end = text.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
                end.unwrap_or(text.len())
            };
            let (found, behind) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}')?,
                None => after.split_at(name(after)),
            };
            parts.push(Part::Variable(Variable::named(found)?));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Some(Self(parts.into()))
    }

    /// The text for one request. `put`: writes what a variable stands for.
    pub fn fill(&self, mut put: impl FnMut(&Variable, &mut String)) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Variable(variable) => put(variable, &mut text),
            }
        }
        text
    }

    /// The text, where it has no variable.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Is it one variable and nothing else, of those that name the request's host?
    pub(crate) fn is_own_host(&self) -> bool {
        matches!(&*self.0, [Part::Variable(Variable::Host | Variable::Authority)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_where_nginx_reads_them() {
        for (text, filled) in [
            ("", ""),
            ("/x", "/x"),
            ("$scheme://$host/a", "<Scheme>://<Host>/a"),
            ("/s?rd=$escaped_request_uri&x", "/s?rd=<EscapedTarget>&x"),
            ("${http_x_own}y", "<Header(\"x-own\")>y"),
            ("$http_host$request_uri", "<Authority><Target>"),
        ] {
            let template = Template::parse(text).unwrap();
            let put = |variable: &Variable, text: &mut String| *text += &format!("<{variable:?}>");
            assert_eq!(template.fill(put), filled, "{text}");
        }
        for text in ["$", "$arg_x", "${host", "$document_root", "a$"] {
            assert_eq!(Template::parse(text), None, "{text}");
        }
    }
}
