//! What was proven, line by line.

use std::time::Instant;

use serde_json::json;

use super::print;
use crate::cli::table::Table;

/// One check.
struct Line {
    check: String,
    ok: bool,
    detail: String,
    ms: f64,
}

/// All of them.
pub(super) struct Report {
    json: bool,
    lines: Vec<Line>,
    began: Instant,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, lines: Vec::new(), began: Instant::now() }
    }

    /// Progress, for people only.
    pub(super) fn say(&self, text: &str) {
        if !self.json {
            print(text);
        }
    }

    /// A check came out. `Err`: what was seen instead.
    pub(super) fn check(&mut self, check: &str, began: Instant, result: Result<String, String>) {
        let (ok, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        let ms = began.elapsed().as_secs_f64() * 1e3;
        if self.json {
            // To a tenth of a microsecond: more is noise.
            let ms = (ms * 1e4).round() / 1e4;
            print(&json!({ "check": check, "ok": ok, "detail": detail, "ms": ms }).to_string());
        }
        self.lines.push(Line { check: check.to_owned(), ok, detail, ms });
    }

    pub(super) fn all_passed(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.ok)
    }

    pub(super) fn none_passed(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| !line.ok)
    }

    /// Names of the checks that ran.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.check.as_str())
    }

    /// The table, and the sum.
    pub(super) fn finish(&self, without_programs: bool) {
        if self.json {
            return;
        }
        let mut rows = Table::new(&["", "proven", "how", "ms"]);
        for line in &self.lines {
            let tick = if line.ok { "\u{2713}" } else { "\u{2717}" };
            rows.row([
                tick.to_owned(),
                line.check.clone(),
                line.detail.clone(),
                format!("{:.1}", line.ms),
            ]);
        }
        print(rows.render("").trim_end());
        let passed = self.lines.iter().filter(|line| line.ok).count();
        let of = self.lines.len();
        let seconds = self.began.elapsed().as_secs_f64();
        if without_programs {
            let failed = of - passed;
            print(&format!("without programs {failed} of {of} checks fail, as they must"));
        }
        print(&format!("{passed} of {of} checks passed in {seconds:.1} s"));
    }
}
