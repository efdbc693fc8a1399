//! The log: one line for each event, as text or as JSON, on standard error.
//!
//! Nothing that came from outside can write a line or move a terminal's cursor: control characters
//! are escaped (compare RUSTSEC-2025-0055).

use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::{LogConfig, LogFormat};

/// Starts logging, once for the process.
///
/// # Errors
/// When the level does not parse, or logging was started before.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    subscriber(config, io::stderr)?.try_init()?;
    Ok(())
}

/// A subscriber that writes to `out`.
fn subscriber<W>(config: &LogConfig, out: W) -> anyhow::Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.level)?;
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Escaped(out));
    let registry = tracing_subscriber::registry().with(filter);
    Ok(match config.format {
        LogFormat::Text => Box::new(registry.with(layer)),
        LogFormat::Json => Box::new(registry.with(layer.json().flatten_event(true))),
    })
}

/// Makes writers that escape control characters.
struct Escaped<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaped<W> {
    type Writer = EscapedLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapedLine(self.0.make_writer())
    }
}

/// Writes lines: each write of the formatter is one event, the line end included.
struct EscapedLine<W>(W);

impl<W: Write> Write for EscapedLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(escaped(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped(line: &str) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let mut out = String::with_capacity(line.len());
    for c in text.chars() {
        if c.is_control() {
            // Valid in JSON too, whose writer leaves DEL and the C1 controls alone.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out.push_str(end);
    out
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat) -> String {
        let page = Page::default();
        let config = LogConfig { format, level: "info".to_owned() };
        let writer = page.clone();
        let subscriber = subscriber(&config, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(object = "a\nb\u{1b}[2J\u{9b}", "said \x07 this");
            tracing::debug!("not this");
        });
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn strangers_cannot_write_lines_or_move_the_cursor() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged(format);
            assert_eq!(log.lines().count(), 1, "{log:?}");
            let line = log.strip_suffix('\n').unwrap();
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.contains("this") && !line.contains("not this"), "{line:?}");
        }
    }

    #[test]
    fn json_is_json() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json)).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["object"], "a\nb\u{1b}[2J\u{9b}");
    }
}
