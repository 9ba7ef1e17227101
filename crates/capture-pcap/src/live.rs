//! Live capture by any libpcap that is found at run time: the system's, or one with netmap or PF_RING in it.

mod account;
mod open;

use std::thread;
use std::time::{Duration, Instant};

use capture::{
    BpfInstruction, CaptureError, Direction, Frame, FrameFlags, Interface, InterfaceIndex, LinkType, QueueStats,
    Readiness, RxBatch, RxQueue, Timestamp,
};
use netdev::{Device, Follow, Link, NicLoss};

use crate::sys::live::{Collect, LiveHandle};
use crate::sys::socket;
use account::{Account, PATIENCE, REJECT};

pub use open::{LiveOptions, open_live};

/// Frames of a batch at most, and octets: libpcap lends a frame only until the next, so that a batch is a copy.
const BATCH: usize = 512;
const BATCH_OCTETS: usize = 1 << 20;
/// A frame in the arena.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    end: usize,
    wire_len: u32,
    time: Timestamp,
    flags: FrameFlags,
}

/// The frames of a batch, copied. Never grows beyond what was reserved.
#[derive(Debug, Default)]
struct Arena {
    octets: Vec<u8>,
    entries: Vec<Entry>,
    /// Frames that did not fit, though fewer were asked for: the library passed more, or longer ones than the snaplen.
    damaged: u64,
}

impl Collect for Arena {
    fn frame(&mut self, seconds: i64, nanos: i64, data: &[u8], wire_len: u32) {
        if self.entries.len() == self.entries.capacity() || data.len() > self.octets.capacity() - self.octets.len() {
            self.damaged += 1;
            return;
        }
        let start = self.octets.len();
        self.octets.extend_from_slice(data);
        let time = u64::try_from(seconds)
            .ok()
            .zip(u64::try_from(nanos).ok())
            .and_then(|(seconds, nanos)| seconds.checked_mul(1_000_000_000)?.checked_add(nanos));
        let flags = if time.is_some() { FrameFlags::NONE } else { FrameFlags::NO_TIME };
        let time = time.map_or(Timestamp::EPOCH, Timestamp::from_nanos);
        let wire_len = wire_len.max(u32::try_from(data.len()).unwrap_or(u32::MAX));
        self.entries.push(Entry { start, end: self.octets.len(), wire_len, time, flags });
    }
}

/// One interface, captured on by libpcap. It keeps to the seam by a copy of each frame (up to the snaplen).
///
/// # Losses
/// `ring_dropped` is libpcap's `ps_drop`. Where its socket is a packet(7) socket, `offered` is `ps_recv`, which counts those dropped, too;
/// other mechanisms under a libpcap count otherwise, and `offered` is unknown. What the NIC lost is read from the kernel, and where the
/// kernel does not know the interface it is `ps_ifdrop`.
pub struct LiveQueue {
    account: Account,
    arena: Arena,
    most: usize,
    interfaces: [Interface; 1],
    link_type: LinkType,
    ended: bool,
    /// Of an interface that the kernel knows.
    follow: Option<Follow>,
}

/// Some frames. Dropping it gives nothing back: they are copies.
pub struct LiveBatch<'q> {
    account: &'q mut Account,
    arena: &'q Arena,
    constants: Constants,
    next: usize,
}

#[derive(Clone, Copy)]
struct Constants {
    link_type: LinkType,
    /// A frame longer than this was merged.
    longest: u32,
}

/// The frames of a batch that were not looked at.
pub struct LiveFrames<'b> {
    arena: &'b Arena,
    super_frames: &'b mut u64,
    constants: Constants,
    next: &'b mut usize,
}

impl LiveQueue {
    pub(super) fn new(handle: LiveHandle, options: LiveOptions, link_type: LinkType) -> Result<Self, CaptureError> {
        let snaplen = options.snaplen as usize;
        let most = (BATCH_OCTETS / snaplen).clamp(1, BATCH);
        let arena =
            Arena { octets: Vec::with_capacity(most * snaplen.max(64)), entries: Vec::with_capacity(most), damaged: 0 };
        let packet_socket = handle.descriptor().is_some_and(socket::is_packet_socket);
        let device = Device::find(&options.interface).ok();
        let follow =
            device.map(|device| Follow::new(&options.interface, device, true)).transpose()?.map(Follow::that_ends);
        let interfaces = [Interface { name: options.interface.clone(), link_type }];
        let account = Account {
            handle,
            packet_socket,
            received: 0,
            damaged: 0,
            super_frames: 0,
            offered: 0,
            dropped: 0,
            interface_dropped: 0,
            last: (0, 0, 0),
            nic: device.map(|device| NicLoss::new(device.index)),
            stopped: None,
            options,
        };
        Ok(Self { account, arena, most, interfaces, link_type, ended: false, follow })
    }
}

