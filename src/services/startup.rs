//! After a restart: which entries that the kernel holds stay although no object claims them, and
//! until when.
//!
//! - The first lists of a daemon have nothing to be compared with but the kernel. When they would
//!   take much out of it (the same measure as for later lists, `model/src/brake.rs`), the kinds are
//!   listed again first. Meanwhile nothing that was found goes; what is new or changed is published,
//!   because it harms nothing: it is what the API server says of objects that are certainly there.
//! - Of an object that cannot be read the last good version stays in force. After a start that
//!   version is in the kernel only.

use std::{collections::BTreeSet, sync::Arc};

use towpath_model::{Code, Kind, ObjectName, Problem, View};
use towpath_proxy::{Found, Hold};

/// What the first lists would remove, and which of them are awaited again.
#[derive(Debug, Default)]
pub(super) struct Startup {
    /// What the lists that are doubted would remove; `None`: none is doubted.
    doubted: Option<Found>,
    /// Kinds whose second list is not complete yet.
    awaited: BTreeSet<Kind>,
}

impl Startup {
    /// Are there lists that no second one agreed with yet?
    pub(super) const fn doubts(&self) -> bool {
        self.doubted.is_some()
    }

    /// Was everything listed again that was doubted? Time to judge.
    pub(super) fn is_due(&self) -> bool {
        self.doubts() && self.awaited.is_empty()
    }

    /// A list is complete.
    pub(super) fn listed(&mut self, kind: Kind) {
        self.awaited.remove(&kind);
    }

    /// `found`: what would go now. Answers the kinds to list again: a second list agrees when it adds
    /// little to what the one before would remove.
    pub(super) fn judge(&mut self, found: Found) -> BTreeSet<Kind> {
        self.awaited = found.suspicious(self.doubted.as_ref());
        self.doubted = (!self.awaited.is_empty()).then_some(found);
        self.awaited.clone()
    }

    /// What stays. Work: proportional to the objects that cannot be read.
    pub(super) fn hold(&self, view: &View<'_>) -> Hold {
        let mut hold = Hold { everything: self.doubts(), ..Hold::default() };
        for key in view.unread() {
            hold.services |= key.kind == Kind::Service;
            hold.nodes |= key.kind == Kind::Node;
            if key.kind == Kind::EndpointSlice {
                let exists = |name: &ObjectName| view.service(name).is_some();
                hold.sets_of.extend(services_of(&key.name).filter(exists));
            }
        }
        hold
    }

    /// Which lists are doubted.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let sorts = self.doubted.as_ref().map(|found| {
            [
                (Kind::Service, "frontends", found.frontends.gone.len(), found.frontends.of),
                (Kind::EndpointSlice, "backend sets", found.sets.gone.len(), found.sets.of),
                (Kind::Node, "node addresses", found.addresses.gone.len(), found.addresses.of),
            ]
        });
        let doubted = sorts.into_iter().flatten().filter(|(kind, ..)| self.awaited.contains(kind));
        doubted.map(|(kind, what, gone, of)| {
            let why = format!(
                "the first list after the start would remove {gone} of {of} {what} that were found \
                 in the kernel"
            );
            let action = "they stay until a second list agrees";
            Problem::new(Code::StartDoubted, None, &format!("list of {kind}"), &why, action)
        })
    }
}

/// Services that an unreadable slice may belong to. Its label is not to be had; but the controllers
/// that make slices name them `SERVICE-something`. A slice that a person named otherwise holds
/// nothing: to hold every Service of its namespace would keep others' stale endpoints in force.
fn services_of(slice: &ObjectName) -> impl Iterator<Item = ObjectName> {
    slice.name.match_indices('-').map(|(end, _)| {
        let name = slice.name.get(..end).unwrap_or_default();
        ObjectName { namespace: Arc::clone(&slice.namespace), name: name.into() }
    })
}

#[cfg(test)]
mod tests;
