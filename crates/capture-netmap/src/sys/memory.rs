//! The memory that is shared with the module: mapped, and read and written within its bounds only.
//!
//! Knows no layout. Whatever offset is asked for is checked, here or once by who knows the layout (`pairs_at`, `buffers_at`). A page that may
//! not be touched lies before and behind the mapping: what would go beyond its last page by a mistake of ours ends the process there, as
//! long as it is less than a page.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A shared mapping.
pub(crate) struct Memory {
    base: NonNull<u8>,
    length: usize,
    /// The whole reservation: with the pages around the mapping.
    reserved: NonNull<u8>,
    reserved_length: usize,
}

// SAFETY: the mapping is not bound to a thread.
unsafe impl Send for Memory {}
// SAFETY: what is written through a shared reference is written by atomics.
unsafe impl Sync for Memory {}

/// Buffers of equal size, one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Buffers<'m> {
    start: *const u8,
    count: u32,
    size: u32,
    memory: PhantomData<&'m Memory>,
}

impl<'m> Buffers<'m> {
    /// The first octets of a buffer, as [`Memory::octets`]; `None` if there is none of that number, or it is not so long.
    #[inline]
    pub(super) fn octets(&self, number: u32, length: u16) -> Option<&'m [u8]> {
        if number >= self.count || u32::from(length) > self.size {
            return None;
        }
        let at = self.start.wrapping_add(number as usize * self.size as usize);
        // SAFETY: `buffers_at` was told that all of them are inside of the mapping, which is alive as long as 'm; for the rest as in
        // `Memory::octets`.
        Some(unsafe { std::slice::from_raw_parts(at, length.into()) })
    }
}

impl Memory {
    /// Maps the first `length` octets that `fd` shares.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub(crate) fn map(fd: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let page = page_size();
        let whole =
            length.checked_next_multiple_of(page).filter(|&whole| whole != 0).ok_or(io::ErrorKind::InvalidInput)?;
        let reserved_length = whole.checked_add(2 * page).ok_or(io::ErrorKind::InvalidInput)?;
        let reserved =
            map(std::ptr::null_mut(), reserved_length, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let inside = reserved.as_ptr().wrapping_add(page).cast();
        match map(inside, whole, protection, libc::MAP_SHARED | libc::MAP_FIXED, fd.as_raw_fd()) {
            Ok(base) => Ok(Self { base, length, reserved, reserved_length }),
            Err(error) => {
                // SAFETY: the reservation, whole, and once: nobody knows it yet.
                unsafe { libc::munmap(reserved.as_ptr().cast(), reserved_length) };
                Err(error)
            }
        }
    }

    /// Octets of the mapping.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// A word that another party may read and write at any time; `None` if it would not be inside, or not aligned.
    #[inline]
    pub(super) fn word(&self, offset: usize) -> Option<&AtomicU32> {
        let end = offset.checked_add(size_of::<u32>())?;
        if end > self.length || !offset.is_multiple_of(align_of::<u32>()) {
            return None;
        }
        // SAFETY: `offset` is inside of the mapping, as just checked.
        let word = unsafe { self.base.add(offset) }.cast::<u32>();
        // SAFETY: inside, and aligned, since the mapping is aligned to a page; alive as long as `self`. The other side is the kernel or
        // another process, which read and write the word as a whole. Words that this process writes are never in lent octets: they are in
        // headers and slots, or in spare buffers while the memory is borrowed exclusively.
        Some(unsafe { AtomicU32::from_ptr(word.as_ptr()) })
    }

    /// Reads a word once.
    #[inline]
    pub(super) fn load(&self, offset: usize) -> Option<u32> {
        self.word(offset).map(|word| word.load(Ordering::Relaxed))
    }

