//! The queue: batches out of one ring, and the counters that account for them.
//!
//! Knows the ring, not how it was opened. What happens when the module complains or the interface changes is in `queue/trouble.rs`.

mod batch;
mod trouble;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capture::{
    CaptureError, Count, Direction, Interface, InterfaceIndex, LinkType, QueueStats, Readiness, RxQueue, Timestamp,
};
use netdev::{Device, Follow, Link, NicLoss, Promiscuous};

use crate::explain;
use crate::held::Shared;
use crate::options::Options;
use crate::port::{Port, Rings};
use crate::sys::abi;
use crate::sys::ring::Ring;
use crate::walk::Walk;

/// How often a queue looks at its interface, and tells of damage.
const LOOK: Duration = Duration::from_secs(1);
/// Room for frames that are joined from several slots: for at least one, whatever the snaplen.
const SCRATCH: usize = 256 << 10;

pub use batch::{Batch, Frames};

/// One receive ring, read by one thread.
///
/// # System calls
/// The module brings frames into the ring, and gets back what was read, at a sync. [`wait`](RxQueue::wait) is a poll(2), which syncs;
/// [`next_batch`](RxQueue::next_batch) makes one `NIOCRXSYNC` when the ring is empty, or half of it was read since the last one: so the
/// module never finds the ring full of what was read already. A ring that is read as fast as it fills costs one call a batch, each of
/// which gives all slots back and brings all frames that have arrived; none is made per frame.
///
/// # Time
/// Frames have the time of the last sync before their batch, in microseconds, as the module wrote it; or as the clock was, if it wrote none.
/// Those of the second half of a full ring came with the sync before that one.
///
/// # The end
/// netmap cannot refuse frames while a port is open. [`stop`](RxQueue::stop) syncs a last time: what is in the ring then is lent, and
/// what comes later is not, and is not counted.
pub struct Queue {
    // Before `shared`, which gives the spare buffers back when nobody else has the memory.
    ring: Ring,
    shared: Arc<Shared>,
    port: Port,
    number: usize,
    interfaces: Vec<Interface>,
    constants: Constants,
    walk: Walk,
    /// Slots given back of which the module has not heard.
    owed: u32,
    scratch: Box<[u8]>,
    counters: Counters,
    /// Of a port that belongs to an interface.
    follow: Option<Follow>,
    /// Of the first queue of an interface.
    nic: Option<NicLoss>,
    promiscuous: Option<Promiscuous>,
    next_look: Instant,
    /// Since when polling gives an error.
    trouble: Option<Instant>,
    /// Of a stopped queue: where what is lent ends.
    limit: Option<u32>,
    ended: bool,
}

/// What all frames have in common, until the next sync.
#[derive(Clone, Copy, Debug)]
struct Constants {
    time: Timestamp,
    interface: InterfaceIndex,
    link_type: LinkType,
    told: Told,
    snaplen: usize,
    /// A frame longer than this was merged.
    longest: u32,
    forward: bool,
}

/// How the direction of a frame is known.
#[derive(Clone, Copy, Debug)]
enum Told {
    ByPort(Direction),
    /// A monitor of both marks what was sent.
    ByFrame,
}

#[derive(Debug, Default)]
struct Counters {
    received: u64,
    damaged: u64,
    damage_told: u64,
    super_frames: u64,
}

impl Queue {
    pub(crate) fn new(
        ring: Ring,
        shared: Arc<Shared>,
        options: &Options,
        port: Port,
        number: usize,
        device: Option<Device>,
    ) -> Result<Self, CaptureError> {
        let host = matches!(port.rings, Rings::Host(_));
        let link_type = device.map_or(LinkType::ETHERNET, |device| device.link_type);
        let told = match (port.monitor_rx, port.monitor_tx) {
            (true, true) => Told::ByFrame,
            (false, true) => Told::ByPort(Direction::Tx),
            _ if host => Told::ByPort(Direction::Tx),
            _ => Told::ByPort(Direction::Rx),
        };
        let constants = Constants {
            time: Timestamp::EPOCH,
            interface: InterfaceIndex(0),
            link_type,
            told,
            snaplen: options.snaplen as usize,
            longest: u32::MAX,
            forward: options.forward_to_host,
        };
        let follow =
            device.map(|device| Follow::new(&port.name, device, number == 0)).transpose()?.map(Follow::that_ends);
        let nic = device.filter(|_| number == 0 && !host).map(|device| NicLoss::new(device.index));
        ring.set_flags(abi::RING_TIMESTAMP | if options.forward_to_host { abi::RING_FORWARD } else { 0 });
        let head = ring.head().unwrap_or_default();
        ring.publish(head, head);
        let interfaces = vec![Interface { name: port.name.clone(), link_type }];
        let mut queue = Self {
            ring,
            shared,
            port,
            number,
            interfaces,
            constants,
            walk: Walk::new(head),
            owed: 0,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            counters: Counters::default(),
            follow,
            nic,
            promiscuous: None,
            next_look: Instant::now(),
            trouble: None,
            limit: None,
            ended: false,
        };
        queue.look(Instant::now());
        Ok(queue)
    }

    pub(crate) fn hold_promiscuous(&mut self, promiscuous: Promiscuous) {
        self.promiscuous = Some(promiscuous);
    }

    /// Gives back what is on loan, unseen frames included, and counts those.
    #[inline]
    fn take_back(&mut self) {
        if self.walk.on_loan() {
            self.counters.received += self.walk.settle(&self.ring) + self.walk.unseen(&self.ring);
            if self.constants.forward {
                self.walk.forward(&self.ring);
            }
            self.owed += self.ring.distance(self.walk.head, self.walk.end);
            self.walk.take_back();
            self.ring.publish(self.walk.head, self.walk.head);
        }
    }

