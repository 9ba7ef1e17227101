//! The ring in memory: which block is ours, and the loan of it.
//!
//! Holds the mapping and the hand-over with the kernel by `block_status`. Knows no socket calls and no frame.
//! The *ring* remembers what is on loan: a [`Loan`] that is leaked is taken back by the next [`Ring::lend`], whose exclusive
//! borrow proves that nobody can still read the block.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::block::STATUS_OFFSET;

/// `TP_STATUS_USER`: the block belongs to this process; clear: to the kernel (`TP_STATUS_KERNEL` is 0).
const USER: u32 = 1;

/// Where the memory is from, for the way to give it back.
enum Memory {
    Mapped,
    /// Given back: the ring has no block.
    None,
    #[cfg(test)]
    Owned {
        words: usize,
    },
}

/// A ring of blocks, all of one size.
pub(crate) struct Ring {
    base: NonNull<u8>,
    block_size: usize,
    block_count: usize,
    current: usize,
    on_loan: bool,
    memory: Memory,
}

// SAFETY: the ring owns its memory, which is not bound to a thread; no other pointer to it exists in this process.
unsafe impl Send for Ring {}

/// The current block, until it is dropped.
pub(crate) struct Loan<'q> {
    ring: &'q mut Ring,
}

impl Ring {
    /// Maps the RX ring that `socket` has, of `block_count` blocks of `block_size` octets (both at least 1).
    ///
    /// # Errors
    /// What mmap(2) says.
    pub(crate) fn map(socket: BorrowedFd<'_>, block_size: usize, block_count: usize) -> io::Result<Self> {
        let length = block_size.checked_mul(block_count).ok_or(io::ErrorKind::InvalidInput)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, socket.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, block_size, block_count, current: 0, on_loan: false, memory: Memory::Mapped })
    }

    /// Gives the memory back before the ring ends: from now on it is never ready.
    pub(crate) fn release(&mut self) {
        self.on_loan = false;
        self.free();
        self.block_count = 0;
    }

    fn free(&mut self) {
        match std::mem::replace(&mut self.memory, Memory::None) {
            Memory::None => {}
            Memory::Mapped => {
                let length = self.block_size * self.block_count;
                // SAFETY: the mapping of `map`, whole, and once; the exclusive borrow proves that no loan of it is left.
                unsafe { libc::munmap(self.base.as_ptr().cast(), length) };
            }
            #[cfg(test)]
            Memory::Owned { words } => {
                let slice = std::ptr::slice_from_raw_parts_mut(self.base.as_ptr().cast::<u64>(), words);
                // SAFETY: the allocation that `over` leaked, once.
                drop(unsafe { Box::from_raw(slice) });
            }
        }
    }

    /// A ring in plain memory: block after block.
    #[cfg(test)]
    pub(crate) fn over(words: Vec<u64>, block_size: usize) -> Self {
        let count = words.len();
        let base = NonNull::from(Box::leak(words.into_boxed_slice())).cast();
        let memory = Memory::Owned { words: count };
        Self { base, block_size, block_count: count * 8 / block_size, current: 0, on_loan: false, memory }
    }

    fn block(&self, index: usize) -> NonNull<u8> {
        debug_assert!(index < self.block_count);
        // SAFETY: `index` is below `block_count` (see `advance`), so the result is inside of the one mapping.
        unsafe { self.base.add(index * self.block_size) }
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        let status = self.block(index).as_ptr().wrapping_add(STATUS_OFFSET).cast::<u32>();
        // SAFETY: aligned (blocks start at multiples of the page size, or of 8 in tests), inside of the mapping, and alive
        // as long as `self`. The kernel reads and writes this word too, which is what an atomic is for. The octets of a lent
        // block, which overlap with it, are only read while the word is not written: see `Loan`.
        unsafe { AtomicU32::from_ptr(status) }
    }

    /// Whether the current block is filled and waits for us. A leaked loan counts as given back.
    pub(crate) fn ready(&mut self) -> bool {
        self.take_back();
        if self.block_count == 0 {
            return false;
        }
        // Acquire: pairs with the barrier before the kernel's write of the status (prb_flush_block in af_packet.c).
        self.status(self.current).load(Ordering::Acquire) & USER != 0
    }

    /// Lends the current block, if the kernel has handed it over.
    #[inline]
    pub(crate) fn lend(&mut self) -> Option<Loan<'_>> {
        if !self.ready() {
            return None;
        }
        self.on_loan = true;
        Some(Loan { ring: self })
    }

    /// Gives the lent block, if there is one, back to the kernel.
    pub(crate) fn take_back(&mut self) {
        if self.on_loan {
            self.on_loan = false;
            // Release: our reads of the block are done before the kernel, which loads the status and then writes
            // (prb_curr_blk_in_use in af_packet.c), can see it free.
            self.status(self.current).store(0, Ordering::Release);
            self.current = if self.current + 1 < self.block_count { self.current + 1 } else { 0 };
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.free();
    }
}

impl Loan<'_> {
    /// The octets of the block.
    #[inline]
    pub(crate) fn octets(&self) -> &[u8] {
        let block = self.ring.block(self.ring.current);
        // SAFETY: `block_size` octets from the start of a block are inside of the mapping, which lives as long as the ring.
        // The kernel does not write a block that is handed over, and this process writes its status only in `take_back`,
        // which wants the ring exclusively: the borrow of `self` lasts as long as the slice.
        unsafe { std::slice::from_raw_parts(block.as_ptr(), self.ring.block_size) }
    }
}

impl Drop for Loan<'_> {
    #[inline]
    fn drop(&mut self) {
        self.ring.take_back();
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::Cursor;
    use super::*;

    /// Blocks of 64 octets, each handed over and without frames.
    fn ring(blocks: usize) -> Ring {
        let words = (0..blocks * 8).map(|i| if i % 8 == 1 { 1u32.to_ne_bytes() } else { [0; 4] });
        let words = words.map(|[a, b, c, d]| u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])).collect();
        Ring::over(words, 64)
    }

    #[test]
    fn blocks_come_in_turn_until_one_is_the_kernels() {
        let mut ring = ring(3);
        for expected in 0..3 {
            let loan = ring.lend().unwrap();
            assert_eq!(loan.ring.current, expected);
            assert_eq!(Cursor::new(loan.octets()).remaining(), 0);
        }
        assert!(ring.lend().is_none(), "the first block was given back and not filled again");
        ring.status(0).store(1, Ordering::Release);
        assert!(ring.lend().is_some());
    }

    #[test]
    fn a_leaked_loan_is_taken_back_by_the_next_call() {
        let mut ring = ring(2);
        std::mem::forget(ring.lend().unwrap());
        assert_eq!(ring.status(0).load(Ordering::Acquire), 1, "still on loan");
        assert!(ring.ready());
        assert_eq!(ring.status(0).load(Ordering::Acquire), 0);
        std::mem::forget(ring.lend().unwrap());
        assert!(ring.lend().is_none());
    }

    #[test]
    fn a_released_ring_is_never_ready() {
        let mut ring = ring(2);
        std::mem::forget(ring.lend().unwrap());
        ring.release();
        assert!(!ring.ready() && ring.lend().is_none());
        ring.release();
        ring.take_back();
    }
}
