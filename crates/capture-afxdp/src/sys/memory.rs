//! Memory that is shared with the kernel: mapped, and given back when it is dropped.
//!
//! Knows addresses and lengths; who writes what, and when, is the business of the rings.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// Huge pages of the usual size; the kernel wants the length to be a multiple of it.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

enum Origin {
    Mapped,
    #[cfg(test)]
    Owned {
        words: usize,
    },
}

/// A range of memory that the kernel knows too. Aligned to 8 octets at least.
pub(crate) struct Memory {
    base: NonNull<u8>,
    length: usize,
    origin: Origin,
}

// SAFETY: the value owns its memory, which is not bound to a thread; no other pointer to it exists in this process.
unsafe impl Send for Memory {}

impl Memory {
    /// Zeroed memory of its own; `huge`: of huge pages, which the administrator has to have set aside.
    pub(crate) fn anonymous(length: usize, huge: bool) -> io::Result<Self> {
        let huge = if huge { libc::MAP_HUGETLB } else { 0 };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | huge;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        unsafe { Self::map(length, flags, -1, 0) }
    }

    /// `length` octets of what `socket` has at `offset`.
    pub(crate) fn of_socket(socket: BorrowedFd<'_>, length: usize, offset: u64) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: as above.
        unsafe { Self::map(length, libc::MAP_SHARED | libc::MAP_POPULATE, socket.as_raw_fd(), offset) }
    }

    /// # Safety
    /// `flags` are without `MAP_FIXED`.
    unsafe fn map(length: usize, flags: libc::c_int, fd: libc::c_int, offset: libc::off_t) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the caller's promise: no memory of ours is touched.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, length, origin: Origin::Mapped })
    }

    /// Plain memory, for tests.
    #[cfg(test)]
    pub(crate) fn plain(length: usize) -> Self {
        let words = length.div_ceil(8);
        let base = NonNull::from(Box::leak(vec![0_u64; words].into_boxed_slice())).cast();
        Self { base, length, origin: Origin::Owned { words } }
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr().addr() as u64
    }

    /// Where it begins.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// A pointer to `size` octets at `offset`, or `None` if they are not all inside.
    #[inline]
    pub(crate) fn at(&self, offset: usize, size: usize) -> Option<*mut u8> {
        let inside = offset.checked_add(size).is_some_and(|end| end <= self.length);
        inside.then(|| self.base.as_ptr().wrapping_add(offset))
    }

    /// Asks for the octets at `offset` to be brought into the cache, wherever that is.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let place = self.base.as_ptr().wrapping_add(offset as usize);
            // SAFETY: a hint, which reads nothing for the program and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match self.origin {
            Origin::Mapped => {
                // SAFETY: the mapping of `map`, whole, and once; nobody borrows from it any more.
                unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
            }
            #[cfg(test)]
            Origin::Owned { words } => {
                let slice = std::ptr::slice_from_raw_parts_mut(self.base.as_ptr().cast::<u64>(), words);
                // SAFETY: the allocation that `plain` leaked, once.
                drop(unsafe { Box::from_raw(slice) });
            }
        }
    }
}
