//! One row for each map: its shape, how many elements, how it grows, what it was in other layouts.
//!
//! A map's pin has its name. A change of what is in a map, in size or in meaning, is a new layout
//! (`datapath::LAYOUT`); one that changes the meaning and not the size also takes a new name, so
//! that no version takes one for the other.

use towpath_image::{KernelError, MapName};

use crate::{Settings, maps::OpenMap, plain::Plain, sys};

/// The maps of one area.
#[derive(Debug)]
pub struct Table {
    /// Whose they are.
    pub area: &'static str,
    /// One for each map.
    pub rows: &'static [Row],
}

/// How content gets from one map to another.
pub type Copy = fn(from: &OpenMap, to: &OpenMap) -> Result<(), KernelError>;

/// What the kernel makes of a map (`enum bpf_map_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum MapKind {
    Hash = 1,
    Array = 2,
    LruHash = 9,
    Prefixes = 11,
    SocketStorage = 24,
}

impl MapKind {
    /// Flags of a map that no object describes: memory of a hash follows use, an array is mapped.
    pub(crate) const fn flags(self) -> u32 {
        match self {
            Self::Hash | Self::Prefixes => 1,
            Self::Array => 1 << 10,
            Self::LruHash | Self::SocketStorage => 0,
        }
    }
}

/// One map.
#[derive(Debug)]
pub struct Row {
    pub(crate) name: MapName,
    pub(crate) kind: MapKind,
    pub(crate) key: usize,
    pub(crate) value: usize,
    pub(crate) elements: fn(&Settings) -> u32,
    /// Into a larger one; `None`: its size is not configured.
    pub(crate) copy: Option<Copy>,
    /// Does what it holds mean something without the other maps of its area?
    pub(crate) alone: bool,
    pub(crate) former: Option<Former>,
}

/// What a map was in another layout.
#[derive(Debug)]
pub struct Former {
    /// Its name then.
    pub name: MapName,
    /// Bytes of its keys.
    pub key: usize,
    /// Bytes of its values.
    pub value: usize,
    /// From that one to the map of now.
    pub convert: Copy,
    /// It is the same map under another name: where the shape is the same it is taken over itself, so that
    /// nothing is lost that programs of the other version still write.
    pub same: bool,
}

impl Former {
    /// A hash (or an LRU one) that had another name, and the same keys and values.
    #[must_use]
    pub const fn renamed<K: Plain, V: Plain>(name: MapName) -> Self {
        let (key, value) = (size_of::<K>(), size_of::<V>());
        Self { name, key, value, convert: copy_hash::<K, V>, same: true }
    }

    pub(crate) fn fits(&self, map: &sys::MapInfo) -> bool {
        (map.key_size as usize, map.value_size as usize) == (self.key, self.value)
    }
}

impl Row {
    /// A hash whose size is configured.
    #[must_use]
    pub const fn hash<K: Plain, V: Plain>(name: MapName, elements: fn(&Settings) -> u32) -> Self {
        let row = Self::new(name, MapKind::Hash, size_of::<K>(), size_of::<V>(), elements);
        Self { copy: Some(copy_hash::<K, V>), ..row }
    }

    /// A trie of which the longest prefix counts; its size is configured.
    #[must_use]
    pub const fn prefixes<K: Plain, V: Plain>(
        name: MapName,
        elements: fn(&Settings) -> u32,
    ) -> Self {
        let row = Self::new(name, MapKind::Prefixes, size_of::<K>(), size_of::<V>(), elements);
        Self { copy: Some(copy_hash::<K, V>), ..row }
    }

    /// An mmapped array whose size is configured.
    #[must_use]
    pub const fn array<T: Plain>(name: MapName, elements: fn(&Settings) -> u32) -> Self {
        let row = Self::new(name, MapKind::Array, size_of::<u32>(), size_of::<T>(), elements);
        Self { copy: Some(copy_array::<T>), ..row }
    }

    /// An mmapped array of one element.
    #[must_use]
    pub const fn single<T: Plain>(name: MapName) -> Self {
        Self::new(name, MapKind::Array, size_of::<u32>(), size_of::<T>(), |_| 1)
    }

    /// A hash that forgets what was not used for longest.
    #[must_use]
    pub const fn lru<K: Plain, V: Plain>(name: MapName, elements: fn(&Settings) -> u32) -> Self {
        Self::new(name, MapKind::LruHash, size_of::<K>(), size_of::<V>(), elements)
    }

    /// Storage of sockets, which has as many elements as there are sockets.
    #[must_use]
    pub const fn socket_storage<V: Plain>(name: MapName) -> Self {
        let elements: fn(&Settings) -> u32 = |_| 0;
        Self::new(name, MapKind::SocketStorage, size_of::<u32>(), size_of::<V>(), elements)
    }

    /// The same for a map whose content means something without the other maps of its area.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// The same, with what it was in another layout.
    #[must_use]
    pub const fn formerly(self, former: Former) -> Self {
        Self { former: Some(former), ..self }
    }

    /// Its name in another layout.
    pub(crate) fn former_name(&self) -> Option<MapName> {
        self.former.as_ref().map(|former| former.name)
    }

    /// Has a map this shape?
    pub(crate) fn fits(&self, map: &sys::MapInfo) -> bool {
        let stored = map.max_entries > 0 || self.kind == MapKind::SocketStorage;
        let sizes = (map.key_size as usize, map.value_size as usize);
        stored && map.kind == self.kind as u32 && sizes == (self.key, self.value)
    }

    /// Bytes of one element, as the kernel lays it out; an array has no keys.
    pub(crate) const fn element_bytes(&self) -> u64 {
        let key =
            if matches!(self.kind, MapKind::Array) { 0 } else { self.key.next_multiple_of(8) };
        (key + self.value) as u64
    }

    const fn new(
        name: MapName,
        kind: MapKind,
        key: usize,
        value: usize,
        elements: fn(&Settings) -> u32,
    ) -> Self {
        Self { name, kind, key, value, elements, copy: None, alone: false, former: None }
    }
}

fn copy_hash<K: Plain, V: Plain>(from: &OpenMap, to: &OpenMap) -> Result<(), KernelError> {
    let (keys, values): (Vec<K>, Vec<V>) = from.hash::<K, V>()?.all()?.into_iter().unzip();
    to.hash()?.put(&keys, &values).1.map_or(Ok(()), Err)
}

fn copy_array<T: Plain>(from: &OpenMap, to: &OpenMap) -> Result<(), KernelError> {
    let (from, to) = (from.array::<T>()?, to.array::<T>()?);
    for index in 0..from.len() {
        if let Some(element) = from.get(index) {
            to.set(index, element);
        }
    }
    Ok(())
}
