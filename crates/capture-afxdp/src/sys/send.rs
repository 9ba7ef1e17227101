//! The way of frames that are sent: a free chunk is filled, its descriptor goes into the TX ring, and it comes back by the completion ring.
//!
//! Knows no socket and no frame. What the kernel says came back is believed only of chunks that are away.
#![allow(unsafe_code)]

use libc::xdp_desc;

use super::memory::Memory;
use super::ring::Ring;

pub(crate) struct Transmitter {
    umem: Memory,
    tx: Ring<xdp_desc>,
    completion: Ring<u64>,
    chunk: usize,
    free: Vec<u32>,
    /// Of each chunk: given to the kernel.
    away: Box<[bool]>,
    /// Descriptors written, and completions read, since the start.
    produced: u32,
    completed: u32,
}

impl Transmitter {
    pub(crate) fn new(umem: Memory, tx: Ring<xdp_desc>, completion: Ring<u64>, chunk: usize) -> Self {
        // More than the TX ring has entries could not be under way at once.
        let chunks = (umem.length() / chunk).min(tx.size() as usize);
        let free = (0..chunks as u32).rev().collect();
        let away = vec![false; chunks].into_boxed_slice();
        Self { umem, tx, completion, chunk, free, away, produced: 0, completed: 0 }
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Has `write` fill the next free chunk; it answers how many octets are to be sent, at most a chunk, or 0 for none.
    /// `None` if there is no room.
    pub(crate) fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> Option<usize> {
        let index = *self.free.last()?;
        let start = index as usize * self.chunk;
        let place = self.umem.at(start, self.chunk)?;
        // SAFETY: the octets of a chunk that is free, inside of the memory; the kernel does not touch it, and the exclusive borrow of
        // `self` keeps other references away.
        let length = write(unsafe { std::slice::from_raw_parts_mut(place, self.chunk) }).min(self.chunk);
        if length == 0 {
            return Some(0);
        }
        self.tx.write(self.produced, xdp_desc { addr: start as u64, len: length as u32, options: 0 });
        self.produced = self.produced.wrapping_add(1);
        self.free.pop();
        if let Some(away) = self.away.get_mut(index as usize) {
            *away = true;
        }
        Some(length)
    }

    /// Shows the kernel what was filled. Says whether there is something that it has not taken yet.
    pub(crate) fn publish(&self) -> bool {
        self.tx.produce(self.produced);
        self.tx.consumed() != self.produced
    }

    /// Descriptors that the kernel has taken since the start.
    pub(crate) fn taken(&self) -> u32 {
        self.tx.consumed()
    }

    pub(crate) fn needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }

    /// Takes back what the kernel is through with: how many frames.
    pub(crate) fn reap(&mut self) -> u64 {
        let came = self.completion.produced().wrapping_sub(self.completed).min(self.completion.size());
        let mut back = 0;
        for n in 0..came {
            let address = self.completion.read(self.completed.wrapping_add(n));
            let index = usize::try_from(address).map_or(usize::MAX, |address| address / self.chunk);
            match self.away.get_mut(index) {
                Some(away) if *away => {
                    *away = false;
                    self.free.push(index as u32);
                    back += 1;
                }
                _ => {}
            }
        }
        if came > 0 {
            self.completed = self.completed.wrapping_add(came);
            self.completion.consume(self.completed);
        }
        back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transmitter() -> Transmitter {
        Transmitter::new(Memory::plain(4 * 2048), Ring::plain(4), Ring::plain(4), 2048)
    }

    #[test]
    fn chunks_go_and_come_back_round_and_round() {
        let mut tx = transmitter();
        for lap in 0..50_u32 {
            for n in 0..4_u8 {
                assert_eq!(
                    tx.fill(|slot| {
                        slot[..60].fill(n);
                        60
                    }),
                    Some(60)
                );
            }
            assert_eq!(tx.fill(|_| 60), None);
            assert!(tx.publish());
            for n in 0..4 {
                let descriptor = tx.tx.read(lap * 4 + n);
                assert_eq!(descriptor.len, 60);
                // Completed in another order.
                tx.completion.write(lap * 4 + 3 - n, descriptor.addr);
            }
            tx.tx.consume(lap * 4 + 4);
            tx.completion.produce(lap * 4 + 4);
            assert!(!tx.publish());
            assert_eq!(tx.reap(), 4);
        }
    }

    #[test]
    fn a_kernel_that_lies_gives_no_chunk_twice() {
        let mut tx = transmitter();
        assert_eq!(tx.fill(|_| 0), Some(0), "nothing was written");
        tx.fill(|_| 100);
        let address = tx.tx.read(0).addr;
        for (n, lie) in [address, address, u64::MAX, 4 * 2048].into_iter().enumerate() {
            tx.completion.write(n as u32, lie);
        }
        tx.completion.produce(4);
        assert_eq!(tx.reap(), 1);
        tx.completion.produce(1_000_000);
        assert_eq!(tx.reap(), 0);
        assert_eq!(tx.free.len(), 4);
    }
}
