//! A packet(7) socket without a ring: each frame is copied out by recvmmsg(2). The plain way, as a baseline for measurements.
//!
//! In a steady stream frames gather for up to a millisecond before they are asked for ([`Gather`]): each has its own time all the same.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use capture::{
    CaptureDirection, CaptureError, Count, Direction, FilterProgram, Frame, FrameFlags, Interface, InterfaceIndex,
    LinkType, QueueStats, Readiness, RxBatch, RxQueue, Timestamp, VlanTag,
};
use netdev::{Device, Follow, Gather, Link, NicLoss, Promiscuous, doze};

use crate::options::bad;
use crate::program;
use crate::sys::messages::{Messages, Told};
use crate::sys::socket::{PacketSocket, Polled};

/// What to capture by a plain socket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlainOptions {
    /// The interface's name.
    pub interface: String,
    /// Octets captured of each frame, 1 to 262,144. Default 256.
    pub snaplen: u32,
    /// Octets of the socket's buffer, of which each frame takes its own and some 700 more. Default 32 MiB.
    pub buffer_size: u32,
    /// Which frames. Default [`CaptureDirection::Promisc`].
    pub direction: CaptureDirection,
    /// Compiled for the interface's [link type](netdev::interfaces::link_type). Runs in the kernel.
    pub filter: Option<FilterProgram>,
    /// Has to be 1: this is the plain way.
    pub queues: usize,
}

impl PlainOptions {
    /// The defaults for `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            snaplen: 256,
            buffer_size: 32 << 20,
            direction: CaptureDirection::default(),
            filter: None,
            queues: 1,
        }
    }
}

/// Frames of one call at most, and their octets.
const FRAMES: usize = 256;
const OCTETS: usize = 1 << 20;
/// Octets of the socket's buffer that a short frame takes.
const SHORT: u32 = 768;
/// How long a stopped queue waits for frames that the kernel says it accepted.
const PATIENCE: Duration = Duration::from_secs(1);

/// One plain socket.
pub struct PlainQueue {
    messages: Messages,
    account: Account,
    interfaces: [Interface; 1],
    link_type: LinkType,
    follow: Follow,
    gather: Gather,
    ended: bool,
    _promiscuous: Option<Promiscuous>,
}

/// All but the frames: what is needed while a batch is out.
struct Account {
    socket: PacketSocket,
    nic: NicLoss,
    received: u64,
    offered: u64,
    dropped: u64,
    super_frames: u64,
    stopped: Option<Instant>,
}

/// The frames of one call.
pub struct PlainBatch<'q> {
    messages: &'q Messages,
    account: &'q mut Account,
    constants: Constants,
    next: usize,
    count: usize,
}

#[derive(Clone, Copy)]
struct Constants {
    link_type: LinkType,
    /// A frame longer than this was merged.
    longest: u32,
}

/// Those that were not looked at.
pub struct PlainFrames<'b> {
    messages: &'b Messages,
    super_frames: &'b mut u64,
    constants: Constants,
    next: &'b mut usize,
    count: usize,
}

/// Opens a plain socket on an interface of the calling thread's namespace.
///
/// # Errors
/// [`CaptureError::BadOption`], [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`] without `CAP_NET_RAW`,
/// [`CaptureError::System`] for the rest.
pub fn open_plain(options: &PlainOptions) -> Result<Vec<PlainQueue>, CaptureError> {
    if options.queues != 1 {
        return Err(bad(
            "queues",
            options.queues,
            "a socket without a ring is a baseline and has one; afpacket shares an interface",
        ));
    }
    if !(1..=262_144).contains(&options.snaplen) {
        return Err(bad("snaplen", options.snaplen, "1 to 262144 octets"));
    }
    let device = Device::find(&options.interface)?;
    let on = |action: &'static str| {
        let interface = options.interface.clone();
        move |e| CaptureError::on_interface(&interface, format!("{action} {interface}"), e)
    };
    let socket = PacketSocket::open().map_err(|e| CaptureError::refused("opening an AF_PACKET socket", e))?;
    // Nothing comes before the filter is there: see `Port::prepare`.
    let program = program::assemble(options.direction, device.loopback, options.snaplen, options.filter.as_ref())?;
    socket.attach(&program).map_err(on("attaching the filter on"))?;
    socket.tell_more().map_err(on("asking for times and tags on"))?;
    let buffer = socket.set_receive_buffer(options.buffer_size).map_err(on("making the buffer for"))?;
    socket.bind(device.index).map_err(on("binding to"))?;
    let _promiscuous =
        (options.direction == CaptureDirection::Promisc).then(|| Promiscuous::hold(&device)).transpose()?;
    let stride = options.snaplen as usize;
    let messages = Messages::new((OCTETS / stride).clamp(1, FRAMES), stride);
    let account = Account {
        socket,
        nic: NicLoss::new(device.index),
        received: 0,
        offered: 0,
        dropped: 0,
        super_frames: 0,
        stopped: None,
    };
    let follow = Follow::new(&options.interface, device, true)?.that_ends();
    let interfaces = [Interface { name: options.interface.clone(), link_type: device.link_type }];
    let link_type = device.link_type;
    let gather = Gather::new(buffer / SHORT);
    Ok(vec![PlainQueue { messages, account, interfaces, link_type, follow, gather, ended: false, _promiscuous }])
}

