//! What this machine lacks, in words: asked when the kernel could not be opened, and by commands
//! that want to say so before they try.

use towpath_ebpf::{Error, Feature, Settings};

/// The kernel features that Towpath can not run without and this machine does not have: a line each,
/// with how to get it.
#[must_use]
pub fn missing_features(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        lines.push(
            "privileges: this process is not root; run it as root, or with the capabilities \
             CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
                .to_owned(),
        );
    }
    lines.extend(needed(&towpath_ebpf::probe(settings)));
    lines
}

fn needed(features: &[Feature]) -> Vec<String> {
    let missing = features.iter().filter(|feature| feature.needed && !feature.present);
    let line = |feature: &Feature| {
        format!("{}: missing ({}); {}", feature.name, feature.how, feature.advice)
    };
    missing.map(line).collect()
}

/// An error of opening the kernel, with what is missing where that may be the reason.
pub(super) fn explained(error: Error, settings: &Settings) -> anyhow::Error {
    let features = match &error {
        Error::Load { .. }
        | Error::Attach { .. }
        | Error::File { .. }
        | Error::NoBpffs { .. }
        | Error::NoCgroup2 { .. } => missing_features(settings),
        // Nothing is missing: somebody else is there, or something is left.
        _ => Vec::new(),
    };
    let error = anyhow::Error::new(error);
    if features.is_empty() {
        return error;
    }
    error.context(format!("this machine lacks what Towpath needs:\n  {}\n", features.join("\n  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &std::path::Path) -> Settings {
        Settings::new(dir.join("pins"), dir, dir)
    }

    #[test]
    fn a_missing_file_system_is_named_with_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let lines = missing_features(&settings(dir.path())).join("\n");
        for wanted in ["cgroup2: missing (statfs ", "bpffs: missing (statfs ", "mount -t bpf bpf "]
        {
            assert!(lines.contains(wanted), "{wanted}: {lines}");
        }
    }

    #[test]
    fn only_what_is_needed_and_missing_is_said() {
        let feature = |name, needed, present| Feature {
            name,
            needed,
            present,
            how: "by looking".to_owned(),
            advice: "get one",
        };
        let features =
            [feature("a", true, true), feature("b", false, false), feature("c", true, false)];
        assert_eq!(needed(&features), ["c: missing (by looking); get one"]);
    }

    #[test]
    fn an_error_that_a_feature_may_explain_comes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let error = Error::NoBpffs { path: settings.pin_root.clone() };
        let said = format!("{:#}", explained(error, &settings));
        assert!(
            said.contains("lacks what Towpath needs") && said.contains("not in a bpf"),
            "{said}"
        );
        let error = Error::OtherCluster { path: settings.pin_root.clone() };
        let said = format!("{:#}", explained(error, &settings));
        assert!(!said.contains("lacks") && said.contains("towpath cleanup"), "{said}");
    }
}