impl LiveQueue {
    /// Why it cannot be read any more: libpcap's own words, or what is behind them.
    fn broken(&mut self, message: String) -> CaptureError {
        let name = &self.account.options.interface;
        let deleted = self.follow.as_mut().is_some_and(|follow| {
            follow.look(Instant::now());
            follow.link() == Link::Deleted
        });
        if !deleted {
            return self.account.failed("reading from", message);
        }
        CaptureError::Unsupported(format!(
            "{name} was deleted ({message}), and libpcap does not wait for another of that name (afpacket does)"
        ))
    }

    /// From now on only frames that the program takes; those from before are thrown away, and are in no account.
    fn choose(&mut self, program: &[BpfInstruction]) -> Result<(), CaptureError> {
        self.account.attach(&[REJECT])?;
        let begin = Instant::now();
        let mut thrown = 0;
        loop {
            self.account.read_counters()?;
            while let Some(batch) = self.next_batch()? {
                thrown += batch.arena.entries.len() as u64;
            }
            let accepted = self.account.offered.saturating_sub(self.account.dropped);
            if thrown >= accepted || begin.elapsed() > self.account.options.timeout + PATIENCE {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let Account { received, damaged, offered, dropped, .. } = &mut self.account;
        (*received, *damaged, *offered, *dropped) = (0, 0, 0, 0);
        self.account.attach(program)
    }
}

impl RxQueue for LiveQueue {
    type Batch<'q> = LiveBatch<'q>;

    fn next_batch(&mut self) -> Result<Option<LiveBatch<'_>>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        let Self { account, arena, .. } = self;
        arena.octets.clear();
        arena.entries.clear();
        let damaged = arena.damaged;
        if let Err(message) = account.handle.dispatch(self.most, arena) {
            return Err(self.broken(message));
        }
        let Self { account, arena, .. } = self;
        let damaged = arena.damaged - damaged;
        account.damaged += damaged;
        account.received += arena.entries.len() as u64 + damaged;
        if arena.entries.is_empty() {
            return Ok(None);
        }
        let longest = self.follow.as_ref().map_or(u32::MAX, |follow| follow.longest_frame(self.link_type));
        Ok(Some(LiveBatch { account, arena, constants: Constants { link_type: self.link_type, longest }, next: 0 }))
    }

    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        let now = Instant::now();
        if self.ended {
            return Ok(Readiness::Ended);
        }
        if let Some(follow) = self.follow.as_mut().filter(|follow| now >= follow.next()) {
            follow.look(now);
        }
        if self.account.stopped.is_some() && self.account.drained()? {
            self.ended = true;
            return Ok(Readiness::Ended);
        }
        let pause = if self.account.stopped.is_some() { timeout.min(self.account.options.timeout) } else { timeout };
        let Some(descriptor) = self.account.handle.descriptor() else {
            thread::sleep(pause.min(Duration::from_millis(1)));
            return Ok(Readiness::Ready);
        };
        let milliseconds = i32::try_from(pause.as_millis()).unwrap_or(i32::MAX);
        let ready =
            socket::poll(descriptor, milliseconds).map_err(|e| CaptureError::system("waiting for frames", e))?;
        if !ready {
            // An error of the socket, as of a link that went down, is read by libpcap at the next call; it may stay for a while.
            thread::sleep(pause.saturating_sub(now.elapsed()).min(Duration::from_millis(10)));
        }
        Ok(if ready { Readiness::Ready } else { Readiness::TimedOut })
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.account.stop()
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.account.stats()
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}

impl RxBatch for LiveBatch<'_> {
    type Frames<'b>
        = LiveFrames<'b>
    where
        Self: 'b;

    fn frames(&mut self) -> LiveFrames<'_> {
        let super_frames = &mut self.account.super_frames;
        LiveFrames { arena: self.arena, super_frames, constants: self.constants, next: &mut self.next }
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.account.stats()
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.account.stop()
    }
}

impl<'b> Iterator for LiveFrames<'b> {
    type Item = Frame<'b>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'b>> {
        let entry = self.arena.entries.get(*self.next)?;
        *self.next += 1;
        let mut flags = entry.flags;
        if entry.wire_len > self.constants.longest {
            flags = flags.union(FrameFlags::SUPER_FRAME);
            *self.super_frames += 1;
        }
        Some(Frame {
            data: self.arena.octets.get(entry.start..entry.end)?,
            timestamp: entry.time,
            wire_len: entry.wire_len,
            interface: InterfaceIndex(0),
            link_type: self.constants.link_type,
            direction: Direction::Unknown,
            vlan: None,
            flags,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.arena.entries.len() - *self.next;
        (left, Some(left))
    }
}
