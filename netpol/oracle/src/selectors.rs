//! Label selectors.

use serde_json::{Map, Value};

/// Does a selector match these labels? One that does not parse matches nothing.
pub(crate) fn matches(selector: &Value, labels: &Map<String, Value>) -> bool {
    let known = ["matchLabels", "matchExpressions"];
    let fields = selector.as_object();
    if fields.is_some_and(|fields| fields.keys().any(|key| !known.contains(&key.as_str()))) {
        return false;
    }
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        if !is_key(key) || !is_value(value) || labels.get(key) != Some(value) {
            return false;
        }
    }
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    expressions.map(|one| holds(one, labels)).all(|verdict| verdict == Some(true))
}

/// `None`: the expression does not parse.
fn holds(expression: &Value, labels: &Map<String, Value>) -> Option<bool> {
    let key = expression["key"].as_str().filter(|key| is_key(key))?;
    let values = expression["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !values.iter().all(is_value) {
        return None;
    }
    let label = labels.get(key);
    match (expression["operator"].as_str()?, values.is_empty()) {
        ("In", false) => Some(label.is_some_and(|label| values.contains(label))),
        ("NotIn", false) => Some(label.is_none_or(|label| !values.contains(label))),
        ("Exists", true) => Some(label.is_some()),
        ("DoesNotExist", true) => Some(label.is_none()),
        _ => None,
    }
}

/// `name` or `prefix/name`.
fn is_key(key: &str) -> bool {
    let mut parts = key.rsplitn(2, '/');
    let name = parts.next().unwrap_or_default();
    let prefix = parts.next();
    !name.is_empty()
        && is_text(name)
        && prefix.is_none_or(|prefix| !prefix.is_empty() && !prefix.contains('/'))
}

fn is_value(value: &Value) -> bool {
    value.as_str().is_some_and(is_text)
}

fn is_text(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    let outer = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() < 64
        && text.chars().all(inner)
        && outer(text.chars().next())
        && outer(text.chars().last())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_follow_the_table_of_their_operators() {
        let labels = json!({ "app": "web", "tier": "" });
        let labels = labels.as_object().unwrap();
        let one = |key: &str, operator: &str, values: Value| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        let rows = [
            (json!({}), true),
            (json!({ "matchLabels": {} }), true),
            (json!({ "matchLabels": { "app": "web" } }), true),
            (json!({ "matchLabels": { "app": "web", "tier": "x" } }), false),
            (one("app", "In", json!(["db", "web"])), true),
            (one("app", "NotIn", json!(["web"])), false),
            (one("none", "NotIn", json!(["web"])), true),
            (one("none", "In", json!(["web"])), false),
            (one("tier", "Exists", json!([])), true),
            (one("tier", "DoesNotExist", json!(null)), false),
            (one("none", "DoesNotExist", json!([])), true),
            (one("none", "Gt", json!(["1"])), false),
            (one("none", "NotIn", json!([])), false),
            (one("none", "DoesNotExist", json!(["x"])), false),
            (one("no ne", "DoesNotExist", json!([])), false),
        ];
        for (selector, expected) in rows {
            assert_eq!(matches(&selector, labels), expected, "{selector}");
        }
    }
}
