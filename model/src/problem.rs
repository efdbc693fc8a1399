//! Something wrong with an object, in words for the person who wrote it.

use std::fmt;

use crate::{Code, Key};

/// Object, field, why, what to do. A problem harms only the object (or the field) it names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
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
    /// Code, object, field, why, what to do.
    #[must_use]
    pub fn new(code: Code, about: Option<Key>, field: &str, why: &str, action: &str) -> Self {
        Self { code, about, field: field.into(), why: why.into(), action: action.into() }
    }

    /// Says also what is in force of an object whose newest version cannot be: `last`, the last good
    /// one, or nothing that this daemon knows of.
    #[must_use]
    pub fn in_force(self, last: bool) -> Self {
        let state = match last {
            true => "its last good version stays in force",
            false => "no good version of it was read since the start",
        };
        let action = format!("{}; {state}", self.action).into();
        Self { action, ..self }
    }
}

impl Problem {
    /// With its code, as operators read it: `TP3001 Service shop/web: spec.ports[0]: why; what to do`.
    #[must_use]
    pub fn coded(&self) -> String {
        format!("{} {self}", self.code)
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
