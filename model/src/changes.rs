//! What is different since the last commit.

use std::sync::Arc;

use crate::{Changes, ObjectName};

/// One object that came, went or changed. Owns both versions, so that a compiler of it need not
/// hold the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change<T> {
    /// Which object.
    pub name: ObjectName,
    /// As it was at the last commit.
    pub old: Option<Arc<T>>,
    /// As it is now.
    pub new: Option<Arc<T>>,
}

impl<T: PartialEq> Change<T> {
    /// Takes later changes in; both are sorted by name. Work: proportional to their number.
    pub(crate) fn absorb(known: &mut Vec<Self>, later: Vec<Self>) {
        if known.is_empty() || later.is_empty() {
            known.extend(later);
            return;
        }
        let mut all = Vec::with_capacity(known.len() + later.len());
        let mut later = later.into_iter().peekable();
        for mut change in std::mem::take(known) {
            while let Some(next) = later.next_if(|next| next.name < change.name) {
                all.push(next);
            }
            if let Some(next) = later.next_if(|next| next.name == change.name) {
                change.new = next.new;
            }
            if change.old != change.new {
                all.push(change);
            }
        }
        all.extend(later);
        *known = all;
    }
}

impl Changes {
    /// Nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
