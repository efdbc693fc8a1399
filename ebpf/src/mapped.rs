//! An mmapped array map: written without system calls, words in one piece.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::plain::Plain;

/// All elements of an array map that was made with `BPF_F_MMAPABLE`.
///
/// The size of `T` is a multiple of eight (asserted), so elements lie side by side.
#[derive(Debug)]
pub struct Mapped<T> {
    base: NonNull<T>,
    len: u32,
    bytes: usize,
    plain: PhantomData<T>,
}

// SAFETY: the memory is shared with the kernel anyway; every access is a volatile or atomic one, and
// there is one writer (the file lock).
unsafe impl<T: Send> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Mapped<T> {}

impl<T: Plain> Mapped<T> {
    const SIZE: () = assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8);

    /// Maps `len` elements of the map behind `fd`.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: u32) -> io::Result<Self> {
        let () = Self::SIZE;
        let bytes = (len as usize * size_of::<T>()).next_multiple_of(4096);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, len, bytes, plain: PhantomData })
    }

    /// How many elements.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no map is empty")]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// A copy of one element; `None` when out of range.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<T> {
        // SAFETY: in range; programs may write counters meanwhile, hence volatile.
        (index < self.len).then(|| unsafe { self.at(index).read_volatile() })
    }

    /// Replaces one element. False when out of range.
    pub fn set(&self, index: u32, value: T) -> bool {
        if index >= self.len {
            return false;
        }
        // SAFETY: in range. Programs that read this element now are possible only where the batch
        // protocol allows a torn read (nothing in force leads here).
        unsafe { self.at(index).write_volatile(value) };
        true
    }

    /// Stores one aligned word inside an element: everything written before is visible to what
    /// sees it. False when out of range.
    pub fn store_word(&self, index: u32, byte: usize, word: u64) -> bool {
        if index >= self.len || !byte.is_multiple_of(8) || byte + 8 > size_of::<T>() {
            return false;
        }
        // SAFETY: in range and aligned; the memory lives as long as `self`.
        let word_at = unsafe { AtomicU64::from_ptr(self.at(index).cast::<u8>().add(byte).cast()) };
        word_at.store(word, Ordering::Release);
        true
    }

    const fn at(&self, index: u32) -> *mut T {
        // Callers check the range first.
        self.base.as_ptr().wrapping_add(index as usize)
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, to which no reference is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
