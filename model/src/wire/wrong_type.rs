//! What a decoder's complaint means to the person who wrote the object: which field, what was
//! expected there, what was found.

use serde_json::Error;

const QUOTE: &str = "put it in quotes";
const QUOTE_BOOLEAN: &str =
    "put it in quotes: without them y, n, yes, no, on, off, true and false are no text in YAML";
const UNQUOTE: &str = "correct the field: true, false and numbers are written without quotes";

/// Of what strangers wrote, this much is repeated.
const SHOWN_CHARS: usize = 120;

/// Path of the field, what is wrong with it, and what to do.
pub(super) fn explain(json: &[u8], error: &Error) -> (String, String, &'static str) {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let mut action = "correct the field";
    let why = match text.strip_prefix("invalid type: ").and_then(|t| t.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let expected = match expected {
                "a sequence" => "a list",
                "a map" => "an object",
                "a boolean" => "true or false",
                structure if structure.starts_with("struct ") => "an object",
                number if number.starts_with(['i', 'u']) && number.len() <= 4 => "a number",
                other => other,
            };
            let is = |sorts: &[&str]| sorts.iter().any(|sort| found.starts_with(sort));
            match expected {
                "a string" if is(&["boolean "]) => action = QUOTE_BOOLEAN,
                "a string" if is(&["integer ", "floating point "]) => action = QUOTE,
                "a number" | "true or false" if is(&["string "]) => action = UNQUOTE,
                _ => {}
            }
            let found = match found {
                "map" => "an object",
                "sequence" => "a list",
                "null" => "nothing",
                other => other,
            };
            format!("expected {expected}, found {}", shown(found))
        }
        None => shown(text),
    };
    (path_at(json, offset(json, error)), why, action)
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

fn offset(json: &[u8], error: &Error) -> usize {
    let lines = json.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    before.saturating_add(error.column())
}

enum Level {
    Object { key: String, in_key: bool },
    List { at: usize },
}

/// The path of the value that ends or begins at `offset`: a decoder has read scalars that it refuses,
/// and stands before lists and objects.
fn path_at(json: &[u8], offset: usize) -> String {
    let json = json.get(..offset).unwrap_or(json);
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        let last = at + 1 == json.len();
        at += 1;
        match byte {
            b'"' => {
                let end = string_end(json, at);
                if let Some(Level::Object { key, in_key: true }) = levels.last_mut() {
                    let name = json.get(at..end).unwrap_or_default();
                    *key = String::from_utf8_lossy(name).chars().take(64).collect();
                }
                at = end + 1;
            }
            b'{' => levels.push(Level::Object { key: String::new(), in_key: true }),
            b'[' => levels.push(Level::List { at: 0 }),
            b'}' | b']' if !last => drop(levels.pop()),
            b':' => {
                if let Some(Level::Object { in_key, .. }) = levels.last_mut() {
                    *in_key = false;
                }
            }
            b',' => match levels.last_mut() {
                Some(Level::Object { in_key, .. }) => *in_key = true,
                Some(Level::List { at }) => *at += 1,
                None => {}
            },
            _ => {}
        }
    }
    let mut path = String::new();
    for level in levels {
        match level {
            Level::List { at } => path.push_str(&format!("[{at}]")),
            Level::Object { key, .. } => {
                if !path.is_empty() && !key.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
            }
        }
    }
    if path.is_empty() { "object".into() } else { path }
}

/// Where the string that began before `at` ends.
fn string_end(json: &[u8], mut at: usize) -> usize {
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use crate::{Kind, decode};

    #[test]
    fn what_is_missing_or_too_much_is_often_a_pair_of_quotes() {
        for (port, why, action) in [
            ("\"name\":true", "expected a string, found boolean `true`", "put it in quotes: "),
            ("\"name\":80", "expected a string, found integer `80`", "put it in quotes"),
            ("\"name\":1.0", "expected a string, found floating point `1.0`", "put it in quotes"),
            (
                "\"nodePort\":\"30024\"",
                "expected a number, found string \"30024\"",
                "correct the field: ",
            ),
            ("\"port\":true", "expected a number, found boolean `true`", "correct the field"),
        ] {
            let json =
                format!("{{\"metadata\":{{\"name\":\"s\"}},\"spec\":{{\"ports\":[{{{port}}}]}}}}");
            let problem = decode(Kind::Service, json.as_bytes()).unwrap_err().problem;
            assert_eq!(&*problem.why, why);
            assert!(problem.action.starts_with(action), "{problem}");
            assert_eq!(problem.action.len() > 20, action.ends_with(": "), "{problem}");
            assert!(problem.to_string().starts_with("Service default/s: spec.ports[0]."));
        }
    }

    #[track_caller]
    fn check(kind: Kind, json: &str, field: &str, why: &str) {
        let problem = decode(kind, json.as_bytes()).unwrap_err().problem;
        assert_eq!((&*problem.field, &*problem.why), (field, why));
    }

    #[test]
    fn the_field_what_was_expected_and_what_was_found() {
        let s = Kind::Service;
        let of = |rest: &str| format!(r#"{{"metadata":{{"name":"s"}},{rest}}}"#);
        check(
            s,
            &of(r#""spec":{"selector":{"a":"}]"},"ports":"many"}"#),
            "spec.ports",
            "expected a list, found string \"many\"",
        );
        check(
            s,
            &of(r#""spec":{"ports":[{"port":80,"name":"a\"b"},{"port":"81"}]}"#),
            "spec.ports[1].port",
            "expected a number, found string \"81\"",
        );
        check(
            s,
            &of(r#""spec":{"clusterIPs":["10.0.0.1",{"x":1}]}"#),
            "spec.clusterIPs[1]",
            "expected a string, found an object",
        );
        check(s, &of(r#""spec":[]"#), "spec", "expected an object, found a list");
        check(s, r#"{"metadata":5}"#, "metadata", "expected an object, found integer `5`");
        check(
            s,
            &of(r#""status":{"loadBalancer":[5]}"#),
            "status.loadBalancer",
            "expected an object, found a list",
        );
        check(
            s,
            &of(r#""spec":{"ports":[["a","TCP",80]]}"#),
            "spec.ports[0]",
            "expected an object, found a list",
        );
        check(s, "7", "object", "expected an object, found integer `7`");
        check(
            s,
            &of("\n\"spec\":{\n\"publishNotReadyAddresses\": 3,\n\"ports\":[]}"),
            "spec.publishNotReadyAddresses",
            "expected true or false, found integer `3`",
        );
        check(
            Kind::EndpointSlice,
            &of(r#""endpoints":[{"addresses":["a"],"conditions":{"ready":"yes"}}]"#),
            "endpoints[0].conditions.ready",
            "expected true or false, found string \"yes\"",
        );
        check(s, r#"{"metadata":{"name":"s""#, "metadata.name", "EOF while parsing an object");
    }

    #[test]
    fn a_huge_value_is_not_repeated() {
        let json = format!(
            r#"{{"metadata":{{"name":"s"}},"spec":{{"ports":"{}"}}}}"#,
            "x".repeat(10_000_000)
        );
        let problem = decode(Kind::Service, json.as_bytes()).unwrap_err().problem;
        assert!(problem.why.len() < 200 && problem.why.ends_with("..."), "{}", problem.why.len());
    }
}