    /// Reads two words, which are one integer.
    pub(super) fn load_long(&self, offset: usize) -> Option<u64> {
        let ([a, b, c, d], [e, f, g, h]) =
            (self.load(offset)?.to_ne_bytes(), self.load(offset.checked_add(4)?)?.to_ne_bytes());
        Some(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
    }

    /// `count` pairs of longs, each of which another party may read and write at any time.
    ///
    /// # Safety
    /// `offset` is a multiple of 8, and that many pairs from it on are inside of the mapping.
    #[inline]
    pub(super) unsafe fn pairs_at(&self, offset: usize, count: usize) -> &[[AtomicU64; 2]] {
        debug_assert!(offset.is_multiple_of(8) && offset + 16 * count <= self.length);
        // SAFETY: inside of the mapping and aligned, as the caller warrants; alive as long as `self`. For the rest as in `word`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().wrapping_add(offset).cast(), count) }
    }

    /// Writes a word. Nothing happens outside of the mapping.
    #[inline]
    pub(super) fn store(&self, offset: usize, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// The octets of a buffer that belongs to the caller by the rules of the ring: nobody who keeps them writes it meanwhile.
    #[inline]
    pub(crate) fn octets(&self, offset: usize, length: usize) -> Option<&[u8]> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: inside of the mapping, as just checked, and alive as long as `self`. This process writes no buffer that is lent or
        // held; that the module and other users of its memory keep to the rules is what sharing memory with them means.
        Some(unsafe { std::slice::from_raw_parts(self.base.as_ptr().wrapping_add(offset), length) })
    }

    /// `count` buffers of `size` octets each.
    ///
    /// # Safety
    /// That many from `offset` on are inside of the mapping.
    #[inline]
    pub(super) unsafe fn buffers_at(&self, offset: usize, count: u32, size: u32) -> Buffers<'_> {
        debug_assert!(count == 0 || offset + count as usize * size as usize <= self.length);
        Buffers { start: self.base.as_ptr().wrapping_add(offset), count, size, memory: PhantomData }
    }

    /// The same to be written. The exclusive borrow proves that no other octets of this mapping are out.
    #[inline]
    pub(crate) fn octets_mut(&mut self, offset: usize, length: usize) -> Option<&mut [u8]> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: as in `octets`, and borrowed exclusively.
        Some(unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().wrapping_add(offset), length) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the reservation of `map` with the mapping inside, whole, and once.
        unsafe { libc::munmap(self.reserved.as_ptr().cast(), self.reserved_length) };
    }
}

fn map(at: *mut libc::c_void, length: usize, protection: i32, flags: i32, fd: i32) -> io::Result<NonNull<u8>> {
    // SAFETY: either at an address of the kernel's choice, or in the middle of a reservation of ours that nothing uses yet.
    let base = unsafe { libc::mmap(at, length, protection, flags, fd, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn page_size() -> usize {
    // SAFETY: takes numbers only.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    fn memory(length: usize) -> Memory {
        let path = std::env::temp_dir().join(format!("ringtap-memory-{}-{length}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(length as u64).unwrap();
        Memory::map(file.as_fd(), length).unwrap()
    }

    #[test]
    fn nothing_outside_is_read_or_written() {
        let mut memory = memory(8192 - 4);
        assert_eq!(memory.length(), 8188);
        for outside in [8188, 8185, 8192, 1 << 40, usize::MAX, usize::MAX - 3] {
            assert_eq!(memory.load(outside), None, "{outside}");
            assert!(memory.load_long(outside).is_none() && memory.octets(outside, 4).is_none());
            assert!(memory.octets_mut(outside, 4).is_none());
            memory.store(outside, 1);
        }
        assert_eq!(memory.load_long(8184), None, "half of it");
        assert_eq!(memory.load(8184), Some(0));
        assert!(
            memory.octets(0, 8188).is_some() && memory.octets(1, 8188).is_none() && memory.octets(8188, 0).is_some()
        );
    }

    #[test]
    fn words_have_to_be_aligned() {
        let memory = memory(4096);
        memory.store(8, 0x0102_0304);
        assert_eq!(memory.load(8), Some(0x0102_0304));
        assert_eq!(memory.octets(8, 4), Some(&0x0102_0304_u32.to_ne_bytes()[..]));
        assert_eq!((memory.load(10), memory.load_long(10)), (None, None));
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let file = File::open("/dev/null").unwrap();
        assert!(Memory::map(file.as_fd(), 0).is_err());
        assert!(Memory::map(file.as_fd(), usize::MAX).is_err());
        assert!(Memory::map(file.as_fd(), 4096).is_err());
    }
}
