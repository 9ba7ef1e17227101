//! Memory that can be mapped a second time by whoever has its descriptor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Anonymous shared memory. Whatever lies outside of it cannot be reached: that is a panic.
#[derive(Debug)]
pub struct Shared {
    fd: OwnedFd,
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is not bound to a thread.
unsafe impl Send for Shared {}
// SAFETY: all access is by atomics.
unsafe impl Sync for Shared {}

impl Shared {
    /// Of `length` octets, all zero.
    ///
    /// # Panics
    /// If there is no memory.
    #[must_use]
    pub fn new(length: usize) -> Self {
        // SAFETY: a string that ends in a zero, and a number.
        let fd = unsafe { libc::memfd_create(c"testkit".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0, "memfd_create: {}", io::Error::last_os_error());
        // SAFETY: just opened, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: takes numbers only.
        let grown = unsafe { libc::ftruncate(fd.as_raw_fd(), length as libc::off_t) };
        assert!(grown == 0, "ftruncate: {}", io::Error::last_os_error());
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd.as_raw_fd(), 0) };
        assert!(base != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        let base = NonNull::new(base.cast()).expect("a mapping is not at 0");
        Self { fd, base, length }
    }

    /// Octets.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    fn octet(&self, offset: usize) -> &AtomicU8 {
        assert!(offset < self.length, "{offset} is outside of {} octets", self.length);
        // SAFETY: inside of the mapping, which lives as long as `self`.
        let octet = unsafe { self.base.add(offset) };
        // SAFETY: the same; octets are always aligned, and this process reaches them by atomics only.
        unsafe { AtomicU8::from_ptr(octet.as_ptr()) }
    }

    /// A 32-bit word in the machine's order.
    ///
    /// # Panics
    /// If it is not inside, or not aligned.
    #[must_use]
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.length, "{offset} is no word of {} octets", self.length);
        // SAFETY: inside of the mapping, as just checked.
        let word = unsafe { self.base.add(offset) };
        // SAFETY: aligned, as just checked: the mapping begins at a page. Alive as long as `self`.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
    }

    /// Reads octets.
    ///
    /// # Panics
    /// If they are not inside.
    #[must_use]
    pub fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        (offset..offset + length).map(|at| self.octet(at).load(Ordering::Relaxed)).collect()
    }

    /// Writes octets.
    ///
    /// # Panics
    /// If they are not inside.
    pub fn write(&self, offset: usize, octets: &[u8]) {
        for (at, &octet) in (offset..).zip(octets) {
            self.octet(at).store(octet, Ordering::Relaxed);
        }
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, whole, and once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}
