//! Open maps, as plain data: hashes by system calls, arrays by their mapping.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use towpath_image::{KernelError, MapName};

use crate::{mapped::Mapped, plain::Plain, sys};

/// An open map.
#[derive(Clone, Debug)]
pub struct OpenMap {
    name: MapName,
    fd: Arc<OwnedFd>,
    info: sys::MapInfo,
}

impl OpenMap {
    /// Opens a pin.
    ///
    /// # Errors
    /// When there is none, or it is no map's.
    pub fn pinned(pin: &Path, name: MapName) -> io::Result<Self> {
        let fd = sys::open_pin(pin)?;
        let info = sys::map_info(fd.as_fd())?;
        Ok(Self { name, fd: Arc::new(fd), info })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> MapName {
        self.name
    }

    pub(crate) const fn info(&self) -> &sys::MapInfo {
        &self.info
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// As a hash with these keys and values.
    ///
    /// # Errors
    /// When the map has others.
    pub fn hash<K: Plain, V: Plain>(&self) -> Result<Hash<K, V>, KernelError> {
        self.has_sizes(size_of::<K>(), size_of::<V>())?;
        Ok(Hash { map: self.clone(), plain: PhantomData })
    }

    /// As an mmapped array of these.
    ///
    /// # Errors
    /// When the map has others, or cannot be mapped.
    pub fn array<T: Plain>(&self) -> Result<Mapped<T>, KernelError> {
        self.has_sizes(size_of::<u32>(), size_of::<T>())?;
        Mapped::new(self.fd(), self.info.max_entries).map_err(|e| self.failed("mapping", &e))
    }

    fn has_sizes(&self, key: usize, value: usize) -> Result<(), KernelError> {
        let held = (self.info.key_size as usize, self.info.value_size as usize);
        if held == (key, value) {
            return Ok(());
        }
        let cause = format!("{held:?} bytes a key and value, not {:?}", (key, value));
        Err(self.failed("opening", &io::Error::other(cause)))
    }

    pub(crate) fn failed(&self, what: &str, error: &io::Error) -> KernelError {
        let what = what.to_owned();
        KernelError::System { map: self.name, what, cause: error.to_string() }
    }
}

/// A hash.
#[derive(Clone, Debug)]
pub struct Hash<K, V> {
    map: OpenMap,
    plain: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> Hash<K, V> {
    /// How many elements it has room for.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.map.info.max_entries
    }

    /// Every element.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn all(&self) -> Result<Vec<(K, V)>, KernelError> {
        sys::dump(self.map.fd()).map_err(|error| self.map.failed("reading", &error))
    }

    /// Removes the elements of which this says so; answers how many there were, and how many went.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn retire(&self, goes: impl Fn(&V) -> bool) -> Result<(usize, usize), KernelError> {
        let (mut seen, mut gone) = (0, 0);
        let visited = sys::visit(self.map.fd(), |keys: &[K], values: &[V]| {
            seen += keys.len();
            for (key, _) in keys.iter().zip(values).filter(|(_, value)| goes(value)) {
                sys::delete(self.map.fd(), key)?;
                gone += 1;
            }
            Ok(())
        });
        visited.map_err(|error| self.map.failed("removing", &error))?;
        Ok((seen, gone))
    }

    /// One element.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&self, key: &K) -> Result<Option<V>, KernelError> {
        sys::lookup(self.map.fd(), key).map_err(|error| self.map.failed("reading", &error))
    }

    /// Inserts or replaces, with one system call; answers how many were carried out, and why not more.
    pub fn put(&self, keys: &[K], values: &[V]) -> (usize, Option<KernelError>) {
        if keys.is_empty() {
            return (0, None);
        }
        let (done, error) = sys::update_batch(self.map.fd(), keys, values);
        let failure = error.map(|error| match error.raw_os_error() {
            // A hash says the one, a trie the other.
            Some(libc::E2BIG | libc::ENOSPC) => KernelError::full(self.map.name, self.capacity()),
            _ => self.map.failed("writing", &error),
        });
        (done, failure)
    }

    /// Removes an element; one that is not there is a success.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&self, key: &K) -> Result<(), KernelError> {
        sys::delete(self.map.fd(), key).map_err(|error| self.map.failed("deleting", &error))
    }
}
