//! The maps of one area on the live kernel: batches into maps, maps into an image.

use std::{fmt, sync::Arc};

use towpath_image::{Applied, Batch, Image, Kernel, KernelError, MapName};

use crate::{maps::OpenMap, pins::lock::WriterLock, table::Table};

/// An image whose maps the kernel holds.
pub trait LiveImage: Image {
    /// One row for each map.
    const TABLE: Table;
    /// The maps, open.
    type Maps: fmt::Debug + Send + Sync + 'static;

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

/// The maps of one area, open for writing: its owner is the one writer.
#[derive(Debug)]
pub struct LiveMaps<I: LiveImage> {
    maps: Arc<I::Maps>,
    bytes: u64,
    /// Held as long as any area writes.
    _lock: Arc<WriterLock>,
}

impl<I: LiveImage> LiveMaps<I> {
    pub(crate) fn new(all: &AreaMaps<'_>, lock: Arc<WriterLock>) -> Result<Self, KernelError> {
        let mut bytes = 0;
        for row in I::TABLE.rows.iter().filter(|row| row.copy.is_some()) {
            bytes += u64::from(all.map(row.name)?.info().max_entries) * row.element_bytes();
        }
        Ok(Self { maps: Arc::new(I::open(all)?), bytes, _lock: lock })
    }

    /// Bytes of kernel memory that the maps take whose sizes are configured, as far as elements go.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
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
#[derive(Debug)]
pub struct MapsReader<I: LiveImage> {
    maps: Arc<I::Maps>,
}

impl<I: LiveImage> Clone for MapsReader<I> {
    fn clone(&self) -> Self {
        Self { maps: Arc::clone(&self.maps) }
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
