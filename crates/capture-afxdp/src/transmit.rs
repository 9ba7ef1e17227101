//! Sending by AF_XDP: frames written into memory that the driver reads, or the kernel copies from.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use capture::{CaptureError, TxQueue, TxStats};
use netdev::{Device, Follow};

use crate::options::{Mode, bad, check_memory};
use crate::port::{bind, bindings, layout, memory, memory_refused, open_socket};
use crate::sys::bpf::Hook;
use crate::sys::ring::Ring;
use crate::sys::send::Transmitter;
use crate::sys::socket::{COMPLETION_PLACE, RingKind, TX_PLACE, XdpSocket};

/// How frames are sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TxOptions {
    /// The interface's name.
    pub interface: String,
    /// The send queue, from 0. The receive queue of the same number cannot be captured by AF_XDP at the same time: the kernel has one memory for both.
    pub queue: u32,
    /// Who reads frames out of our memory: the driver, or the kernel by a copy.
    pub mode: Mode,
    /// Chunks of memory, a power of two from 64 to 1,048,576: as many frames can be under way. Default 2048.
    pub frame_count: u32,
    /// Octets of a chunk: 4096 or 2048. Default 2048; a larger frame than a chunk cannot be sent.
    pub frame_size: u32,
    /// The memory is of huge pages of 2 MiB. Default false.
    pub huge_pages: bool,
}

impl TxOptions {
    /// The defaults for `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            queue: 0,
            mode: Mode::default(),
            frame_count: 2048,
            frame_size: 2048,
            huge_pages: false,
        }
    }
}

/// Octets of an Ethernet header, and of a VLAN tag.
const ETHERNET_HEADER: u32 = 14;
const VLAN_TAG: u32 = 4;
/// How often a `wait` or `drain` looks.
const TICK: Duration = Duration::from_millis(1);
/// Entries of a fill ring that nothing ever comes by; the kernel wants one.
const NO_FRAMES: u32 = 1;

/// A send queue of an interface.
///
/// In copy mode the kernel sends 32 frames (`max_batch` in `xsk_generic_xmit`) with each system call, past the queueing discipline. `sent` are
/// the frames that the driver took; `refused` those that it did not (no carrier, no room: the kernel drops the frame then and says so, one
/// at a time), and those that are too short or too long.
pub struct Tx {
    socket: XdpSocket,
    ring: Transmitter,
    interface: String,
    zero_copy: bool,
    /// Longest frame that the interface takes, without a VLAN tag.
    longest: u32,
    slot: usize,
    /// Frames that came back from the kernel, those that it dropped included, and those.
    completed: u64,
    dropped: u64,
    stats: TxStats,
}

