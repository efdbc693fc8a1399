//! Something wrong with an object, in words for the person who wrote it.

use std::fmt;

use crate::Key;

/// Object, field, why, what to do. A problem harms only the object (or the field) it names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Problem {
    /// The object; `None` when it could not even be named (a file, a stream).
    pub about: Option<Key>,
    /// Path of the field, such as `spec.ports[1].port`; or a file and line.
    pub field: Box<str>,
    /// What is wrong.
    pub why: Box<str>,
    /// What to do about it.
    pub action: Box<str>,
}

impl Problem {
    /// All four parts.
    #[must_use]
    pub fn new(about: Option<Key>, field: &str, why: &str, action: &str) -> Self {
        Self { about, field: field.into(), why: why.into(), action: action.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.about {
            write!(f, "{key}: ")?;
        }
        // A field or an action that there is not is left out.
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.why)?;
        if self.action.is_empty() { Ok(()) } else { write!(f, "; {}", self.action) }
    }
}
