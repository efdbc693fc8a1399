//! What this machine lacks, in words: asked when the kernel could not be opened.

use towpath_ebpf::{Error, Feature, Settings};
use towpath_image::KernelError;

/// The features that Towpath can not run without and this machine does not have: a line each, with
/// how to get it.
fn missing(features: &[Feature]) -> Vec<String> {
    let missing = features.iter().filter(|feature| feature.needed && !feature.present);
    missing.map(ToString::to_string).collect()
}

/// An error of opening the kernel, with what is missing where that may be the reason.
pub(super) fn explained(error: Error, settings: &Settings) -> anyhow::Error {
    let features = match &error {
        Error::Load { .. }
        | Error::Map(KernelError::Detached { .. })
        | Error::File { .. }
        | Error::NoBpffs { .. }
        | Error::NoCgroup2 { .. } => missing(&towpath_ebpf::probe(settings)),
        // Nothing is missing: another daemon runs, or pins of one are left.
        _ => Vec::new(),
    };
    let error = anyhow::Error::new(error);
    if features.is_empty() {
        return error;
    }
    // One line: it is told in the log.
    error.context(format!("this machine lacks what Towpath needs: {}", features.join("; ")))
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
        let lines = missing(&towpath_ebpf::probe(&settings(dir.path()))).join("\n");
        for wanted in ["cgroup2: mount it: ", "bpffs: mount it: mount -t bpf bpf ", "(statfs "] {
            assert!(lines.contains(wanted), "{wanted}: {lines}");
        }
        // Who runs it says nothing: what may be done is found out by trying.
        assert!(!lines.contains("not root"), "{lines}");
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
        assert_eq!(missing(&features), ["c: get one (by looking)"]);
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
