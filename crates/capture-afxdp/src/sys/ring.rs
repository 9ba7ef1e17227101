//! One of the four rings of an AF_XDP socket: two counters, a word of flags, and entries of one size.
//!
//! Holds the layout and the hand-over. The counters run freely and are masked where an entry is read or written; the side that
//! produces writes `producer`, the other `consumer`, each with release after the entries and reads the other's with acquire.
#![allow(unsafe_code)]

use std::io;
use std::mem::{align_of, offset_of, size_of};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{xdp_desc, xdp_ring_offset};

use super::memory::Memory;

const _: () = assert!(size_of::<xdp_desc>() == 16, "xdp_desc is not the kernel's");
const _: () = assert!(offset_of!(xdp_desc, len) == 8, "xdp_desc is not the kernel's");
const _: () = assert!(offset_of!(xdp_desc, options) == 12, "xdp_desc is not the kernel's");
const _: () = assert!(size_of::<xdp_ring_offset>() == 32, "xdp_ring_offset is not the kernel's");

/// `XDP_RING_NEED_WAKEUP`.
const NEED_WAKEUP: u32 = 1;

/// What a ring has entries of: types of integers, read and written whole.
///
/// # Safety
/// Every bit pattern is a value.
pub(crate) unsafe trait Entry: Copy {}
// SAFETY: an integer.
unsafe impl Entry for u64 {}
// SAFETY: three integers without gaps.
unsafe impl Entry for xdp_desc {}

pub(crate) struct Ring<E> {
    memory: Memory,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    /// A power of two.
    size: u32,
    kind: std::marker::PhantomData<E>,
}

impl<E: Entry> Ring<E> {
    /// Maps the ring of `size` entries that `socket` has at `place`.
    pub(crate) fn map(socket: BorrowedFd<'_>, place: u64, layout: &xdp_ring_offset, size: u32) -> io::Result<Self> {
        let entries = usize::try_from(layout.desc).map_err(io::Error::other)?;
        let length = entries.saturating_add(size as usize * size_of::<E>());
        Self::over(Memory::of_socket(socket, length, place)?, layout, size)
    }

    /// A ring in `memory`.
    pub(crate) fn over(memory: Memory, layout: &xdp_ring_offset, size: u32) -> io::Result<Self> {
        let word = |offset: u64| {
            let offset = usize::try_from(offset).ok()?;
            (offset.is_multiple_of(align_of::<u32>()) && memory.at(offset, 4).is_some()).then_some(offset)
        };
        let entries = usize::try_from(layout.desc).ok().filter(|&at| {
            at.is_multiple_of(align_of::<E>()) && memory.at(at, size as usize * size_of::<E>()).is_some()
        });
        match (word(layout.producer), word(layout.consumer), word(layout.flags), entries) {
            (Some(producer), Some(consumer), Some(flags), Some(entries)) if size.is_power_of_two() => {
                Ok(Self { memory, producer, consumer, flags, entries, size, kind: std::marker::PhantomData })
            }
            _ => Err(io::Error::other("the kernel's ring lies outside of its own memory")),
        }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        let word = self.memory.at(offset, 4).map_or(std::ptr::null_mut(), <*mut u8>::cast::<u32>);
        assert!(!word.is_null());
        // SAFETY: inside of the memory and aligned (see `over`), alive as long as `self`. The kernel reads and writes the word too,
        // which is what an atomic is for; nothing else in this process refers to it in another way.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Acquire: the entries before are written.
    #[inline]
    pub(crate) fn produced(&self) -> u32 {
        self.word(self.producer).load(Ordering::Acquire)
    }

    /// Acquire: the entries before are read.
    #[inline]
    pub(crate) fn consumed(&self) -> u32 {
        self.word(self.consumer).load(Ordering::Acquire)
    }

    /// Release: all entries before `count` were written.
    #[inline]
    pub(crate) fn produce(&self, count: u32) {
        self.word(self.producer).store(count, Ordering::Release);
    }

    /// Release: all entries before `count` were read, and what they lead to.
    #[inline]
    pub(crate) fn consume(&self, count: u32) {
        self.word(self.consumer).store(count, Ordering::Release);
    }

    /// Whether the kernel sleeps until it is woken by a system call.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.word(self.flags).load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    #[inline]
    fn entry(&self, count: u32) -> *mut E {
        let index = (count & (self.size - 1)) as usize;
        self.memory.start().wrapping_add(self.entries + index * size_of::<E>()).cast()
    }

    #[inline]
    pub(crate) fn read(&self, count: u32) -> E {
        // SAFETY: an index below `size`, so inside of the memory and aligned: `over` has checked the whole range. Every bit pattern is a
        // value. Volatile: read once, whatever the kernel does.
        unsafe { self.entry(count).read_volatile() }
    }

    #[inline]
    pub(crate) fn write(&mut self, count: u32, value: E) {
        // SAFETY: as above; nothing in this process holds a reference to an entry.
        unsafe { self.entry(count).write_volatile(value) }
    }

    /// A ring in plain memory, laid out as the kernel does, for tests.
    #[cfg(test)]
    pub(crate) fn plain(size: u32) -> Self {
        let layout = xdp_ring_offset { producer: 0, consumer: 64, flags: 128, desc: 192 };
        Self::over(Memory::plain(192 + size as usize * size_of::<E>()), &layout, size).unwrap()
    }

    #[cfg(test)]
    pub(crate) fn set_flags(&self, flags: u32) {
        self.word(self.flags).store(flags, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_outside_of_the_memory_is_refused() {
        let good = xdp_ring_offset { producer: 0, consumer: 64, flags: 128, desc: 192 };
        let make = |change: &dyn Fn(&mut xdp_ring_offset), size| {
            let mut layout = good;
            change(&mut layout);
            Ring::<xdp_desc>::over(Memory::plain(192 + 8 * 16), &layout, size).is_ok()
        };
        assert!(make(&|_| {}, 8));
        assert!(!make(&|_| {}, 16) && !make(&|_| {}, 7) && !make(&|_| {}, 0));
        assert!(!make(&|l| l.producer = 318, 8) && !make(&|l| l.consumer = 1, 8) && !make(&|l| l.flags = u64::MAX, 8));
        assert!(!make(&|l| l.desc = 196, 8) && !make(&|l| l.desc = 200, 8) && !make(&|l| l.desc = u64::MAX - 7, 8));
    }
}
