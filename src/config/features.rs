//! Which areas are switched on.

use serde_saphyr::Spanned;

use super::{Fault, layers::Layers, suggest};

/// Is policy enforced? Off until it is asked for.
pub(super) fn network_policy(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> bool {
    let features = layers.file.features.as_ref();
    switch(layers, "networkPolicy", features.and_then(|one| one.network_policy.as_ref()), faults)
}

/// Are packets translated at devices? Off until it is asked for.
pub(super) fn packets(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> bool {
    let features = layers.file.features.as_ref();
    switch(layers, "packets", features.and_then(|one| one.packets.as_ref()), faults)
}

/// One switch of the section.
pub(super) fn switch(
    layers: &Layers<'_>,
    name: &str,
    typed: Option<&Spanned<String>>,
    faults: &mut Vec<Fault>,
) -> bool {
    switch_of(layers, &format!("features.{name}"), typed, faults)
}

/// Any setting that is on or off; not set: off.
pub(super) fn switch_of(
    layers: &Layers<'_>,
    path: &str,
    typed: Option<&Spanned<String>>,
    faults: &mut Vec<Fault>,
) -> bool {
    let Some(typed) = typed.map(|spanned| layers.of_file(spanned)) else { return false };
    match typed.value.as_str() {
        // Readers of YAML 1.1, such as helm, write what was `on` as `true`.
        "on" | "true" => true,
        "off" | "false" => false,
        other => {
            let action = suggest::advice(other, &["on", "off"]);
            faults.push(typed.fault(path, "is neither on nor off", action));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, RunArgs, file};

    fn resolved(text: &str) -> (bool, Vec<String>) {
        let file = file::parse(Path::new("c.yaml"), text).unwrap();
        let (args, environment) = (RunArgs::default(), Environment::default());
        let layers = Layers { args: &args, file: &file, environment: &environment };
        let mut faults = Vec::new();
        let on = network_policy(&layers, &mut faults);
        let packets = packets(&layers, &mut faults);
        assert!(!packets, "one switch is not the other");
        (on, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn policy_is_off_until_it_is_asked_for() {
        for (text, on) in [
            ("log: {level: info}", false),
            ("features: {}", false),
            ("features: {networkPolicy: off}", false),
            ("features: {networkPolicy: on}", true),
            ("features: {networkPolicy: true}", true),
        ] {
            assert_eq!(resolved(text), (on, Vec::new()), "{text}");
        }
        let (on, faults) = resolved("features: {networkPolicy: enabled}");
        assert!(!on && faults.len() == 1 && faults[0].contains("features.networkPolicy"));
    }
}
