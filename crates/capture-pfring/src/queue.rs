//! The queue: batches out of the ring, and the counters that account for them.
//!
//! Knows the port, not how it was set up. What happens to the interface is in `queue/link.rs`.

mod books;
mod link;

use std::sync::Arc;
use std::time::{Duration, Instant};

use capture::{
    CaptureError, Direction, Frame, FrameFlags, Interface, InterfaceIndex, LinkType, QueueStats, Readiness, RxBatch,
    RxQueue, Timestamp,
};

use crate::port::{Plan, Port, Share};
use crate::sys::ring::{Loan, Slots};
use crate::sys::socket::{Companions, Kernel, Polled, Socket, System};
use books::{Books, Counters};

/// Frames of a batch, at most: while it is out, the ring's room is less by as much.
const MOST: u64 = 4096;
/// How long until the next look at an interface that nobody follows.
const NEVER: Duration = Duration::from_secs(3600);

/// One receive queue of an interface: a PF_RING socket with a ring of its own, read by one thread.
///
/// An interface that goes down, comes back, is renamed, or is deleted and made again is logged, and capture goes on.
///
/// # What the module does not count
/// When another PF_RING socket of this machine is closed, the module may forget this one (see `be_counted` in queue/link.rs). The queue finds that
/// out within a second, sets it right and says so in the log; frames of that time are in no counter.
///
/// `wire_len` of a frame is that of the frame with its link-layer header and all its tags, without the frame check sequence. The
/// kernel takes the outermost tag out of a received frame, and the module puts it back with TPID 0x8100, whatever it was (a tag whose
/// 16 bits are all 0 it does not put back).
pub struct Queue<S: System = Kernel> {
    plan: Arc<Plan<S>>,
    number: usize,
    share: Share,
    /// `None` while the interface is deleted.
    port: Option<Port<S::Socket>>,
    interfaces: Vec<Interface>,
    constants: Constants,
    counters: Counters,
    companions: Companions,
    stopped: bool,
    ended: bool,
    /// Why a deleted interface could not be opened again, as last told.
    obstacle: Option<String>,
}

/// What all frames have in common, until the interface changes.
#[derive(Clone, Copy, Debug)]
struct Constants {
    interface: InterfaceIndex,
    /// A frame longer than this was merged.
    longest: u32,
}

/// Some slots of the ring, on loan. Gives them back to the kernel when dropped.
pub struct Batch<'q, S: System = Kernel> {
    loan: Loan<'q>,
    books: Books<'q, S>,
    constants: Constants,
}

/// The frames of a batch.
pub struct Frames<'b> {
    slots: Slots<'b>,
    counters: &'b mut Counters,
    constants: Constants,
}

impl<S: System> Queue<S> {
    pub(crate) fn new(
        plan: Arc<Plan<S>>,
        number: usize,
        share: Share,
        port: Port<S::Socket>,
    ) -> Result<Self, CaptureError> {
        let name = plan.options.interface.clone();
        let companions = plan.system.companions(&name, port.device, number)?;
        let interfaces = vec![Interface { name, link_type: LinkType::ETHERNET }];
        let constants = Constants { interface: InterfaceIndex(0), longest: u32::MAX };
        let counters = Counters::new(&plan.forgotten);
        let (stopped, ended, obstacle) = (false, false, None);
        let port = Some(port);
        let mut queue =
            Self { plan, number, share, port, interfaces, constants, counters, companions, stopped, ended, obstacle };
        queue.note_interface();
        Ok(queue)
    }

    /// The kernel's side of it, for tests.
    #[doc(hidden)]
    pub fn system(&self) -> &S {
        &self.plan.system
    }

    fn books(&mut self) -> Books<'_, S> {
        let Self { plan, port, counters, companions, stopped, .. } = self;
        let ring = port.as_ref().map(|port| (&port.memory, &port.socket));
        Books { system: &plan.system, ring, counters, nic: &mut companions.nic, stopped }
    }

    /// Frames that wait. Finds the place again if it was lost.
    fn waiting(&mut self) -> Result<u64, CaptureError> {
        let Some(port) = &mut self.port else { return Ok(0) };
        let waiting = port.walk.waiting(&port.memory);
        if !port.walk.is_lost() {
            return Ok(waiting);
        }
        self.find_again()
    }

    #[cold]
    fn find_again(&mut self) -> Result<u64, CaptureError> {
        let Some(port) = &mut self.port else { return Ok(0) };
        let passed = port.find_again(&self.plan.system, self.stopped)?;
        self.counters.received += passed;
        self.counters.damaged += passed;
        let waiting = port.walk.waiting(&port.memory);
        tracing::warn!(
            queue = self.number,
            frames = self.counters.damaged,
            "the ring's bookkeeping pointed outside of what it holds: so many frames could not be read so far"
        );
        Ok(waiting)
    }

    fn take_back(&mut self) {
        if let Some(port) = &mut self.port {
            port.walk.take_back(&port.memory);
        }
    }

    /// Sleeps until the watermark is reached.
    fn sleep(&mut self, pause: Duration) -> Result<Polled, CaptureError> {
        match &self.port {
            Some(port) => port.socket.poll(pause).map_err(|e| CaptureError::system("waiting for frames", e)),
            None => {
                std::thread::sleep(pause);
                Ok(Polled::Nothing)
            }
        }
    }
}

