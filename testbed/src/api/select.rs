//! Label and field selectors.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a request selects.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    namespace: String,
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    NotExists(String),
}

impl Selector {
    pub(super) fn of(query: &BTreeMap<String, String>, namespace: &str) -> Self {
        let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        Self {
            namespace: namespace.to_owned(),
            labels: split(text("labelSelector")).into_iter().filter_map(requirement).collect(),
            fields: text("fieldSelector").split(',').filter_map(field).collect(),
        }
    }

    pub(super) fn matches(&self, json: &[u8]) -> bool {
        if self.namespace.is_empty() && self.labels.is_empty() && self.fields.is_empty() {
            return true;
        }
        let Ok(object) = serde_json::from_slice::<Value>(json) else { return false };
        let metadata = &object["metadata"];
        let label = |name: &str| metadata["labels"][name].as_str();
        let labels = self.labels.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => {
                label(name).is_some_and(|value| values.iter().any(|v| v == value))
            }
            Requirement::NotIn(name, values) => {
                label(name).is_none_or(|value| values.iter().all(|v| v != value))
            }
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::NotExists(name) => label(name).is_none(),
        });
        let fields = self.fields.iter().all(|(path, equal, wanted)| {
            let found = path.split('.').fold(&object, |value, part| &value[part]);
            (found.as_str().unwrap_or_default() == wanted) == *equal
        });
        let namespace = self.namespace.is_empty() || metadata["namespace"] == *self.namespace;
        labels && fields && namespace
    }
}

/// At commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(text: &str) -> Option<Requirement> {
    let text = text.trim();
    let list = |values: &str| {
        let inner = values.trim().trim_start_matches('(').trim_end_matches(')');
        inner.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>()
    };
    Some(if let Some((name, values)) = text.split_once(" notin ") {
        Requirement::NotIn(name.trim().to_owned(), list(values))
    } else if let Some((name, values)) = text.split_once(" in ") {
        Requirement::In(name.trim().to_owned(), list(values))
    } else if let Some((name, value)) = text.split_once("!=") {
        Requirement::NotIn(name.trim().to_owned(), vec![value.trim().to_owned()])
    } else if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        Requirement::In(name.trim().to_owned(), vec![value.trim().to_owned()])
    } else if let Some(name) = text.strip_prefix('!') {
        Requirement::NotExists(name.trim().to_owned())
    } else if text.is_empty() {
        return None;
    } else {
        Requirement::Exists(text.to_owned())
    })
}

fn field(text: &str) -> Option<(String, bool, String)> {
    let (path, equal, value) = match text.split_once("!=") {
        Some((path, value)) => (path, false, value),
        None => {
            text.split_once("==").or_else(|| text.split_once('=')).map(|(p, v)| (p, true, v))?
        }
    };
    Some((path.trim().to_owned(), equal, value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(labels: &str, fields: &str, namespace: &str) -> bool {
        let query = BTreeMap::from([
            ("labelSelector".to_owned(), labels.to_owned()),
            ("fieldSelector".to_owned(), fields.to_owned()),
        ]);
        let json = br#"{"metadata":{"name":"p","namespace":"n","labels":{"app":"web","tier":"1"}},"spec":{"nodeName":"a"}}"#;
        Selector::of(&query, namespace).matches(json)
    }

    #[test]
    fn selectors_are_the_apis() {
        for (labels, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier", true),
            ("app!=web", false),
            ("app in (api, web),tier notin (2,3)", true),
            ("app notin (web)", false),
            ("!gone", true),
            ("!app", false),
            ("gone", false),
            ("gone!=x", true),
        ] {
            assert_eq!(selects(labels, "", ""), expected, "{labels}");
        }
        for (fields, expected) in [
            ("metadata.name=p", true),
            ("metadata.name=q", false),
            ("spec.nodeName=a,metadata.namespace!=m", true),
            ("spec.nodeName!=a", false),
        ] {
            assert_eq!(selects("", fields, ""), expected, "{fields}");
        }
        assert!(selects("", "", "n") && !selects("", "", "m"));
    }
}
