//! What is wrong with the settings: what, where, why, what next.

use std::{fmt, path::PathBuf};

/// Where a setting was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A line of the configuration file; line 0 is the file as a whole.
    File(PathBuf, u64),
    /// A flag.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// Nowhere: what the machine or the defaults give.
    Machine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Flag(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Machine => f.write_str("this machine"),
        }
    }
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{origin}: {setting}: {why}; {action}")]
pub struct Fault {
    /// Where.
    pub origin: Origin,
    /// Path of the setting, as the file spells it.
    pub setting: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do.
    pub action: String,
}

impl Fault {
    /// All four parts.
    pub fn new(
        origin: Origin,
        setting: &str,
        why: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { origin, setting: setting.to_owned(), why: why.into(), action: action.into() }
    }
}

/// Every mistake that was found, so that one look is enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
