//! Which top module of `src/` may import which. The rows say what holds when every area has its
//! folder; `TODAY` lists, with its reason, what is not there yet. A line of `TODAY` that is needed no
//! more is a finding, so each step is taken once.

use std::collections::BTreeSet;

use super::{
    imports::{Import, imports, top},
    source::Source,
    unused,
};

/// A top module, and what it may import: top modules, then crates of the workspace. Both name what is
/// allowed and nothing else.
struct Row {
    module: &'static str,
    modules: &'static [&'static str],
    crates: &'static [&'static str],
}

/// The areas: one folder each, with the same file names, and none imports another.
const AREAS: [&str; 5] = ["services", "packets", "policy", "dns", "ingress"];
/// What any module may import; these import each other only.
const GROUND: &[&str] =
    &["api", "backoff", "clock", "metrics", "panics", "state_file", "timestamp", "vitals"];

const ROWS: &[Row] = &[
    Row { module: "api", modules: &[], crates: &["towpath_model"] },
    Row { module: "backoff", modules: &[], crates: &[] },
    Row { module: "clock", modules: &[], crates: &["towpath_image"] },
    Row { module: "metrics", modules: &[], crates: &[] },
    Row { module: "panics", modules: &[], crates: &[] },
    Row { module: "timestamp", modules: &[], crates: &[] },
    Row { module: "state_file", modules: &[], crates: &[] },
    Row { module: "vitals", modules: &[], crates: &[] },
    Row { module: "config", modules: &[], crates: &["towpath_model", "towpath_image"] },
    // The loop, the servers and the sources know nothing of each other, and of no area.
    Row { module: "source", modules: &["config"], crates: &["towpath_model", "towpath_image"] },
    // What writes to the API: areas hand it what is to be written, and it knows none of them.
    Row { module: "report", modules: &["config", "source"], crates: &["towpath_model"] },
    Row { module: "admin", modules: &["config"], crates: &["towpath_model"] },
    Row { module: "reconcile", modules: &[], crates: &["towpath_model", "towpath_image"] },
    Row {
        module: "agent",
        modules: &[
            "admin",
            "config",
            "dns",
            "ingress",
            "packets",
            "policy",
            "reconcile",
            "report",
            "services",
            "source",
        ],
        crates: &["towpath_model", "towpath_image", "towpath_ebpf"],
    },
    Row {
        module: "cli",
        modules: &["agent", "config"],
        crates: &["towpath_ebpf", "towpath_model", "towpath_testbed"],
    },
];

/// What an area may import.
const AREA: Row = Row {
    module: "an area",
    modules: &["admin", "config", "reconcile", "report"],
    crates: &[
        "towpath_model",
        "towpath_image",
        "towpath_ebpf",
        "towpath_datapath",
        "towpath_proxy",
        "towpath_netpol",
        "towpath_dns",
        "towpath_zone",
        "towpath_ingress",
        "towpath_route",
    ],
};

/// An edge that no row allows and that is there: importer, imported, why.
type Edge = (&'static str, &'static str, &'static str);

const TODAY: &[Edge] = &[];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    findings(sources, TODAY)
}

fn row(module: &str) -> Option<&'static Row> {
    if AREAS.contains(&module) {
        return Some(&AREA);
    }
    ROWS.iter().find(|row| row.module == module)
}

