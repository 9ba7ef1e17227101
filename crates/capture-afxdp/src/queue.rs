//! The queue: batches out of the ring, and the counters that account for them.
//!
//! Knows the port, not how it was set up. What happens to the interface is in `queue/link.rs`.

mod books;
mod link;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capture::{
    CaptureError, Direction, Frame, FrameFlags, Interface, InterfaceIndex, LinkType, QueueStats, Readiness, RxBatch,
    RxQueue, Timestamp,
};
use netdev::{Follow, Gather, NicLoss, doze};

use crate::attachment::Plan;
use crate::port::Port;
use crate::sys::receive::{Cursor, Damaged, Loan, Walk};
use books::{Books, Counters};

/// One receive queue of an interface: a socket with memory of its own, read by one thread.
///
/// An interface that goes down, comes back, is renamed, or is deleted and made again is logged, and capture goes on. A renamed interface is
/// followed; one that is made again is found by the configured name.
///
/// `wire_len` of a frame is what XDP sees: the frame with its link-layer header and its VLAN tags (`vlan` is always `None`). Frames have
/// the time at which their batch was taken out of the ring; in a steady stream that is up to a millisecond after they came (see
/// [`Options::frame_count`](crate::Options::frame_count)).
pub struct Queue {
    plan: Arc<Plan>,
    /// Position among the queues of the interface.
    number: usize,
    /// The receive queue's own number.
    queue: u32,
    /// `None` while a deleted interface is waited for.
    port: Option<Port>,
    interfaces: Vec<Interface>,
    constants: Constants,
    counters: Counters,
    /// Of the first queue of the interface.
    nic: Option<NicLoss>,
    follow: Follow,
    gather: Gather,
    /// When to look at the interface.
    next_look: Instant,
    /// Frames received when it was last looked at.
    looked_at: u64,
    /// The interface is not there, or not with our program.
    gone: bool,
    /// Why the interface could not be opened again, as last told.
    obstacle: Option<String>,
    stopped: bool,
    ended: bool,
}

/// What all frames of a batch have in common.
#[derive(Clone, Copy, Debug)]
struct Constants {
    interface: InterfaceIndex,
    link_type: LinkType,
    timestamp: Timestamp,
    /// A frame longer than this was merged.
    longest: u32,
}

/// Some frames of the ring, on loan. Gives them back to the kernel when dropped.
pub struct Batch<'q> {
    loan: Loan<'q>,
    cursor: Cursor,
    books: Books<'q>,
    constants: Constants,
}

/// The frames of a batch.
pub struct Frames<'b> {
    walk: Walk<'b>,
    cursor: &'b mut Cursor,
    counters: &'b mut Counters,
    constants: Constants,
}

impl Queue {
    pub(crate) fn new(plan: Arc<Plan>, number: usize, follow: Follow, port: Port) -> Self {
        let link_type = follow.device().link_type;
        let interfaces = vec![Interface { name: plan.options.interface.clone(), link_type }];
        let nic = (number == 0).then(|| NicLoss::new(follow.device().index));
        let constants =
            Constants { interface: InterfaceIndex(0), link_type, timestamp: Timestamp::EPOCH, longest: u32::MAX };
        let now = Instant::now();
        let gather = Gather::new(plan.options.frame_count);
        let mut queue = Self {
            plan,
            number,
            queue: port.queue,
            port: Some(port),
            interfaces,
            constants,
            counters: Counters::default(),
            nic,
            follow,
            gather,
            next_look: now,
            looked_at: 0,
            gone: false,
            obstacle: None,
            stopped: false,
            ended: false,
        };
        queue.look(now);
        queue
    }

    /// The number of the receive queue.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.queue
    }

    /// Whether the driver writes frames to our memory by itself; `None` while a deleted interface is waited for.
    #[must_use]
    pub fn is_zero_copy(&self) -> Option<bool> {
        self.port.as_ref().map(|port| port.binding.zero_copy)
    }

    fn ready(&mut self) -> bool {
        self.port.as_mut().is_some_and(|port| port.memory.ready())
    }

    /// One sleep of at most `pause`, ended by frames or by a signal. Says whether it was only time that went by.
    fn sleep(&mut self, pause: Duration, now: Instant) -> Result<bool, CaptureError> {
        let Some(port) = &mut self.port else {
            std::thread::sleep(pause);
            return Ok(true);
        };
        if let Some(gather) = self.gather.pause(self.counters.received, now) {
            if port.memory.needs_wakeup() {
                // poll(2) would do it: the driver has run out of chunks.
                let _ = port.socket.wake();
            }
            return Ok(!doze(gather.min(pause)));
        }
        let woken = port.socket.wait(pause).map_err(|e| CaptureError::system("waiting for frames", e))?;
        if woken && !port.memory.ready() {
            // The kernel says readable and the ring is empty: an interface that is away, and not worth a busy core.
            std::thread::sleep(pause.min(Duration::from_millis(10)));
        }
        Ok(!woken)
    }
}

