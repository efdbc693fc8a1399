//! One figure, its target, and what a peer has.

use serde_json::json;

/// All figures of a run.
pub(crate) struct Report {
    json: bool,
    lines: Vec<Line>,
}

struct Line {
    metric: &'static str,
    value: f64,
    unit: &'static str,
    target: f64,
    peer: String,
    met: bool,
    note: String,
}

/// Every metric of the subject: a run that lacks one has failed.
const SERVICES: [&str; 8] = [
    "connect_request_ratio_upper",
    "kept_connection_program_runs",
    "unconnected_udp_ratio",
    "cold_start_seconds",
    "kernel_write_milliseconds",
    "change_p99_milliseconds",
    "rss_steady_mebibytes",
    "rss_peak_mebibytes",
];

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, lines: Vec::new() }
    }

    /// A figure that must not exceed its target.
    pub(crate) fn at_most(
        &mut self,
        metric: &'static str,
        value: f64,
        unit: &'static str,
        target: f64,
        peer: impl Into<String>,
        note: String,
    ) {
        let peer = peer.into();
        let met = value <= target;
        if self.json {
            let value = (value * 1e4).round() / 1e4;
            println!(
                "{}",
                json!({ "metric": metric, "value": value, "unit": unit, "target": target,
                        "peer": peer, "met": met })
            );
        }
        self.lines.push(Line { metric, value, unit, target, peer, met, note });
    }

    /// The table; true when every metric is there and met.
    pub(crate) fn finish(self) -> bool {
        if !self.json {
            let mut table = comfy_table::Table::new();
            table.load_style(comfy_table::presets::NOTHING);
            table.set_header(["", "metric", "value", "target", "unit", "peer", "note"]);
            for line in &self.lines {
                table.add_row([
                    if line.met { "\u{2713}" } else { "\u{2717}" }.to_owned(),
                    line.metric.to_owned(),
                    format!("{:.3}", line.value),
                    format!("<= {}", line.target),
                    line.unit.to_owned(),
                    line.peer.clone(),
                    line.note.clone(),
                ]);
            }
            println!("{table}");
        }
        let missing: Vec<_> = SERVICES
            .iter()
            .filter(|name| !self.lines.iter().any(|line| line.metric == **name))
            .collect();
        if !missing.is_empty() {
            eprintln!("error: not measured: {missing:?}");
        }
        missing.is_empty() && self.lines.iter().all(|line| line.met)
    }
}
