//! What was proven, line by line.

use std::time::Instant;

use serde_json::json;

use super::{area::Area, print};
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
    pub(super) fn check(
        &mut self,
        area: Area,
        check: &str,
        began: Instant,
        result: Result<String, String>,
    ) {
        let (ok, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        let ms = began.elapsed().as_secs_f64() * 1e3;
        if self.json {
            // To a tenth of a microsecond: more is noise.
            let ms = (ms * 1e4).round() / 1e4;
            let area = area.name();
            let line =
                json!({ "area": area, "check": check, "ok": ok, "detail": detail, "ms": ms });
            print(&line.to_string());
        }
        self.lines.push(Line { check: check.to_owned(), ok, detail, ms });
    }

    pub(super) fn all_passed(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.ok)
    }

    pub(super) fn none_passed(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| !line.ok)
    }

    /// The table, and the sum.
    pub(super) fn finish(&self, without: Option<&str>) {
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
        if let Some(what) = without {
            print(&sum_without(what, of - passed, of));
        }
        print(&format!("{passed} of {of} checks passed in {seconds:.1} s"));
    }
}

/// With something switched off a check must fail; one that passes does not prove what it says.
fn sum_without(what: &str, failed: usize, of: usize) -> String {
    if failed == of {
        return format!("without {what} {failed} of {of} checks fail, as they must");
    }
    format!(
        "without {what} only {failed} of {of} checks fail: those that pass prove nothing about {what}"
    )
}

#[cfg(test)]
mod tests {
    use super::sum_without;

    #[test]
    fn a_check_that_passes_without_its_area_is_reported() {
        assert_eq!(sum_without("dns", 3, 3), "without dns 3 of 3 checks fail, as they must");
        assert_eq!(
            sum_without("dns", 2, 3),
            "without dns only 2 of 3 checks fail: those that pass prove nothing about dns"
        );
    }
}
