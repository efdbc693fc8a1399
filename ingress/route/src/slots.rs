//! Names for what routes lead to.

use std::collections::BTreeMap;

use towpath_model::{ObjectName, ingress::BackendPort};

/// A Service's port, as a rule names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BackendRef {
    /// The Service.
    pub service: ObjectName,
    /// Its port.
    pub port: BackendPort,
}

/// Stands for a [`BackendRef`]. Never used again for another, so a table that is older than the endpoint
/// sets can miss what it looks for but never find something else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u64);

/// Slots, with the number of host tables that use each.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    known: BTreeMap<BackendRef, (Slot, usize)>,
    next: u64,
}

impl Slots {
    /// The slot of a backend; one more table uses it.
    pub(crate) fn take(&mut self, backend: BackendRef) -> Slot {
        let next = &mut self.next;
        let (slot, users) = self.known.entry(backend).or_insert_with(|| {
            *next += 1;
            (Slot(*next), 0)
        });
        *users += 1;
        *slot
    }

    /// One table less uses it; answers a slot that none uses any more.
    pub(crate) fn release(&mut self, backend: &BackendRef) -> Option<Slot> {
        let (slot, users) = self.known.get_mut(backend)?;
        let slot = *slot;
        *users = users.saturating_sub(1);
        (*users == 0).then(|| {
            self.known.remove(backend);
            slot
        })
    }

    pub(crate) fn get(&self, backend: &BackendRef) -> Option<Slot> {
        self.known.get(backend).map(|(slot, _)| *slot)
    }

    /// Those of a Service.
    pub(crate) fn of<'s>(
        &'s self,
        service: &'s ObjectName,
    ) -> impl Iterator<Item = (&'s BackendRef, Slot)> {
        let first = BackendRef { service: service.clone(), port: BackendPort::Number(0) };
        let of_service = self.known.range(first..);
        let of_service = of_service.take_while(move |(backend, _)| backend.service == *service);
        of_service.map(|(backend, (slot, _))| (backend, *slot))
    }

    /// All.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&BackendRef, Slot)> {
        self.known.iter().map(|(backend, (slot, _))| (backend, *slot))
    }
}
