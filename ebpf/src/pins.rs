//! Everything about pins: their directories and the lock on them, layouts, links, clean-up.

pub(crate) mod cleanup;
pub(crate) mod dir;
pub(crate) mod flock;
pub(crate) mod layouts;
pub(crate) mod links;
pub(crate) mod lock;
pub(crate) mod maps;
pub(crate) mod names;
pub(crate) mod private;
