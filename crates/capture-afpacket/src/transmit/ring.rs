//! Sending by a `PACKET_TX_RING` (TPACKET_V2): frames written into mapped slots, one system call for all that are filled.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use capture::{CaptureError, TxQueue, TxStats};

use super::{TICK, TxOptions, Way};
use crate::sys::tx_ring::{HEADER, Slot, TxRing};

/// Octets of a block of the ring at least.
const BLOCK: u32 = 1 << 16;

/// A TX ring on one interface.
///
/// `sent` counts the frames that the driver was given and has let go of again. With the queueing discipline bypassed a driver without room
/// makes the kernel try again later, so that none is lost on the way there; what happens behind the driver shows in the interface's counters.
/// `refused` are the frames that the interface dropped for a tenth of a second, whenever they were tried, and those that are too short or too
/// long.
pub struct Tx {
    ring: TxRing,
    way: Way,
    /// The slot that is filled next, and the oldest that is not known to be sent.
    head: usize,
    tail: usize,
    /// Frames in the ring that are as long as one that was given up.
    hopeless: u64,
    stats: TxStats,
}

impl Tx {
    /// Makes a ring on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// [`CaptureError::BadOption`], [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`] without `CAP_NET_RAW`,
    /// [`CaptureError::System`] for the rest.
    pub fn open(options: &TxOptions) -> Result<Self, CaptureError> {
        let way = Way::open(options)?;
        let TxOptions { ref interface, slot_size, slots, .. } = *options;
        let block_size = BLOCK.max(slot_size);
        let slots_in_block = block_size / slot_size;
        let blocks = slots.div_ceil(slots_in_block);
        let on = |e| CaptureError::on_interface(interface, format!("making a TX ring on {interface}"), e);
        way.socket.make_tx_ring(block_size, blocks, slot_size).map_err(on)?;
        let slots = (blocks * slots_in_block) as usize;
        let ring = TxRing::map(way.socket.as_fd(), slot_size as usize, slots).map_err(on)?;
        Ok(Self { ring, way, head: 0, tail: 0, hopeless: 0, stats: TxStats::default() })
    }

    /// Takes note of the slots that the kernel is through with.
    fn reap(&mut self) -> Result<(), CaptureError> {
        while self.stats.in_flight > 0 {
            match self.ring.state(self.tail) {
                Slot::Free => {
                    self.stats.sent += 1;
                    self.stats.in_flight -= 1;
                    self.tail = (self.tail + 1) % self.ring.slots();
                }
                Slot::Waiting | Slot::Busy => break,
                Slot::Refused => {
                    return Err(CaptureError::Unsupported(format!(
                        "{} refused a frame: its MTU or type has changed since the start; start again",
                        self.way.interface
                    )));
                }
            }
        }
        Ok(())
    }

    /// The oldest frame that the kernel has not begun to send, and its octets.
    fn first_waiting(&self) -> Option<(usize, usize)> {
        let slots = (0..self.stats.in_flight as usize).map(|n| (self.tail + n) % self.ring.slots());
        let first = slots.into_iter().find(|&slot| self.ring.state(slot) == Slot::Waiting)?;
        Some((first, self.ring.length(first)))
    }

    /// Takes the frame out of the ring. The kernel goes on at this slot, so that those behind it move up.
    fn give_up(&mut self, first: usize) {
        let (mut at, slots) = (first, self.ring.slots());
        self.hopeless = 0;
        loop {
            let next = (at + 1) % slots;
            if next == self.head {
                break;
            }
            self.ring.move_up(next, at);
            self.hopeless += u64::from(self.ring.length(at) >= self.way.patience.hopeless);
            at = next;
        }
        self.ring.take_back(at);
        self.head = at;
        self.stats.refused += 1;
        self.stats.in_flight -= 1;
    }

    fn has_room(&self) -> bool {
        self.stats.in_flight < self.ring.slots() as u64 && self.ring.state(self.head) == Slot::Free
    }
}

impl TxQueue for Tx {
    fn fill(&mut self, most: usize, mut write: impl FnMut(&mut [u8]) -> usize) -> Result<usize, CaptureError> {
        self.reap()?;
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
            self.hopeless += u64::from(length >= self.way.patience.hopeless);
            self.ring.hand_over(self.head, length as u32);
            self.stats.in_flight += 1;
            self.head = (self.head + 1) % self.ring.slots();
        }
        Ok(filled)
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        loop {
            let Err(error) = self.way.socket.send_ring() else {
                // All were taken.
                let longest = if self.hopeless > 0 { usize::MAX } else { 0 };
                self.way.patience.took(|| longest);
                self.hopeless = 0;
                return Ok(());
            };
            self.reap()?; // a refused frame has an explanation
            match self.first_waiting() {
                Some((slot, length)) if self.way.gives_up(&error, length) => self.give_up(slot),
                // What was not sent stays in the ring.
                _ => return self.way.failed(error),
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        self.reap()?;
        if self.has_room() {
            return Ok(true);
        }
        // Frames that the driver had no room for are sent only by another call.
        self.flush()?;
        self.reap()?;
        if !self.has_room() {
            self.way.socket.poll_to_send(timeout.min(TICK)).map_err(|e| CaptureError::system("waiting for room", e))?;
            self.reap()?;
        }
        Ok(self.has_room())
    }

    fn drain(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        let end = Instant::now() + timeout;
        loop {
            self.reap()?;
            if self.stats.in_flight == 0 {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            self.flush()?;
            std::thread::sleep(TICK);
        }
    }

    fn take_back(&mut self) {
        let _ = self.reap(); // an explanation of what is refused here
        while self.stats.in_flight > 0 {
            let last = (self.head + self.ring.slots() - 1) % self.ring.slots();
            match self.ring.state(last) {
                Slot::Waiting | Slot::Refused => self.ring.take_back(last),
                Slot::Free | Slot::Busy => break,
            }
            self.head = last;
            self.stats.refused += 1;
            self.stats.in_flight -= 1;
        }
    }

    fn stats(&mut self) -> TxStats {
        let _ = self.reap(); // the next fill tells
        self.stats
    }

    fn max_frame(&self) -> usize {
        self.way.max_frame(self.ring.room())
    }
}

const _: () = assert!(HEADER == 32, "the documentation of `slot_size` says so");
