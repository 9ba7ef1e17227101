//! Memory shared with the kernel: words that both sides write, and octets that are lent.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Where the memory is from, for the way to give it back.
enum Owner {
    Mapped,
    Shared { _words: Arc<[AtomicU64]> },
}

/// A mapped ring, or plain memory in its place.
pub struct Memory {
    base: NonNull<u8>,
    length: usize,
    owner: Owner,
}

// SAFETY: the memory is not bound to a thread, and everything that is written while it is shared is written by atomics.
unsafe impl Send for Memory {}
// SAFETY: as above; octets that are read plainly are lent by the other side, see `octets`.
unsafe impl Sync for Memory {}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Memory {
    /// The first `length` octets of the ring of a socket.
    pub(crate) fn map(socket: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, socket.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, length, owner: Owner::Mapped })
    }

    /// Plain memory in the place of a mapping, at most `length` octets of it: for a model of the kernel. The other side may write by
    /// atomics only, and as the module does: never what it has handed over and not got back.
    #[must_use]
    pub fn shared(words: Arc<[AtomicU64]>, length: usize) -> Self {
        let base = NonNull::from(&*words).cast();
        Self { base, length: length.min(words.len() * 8), owner: Owner::Shared { _words: words } }
    }

    /// Octets.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The word at `offset`.
    ///
    /// # Panics
    /// If it is outside, or not aligned: offsets of words are constants that were checked against the length once.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.length, "outside of the ring");
        let word = self.base.as_ptr().wrapping_add(offset).cast::<u64>();
        // SAFETY: inside of the memory and aligned (the base is that of a page or of words), and alive as long as `self`. Words
        // of the ring's two pages are never read otherwise.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// `length` octets at `offset`; `None` if they are not all inside.
    ///
    /// # Safety
    /// The other side has handed them over, and does not get them back while the borrow lasts; they are none of the words that [`Self::word`] gives.
    #[inline]
    pub(crate) unsafe fn octets(&self, offset: usize, length: usize) -> Option<&[u8]> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        let start = self.base.as_ptr().wrapping_add(offset);
        // SAFETY: inside of the memory, as was just seen; nobody writes, as the caller promises.
        Some(unsafe { std::slice::from_raw_parts(start, length) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if matches!(self.owner, Owner::Mapped) {
            // SAFETY: the mapping of `map`, whole, and once.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
        }
    }
}
