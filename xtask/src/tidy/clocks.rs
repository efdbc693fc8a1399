//! Where the time is not asked: what is given `now` can be played by a simulation.

use super::{is_below, source::Source, unused};

/// Files and folders that are given the time.
const BANNED: &[&str] = &[
    "model/",
    "proxy/src/",
    "dns/zone/src/",
    "netpol/src/",
    "netpol/oracle/src/",
    "ingress/route/src/",
    "ebpf/datapath/src/",
    "ebpf/image/src/",
    "src/reconcile/",
    "src/services/",
    "src/packets/",
    "src/policy/",
    "src/dns/",
    "src/ingress/",
];

/// Files there that ask all the same, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("src/reconcile/ask.rs", "waits for the loop's thread"),
    ("src/reconcile/audit.rs", "sleeps on a thread of its own between two audits"),
    ("src/reconcile/grace.rs", "measures grace periods on a thread of its own"),
    ("src/reconcile/mod.rs", "takes events for 5 ms at most"),
    ("src/services/audit/tests.rs", "waits for the audit's thread"),
];

/// What asks.
const CLOCKS: [&str; 2] = ["Instant::now", "SystemTime::now"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    findings(sources, ALLOWED)
}

fn findings(sources: &[Source], allowed: &[(&str, &str)]) -> Vec<String> {
    let (mut findings, mut needed) = (Vec::new(), Vec::new());
    for source in sources {
        if !BANNED.iter().any(|path| is_below(&source.name, path)) {
            continue;
        }
        let mut asks = CLOCKS.iter().flat_map(|clock| source.code.match_indices(clock)).peekable();
        if allowed.iter().any(|(file, _)| *file == source.name) {
            needed.extend(asks.peek().map(|_| source.name.as_str()));
            continue;
        }
        findings.extend(asks.map(|(at, clock)| {
            format!("{}: {clock}: the time is an argument here", source.place(at))
        }));
    }
    findings.extend(unused("ALLOWED clocks", allowed.iter().map(|(file, _)| *file), &needed));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_found_where_time_is_an_argument() {
        let asks =
            "// Instant::now() is banned\nfn f() {\n    let a = std::time::Instant::now();\n}\n";
        let judge =
            |name: &str, allowed: &[(&str, &str)]| findings(&[Source::new(name, asks)], allowed);
        let words = "src/reconcile/state.rs:3: Instant::now: the time is an argument here";
        assert_eq!(judge("src/reconcile/state.rs", &[]), [words]);
        assert_eq!(judge("model/tests/rules.rs", &[]).len(), 1);
        assert_eq!(judge("src/admin/http.rs", &[]), [""; 0]);
        let row = [("src/reconcile/state.rs", "a reason")];
        assert_eq!(judge("src/reconcile/state.rs", &row), [""; 0]);
        let unused = judge("src/admin/http.rs", &row);
        assert!(unused.len() == 1 && unused[0].contains("remove it"), "{unused:?}");
    }
}
