//! The queue: batches out of the ring, and the counters that account for them.
//!
//! Knows the port, not how it was set up. What happens to the interface is in `queue/link.rs`.

mod books;
mod link;

use std::sync::Arc;
use std::time::{Duration, Instant};

use capture::{
    CaptureError, Direction, Frame, FrameFlags, Interface, InterfaceIndex, LinkType, QueueStats, Readiness, RxBatch,
    RxQueue, Timestamp, VlanTag,
};

use netdev::{Link, NicLoss, Watch};

use crate::port::{Plan, Port};
use crate::sys::block::Cursor;
use crate::sys::mmap::Loan;
use crate::sys::socket::Polled;
use books::{Books, Counters, End};

/// One receive queue of an interface: a socket with a ring of its own, read by one thread.
///
/// An interface that goes down, comes back, is renamed, or is deleted and made again is logged, and capture goes on.
/// A renamed interface is followed; one that is made again is found by the configured name.
///
/// `wire_len` of a frame is the kernel's `skb->len`: the frame with its link-layer header, without a VLAN tag that was
/// taken out (that is in `vlan`), without the frame check sequence.
pub struct Queue {
    plan: Arc<Plan>,
    number: usize,
    port: Port,
    interfaces: Vec<Interface>,
    constants: Constants,
    counters: Counters,
    /// Of the first queue of the interface.
    nic: Option<NicLoss>,
    watch: Watch,
    end: End,
    ended: bool,
}

/// What all frames have in common, until the interface changes.
#[derive(Clone, Copy, Debug)]
struct Constants {
    interface: InterfaceIndex,
    link_type: LinkType,
    /// A frame longer than this was merged.
    longest: u32,
}

/// A filled block of the ring, on loan. Gives it back to the kernel when dropped.
pub struct Batch<'q> {
    loan: Loan<'q>,
    cursor: Cursor,
    books: Books<'q>,
    constants: Constants,
}

/// The frames of a block.
pub struct Frames<'b> {
    block: &'b [u8],
    cursor: &'b mut Cursor,
    counters: &'b mut Counters,
    constants: Constants,
}

impl Queue {
    pub(crate) fn new(plan: Arc<Plan>, number: usize, port: Port) -> Self {
        let link_type = port.device.link_type;
        let interfaces = vec![Interface { name: plan.options.interface.clone(), link_type }];
        let nic = (number == 0).then(|| NicLoss::new(port.device.index));
        let constants = Constants { interface: InterfaceIndex(0), link_type, longest: u32::MAX };
        let watch = Watch::new(Instant::now());
        let counters = Counters::default();
        let mut queue =
            Self { plan, number, port, interfaces, constants, counters, nic, watch, end: End::default(), ended: false };
        queue.look(Instant::now());
        queue
    }

    /// The time within which the kernel hands over a block that holds frames, and then some.
    fn patience(&self) -> Duration {
        self.plan.options.block_timeout * 10 + Duration::from_secs(1)
    }

    fn books(&mut self) -> Books<'_> {
        let patience = self.patience();
        let Self { port, counters, nic, end, .. } = self;
        Books { socket: &port.socket, accepted: &mut port.accepted, counters, nic, end, patience }
    }

    /// Whether a stopped queue has lent all, or waited long enough for it.
    fn is_over(&mut self, now: Instant) -> Result<bool, CaptureError> {
        self.books().read_statistics()?;
        let late = self.end.deadline.is_none_or(|deadline| now >= deadline);
        // Statistics first: a block that is handed over later holds only frames that the statistics know.
        if self.port.ring.ready() || !(self.port.drained() || late) {
            return Ok(false);
        }
        if !self.port.drained() {
            let missing = self.port.accepted - self.port.received;
            tracing::warn!(
                queue = self.number,
                missing,
                "stopped, but the kernel did not hand over all it had accepted"
            );
        }
        Ok(true)
    }

    /// One sleep of at most `pause`, ended by frames, by an error or by a signal.
    fn sleep(&mut self, pause: Duration) -> Result<Polled, CaptureError> {
        let polled = self.port.socket.poll(pause).map_err(|e| CaptureError::system("waiting for frames", e))?;
        match polled {
            Polled::Error => self.on_socket_error(pause)?,
            // The kernel says readable and the next block is not: never seen, and not worth a busy core.
            Polled::Ready if !self.port.ring.ready() => std::thread::sleep(pause.min(Duration::from_millis(1))),
            Polled::Ready | Polled::Nothing => {}
        }
        Ok(polled)
    }
}

