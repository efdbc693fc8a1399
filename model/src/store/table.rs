//! The objects of one kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::Arc,
};

use super::pool::Pool;
use crate::{Change, ObjectName, Problem, Scope};

/// What the store asks of an object.
pub(crate) trait Kept {
    fn name(&self) -> &ObjectName;
    /// The version as a number: versions of a kind can be compared (KEP-5504).
    fn version(&self) -> Option<u64>;
    /// What was wrong with it and could be read around.
    fn problems(&self) -> &[Problem];
    /// What it belongs to, for kinds that are looked up by that.
    fn owner(&self) -> Option<&ObjectName> {
        None
    }
    /// The node that it runs on, for kinds that do.
    fn node(&self) -> Option<&str> {
        None
    }
    /// Exchanges what it has in common with others for what is kept of that.
    fn share(_this: &mut Arc<Self>, _pool: &mut Pool)
    where
        Self: Sized,
    {
    }
}

/// [`Kept`] for a type with a field `meta`; `owner`: the field that says what it belongs to.
macro_rules! kept_by_meta {
    ($type:ty $(, owner: $owner:ident)?) => {
        impl $crate::store::Kept for $type {
            fn name(&self) -> &$crate::ObjectName {
                &self.meta.name
            }
            fn version(&self) -> Option<u64> {
                self.meta.resource_version.parse().ok()
            }
            fn problems(&self) -> &[$crate::Problem] {
                &self.meta.problems
            }
            $(fn owner(&self) -> Option<&$crate::ObjectName> {
                Some(&self.$owner)
            })?
        }
    };
}
pub(crate) use kept_by_meta;

/// Is this one known to be of an older version?
pub(crate) fn is_older(this: &dyn Kept, other: &dyn Kept) -> bool {
    this.version().zip(other.version()).is_some_and(|(this, other)| this < other)
}

/// The objects of a kind, and what those were at the last commit that changed since.
#[derive(Debug)]
pub(crate) struct Table<T> {
    now: BTreeMap<ObjectName, Arc<T>>,
    before: BTreeMap<ObjectName, Option<Arc<T>>>,
    /// Sorted; most owners have one object or two, for which a set would be large.
    owned: BTreeMap<ObjectName, Vec<ObjectName>>,
    /// Those that were read around a problem: few, and looked for often.
    flawed: BTreeSet<ObjectName>,
    pool: Pool,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            now: BTreeMap::new(),
            before: BTreeMap::new(),
            owned: BTreeMap::new(),
            flawed: BTreeSet::new(),
            pool: Pool::default(),
        }
    }
}

impl<T> Table<T> {
    pub(crate) fn iter<'a>(&'a self) -> impl ExactSizeIterator<Item = &'a Arc<T>> + use<'a, T> {
        self.now.values()
    }

    /// Those after this name; all of them for `None`.
    pub(crate) fn after<'a>(
        &'a self,
        name: Option<&ObjectName>,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.now.range((from, Bound::Unbounded)).map(|(_, object)| object)
    }

    pub(crate) fn get(&self, name: &ObjectName) -> Option<&Arc<T>> {
        self.now.get(name)
    }

    /// The objects that belong to this owner, by name. Work: proportional to their number.
    pub(crate) fn owned_by<'a>(
        &'a self,
        owner: &ObjectName,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        self.owned.get(owner).into_iter().flatten().filter_map(|name| self.now.get(name))
    }
}

impl<T: Kept + PartialEq> Table<T> {
    /// How many things are kept once for many objects.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> usize {
        self.pool.len()
    }

    /// Keeps an object and remembers what it replaces; one that is kept like this already stays: a
    /// relist costs no second copy of everything. An older version replaces it all the same, for what
    /// comes next to be newer than that.
    pub(crate) fn put(&mut self, mut new: Arc<T>) {
        let name = new.name();
        if new.problems().is_empty() {
            self.flawed.remove(name);
        } else {
            self.flawed.insert(name.clone());
        }
        match self.now.get_mut(name) {
            Some(kept) if **kept == *new && !is_older(&*new, &**kept) => {}
            Some(kept) => {
                T::share(&mut new, &mut self.pool);
                let same_owner = kept.owner() == new.owner();
                let before = std::mem::replace(kept, Arc::clone(&new));
                if !same_owner {
                    self.disown(&before);
                    self.own(&new);
                }
                self.before.entry(new.name().clone()).or_insert(Some(before));
            }
            None => {
                T::share(&mut new, &mut self.pool);
                self.own(&new);
                self.before.entry(new.name().clone()).or_insert(None);
                self.now.insert(new.name().clone(), new);
            }
        }
    }

    /// What changed since this was last asked.
    pub(crate) fn changes(&mut self) -> Vec<Change<T>> {
        std::mem::take(&mut self.before)
            .into_iter()
            .map(|(name, old)| {
                let new = self.now.get(&name).cloned();
                Change { name, old, new }
            })
            .filter(|change| change.old != change.new)
            .collect()
    }

    fn own(&mut self, object: &T) {
        let Some(owner) = object.owner() else { return };
        let names = self.owned.entry(owner.clone()).or_insert_with(|| Vec::with_capacity(1));
        let name = object.name();
        if let Err(at) = names.binary_search(name) {
            names.insert(at, name.clone());
        }
    }

    fn disown(&mut self, object: &T) {
        let Some(owner) = object.owner() else { return };
        if let Some(names) = self.owned.get_mut(owner) {
            names.retain(|known| *known != *object.name());
            if names.is_empty() {
                self.owned.remove(owner);
            }
        }
    }
}

/// A table of whatever kind.
pub(crate) trait AnyTable: fmt::Debug {
    fn is_empty(&self) -> bool;
    fn kept(&self, name: &ObjectName) -> Option<&dyn Kept>;
    fn remove(&mut self, name: &ObjectName);
    /// The names of what a scope covers, for the node of this name.
    fn covered(&self, scope: &Scope, own_node: &str) -> Vec<ObjectName>;
    fn problems(&self) -> Box<dyn Iterator<Item = &Problem> + '_>;
}

impl<T: Kept + PartialEq + fmt::Debug> AnyTable for Table<T> {
    fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    fn kept(&self, name: &ObjectName) -> Option<&dyn Kept> {
        self.now.get(name).map(|object| &**object as &dyn Kept)
    }

    fn remove(&mut self, name: &ObjectName) {
        self.flawed.remove(name);
        if let Some(old) = self.now.remove(name) {
            self.disown(&old);
            self.before.entry(name.clone()).or_insert(Some(old));
        }
    }

    fn covered(&self, scope: &Scope, own_node: &str) -> Vec<ObjectName> {
        let covers = |(name, object): &(&ObjectName, &Arc<T>)| {
            scope.covers(name, Some(object.node() == Some(own_node))) == Some(true)
        };
        self.now.iter().filter(covers).map(|(name, _)| name.clone()).collect()
    }

    fn problems(&self) -> Box<dyn Iterator<Item = &Problem> + '_> {
        let flawed = self.flawed.iter().filter_map(|name| self.now.get(name));
        Box::new(flawed.flat_map(|object| object.problems()))
    }
}
