//! Places for what takes long: so many in all, and no more than a share of them for one client.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Places, and who has them. A lock is taken once for a connection, or for a question that waits for
/// upstreams; never for an answer that is known.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only clients that have a place.
    by: HashMap<IpAddr, usize>,
}

/// A place; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    of: Arc<Places>,
    client: IpAddr,
}

impl Places {
    /// `most` places, of which one client has a quarter at most.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, share: most.div_ceil(4), taken: Mutex::default() })
    }

    /// A place for this client, if there is one.
    pub(crate) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut taken = self.taken();
        if taken.all >= self.most {
            return None;
        }
        let its = taken.by.entry(client).or_default();
        if *its >= self.share {
            return None;
        }
        *its += 1;
        taken.all += 1;
        drop(taken);
        Some(Place { of: Arc::clone(self), client })
    }

    /// No code panics while it holds the lock; and if it did, the counts would still be whole.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(its) = taken.by.get_mut(&self.client) {
            *its = its.saturating_sub(1);
            if *its == 0 {
                taken.by.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_its_share_and_all_of_them_what_there_is() {
        let client = |last: u8| IpAddr::from([192, 0, 2, last]);
        let places = Places::new(6);
        let mut held: Vec<_> = (0..3).map(|_| places.take(client(1))).collect();
        assert!(held[1].is_some() && held[2].is_none(), "a quarter, rounded up");
        held.extend((0..4).map(|at| places.take(client(2 + at / 2))));
        assert!(held.last().unwrap().is_some());
        assert!(places.take(client(9)).is_none(), "all six are taken");
        held.clear();
        assert!(places.take(client(9)).is_some());
        assert!(places.taken().by.is_empty(), "nothing is kept of a client without a place");
    }
}
