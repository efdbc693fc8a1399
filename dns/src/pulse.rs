//! Life signs of what serves.

use std::fmt;

/// A life sign of one thread; dropped, it is one less to wait for.
pub trait Pulse: Send {
    /// It serves now.
    fn beat(&mut self);
}

/// Gives a life sign to each thread that serves.
pub trait Heart: Send + Sync {
    /// Another one; `None`: nothing looks at it.
    fn pulse(&self) -> Option<Box<dyn Pulse>>;
}

/// Nothing looks.
#[derive(Clone, Copy, Debug)]
pub struct NoHeart;

impl Heart for NoHeart {
    fn pulse(&self) -> Option<Box<dyn Pulse>> {
        None
    }
}

impl fmt::Debug for dyn Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pulse")
    }
}
