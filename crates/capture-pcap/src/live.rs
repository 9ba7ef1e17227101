//! Live capture by any libpcap that is found at run time: the system's, or one with netmap or PF_RING in it.

use std::ffi::CString;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use capture::{
    BpfInstruction, CaptureDirection, CaptureError, Count, Direction, FilterProgram, Frame, FrameFlags, Interface,
    InterfaceIndex, LinkType, QueueStats, Readiness, RxBatch, RxQueue, Timestamp,
};
use netdev::{Device, Follow, NicLoss};

use crate::libpcap::{Libpcap, linktype_of_dlt};
use crate::sys::live::{Collect, LiveHandle, LiveRequest};
use crate::sys::{LiveError, c_string, socket};

/// What to capture by libpcap, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LiveOptions {
    /// The interface's name, or what else this libpcap takes for one (`netmap:eth1`, `zc:eth1@0`).
    pub interface: String,
    /// The library. `None`: the system's.
    pub libpcap: Option<PathBuf>,
    /// Octets captured of each frame, 1 to 262,144. Default 256.
    pub snaplen: u32,
    /// Octets of the kernel's ring. Default 32 MiB; libpcap's own is 2 MiB.
    pub buffer_size: u32,
    /// Each frame at once, instead of by blocks (pcap_set_immediate_mode(3PCAP)). Default false.
    pub immediate: bool,
    /// How long the kernel may wait for a block to fill, in whole milliseconds. Default 10 ms.
    pub timeout: Duration,
    /// Which frames. Default [`CaptureDirection::Promisc`].
    pub direction: CaptureDirection,
    /// Compiled by [`Libpcap::compile_live`].
    pub filter: Option<FilterProgram>,
    /// A name of pcap-tstamp(7): `host`, `adapter`, ... `None`: libpcap's choice.
    pub time_stamp_type: Option<String>,
    /// Nanoseconds where libpcap has them. Default true.
    pub nanoseconds: bool,
    /// Has to be 1: libpcap cannot share an interface between queues.
    pub queues: usize,
}

impl LiveOptions {
    /// The defaults for `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            libpcap: None,
            snaplen: 256,
            buffer_size: 32 << 20,
            immediate: false,
            timeout: Duration::from_millis(10),
            direction: CaptureDirection::default(),
            filter: None,
            time_stamp_type: None,
            nanoseconds: true,
            queues: 1,
        }
    }
}

/// Frames of a batch at most, and octets: libpcap lends a frame only until the next, so that a batch is a copy.
const BATCH: usize = 512;
const BATCH_OCTETS: usize = 1 << 20;
/// A program that takes no frame.
const REJECT: BpfInstruction = BpfInstruction { code: 0x06, jt: 0, jf: 0, k: 0 };
/// How long a stopped queue waits for frames that the kernel still holds, beside its timeout.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// All of a queue but its frames: what is needed while a batch is out.
struct Account {
    handle: LiveHandle,
    options: LiveOptions,
    packet_socket: bool,
    received: u64,
    damaged: u64,
    offered: u64,
    dropped: u64,
    interface_dropped: u64,
    /// Of libpcap, as last read: they wrap.
    last: (u32, u32, u32),
    nic: Option<NicLoss>,
    stopped: Option<Instant>,
}

/// Some frames. Dropping it gives nothing back: they are copies.
pub struct LiveBatch<'q> {
    account: &'q mut Account,
    arena: &'q Arena,
    link_type: LinkType,
    next: usize,
}

/// The frames of a batch that were not looked at.
pub struct LiveFrames<'b> {
    arena: &'b Arena,
    link_type: LinkType,
    next: &'b mut usize,
}

