//! The account of a queue, and its end: what may be brought up to date while a batch is out.

use std::time::{Duration, Instant};

use capture::{CaptureError, Count, QueueStats};

use netdev::NicLoss;

use crate::port::Port;
use crate::sys::block::Damaged;
use crate::sys::socket::PacketSocket;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: u64,
    pub(super) damaged: u64,
    pub(super) damage_logged: u64,
    pub(super) super_frames: u64,
    offered: u64,
    dropped: u64,
    freezes: u64,
}

impl Counters {
    #[cold]
    pub(super) fn damage<T>(&mut self, Damaged(frames): Damaged) -> Option<T> {
        self.damaged += u64::from(frames);
        None
    }
}

/// Whether and when the queue ends.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Nothing new is accepted.
    pub(super) stopped: bool,
    /// When a deleted interface's ring, or a stopped queue, is given up even if frames seem to be missing.
    pub(super) deadline: Option<Instant>,
}

/// All of a queue but the ring.
pub(super) struct Books<'q> {
    pub(super) socket: &'q PacketSocket,
    /// Frames that the kernel says it put into the ring.
    pub(super) accepted: &'q mut u64,
    pub(super) counters: &'q mut Counters,
    /// Of the first queue of the interface.
    pub(super) nic: &'q mut Option<NicLoss>,
    pub(super) end: &'q mut End,
    /// The time within which the kernel hands over a block that holds frames, and then some.
    pub(super) patience: Duration,
}

impl Books<'_> {
    /// Adds up what the kernel clears when it is read.
    pub(super) fn read_statistics(&mut self) -> Result<(), CaptureError> {
        let stats = self.socket.statistics().map_err(|e| CaptureError::system("reading PACKET_STATISTICS", e))?;
        *self.accepted += u64::from(stats.packets.saturating_sub(stats.drops));
        self.counters.offered += u64::from(stats.packets);
        self.counters.dropped += u64::from(stats.drops);
        self.counters.freezes += u64::from(stats.freezes);
        Ok(())
    }

    pub(super) fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.read_statistics()?;
        Ok(QueueStats {
            offered: Count::Exact(self.counters.offered),
            received: self.counters.received,
            ring_dropped: Count::Exact(self.counters.dropped),
            nic_dropped: self.nic.as_mut().map_or(Count::Exact(0), NicLoss::count),
            damaged: self.counters.damaged,
            freezes: Count::Exact(self.counters.freezes),
            super_frames: self.counters.super_frames,
        })
    }

    /// Swaps the filter for one that rejects everything and waits until the kernel is through with the old one, some milliseconds.
    pub(super) fn stop(&mut self) -> Result<(), CaptureError> {
        if self.end.stopped {
            return Ok(());
        }
        // Even if the kernel refuses: the deadline ends the queue.
        self.end.stopped = true;
        self.end.deadline = Some(Instant::now() + self.patience);
        Port::refuse(self.socket)
    }
}
