//! `towpath check`: what this kernel offers, before a daemon runs or when it does not start.

use std::{io::Write, path::PathBuf};

use serde_json::json;
use towpath_ebpf::{Feature, Settings};
use towpath_testbed::preflight;

use super::{
    output::{self, Exit, Failure, Format},
    table::{Paint, Table, printable},
};
use crate::{
    api::VERSION,
    config::{BPFFS, RUN_DIR},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// cgroup2 directory that the daemon is to serve (default: the first one mounted)
    #[arg(long, value_name = "DIR")]
    cgroup_root: Option<PathBuf>,
    /// Directory on a bpffs that the daemon is to use
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    bpffs: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let features = look(args.cgroup_root.clone(), args.bpffs.clone());
    match args.output {
        Format::Json => output::json(out, &as_json(&features))?,
        Format::Table => out.write_all(render(&features, Paint::of_stdout()).as_bytes())?,
    }
    Ok(if missing(&features, true).is_empty() { Exit::Well } else { Exit::Problem })
}

/// Tries everything; changes nothing.
pub(super) fn look(cgroup_root: Option<PathBuf>, bpffs: PathBuf) -> Vec<Feature> {
    // Without any mount the feature is missing, wherever it is looked for.
    let cgroup_root = cgroup_root.or_else(|| preflight::cgroup2().ok()).unwrap_or_default();
    towpath_ebpf::probe(&Settings::new(bpffs, cgroup_root, RUN_DIR))
}

/// One line for each feature that is not here: which, what to do, how it was found out.
pub(super) fn missing(features: &[Feature], needed: bool) -> Vec<String> {
    let missing = features.iter().filter(|f| !f.present && f.needed == needed);
    missing.map(|f| printable(&f.to_string())).collect()
}

fn as_json(features: &[Feature]) -> serde_json::Value {
    let feature = |f: &Feature| {
        json!({
            "name": f.name, "needed": f.needed, "present": f.present, "how": f.how,
            "advice": f.advice,
        })
    };
    let features: Vec<_> = features.iter().map(feature).collect();
    json!({ "apiVersion": VERSION, "features": features })
}

fn render(features: &[Feature], paint: Paint) -> String {
    let mut table = Table::new(&["FEATURE", "HERE", "NEEDED", "FOUND OUT BY"]);
    for feature in features {
        table.row([
            feature.name.to_owned(),
            if feature.present { "yes" } else { "NO" }.to_owned(),
            if feature.needed { "yes" } else { "better with it" }.to_owned(),
            printable(&feature.how),
        ]);
    }
    let mut text = table.render("");
    let (needed, wanted) = (missing(features, true), missing(features, false));
    for (title, lines) in [("Missing", &needed), ("Better with", &wanted)] {
        if !lines.is_empty() {
            text.push_str(&format!("\n{}\n", paint.heading(title)));
            text.extend(lines.iter().map(|line| format!("  - {line}\n")));
        }
    }
    let verdict = match needed.len() {
        0 => paint.good("Towpath can run here"),
        _ => paint.bad("Towpath can NOT run here"),
    };
    text.push_str(&format!("\n{verdict}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &'static str, needed: bool, present: bool) -> Feature {
        Feature { name, needed, present, how: "trying\u{7}".into(), advice: "build it in" }
    }

    #[test]
    fn a_kernel_that_has_it_all_reads_like_this() {
        let features = [feature("bpffs", true, true), feature("BTF", false, true)];
        let expected = "\
FEATURE  HERE  NEEDED          FOUND OUT BY
bpffs    yes   yes             trying\\u{7}
BTF      yes   better with it  trying\\u{7}

Towpath can run here
";
        assert_eq!(render(&features, Paint::PLAIN), expected);
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let features = [feature("bpffs", true, false), feature("BTF", false, false)];
        let text = render(&features, Paint::PLAIN);
        let expected = "
Missing
  - bpffs: build it in (trying\\u{7})

Better with
  - BTF: build it in (trying\\u{7})

Towpath can NOT run here
";
        assert!(text.ends_with(expected), "{text}");
        let json = as_json(&features);
        assert_eq!(json["features"][1]["name"], "BTF");
        assert_eq!(json["features"][0]["present"], false);
    }

    #[test]
    fn a_directory_of_another_kind_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let features = look(Some(dir.path().to_owned()), dir.path().join("towpath"));
        let lines = missing(&features, true);
        for name in ["cgroup2", "bpffs"] {
            let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
            assert!(line.contains("mount") && line.contains(&*dir.path().to_string_lossy()));
        }
    }
}
