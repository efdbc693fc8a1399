//! What the API server fills into an EndpointSlice before anybody sees it.

use serde_json::{Value, json};

/// A port without a name is the unnamed port, one without a protocol is TCP. Readers of the API
/// rely on it: to them, a port that still has no name leads nowhere (services.md 1.1).
pub fn default_slice(slice: &mut Value) {
    let ports = slice.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        for (field, default) in [("name", ""), ("protocol", "TCP")] {
            let value = port.entry(field).or_insert(Value::Null);
            if value.is_null() {
                *value = json!(default);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_get_a_name_and_a_protocol_and_nothing_else_changes() {
        let mut slice = json!({"ports": [{"port": 80}, {"name": "a", "protocol": "UDP"}, 5],
            "endpoints": []});
        default_slice(&mut slice);
        let expected = json!({"ports": [{"port": 80, "name": "", "protocol": "TCP"},
            {"name": "a", "protocol": "UDP"}, 5], "endpoints": []});
        assert_eq!(slice, expected);
        for mut odd in [json!(null), json!([]), json!({"ports": "many"}), json!({"ports": null})] {
            let before = odd.clone();
            default_slice(&mut odd);
            assert_eq!(odd, before);
        }
    }
}