fn findings(sources: &[Source], today: &[Edge]) -> Vec<String> {
    let modules: BTreeSet<&str> = sources.iter().filter_map(|source| top(&source.name)).collect();
    let unknown = modules.iter().filter(|module| row(module).is_none());
    let mut findings: Vec<String> = unknown
        .map(|module| format!("src/{module} is not in tidy's list of who may import whom"))
        .collect();
    let mut needed = BTreeSet::new();
    // A test may be written in the words of those above: what is built does not contain it.
    for source in sources.iter().filter(|source| !source.is_test()) {
        let Some((module, row)) = top(&source.name).and_then(|top| Some((top, row(top)?))) else {
            continue;
        };
        let mut said = BTreeSet::new();
        for Import { of, at } in imports(source) {
            let is_crate = of.starts_with("towpath_");
            // What is no top module is a macro of the crate's root, or a name in a path of `super`.
            if allows(row, &of) || !(is_crate || modules.contains(of.as_str())) {
                continue;
            }
            let edge = format!("{module} -> {of}");
            if today.iter().any(|(from, to, _)| *from == module && *to == of) {
                needed.insert(edge);
            } else if said.insert(of.clone()) {
                let place = source.place(at);
                findings.push(format!("{place}: {module} must not import {of} (ARCHITECTURE.md)"));
            }
        }
    }
    let edges: Vec<_> = today.iter().map(|(from, to, _)| format!("{from} -> {to}")).collect();
    let needed: Vec<_> = needed.iter().map(String::as_str).collect();
    findings.extend(unused("TODAY", edges.iter().map(String::as_str), &needed));
    findings
}

fn allows(row: &Row, of: &str) -> bool {
    row.crates.contains(&of) || row.modules.contains(&of) || GROUND.contains(&of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(files: &[(&str, &str)], today: &[Edge]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
        findings(&sources, today)
    }

    /// The modules that imports name must be there.
    const THERE: [(&str, &str); 4] = [
        ("src/services/area.rs", "use crate::reconcile::Area;\nuse towpath_proxy::Layout;\n"),
        ("src/policy/area.rs", "use crate::{api::PolicyReply, reconcile::Area};\n"),
        ("src/admin/mod.rs", "use crate::api::StatusReply;\n"),
        ("src/api/mod.rs", ""),
    ];

    fn with(name: &'static str, text: &'static str) -> Vec<(&'static str, &'static str)> {
        let mut files = THERE.to_vec();
        files.push((name, text));
        files
    }

    #[test]
    fn what_a_row_allows_is_no_finding() {
        assert_eq!(
            judge(&with("src/agent/run.rs", "use crate::services::Services;\n"), &[]),
            [""; 0]
        );
        assert_eq!(judge(&with("src/lib.rs", "pub mod admin;\n"), &[]), [""; 0]);
        assert_eq!(judge(&with("model/src/a.rs", "use crate::admin;\n"), &[]), [""; 0]);
    }

    #[test]
    fn what_no_row_allows_is_found() {
        let planted = [
            (
                "src/reconcile/state.rs",
                "use crate::services::Plan;\n",
                "reconcile must not import services",
            ),
            (
                "src/reconcile/state.rs",
                "use towpath_proxy::Plan;\n",
                "reconcile must not import towpath_proxy",
            ),
            (
                "src/reconcile/state.rs",
                "use crate::admin::Metrics;\n",
                "reconcile must not import admin",
            ),
            (
                "src/admin/http.rs",
                "use crate::reconcile::Clock;\n",
                "admin must not import reconcile",
            ),
            (
                "src/source/mod.rs",
                "use super::reconcile::Wake;\n",
                "source must not import reconcile",
            ),
            (
                "src/policy/audit.rs",
                "use crate::services::Plan;\n",
                "policy must not import services",
            ),
            ("src/api/replies.rs", "use crate::admin::Metrics;\n", "api must not import admin"),
            ("src/cli/run.rs", "fn f() { crate::services::g() }\n", "cli must not import services"),
            ("src/stuff/mod.rs", "", "src/stuff is not in tidy's list"),
        ];
        for (name, text, finding) in planted {
            let mut files = with(name, text);
            files.push(("src/reconcile/mod.rs", ""));
            let found = judge(&files, &[]);
            assert!(found.len() == 1 && found[0].contains(finding), "{name} {text}: {found:?}");
        }
    }

    #[test]
    fn an_exception_ends_with_its_reason() {
        const EDGE: &[Edge] = &[("reconcile", "admin", "a reason")];
        let files = with("src/reconcile/state.rs", "use crate::admin::Metrics;\n");
        assert_eq!(judge(&files, EDGE), [""; 0]);
        let unused = judge(&THERE, EDGE);
        assert!(unused.len() == 1 && unused[0].starts_with("reconcile -> admin: "), "{unused:?}");
    }
}