    /// Takes on loan what the ring has. Says whether that is anything.
    fn lend(&mut self) -> Result<bool, CaptureError> {
        let tail = match self.limit {
            Some(limit) => limit,
            None => self.tail()?,
        };
        let before = self.walk.head;
        let (any, damaged) = self.walk.lend(&self.ring, tail, self.limit.is_some());
        if self.walk.head != before {
            // What can never be read.
            self.counters.received += damaged;
            self.counters.damaged += damaged;
            self.ring.publish(self.walk.head, self.walk.head);
        }
        Ok(any)
    }

    /// Where the module's slots begin. Somebody may have written over it, which the next sync puts right.
    fn tail(&mut self) -> Result<u32, CaptureError> {
        if let Some(tail) = self.ring.tail() {
            return Ok(tail);
        }
        self.sync()?;
        self.ring.tail().ok_or_else(|| {
            CaptureError::Unsupported(format!(
                "the ring of netmap port {} is damaged: its tail is outside of it",
                self.port
            ))
        })
    }

    /// Brings frames into the ring and gives slots back.
    fn sync(&mut self) -> Result<(), CaptureError> {
        match self.shared.kernel.sync(abi::NIOCRXSYNC) {
            Ok(()) => {
                self.synced();
                Ok(())
            }
            // Rings stand still, for a moment or for ever: `wait` finds out.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINTR | libc::EAGAIN)) => Ok(()),
            Err(error) => Err(explain::gone(&self.port, &format!("NIOCRXSYNC: {error}"))),
        }
    }

    fn synced(&mut self) {
        self.owed = 0;
        let (seconds, microseconds) = self.ring.time();
        let nanos = u32::try_from(microseconds.saturating_mul(1000)).ok().filter(|&nanos| nanos < 1_000_000_000);
        self.constants.time = match nanos {
            Some(nanos) if seconds != 0 => Timestamp::from_parts(seconds, nanos),
            _ => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_parts(now.as_secs(), now.subsec_nanos())
            }
        };
        if self.ring.head() != Some(self.walk.head) {
            self.put_right();
        }
    }

    /// Sleeps until something comes, at most `pause`.
    fn sleep(&mut self, now: Instant, pause: Duration) -> Result<(), CaptureError> {
        // The start of a frame whose end is not there yet is known: only what comes after it shall wake us up.
        let tail = self.ring.tail().unwrap_or(self.walk.head);
        self.ring.publish(self.walk.head, tail);
        let events = self
            .shared
            .kernel
            .poll(libc::POLLIN, pause)
            .map_err(|error| explain::gone(&self.port, &format!("poll: {error}")))?;
        self.synced();
        if events & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 {
            self.complaint(now, pause)
        } else {
            self.trouble = None;
            Ok(())
        }
    }

    fn counters(&mut self) -> QueueStats {
        let nic_dropped = match &mut self.nic {
            Some(nic) => nic.count(),
            None if self.number > 0 && self.follow.is_some() => Count::Exact(0),
            None => Count::Unknown,
        };
        QueueStats {
            offered: Count::Unknown,
            received: self.counters.received,
            ring_dropped: Count::Unknown,
            nic_dropped,
            damaged: self.counters.damaged,
            freezes: Count::Unknown,
            super_frames: self.counters.super_frames,
        }
    }

    /// The last sync, with or without a batch on loan.
    fn stop_here(&mut self) -> Result<(), CaptureError> {
        if self.limit.is_some() {
            return Ok(());
        }
        let synced = self.sync();
        self.limit = Some(self.ring.tail().unwrap_or(self.walk.end));
        synced
    }

    fn look_if_due(&mut self, now: Instant) {
        if now >= self.next_look {
            self.look(now);
        }
    }
}

impl RxQueue for Queue {
    type Batch<'q> = Batch<'q>;

    #[inline]
    fn next_batch(&mut self) -> Result<Option<Batch<'_>>, CaptureError> {
        self.take_back();
        if self.owed >= self.ring.slots() / 2 && self.limit.is_none() {
            self.sync()?;
        }
        if !self.lend()? {
            if self.limit.is_some() {
                return Ok(None);
            }
            self.sync()?;
            if !self.lend()? {
                return Ok(None);
            }
        }
        // As of the call: a name that is found new here is for the next batch, whose reader can have looked it up before.
        let constants = self.constants;
        // Once a batch.
        self.look_if_due(Instant::now());
        Ok(Some(Batch::new(self, constants)))
    }

    /// A signal ends the sleep early, as [`Readiness::TimedOut`].
    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        self.take_back();
        let start = Instant::now();
        let mut now = start;
        loop {
            if self.ended {
                return Ok(Readiness::Ended);
            }
            let ready = self.lend()?;
            self.walk.cancel();
            if ready {
                return Ok(Readiness::Ready);
            }
            if self.limit.is_some() {
                self.ended = true;
                continue;
            }
            self.look_if_due(now);
            if self.follow.as_ref().is_some_and(|follow| follow.link() == Link::Deleted) {
                // Its last part in the kernel, and the command that deletes it, wait for the port to be closed.
                return Err(explain::gone(&self.port, "the interface was deleted"));
            }
            let left = timeout.saturating_sub(now - start);
            if left.is_zero() {
                return Ok(Readiness::TimedOut);
            }
            self.sleep(now, left.min(self.next_look.saturating_duration_since(now).max(Duration::from_millis(1))))?;
            now = Instant::now();
        }
    }

    /// What is in the ring now is lent, what comes later is not.
    fn stop(&mut self) -> Result<(), CaptureError> {
        self.take_back();
        self.stop_here()
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.take_back();
        self.look_if_due(Instant::now());
        Ok(self.counters())
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}