impl Account {
    /// Adds up what the kernel clears when it is read.
    fn read_statistics(&mut self) -> Result<(), CaptureError> {
        let stats = self.socket.statistics().map_err(|e| CaptureError::system("reading PACKET_STATISTICS", e))?;
        self.offered += u64::from(stats.packets);
        self.dropped += u64::from(stats.drops);
        Ok(())
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.read_statistics()?;
        Ok(QueueStats {
            offered: Count::Exact(self.offered),
            received: self.received,
            ring_dropped: Count::Exact(self.dropped),
            nic_dropped: self.nic.count(),
            damaged: 0,
            freezes: Count::Exact(0),
            super_frames: self.super_frames,
        })
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        if self.stopped.is_some() {
            return Ok(());
        }
        self.stopped = Some(Instant::now());
        let reject = self.socket.attach(&program::reject_all());
        reject.map_err(|e| CaptureError::system("attaching the filter that ends the capture", e))?;
        netdev::wait_for_receive_paths();
        Ok(())
    }
}

impl RxQueue for PlainQueue {
    type Batch<'q> = PlainBatch<'q>;

    fn next_batch(&mut self) -> Result<Option<PlainBatch<'_>>, CaptureError> {
        let Self { messages, account, .. } = self;
        let count = match messages.receive(account.socket.as_fd()) {
            Ok(count) => count,
            // Told once, and read by this call: the interface went down.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO)) => 0,
            Err(e) => return Err(CaptureError::system("receiving frames", e)),
        };
        if count == 0 {
            return Ok(None);
        }
        account.received += count as u64;
        let longest = self.follow.longest_frame(self.link_type);
        let constants = Constants { link_type: self.link_type, longest };
        Ok(Some(PlainBatch { messages, account, constants, next: 0, count }))
    }

    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        let now = Instant::now();
        if self.ended {
            return Ok(Readiness::Ended);
        }
        if now >= self.follow.next() {
            self.follow.look(now);
        }
        if let Some(stopped) = self.account.stopped {
            self.account.read_statistics()?;
            let accepted = self.account.offered - self.account.dropped;
            if self.account.received >= accepted || stopped.elapsed() > PATIENCE {
                self.ended = true;
                return Ok(Readiness::Ended);
            }
            return Ok(Readiness::Ready);
        }
        if self.follow.link() == Link::Deleted {
            return Err(CaptureError::Unsupported(format!(
                "{} was deleted, and a socket without a ring does not wait for another of that name (afpacket does)",
                self.follow.name()
            )));
        }
        if let Some(pause) = self.gather.pause(self.account.received, now) {
            return Ok(if doze(pause.min(timeout)) { Readiness::Ready } else { Readiness::TimedOut });
        }
        match self.account.socket.poll(timeout).map_err(|e| CaptureError::system("waiting for frames", e))? {
            Polled::Ready => Ok(Readiness::Ready),
            Polled::Nothing => Ok(Readiness::TimedOut),
            Polled::Error => {
                let _ = self.account.socket.take_error(); // an interface that is down; `follow` tells
                std::thread::sleep(timeout.min(Duration::from_millis(10)));
                Ok(Readiness::TimedOut)
            }
        }
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

impl RxBatch for PlainBatch<'_> {
    type Frames<'b>
        = PlainFrames<'b>
    where
        Self: 'b;

    fn frames(&mut self) -> PlainFrames<'_> {
        PlainFrames {
            messages: self.messages,
            super_frames: &mut self.account.super_frames,
            constants: self.constants,
            next: &mut self.next,
            count: self.count,
        }
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.account.stats()
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.account.stop()
    }
}

impl<'b> Iterator for PlainFrames<'b> {
    type Item = Frame<'b>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'b>> {
        if *self.next >= self.count {
            return None;
        }
        let nth = *self.next;
        *self.next += 1;
        let Told { captured, wire_len, outgoing, seconds, nanos, vlan } = self.messages.told(nth)?;
        let time = u64::try_from(seconds).ok().zip(u64::try_from(nanos).ok()).map(|(s, n)| s * 1_000_000_000 + n);
        let mut flags = if time.is_some_and(|time| time > 0) { FrameFlags::NONE } else { FrameFlags::NO_TIME };
        if wire_len > self.constants.longest {
            flags = flags.union(FrameFlags::SUPER_FRAME);
            *self.super_frames += 1;
        }
        Some(Frame {
            data: self.messages.octets(nth, captured),
            timestamp: time.map_or(Timestamp::EPOCH, Timestamp::from_nanos),
            wire_len,
            interface: InterfaceIndex(0),
            link_type: self.constants.link_type,
            direction: if outgoing { Direction::Tx } else { Direction::Rx },
            vlan: vlan.map(|(tpid, tci)| VlanTag { tpid, tci }),
            flags,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.count - *self.next))
    }
}