/// Opens an interface by libpcap.
///
/// # Errors
/// [`CaptureError::BadOption`], [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`]; [`CaptureError::Unsupported`] without a
/// libpcap; [`CaptureError::System`] in libpcap's own words.
pub fn open_live(options: &LiveOptions) -> Result<Vec<LiveQueue>, CaptureError> {
    let bad = |option: &'static str, value: String, allowed: &str| {
        Err(CaptureError::BadOption { option, value, allowed: allowed.to_owned() })
    };
    if options.queues != 1 {
        return bad("queues", options.queues.to_string(), "1: libpcap cannot share an interface between queues");
    }
    if !(1..=262_144).contains(&options.snaplen) {
        return bad("snaplen", options.snaplen.to_string(), "1 to 262144 octets");
    }
    let milliseconds = options.timeout.as_millis();
    if !(1..=10_000).contains(&milliseconds) {
        return bad("timeout", format!("{:?}", options.timeout), "1 ms to 10 s");
    }
    let Ok(buffer) = i32::try_from(options.buffer_size) else {
        return bad("buffer size", options.buffer_size.to_string(), "below 2 GiB");
    };
    let no_such = || CaptureError::NoSuchInterface { name: options.interface.clone() };
    let name = c_string(&options.interface).ok_or_else(no_such)?;
    let kind = options.time_stamp_type.as_deref().map(CString::new).transpose();
    let Ok(kind) = kind else { return bad("time stamp type", String::new(), "a name without a zero octet") };
    let request = LiveRequest {
        snaplen: options.snaplen.cast_signed(),
        buffer: Some(buffer),
        timeout: i32::try_from(milliseconds).unwrap_or(i32::MAX),
        immediate: options.immediate,
        promiscuous: options.direction == CaptureDirection::Promisc,
        time_stamp_type: kind.as_deref(),
        nanoseconds: options.nanoseconds,
    };
    let libpcap = Libpcap::load(options.libpcap.as_deref())?;
    let (api, path) = libpcap.into_parts();
    let mut handle =
        LiveHandle::open(api, &path, &name, &request).map_err(|error| explain(&options.interface, error))?;
    let refused = |what: &str, message: String| {
        CaptureError::system(format!("{what} on {}", options.interface), std::io::Error::other(message))
    };
    let loopback = Device::find(&options.interface).is_ok_and(|device| device.loopback);
    if loopback && options.direction == CaptureDirection::Out {
        return bad(
            "direction",
            "out".to_owned(),
            "in or promisc: libpcap does not show what a loopback interface sends",
        );
    }
    let own_program = program(options, loopback).filter(|_| handle.descriptor().is_some_and(socket::is_packet_socket));
    if own_program.is_none() {
        if options.direction != CaptureDirection::Promisc {
            handle.set_direction(options.direction).map_err(|message| refused("setting the direction", message))?;
        }
        if let Some(filter) = &options.filter {
            handle.set_filter(filter.instructions()).map_err(|message| refused("setting the filter", message))?;
        }
    }
    let link_type = linktype_of_dlt(handle.link_type());
    tracing::debug!(interface = options.interface, "{} ({})", handle.version(), path.display());
    let mut queue = LiveQueue::new(handle, options.clone(), link_type)?;
    if let Some(program) = own_program {
        queue.choose(&program)?;
    }
    Ok(vec![queue])
}

/// Direction and filter as one program for a packet(7) socket, which is attached past libpcap. libpcap's own way of choosing a direction looks
/// at each frame when it is read: those of the other direction take room in the ring, and are in `ps_recv`. And a filter that it is given it
/// also runs by itself on the blocks of the ring that may be older (`blocks_to_filter_in_userland` of pcap-linux.c), but knows no packet types.
///
/// On a loopback interface the kernel shows each frame when it is sent and again when it is received; libpcap lends only the second.
fn program(options: &LiveOptions, loopback: bool) -> Option<Vec<BpfInstruction>> {
    /// `SKF_AD_OFF + SKF_AD_PKTTYPE` of linux/filter.h, and `PACKET_OTHERHOST` and `PACKET_OUTGOING` of linux/if_packet.h.
    const PACKET_TYPE: u32 = 0xffff_f004;
    const OTHER_HOST: u32 = 3;
    const OUTGOING: u32 = 4;
    let code = |code, jt, jf, k| BpfInstruction { code, jt, jf, k };
    let (load, reject, accept) =
        (code(0x20, 0, 0, PACKET_TYPE), code(0x06, 0, 0, 0), code(0x06, 0, 0, options.snaplen));
    let mut program = match options.direction {
        CaptureDirection::Promisc if !loopback => Vec::new(),
        CaptureDirection::Promisc => vec![load, code(0x15, 0, 1, OUTGOING), reject],
        CaptureDirection::In => vec![load, code(0x35, 0, 1, OTHER_HOST), reject],
        CaptureDirection::Out => vec![load, code(0x15, 1, 0, OUTGOING), reject],
    };
    match &options.filter {
        Some(filter) => program.extend_from_slice(filter.instructions()),
        None if program.is_empty() => return None,
        None => program.push(accept),
    }
    Some(program)
}

