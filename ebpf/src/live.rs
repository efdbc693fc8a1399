//! The maps of one area on the live kernel: batches into maps, maps into an image.

use std::{fmt, sync::Arc};

use towpath_image::{Applied, Batch, Image, Kernel, KernelError, MapName};

use crate::{
    maps::OpenMap,
    pins::lock::WriterLock,
    table::{Row, Table},
};

/// An image whose maps the kernel holds.
pub trait LiveImage: Image {
    /// One row for each map.
    const TABLE: Table;
    /// The maps, open.
    type Maps: Send + Sync + 'static;

    /// Takes up the maps of the table.
    ///
    /// # Errors
    /// When one is not as the row says, or cannot be mapped.
    fn open(maps: &AreaMaps<'_>) -> Result<Self::Maps, KernelError>;
    /// What the maps hold now.
    ///
    /// # Errors
    /// When a map can not be read.
    fn read(maps: &Self::Maps) -> Result<Self, KernelError>;
    /// Carries out the first of these operations (there is one), or several from the first at once;
    /// answers how many, and why not the next.
    fn write(maps: &Self::Maps, ops: &[Self::Op]) -> (usize, Option<KernelError>);
}

/// Open maps, by name.
#[derive(Debug)]
pub struct AreaMaps<'a>(pub(crate) &'a [OpenMap]);

impl AreaMaps<'_> {
    /// The map of this name.
    ///
    /// # Errors
    /// When no table has it.
    pub fn map(&self, name: MapName) -> Result<&OpenMap, KernelError> {
        let found = self.0.iter().find(|map| map.name() == name);
        found.ok_or_else(|| KernelError::System {
            map: name,
            what: "opening".to_owned(),
            cause: "no table has it".to_owned(),
        })
    }
}

/// What one map takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapUse {
    /// Which.
    pub name: MapName,
    /// Elements at most.
    pub capacity: u32,
    /// Bytes of kernel memory, as far as elements go.
    pub bytes: u64,
}

/// The maps of one area, open for writing: its owner is the one writer.
pub struct LiveMaps<I: LiveImage> {
    maps: Arc<I::Maps>,
    sizes: Vec<MapUse>,
    /// Held as long as any area writes.
    _lock: Arc<WriterLock>,
}

impl<I: LiveImage> fmt::Debug for LiveMaps<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveMaps").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

impl<I: LiveImage> LiveMaps<I> {
    pub(crate) fn new(all: &AreaMaps<'_>, lock: Arc<WriterLock>) -> Result<Self, KernelError> {
        let configured = |row: &&Row| row.copy.is_some();
        let sized = |row: &Row| {
            let capacity = all.map(row.name)?.info().max_entries;
            let bytes = u64::from(capacity) * row.element_bytes();
            Ok(MapUse { name: row.name, capacity, bytes })
        };
        let sizes = I::TABLE.rows.iter().filter(configured).map(sized).collect::<Result<_, _>>()?;
        Ok(Self { maps: Arc::new(I::open(all)?), sizes, _lock: lock })
    }

    /// What the maps take whose sizes are configured.
    #[must_use]
    pub fn map_use(&self) -> &[MapUse] {
        &self.sizes
    }

    /// A view of what the maps hold that any thread may have, beside the one writer.
    #[must_use]
    pub fn reader(&self) -> MapsReader<I> {
        MapsReader { maps: Arc::clone(&self.maps) }
    }

    pub(crate) fn maps(&self) -> &I::Maps {
        &self.maps
    }
}

impl<I: LiveImage> Kernel<I> for LiveMaps<I> {
    fn read(&mut self) -> Result<I, KernelError> {
        I::read(&self.maps)
    }

    fn apply(&mut self, batch: &Batch<I::Op>) -> Applied {
        let mut done = 0;
        while done < batch.ops.len() {
            let (carried, failure) = I::write(&self.maps, &batch.ops[done..]);
            done += carried;
            if failure.is_some() {
                return Applied { done, failure };
            }
        }
        Applied { done, failure: None }
    }
}

/// A view of an area's maps, for audits, which take too long for the writer's thread. What it reads
/// while they are written is of no single moment.
pub struct MapsReader<I: LiveImage> {
    maps: Arc<I::Maps>,
}

impl<I: LiveImage> fmt::Debug for MapsReader<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapsReader").finish_non_exhaustive()
    }
}

impl<I: LiveImage> MapsReader<I> {
    /// What the maps hold now.
    ///
    /// # Errors
    /// When a map can not be read.
    pub fn read(&self) -> Result<I, KernelError> {
        I::read(&self.maps)
    }
}