impl RxQueue for Queue {
    type Batch<'q> = Batch<'q>;

    #[inline]
    fn next_batch(&mut self) -> Result<Option<Batch<'_>>, CaptureError> {
        if !self.ready() {
            return Ok(None);
        }
        // As of the call: a name that is found new here is for the next batch, whose reader can have looked it up before.
        let mut constants = self.constants;
        let now = Instant::now();
        if now >= self.next_look {
            self.look(now);
        }
        let Self { port, counters, nic, stopped, .. } = self;
        let Some(Port { socket, memory, attachment, queue, .. }) = port else { return Ok(None) };
        if memory.needs_wakeup() {
            // A driver that ran out of chunks, and sleeps. What hinders it now, `wait` will meet again.
            let _ = socket.wake();
        }
        let Some(loan) = memory.lend() else { return Ok(None) };
        // Once a batch, for the frames have no time of their own; after the last of them has come.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        constants.timestamp = Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        counters.received += u64::from(loan.frames());
        let books = Books { port: Some((socket, attachment, *queue)), counters, nic, stopped };
        Ok(Some(Batch { cursor: loan.start(), loan, books, constants }))
    }

    /// A signal ends the sleep early, as [`Readiness::TimedOut`].
    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        let start = Instant::now();
        let mut now = start;
        loop {
            if self.ended {
                return Ok(Readiness::Ended);
            }
            if self.ready() {
                return Ok(Readiness::Ready);
            }
            if self.stopped {
                // What was accepted before the stop was in the ring when `stop` returned.
                self.ended = true;
                continue;
            }
            if now >= self.next_look {
                self.look(now);
                self.reopen_if_gone(now)?;
            }
            let left = timeout.saturating_sub(now - start);
            if left.is_zero() {
                return Ok(Readiness::TimedOut);
            }
            let pause = left.min(self.next_look.saturating_duration_since(now).max(Duration::from_millis(1)));
            let only_time = self.sleep(pause, now)?;
            now = Instant::now();
            if only_time && now - start < timeout && now < self.next_look {
                return Ok(Readiness::TimedOut);
            }
        }
    }

    /// Takes the socket out of the map and waits until the kernel is through with it, some milliseconds. Frames go on to the host from then
    /// on; batches go on until the last frame.
    fn stop(&mut self) -> Result<(), CaptureError> {
        self.take_back();
        self.books().stop()
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.take_back();
        let now = Instant::now();
        if now >= self.next_look {
            self.look(now);
        }
        let pending = self.port.as_ref().map_or(0, |port| port.memory.pending());
        self.books().stats(pending)
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}

impl Queue {
    fn take_back(&mut self) {
        if let Some(port) = &mut self.port {
            port.memory.take_back();
        }
    }

    fn books(&mut self) -> Books<'_> {
        let Self { port, counters, nic, stopped, .. } = self;
        let port = port.as_ref().map(|port| (&port.socket, &*port.attachment, port.queue));
        Books { port, counters, nic, stopped }
    }
}

impl RxBatch for Batch<'_> {
    type Frames<'b>
        = Frames<'b>
    where
        Self: 'b;

    #[inline]
    fn frames(&mut self) -> Frames<'_> {
        let Self { loan, cursor, books, constants } = self;
        Frames { walk: loan.walk(), cursor, counters: books.counters, constants: *constants }
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        let pending = self.loan.pending();
        self.books.stats(pending)
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.books.stop()
    }
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'b>> {
        let raw = loop {
            match self.walk.next(self.cursor)? {
                Ok(raw) => break raw,
                Err(Damaged) => self.counters.damage(),
            }
        };
        let mut flags = FrameFlags::NONE;
        if raw.wire_len > self.constants.longest {
            flags = FrameFlags::SUPER_FRAME;
            self.counters.super_frames += 1;
        }
        Some(Frame {
            data: raw.data,
            timestamp: self.constants.timestamp,
            wire_len: raw.wire_len,
            interface: self.constants.interface,
            link_type: self.constants.link_type,
            direction: Direction::Rx,
            vlan: None,
            flags,
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.cursor.frames_left()))
    }
}

#[cfg(test)]
mod tests;