fn explain(interface: &str, error: LiveError) -> CaptureError {
    match error.status {
        LiveError::NO_SUCH_DEVICE => CaptureError::NoSuchInterface { name: interface.to_owned() },
        LiveError::PERMISSION_DENIED => {
            CaptureError::no_permission("opening an interface by libpcap", "CAP_NET_RAW", "cap_net_raw")
        }
        LiveError::NOT_UP => CaptureError::Unsupported(format!(
            "{interface} is down, and libpcap opens only one that is up: ip link set {interface} up"
        )),
        _ => CaptureError::system(format!("opening {interface} by libpcap"), std::io::Error::other(error.message)),
    }
}

impl LiveQueue {
    fn new(handle: LiveHandle, options: LiveOptions, link_type: LinkType) -> Result<Self, CaptureError> {
        let snaplen = options.snaplen as usize;
        let most = (BATCH_OCTETS / snaplen).clamp(1, BATCH);
        let arena =
            Arena { octets: Vec::with_capacity(most * snaplen.max(64)), entries: Vec::with_capacity(most), damaged: 0 };
        let packet_socket = handle.descriptor().is_some_and(socket::is_packet_socket);
        let device = Device::find(&options.interface).ok();
        let follow = device.map(|device| Follow::new(&options.interface, device, true)).transpose()?;
        let interfaces = [Interface { name: options.interface.clone(), link_type }];
        let account = Account {
            handle,
            packet_socket,
            received: 0,
            damaged: 0,
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

impl Account {
    /// Puts a program in the place of the one that the packet(7) socket has.
    fn attach(&self, program: &[BpfInstruction]) -> Result<(), CaptureError> {
        let Some(descriptor) = self.handle.descriptor() else { return Ok(()) };
        socket::attach(descriptor, program).map_err(|e| CaptureError::system("attaching the filter", e))
    }

    fn failed(&self, what: &str, message: String) -> CaptureError {
        CaptureError::system(format!("{what} {} by libpcap", self.options.interface), std::io::Error::other(message))
    }

    fn read_counters(&mut self) -> Result<(), CaptureError> {
        let stats = self.handle.stats().map_err(|message| self.failed("reading the counters of", message))?;
        let now = (stats.received, stats.dropped, stats.interface_dropped);
        self.offered += u64::from(now.0.wrapping_sub(self.last.0));
        self.dropped += u64::from(now.1.wrapping_sub(self.last.1));
        self.interface_dropped += u64::from(now.2.wrapping_sub(self.last.2));
        self.last = now;
        Ok(())
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.read_counters()?;
        Ok(QueueStats {
            offered: if self.packet_socket { Count::Exact(self.offered) } else { Count::Unknown },
            received: self.received,
            ring_dropped: Count::Exact(self.dropped),
            nic_dropped: match &mut self.nic {
                Some(nic) => nic.count(),
                None => Count::Exact(self.interface_dropped),
            },
            damaged: self.damaged,
            freezes: Count::Unknown,
            super_frames: 0,
        })
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        if self.stopped.is_some() {
            return Ok(());
        }
        self.stopped = Some(Instant::now());
        // Without a packet socket there is no such filter: what is there now is read, and what comes later is not.
        if self.packet_socket { self.attach(&[REJECT]) } else { Ok(()) }
    }

    /// Whether all that the kernel accepted before the stop was lent.
    fn drained(&mut self) -> Result<bool, CaptureError> {
        let Some(stopped) = self.stopped else { return Ok(false) };
        self.read_counters()?;
        let all = self.packet_socket && self.received >= self.offered.saturating_sub(self.dropped);
        Ok(all || stopped.elapsed() > self.options.timeout + if self.packet_socket { PATIENCE } else { Duration::ZERO })
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
        account.handle.dispatch(self.most, arena).map_err(|message| account.failed("reading from", message))?;
        let damaged = arena.damaged - damaged;
        account.damaged += damaged;
        account.received += arena.entries.len() as u64 + damaged;
        if arena.entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(LiveBatch { account, arena, link_type: self.link_type, next: 0 }))
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
        LiveFrames { arena: self.arena, link_type: self.link_type, next: &mut self.next }
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
        Some(Frame {
            data: self.arena.octets.get(entry.start..entry.end)?,
            timestamp: entry.time,
            wire_len: entry.wire_len,
            interface: InterfaceIndex(0),
            link_type: self.link_type,
            direction: Direction::Unknown,
            vlan: None,
            flags: entry.flags,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.arena.entries.len() - *self.next;
        (left, Some(left))
    }
}
