//! Sending by copies: frames in our own memory, sendmmsg(2).
//!
//! The plain way, as a baseline, and the faster one where the driver is software: a veth pair copies what a mapped ring lends it
//! (`skb_copy_ubufs`), and so has two copies and a page of memory for each frame instead of one copy.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use capture::{CaptureError, TxQueue, TxStats};

use super::{TICK, TxOptions, Way};
use crate::sys::copy_ring::CopyRing;

/// Slots in this process, on one interface. `sent` counts the frames that the kernel took. `refused` are those that the
/// interface dropped for a tenth of a second, whenever they were tried, and those that are too short or too long.
pub struct CopyTx {
    ring: CopyRing,
    way: Way,
    /// The slot that is filled next, and the oldest that is not sent.
    head: usize,
    tail: usize,
    stats: TxStats,
}

impl CopyTx {
    /// On an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// [`CaptureError::BadOption`], [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`] without `CAP_NET_RAW`,
    /// [`CaptureError::System`] for the rest.
    pub fn open(options: &TxOptions) -> Result<Self, CaptureError> {
        let way = Way::open(options)?;
        let ring = CopyRing::new(options.slot_size as usize, options.slots as usize);
        Ok(Self { ring, way, head: 0, tail: 0, stats: TxStats::default() })
    }

    fn has_room(&self) -> bool {
        self.stats.in_flight < self.ring.slots() as u64
    }
}

impl TxQueue for CopyTx {
    fn fill(&mut self, most: usize, mut write: impl FnMut(&mut [u8]) -> usize) -> Result<usize, CaptureError> {
        if self.stats.in_flight == 0 {
            // The slots used last are in the core's cache.
            (self.head, self.tail) = (0, 0);
        }
        let mut filled = 0;
        while filled < most && self.has_room() {
            let octets = self.ring.octets(self.head);
            let length = write(octets).min(octets.len());
            if length == 0 {
                break;
            }
            filled += 1;
            self.stats.filled += 1;
            if !self.way.takes(octets, length) {
                self.stats.refused += 1;
                continue;
            }
            self.ring.set_length(self.head, length);
            self.stats.in_flight += 1;
            self.head = (self.head + 1) % self.ring.slots();
        }
        Ok(filled)
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        while self.stats.in_flight > 0 {
            // To the end of the slots, and from their start the next time round.
            let row = (self.ring.slots() - self.tail).min(usize::try_from(self.stats.in_flight).unwrap_or(usize::MAX));
            match self.ring.send(self.way.socket.as_fd(), self.tail, row) {
                Ok(0) => return Ok(()),
                Ok(sent) => {
                    let (ring, tail) = (&self.ring, self.tail);
                    self.way.patience.took(|| (tail..tail + sent).map(|slot| ring.length(slot)).max().unwrap_or(0));
                    self.tail = (self.tail + sent) % self.ring.slots();
                    self.stats.sent += sent as u64;
                    self.stats.in_flight -= sent as u64;
                }
                Err(error) if self.way.gives_up(&error, self.ring.length(self.tail)) => {
                    self.tail = (self.tail + 1) % self.ring.slots();
                    self.stats.refused += 1;
                    self.stats.in_flight -= 1;
                }
                Err(error) => return self.way.failed(error),
            }
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        self.flush()?;
        if !self.has_room() {
            std::thread::sleep(timeout.min(TICK));
        }
        Ok(self.has_room())
    }

    fn drain(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        let end = Instant::now() + timeout;
        loop {
            self.flush()?;
            if self.stats.in_flight == 0 || Instant::now() >= end {
                return Ok(self.stats.in_flight == 0);
            }
            std::thread::sleep(TICK);
        }
    }

    fn take_back(&mut self) {
        self.stats.refused += std::mem::take(&mut self.stats.in_flight);
        self.tail = self.head;
    }

    fn stats(&mut self) -> TxStats {
        self.stats
    }

    fn max_frame(&self) -> usize {
        self.way.max_frame(self.ring.slot_size())
    }
}