impl<S: System> RxQueue for Queue<S> {
    type Batch<'q> = Batch<'q, S>;

    #[inline]
    fn next_batch(&mut self) -> Result<Option<Batch<'_, S>>, CaptureError> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        // As of the call: a name that is found new here is for the next batch, whose reader can have looked it up before.
        let constants = self.constants;
        let now = Instant::now();
        if now >= self.next_look(now) {
            self.look(now);
        }
        let Self { plan, port, counters, companions, stopped, .. } = self;
        let Some(Port { walk, memory, socket, .. }) = port else { return Ok(None) };
        let Some((loan, count)) = walk.lend(memory, MOST) else { return Ok(None) };
        counters.received += count;
        let nic = &mut companions.nic;
        let books = Books { system: &plan.system, ring: Some((memory, socket)), counters, nic, stopped };
        Ok(Some(Batch { loan, books, constants }))
    }

    /// A signal ends the sleep early, as [`Readiness::TimedOut`].
    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        let start = Instant::now();
        let mut now = start;
        loop {
            if self.ended {
                return Ok(Readiness::Ended);
            }
            if self.waiting()? > 0 {
                return Ok(Readiness::Ready);
            }
            if self.stopped {
                self.ended = true;
                continue;
            }
            if now >= self.next_look(now) {
                self.look(now);
                self.reopen_if_deleted(now);
            }
            let left = timeout.saturating_sub(now - start);
            if left.is_zero() {
                return Ok(Readiness::TimedOut);
            }
            let until_look = self.next_look(now).saturating_duration_since(now).max(Duration::from_millis(1));
            let pause = left.min(until_look).min(self.plan.options.poll_duration);
            match self.sleep(pause)? {
                Polled::Interrupted => return Ok(Readiness::TimedOut),
                // The kernel says readable and there is nothing: never seen, and not worth a busy core.
                Polled::Ready if self.waiting()? == 0 => std::thread::sleep(pause.min(Duration::from_millis(1))),
                Polled::Ready | Polled::Nothing => {}
            }
            now = Instant::now();
        }
    }

    /// Shuts the ring down and waits until the kernel's receive paths are through, some milliseconds. Of a queue in a cluster whose ring
    /// is full, the module goes on to count what it would have got as lost, until there is room again.
    fn stop(&mut self) -> Result<(), CaptureError> {
        self.take_back();
        self.books().stop()
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.take_back();
        let now = Instant::now();
        if now >= self.next_look(now) {
            self.look(now);
        }
        Ok(self.books().stats())
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}

impl<S: System> RxBatch for Batch<'_, S> {
    type Frames<'b>
        = Frames<'b>
    where
        Self: 'b;

    #[inline]
    fn frames(&mut self) -> Frames<'_> {
        Frames { slots: self.loan.slots(), counters: self.books.counters, constants: self.constants }
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        Ok(self.books.stats())
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.books.stop()
    }
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'b>> {
        let raw = match self.slots.next() {
            Ok(raw) => raw?,
            Err(damaged) => return self.counters.damage(damaged),
        };
        let mut flags = FrameFlags::NONE;
        if raw.wire_len > self.constants.longest {
            flags = FrameFlags::SUPER_FRAME;
            self.counters.super_frames += 1;
        }
        if raw.nanos == 0 {
            flags = flags.union(FrameFlags::NO_TIME);
        }
        Some(Frame {
            data: raw.data,
            timestamp: Timestamp::from_nanos(raw.nanos),
            wire_len: raw.wire_len,
            interface: self.constants.interface,
            link_type: LinkType::ETHERNET,
            direction: match raw.received {
                Some(true) => Direction::Rx,
                Some(false) => Direction::Tx,
                None => Direction::Unknown,
            },
            vlan: None,
            flags,
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.slots.left()).ok())
    }
}
