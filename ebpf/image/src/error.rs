//! Why the kernel could not be read or written, in words for the person who runs the daemon.

use crate::MapName;

/// Why the kernel could not be read or written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KernelError {
    /// No room.
    #[error(
        "map {map} is full at {capacity} elements: raise its capacity in the configuration and \
         restart, or remove what fills it"
    )]
    Full {
        /// Which map.
        map: MapName,
        /// Its size.
        capacity: u32,
    },
    /// A system call failed.
    #[error("{what} failed on map {map}: {cause}")]
    System {
        /// Which map.
        map: MapName,
        /// Which call.
        what: String,
        /// What the system said.
        cause: String,
    },
    /// The maps were written for another cluster.
    #[error(
        "the pinned maps in {place} belong to another cluster: nothing was written; run `towpath \
         cleanup` and start again if this node has really moved"
    )]
    OtherCluster {
        /// Where they are.
        place: String,
    },
    /// A program that should be in force is not, and stays so.
    #[error("the program {program} is not in force and could not be attached: {cause}")]
    Detached {
        /// Its hook.
        program: String,
        /// What was said.
        cause: String,
    },
    /// A program that should not be in force is, and stays so.
    #[error("the program {program} is not wanted any more and could not be detached: {cause}")]
    Attached {
        /// Its hook.
        program: String,
        /// What was said.
        cause: String,
    },
    /// A pin, or a directory of pins, is not as it was made and stays so.
    #[error("{place} is not as it was made, so a restart may not find what is in force: {cause}")]
    Pins {
        /// Where.
        place: String,
        /// What is wrong.
        cause: String,
    },
    /// Another daemon has the pins.
    #[error(
        "another Towpath has taken over these pins: {place} was removed or moved, made anew and \
         locked by it; what this one writes is not in force any more: stop one of them"
    )]
    TakenOver {
        /// Their directory.
        place: String,
    },
}

impl KernelError {
    /// [`Self::Full`].
    #[must_use]
    pub const fn full(map: MapName, capacity: u32) -> Self {
        Self::Full { map, capacity }
    }
}

/// An error with its causes, in one line. A cause that the text names already is not repeated.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fmt};

    use super::*;

    #[derive(Debug)]
    struct Said(&'static str, Option<Box<Self>>);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Said {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn each_cause_is_named_once() {
        let cause = |text, cause| Some(Box::new(Said(text, cause)));
        let error = Said("no map: refused", cause("refused", cause("by whom", None)));
        assert_eq!(chain(&error), "no map: refused: by whom");
        assert_eq!(chain(&Said("alone", None)), "alone");
    }
}