impl Tx {
    /// Makes the memory and binds it to an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// [`CaptureError::BadOption`], [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`] without `CAP_NET_RAW`,
    /// [`CaptureError::Unsupported`] for a queue that is in use, [`CaptureError::System`] for the rest.
    pub fn open(options: &TxOptions) -> Result<Self, CaptureError> {
        let TxOptions { ref interface, queue, mode, frame_count, frame_size, huge_pages } = *options;
        check_memory(frame_count, frame_size)?;
        let device = Device::find(interface)?;
        let mtu = Follow::new(interface, device, false)?.mtu();
        let socket = open_socket()?;
        let umem = memory(frame_count, frame_size, huge_pages)?;
        socket.register(&umem, frame_size).map_err(|e| memory_refused(&umem, e))?;
        let rings = |e| CaptureError::system(format!("making rings of {frame_count} entries"), e);
        socket.make_ring(RingKind::Fill, NO_FRAMES).map_err(rings)?;
        socket.make_ring(RingKind::Completion, frame_count).map_err(rings)?;
        socket.make_ring(RingKind::Tx, frame_count).map_err(rings)?;
        let layout = layout(&socket)?;
        let tx = Ring::map(socket.as_fd(), TX_PLACE, &layout.tx, frame_count).map_err(rings)?;
        let completion = Ring::map(socket.as_fd(), COMPLETION_PLACE, &layout.cr, frame_count).map_err(rings)?;
        // No program is needed to send: whether the driver could run one says nothing. Frames are of one buffer.
        let binding = bind(&socket, interface, &device, queue, &bindings(mode, Hook::Native, false, true)).map_err(
            |e| match e {
                CaptureError::System { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => {
                    bad("queue", queue, format!("a send queue of {interface}, numbered from 0"))
                }
                other => other,
            },
        )?;
        let slot = frame_size as usize;
        tracing::debug!(interface, queue, zero_copy = binding.zero_copy, "sending by AF_XDP");
        Ok(Self {
            socket,
            ring: Transmitter::new(umem, tx, completion, slot),
            interface: interface.clone(),
            zero_copy: binding.zero_copy,
            longest: mtu.saturating_add(ETHERNET_HEADER),
            slot,
            completed: 0,
            dropped: 0,
            stats: TxStats::default(),
        })
    }

    /// Takes note of the frames that the kernel is through with.
    fn reap(&mut self) {
        self.completed += self.ring.reap();
    }
}

/// Whether an interface that takes `longest` octets without a tag takes this frame.
fn fits(frame: &[u8], longest: u32) -> bool {
    let tagged = matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
    let longest = longest + if tagged { VLAN_TAG } else { 0 };
    (ETHERNET_HEADER as usize..=longest as usize).contains(&frame.len())
}

impl TxQueue for Tx {
    fn fill(&mut self, most: usize, mut write: impl FnMut(&mut [u8]) -> usize) -> Result<usize, CaptureError> {
        self.reap();
        let mut filled = 0;
        while filled < most && self.ring.has_room() {
            // What the interface would not take never gets to the kernel, which would let it come back like any other.
            let (mut written, mut good) = (0, false);
            let longest = self.longest;
            let result = self.ring.fill(|slot| {
                written = write(slot).min(slot.len());
                good = fits(slot.get(..written).unwrap_or(&[]), longest);
                if good { written } else { 0 }
            });
            if result.is_none() || written == 0 {
                break;
            }
            filled += 1;
            self.stats.filled += 1;
            if !good {
                self.stats.refused += 1;
            }
        }
        Ok(filled)
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        if !self.ring.publish() {
            return Ok(());
        }
        let mut taken = self.ring.taken();
        while self.ring.needs_wakeup() {
            match self.socket.send() {
                Ok(()) => return Ok(()),
                Err(e) => match e.raw_os_error() {
                    // The driver dropped one frame; it comes back like those that were sent (`xsk_generic_xmit`).
                    Some(libc::EBUSY) if !self.zero_copy => self.dropped += 1,
                    // More than the kernel sends at once; or the driver has no room now.
                    Some(libc::EAGAIN) => {}
                    // No memory, or down for a while: what was not taken stays in the ring.
                    Some(libc::EBUSY | libc::ENOBUFS | libc::EINTR | libc::ENETDOWN) => return Ok(()),
                    _ => {
                        let action = format!("sending on {}", self.interface);
                        return Err(CaptureError::on_interface(&self.interface, action, e));
                    }
                },
            }
            self.reap();
            let now = self.ring.taken();
            if now == taken {
                return Ok(());
            }
            taken = now;
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        self.reap();
        if !self.ring.has_room() {
            // Frames that the driver had no room for are sent only by another call. Not by poll(2), which would send too, and not say
            // what was dropped.
            self.flush()?;
            self.reap();
            if !self.ring.has_room() {
                std::thread::sleep(timeout.min(TICK));
                self.reap();
            }
        }
        Ok(self.ring.has_room())
    }

    fn drain(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        let end = Instant::now() + timeout;
        loop {
            self.flush()?;
            if self.stats().in_flight == 0 {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(TICK);
        }
    }

    fn stats(&mut self) -> TxStats {
        self.reap();
        let TxStats { filled, refused, .. } = self.stats;
        // What was dropped has come back before the kernel said so.
        let sent = self.completed.saturating_sub(self.dropped);
        let refused = refused + self.dropped;
        TxStats { filled, sent, refused, in_flight: filled.saturating_sub(sent + refused) }
    }

    fn max_frame(&self) -> usize {
        self.slot.min((self.longest + VLAN_TAG) as usize)
    }
}
