//! What one area's maps hold, as a value, and an ordered change to it.

use std::fmt;

use crate::KernelError;

/// Everything in one area's maps that decides what the programs do. State that the kernel owns
/// (counters, flows) is not part of it. An area sees its own image and no other.
pub trait Image: Clone + Eq + Default + fmt::Debug + Send + 'static {
    /// One write. Deleting what is absent is a success.
    type Op: Clone + Eq + fmt::Debug + Send;

    /// Carries out one operation, as the kernel would.
    ///
    /// # Errors
    /// When the map it touches is full or the index is out of range; nothing is changed then.
    fn apply(&mut self, op: &Self::Op) -> Result<(), KernelError>;
}

/// Operations in the one safe order: what carries them out keeps that order, and any prefix of them
/// leaves a legal state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch<Op> {
    /// First to last.
    pub ops: Vec<Op>,
}

impl<Op> Default for Batch<Op> {
    fn default() -> Self {
        Self { ops: Vec::new() }
    }
}

impl<Op> Batch<Op> {
    /// Nothing to do?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
