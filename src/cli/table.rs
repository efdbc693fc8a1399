//! Columns and words for people. Colour only on a terminal, and not under NO_COLOR (no-color.org).

use std::io::IsTerminal;

use comfy_table::{Table as Grid, presets};

/// Words in colour, or plain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    coloured: bool,
}

impl Paint {
    /// Without colour.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { coloured: false };

    /// As standard output wants it.
    pub(super) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { coloured: std::io::stdout().is_terminal() && !refused }
    }

    fn in_colour(self, code: u8, text: &str) -> String {
        match self.coloured {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// Well.
    pub(super) fn good(self, text: &str) -> String {
        self.in_colour(32, text)
    }

    /// Not well.
    pub(super) fn bad(self, text: &str) -> String {
        self.in_colour(31, text)
    }

    /// A heading.
    pub(super) fn heading(self, text: &str) -> String {
        self.in_colour(1, text)
    }
}

/// Aligned columns, two spaces apart, without lines: easy to read, to `grep` and to `awk`.
pub(super) struct Table {
    grid: Grid,
    columns: usize,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).set_header(headings);
        Self { grid, columns: headings.len() }
    }

    /// One row, a cell for each column.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns, "a cell for each column");
        self.grid.add_row(cells.map(|cell| printable(&cell)));
    }

    /// Its lines, each indented.
    pub(super) fn render(mut self, indent: &str) -> String {
        for column in self.grid.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines = self.grid.lines();
        lines
            .map(|line| format!("{indent}{}", line.trim_end()).trim_end().to_owned() + "\n")
            .collect()
    }
}

/// Names and messages come from objects that others wrote: they may not move the cursor.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// A duration in two units.
pub(super) fn duration(time: std::time::Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{whole}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// Bytes in binary units.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_moves_the_cursor() {
        let mut table = Table::new(&["NAME", "WHY"]);
        table.row(["a".to_owned(), "x\u{1b}[2J\ny".to_owned()]);
        table.row(["long-name".to_owned(), String::new()]);
        let text = table.render("  ");
        assert_eq!(text, "  NAME       WHY\n  a          x\\u{1b}[2J\\ny\n  long-name\n");
    }

    #[test]
    fn durations_and_sizes_are_short() {
        let said = [0.25, 9.94, 59.0, 61.0, 3_700.0, 90_000.0]
            .map(|seconds| duration(std::time::Duration::from_secs_f64(seconds)));
        assert_eq!(said, ["0.2s", "9.9s", "59s", "1m 1s", "1h 1m", "1d 1h"]);
        assert_eq!([12, 4_096, 3 << 20].map(bytes), ["12 B", "4 KiB", "3 MiB"]);
    }
}
