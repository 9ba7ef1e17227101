//! Queues that lend batches.

use std::str::FromStr;
use std::time::Duration;

use crate::{CaptureError, Frame, Interface, QueueStats};

/// One receive queue: owned and read by one thread.
///
/// The life of a queue: `next_batch` until it gives `None`, then [`wait`](Self::wait); after [`stop`](Self::stop) go on in the same way
/// until `wait` answers [`Readiness::Ended`]. Then every frame that the queue had accepted has been lent, and
/// [`stats`](Self::stats) is final.
///
/// # Leaked batches
/// The *queue* remembers what is on loan. A batch gives its part of the ring back when it is dropped; if it is leaked
/// (`mem::forget`) the queue takes it back at the next call, when the borrow proves that no frame of it can still be in use.
/// Frames of a leaked batch that were never looked at are in `received` all the same, so the ledger shows them missing.
pub trait RxQueue {
    /// A loan of some frames.
    type Batch<'q>: RxBatch
    where
        Self: 'q;

    /// Lends what the queue holds now. Never blocks; `None` if there is nothing.
    ///
    /// # Errors
    /// If the queue cannot go on. What it delivered before stays valid, and `stats` still answers.
    fn next_batch(&mut self) -> Result<Option<Self::Batch<'_>>, CaptureError>;

    /// Sleeps until there may be something to read, at most `timeout`. May wake up for nothing.
    ///
    /// # Errors
    /// If the queue cannot go on. An interface that goes away for a while is not an error: the queue logs it and waits.
    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError>;

    /// Accepts no new frames from now on; what was accepted can still be read. Calling it again changes nothing.
    ///
    /// # Errors
    /// If the mechanism refused; then the frames that go on arriving are counted as offered and dropped.
    fn stop(&mut self) -> Result<(), CaptureError>;

    /// The counters, brought up to date. Costs a system call or more: call it about once a second.
    ///
    /// # Errors
    /// If the mechanism does not answer; the counters of the last call stay true for their moment.
    fn stats(&mut self) -> Result<QueueStats, CaptureError>;

    /// All interfaces that frames of this queue refer to. Grows, never shrinks, and no entry changes. The frames of a batch refer
    /// to entries that were there when [`next_batch`](Self::next_batch) was *called*: who looks before each call knows them all.
    fn interfaces(&self) -> &[Interface];
}

/// A loan of frames that lie in the ring. Dropping it gives them back.
pub trait RxBatch {
    /// The frames not yet looked at.
    type Frames<'b>: Iterator<Item = Frame<'b>>
    where
        Self: 'b;

    /// Iterates over the frames, in the order of their arrival. Called again, it goes on where the last iterator stopped:
    /// a worker may pause in the middle of a batch.
    fn frames(&mut self) -> Self::Frames<'_>;

    /// [`RxQueue::stats`] while the batch is out: a worker that has to wait in the middle of a batch keeps its account up to date.
    ///
    /// # Errors
    /// As for the queue.
    fn stats(&mut self) -> Result<QueueStats, CaptureError>;

    /// [`RxQueue::stop`] while the batch is out, for queues to which frames come by themselves: those that come later are not accepted.
    /// The queue has to be stopped all the same.
    ///
    /// # Errors
    /// As for the queue.
    fn stop(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }
}

/// What [`RxQueue::wait`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// There may be frames now.
    Ready,
    /// Nothing came in time.
    TimedOut,
    /// Nothing will ever come again: the file ended, or the stopped queue is drained.
    Ended,
}

/// Which frames a live queue takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CaptureDirection {
    /// Frames that the interface receives for this machine.
    In,
    /// Frames that this machine sends.
    Out,
    /// Both directions, and with the interface in promiscuous mode also what is meant for others.
    #[default]
    Promisc,
}

impl FromStr for CaptureDirection {
    type Err = CaptureError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "in" => Ok(Self::In),
            "out" => Ok(Self::Out),
            "promisc" => Ok(Self::Promisc),
            other => Err(CaptureError::BadOption {
                option: "direction",
                value: other.to_owned(),
                allowed: "one of in, out, promisc".to_owned(),
            }),
        }
    }
}
