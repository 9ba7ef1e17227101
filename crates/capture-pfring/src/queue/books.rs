//! The account of a queue, and its end: what may be brought up to date while a batch is out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use capture::{CaptureError, Count, QueueStats};
use netdev::NicLoss;

use crate::port;
use crate::sys::memory::Memory;
use crate::sys::ring::Damaged;
use crate::sys::socket::System;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: u64,
    pub(super) damaged: u64,
    pub(super) super_frames: u64,
    offered: Sum,
    dropped: Sum,
    /// See [`Plan`](crate::port::Plan).
    pub(super) forgotten: Arc<AtomicBool>,
}

/// A counter of the module, over the rings of all lives of an interface.
#[derive(Debug, Default)]
struct Sum {
    sum: u64,
    last: u64,
}

impl Sum {
    /// The module never clears its counters. One that went back is of a new ring, or was cleared all the same.
    fn read(&mut self, counter: u64) {
        let new = if counter >= self.last { counter - self.last } else { counter };
        self.sum = self.sum.saturating_add(new);
        self.last = counter;
    }
}

impl Counters {
    pub(super) fn new(forgotten: &Arc<AtomicBool>) -> Self {
        Self { forgotten: Arc::clone(forgotten), ..Self::default() }
    }

    #[cold]
    pub(super) fn damage<T>(&mut self, Damaged(frames): Damaged) -> Option<T> {
        self.damaged += frames;
        None
    }

    /// Reads the module's counters.
    pub(super) fn read(&mut self, memory: &Memory) {
        let (packets, lost) = port::totals(memory);
        self.offered.read(packets);
        self.dropped.read(lost);
    }

    fn known(&self, sum: &Sum) -> Count {
        if self.forgotten.load(Ordering::Relaxed) { Count::Unknown } else { Count::Exact(sum.sum) }
    }

    /// The next reading is that of a new ring.
    pub(super) fn new_ring(&mut self) {
        (self.offered.last, self.dropped.last) = (0, 0);
    }
}

/// All of a queue but the walk.
pub(super) struct Books<'q, S: System> {
    pub(super) system: &'q S,
    /// `None` while the interface is deleted.
    pub(super) ring: Option<(&'q Memory, &'q S::Socket)>,
    pub(super) counters: &'q mut Counters,
    /// Of the first queue of the interface.
    pub(super) nic: &'q mut Option<NicLoss>,
    pub(super) stopped: &'q mut bool,
}

impl<S: System> Books<'_, S> {
    pub(super) fn stats(&mut self) -> QueueStats {
        if let Some((memory, _)) = self.ring {
            self.counters.read(memory);
        }
        QueueStats {
            offered: self.counters.known(&self.counters.offered),
            received: self.counters.received,
            ring_dropped: self.counters.known(&self.counters.dropped),
            nic_dropped: self.nic.as_mut().map_or(Count::Exact(0), NicLoss::count),
            damaged: self.counters.damaged,
            // The module has no notion of it: it drops frame by frame.
            freezes: Count::Exact(0),
            super_frames: self.counters.super_frames,
        }
    }

    pub(super) fn stop(&mut self) -> Result<(), CaptureError> {
        if *self.stopped {
            return Ok(());
        }
        // Even if the kernel refuses: the queue ends when it is found empty.
        *self.stopped = true;
        self.ring.map_or(Ok(()), |(_, socket)| port::shut_down(self.system, socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_went_back_starts_again() {
        let mut sum = Sum::default();
        for counter in [3, 10, 2, 2, 5] {
            sum.read(counter);
        }
        assert_eq!(sum.sum, 15);
        sum.read(u64::MAX);
        assert_eq!(sum.sum, u64::MAX, "and never wraps");
    }
}