impl RxQueue for Queue {
    type Batch<'q> = Batch<'q>;

    #[inline]
    fn next_batch(&mut self) -> Result<Option<Batch<'_>>, CaptureError> {
        if !self.port.ring.ready() {
            return Ok(None);
        }
        // As of the call: a name that is found new here is for the next batch, whose reader can have looked it up before.
        let constants = self.constants;
        // Once a block, against hundreds of frames.
        let now = Instant::now();
        if now >= self.watch.next {
            self.look(now);
        }
        let patience = self.patience();
        let Self { port: Port { ring, socket, received, accepted, .. }, counters, nic, end, .. } = self;
        let Some(loan) = ring.lend() else { return Ok(None) };
        let cursor = Cursor::new(loan.octets());
        *received += u64::from(cursor.remaining());
        counters.received += u64::from(cursor.remaining());
        let books = Books { socket, accepted, counters, nic, end, patience };
        Ok(Some(Batch { loan, cursor, books, constants }))
    }

    /// A signal ends the sleep early, as [`Readiness::TimedOut`].
    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        let start = Instant::now();
        let mut now = start;
        loop {
            if self.ended {
                return Ok(Readiness::Ended);
            }
            if self.port.ring.ready() {
                return Ok(Readiness::Ready);
            }
            if self.end.stopped && self.is_over(now)? {
                self.ended = true;
                continue;
            }
            if now >= self.watch.next {
                self.look(now);
                self.reopen_if_deleted(now)?;
            }
            let left = timeout.saturating_sub(now - start);
            if left.is_zero() {
                return Ok(Readiness::TimedOut);
            }
            let mut pause = left.min(self.watch.next.saturating_duration_since(now).max(Duration::from_millis(1)));
            if self.end.stopped {
                pause = pause.min(self.plan.options.block_timeout);
            }
            let polled = self.sleep(pause)?;
            now = Instant::now();
            let early = now - start < timeout && now < self.watch.next && !self.end.stopped;
            if polled == Polled::Nothing && early {
                return Ok(Readiness::TimedOut);
            }
        }
    }

    /// Swaps the filter for one that rejects everything and waits until the kernel is through with the old one,
    /// some milliseconds. Batches then go on until the last frame.
    fn stop(&mut self) -> Result<(), CaptureError> {
        self.port.ring.take_back();
        self.books().stop()
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.port.ring.take_back();
        let now = Instant::now();
        if now >= self.watch.next {
            self.look(now);
        }
        self.books().stats()
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}

impl RxBatch for Batch<'_> {
    type Frames<'b>
        = Frames<'b>
    where
        Self: 'b;

    #[inline]
    fn frames(&mut self) -> Frames<'_> {
        Frames {
            block: self.loan.octets(),
            cursor: &mut self.cursor,
            counters: self.books.counters,
            constants: self.constants,
        }
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.books.stats()
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.books.stop()
    }
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'b>> {
        let raw = match self.cursor.next(self.block) {
            Ok(raw) => raw?,
            Err(damaged) => return self.counters.damage(damaged),
        };
        let mut flags = FrameFlags::NONE;
        if raw.gso || raw.wire_len > self.constants.longest {
            flags = FrameFlags::SUPER_FRAME;
            self.counters.super_frames += 1;
        }
        Some(Frame {
            data: raw.data,
            timestamp: Timestamp::from_nanos(u64::from(raw.seconds) * 1_000_000_000 + u64::from(raw.nanos)),
            wire_len: raw.wire_len,
            interface: self.constants.interface,
            link_type: self.constants.link_type,
            direction: if raw.outgoing { Direction::Tx } else { Direction::Rx },
            vlan: raw.vlan.map(|(tpid, tci)| VlanTag { tpid, tci }),
            flags,
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.cursor.remaining() as usize))
    }
}
