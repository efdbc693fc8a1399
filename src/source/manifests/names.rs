//! Names of objects. An API server refuses those that are no DNS names; in DNS, in logs and on a terminal
//! they would be something else than a name.

use towpath_model::names::is_label;

use super::kinds::Wrong;

/// Longest part of a name that is repeated in a problem.
const SHOWN_MAX: usize = 64;

/// A name as it can be shown, whatever is in it.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect()
}

/// What is wrong with the name or the namespace of an object; `called`: how it is shown. An absent
/// name is found by the decoder.
pub(super) fn wrong(kind: &str, namespace: &str, name: &str, called: &str) -> Option<Wrong> {
    // Services and namespaces are labels of names, the others may be whole names.
    let fine = if kind == "Service" { is_label(name) } else { is_name(name) };
    let (what, action) = if !(fine || name.is_empty()) {
        ("name", "use lower case letters, digits and dashes in metadata.name")
    } else if !(is_label(namespace) || namespace.is_empty()) {
        ("namespace", "use lower case letters, digits and dashes in metadata.namespace")
    } else {
        return None;
    };
    let why = format!("{kind} {called}: its {what} is no DNS name; it has no effect");
    Some(Wrong { why, action: action.to_owned() })
}

fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names() {
        let said = |kind, namespace, name| wrong(kind, namespace, name, "x").map(|wrong| wrong.why);
        for (kind, namespace, name) in [
            ("Service", "d", "web"),
            ("Service", "d", "8-web"),
            ("Service", "d", ""),
            ("Pod", "d", "web.0"),
            ("Node", "", "node-1.example.com"),
        ] {
            assert_eq!(said(kind, namespace, name), None, "{name}");
        }
        let (long, longer) = ("x".repeat(64), "x.".repeat(127));
        for name in ["a/b", "a\u{1b}[31m", "Web", "-a", "a-", "a.b", "a b", "\u{e9}", &long] {
            assert!(
                said("Service", "d", name).unwrap().contains("its name is no DNS name"),
                "{name}"
            );
            assert!(said("Service", name, "web").unwrap().contains("its namespace"), "{name}");
        }
        for name in ["a/b", "a..b", ".", &longer] {
            assert!(said("Pod", "d", name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_shown_does_nothing_to_a_terminal() {
        assert_eq!(shown("d/a\u{1b}[31m"), "d/a\\u{1b}[31m");
        assert!(shown(&"\u{1b}".repeat(1 << 20)).len() < 1_000);
    }
}
