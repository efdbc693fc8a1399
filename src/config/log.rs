//! What is logged, and how.

use super::{Fault, layers::Layers, suggest};

/// Settings of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// A level, or directives per target, in the syntax of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the variants are the settings")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

pub(super) fn resolve(layers: &Layers<'_>, faults: &mut Vec<Fault>) -> Option<LogConfig> {
    let (args, file) = (layers.args, layers.file.log.as_ref());
    let mut log = LogConfig::default();
    let before = faults.len();
    let in_file = file.and_then(|log| log.format.as_ref());
    if let Some(given) = layers.text(args.log_format.as_ref(), "--log-format", in_file) {
        match given.value.as_str() {
            "text" => log.format = LogFormat::Text,
            "json" => log.format = LogFormat::Json,
            other => {
                let action = suggest::advice(other, &["text", "json"]);
                faults.push(given.fault("log.format", "is neither text nor json", action));
            }
        }
    }
    let in_file = file.and_then(|log| log.level.as_ref());
    if let Some(given) = layers.text(args.log_level.as_ref(), "--log-level", in_file) {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        // A bare word that is no level would otherwise silence everything but a target of that name.
        let bare = given.value.chars().all(char::is_alphanumeric);
        let known = LEVELS.contains(&given.value.to_lowercase().as_str());
        let parses = tracing_subscriber::EnvFilter::try_new(&given.value).is_ok();
        if given.value.is_empty() || (bare && !known) || !parses {
            let action = suggest::advice(&given.value, &LEVELS);
            faults.push(given.fault("log.level", "is not a level", action));
        }
        log.level = given.value;
    }
    (faults.len() == before).then_some(log)
}
