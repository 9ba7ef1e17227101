//! Sending: frames are written into the buffers of a ring, and the module takes all that are filled at one sync.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use capture::{CaptureError, TxQueue, TxStats};
use netdev::{Device, Sight};

use crate::explain;
use crate::open::{Opened, Request, real, register};
use crate::options::bad;
use crate::port::{Port, Rings};
use crate::sys::abi;
use crate::sys::device::Kernel;
use crate::sys::memory::Memory;
use crate::sys::ring::{Ring, Slot};

/// How often a `drain` looks.
const TICK: Duration = Duration::from_millis(1);
/// Octets of an Ethernet header, and of a VLAN tag.
const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;

/// How frames are sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TxOptions {
    /// The port's name: see [`Port`]. `eth1^` sends to the host, as if the interface had received it. Of several rings the first is used,
    /// if the name says no other.
    pub port: String,
    /// Slots of the ring, 16 to 65,536, where the port is made by opening it (VALE, pipes). `None`: the module's default.
    pub slots: Option<u32>,
}

impl TxOptions {
    /// The defaults for `port`.
    #[must_use]
    pub fn new(port: impl Into<String>) -> Self {
        Self { port: port.into(), slots: None }
    }

    fn check(&self) -> Result<Port, CaptureError> {
        let port: Port = self.port.parse()?;
        if port.is_monitor() {
            return Err(bad("port", &self.port, "a monitor only watches: nothing can be sent by it"));
        }
        if let Some(slots) = self.slots.filter(|slots| !(16..=65_536).contains(slots)) {
            return Err(bad("slots", slots, "16 to 65536"));
        }
        Ok(port)
    }
}

/// One transmit ring.
///
/// `sent` counts the frames whose slots the module has given back: a NIC has sent them, a VALE switch has dealt them, or dropped them for
/// want of room at the other port, the other end of a pipe has taken them. `refused` are those that a reset of the ring
/// threw away.
pub struct Tx {
    ring: Ring<Box<Memory>>,
    kernel: Box<dyn Kernel>,
    port: Port,
    /// The slot that is filled next, and what the module knows of as our first one.
    head: u32,
    published: u32,
    filled: u64,
    /// Frames of which nobody knows what became: the module has set the ring back.
    lost: u64,
    longest: usize,
    /// The frame that was repeated last, and for each slot the buffer that it was written into: it is there still, unless the module has
    /// put another buffer into the slot, or the slot was used for something else. Not so in a pipe.
    repeated: Vec<u8>,
    written: Box<[u32]>,
}

impl Tx {
    /// Opens a transmit ring in the network namespace of the calling thread.
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn open(options: &TxOptions) -> Result<Self, CaptureError> {
        tx_over(options, real)
    }

    fn tail(&self) -> Result<u32, CaptureError> {
        self.ring.tail().ok_or_else(|| {
            CaptureError::Unsupported(format!(
                "the ring of netmap port {} is damaged: its tail is outside of it",
                self.port
            ))
        })
    }

    /// Slots that can be filled.
    fn room(&self) -> Result<u32, CaptureError> {
        Ok(self.ring.distance(self.head, self.tail()?))
    }

    /// Slots that are filled and have not come back. One slot is always kept by the module.
    fn in_flight(&self) -> Result<u64, CaptureError> {
        Ok(u64::from(self.ring.slots() - 1 - self.room()?.min(self.ring.slots() - 1)))
    }

    /// The octets of a slot that is ours.
    #[inline]
    fn buffer(&mut self, slot: Slot) -> Result<&mut [u8], CaptureError> {
        let longest = self.longest;
        self.ring.room(slot).and_then(|octets| octets.get_mut(..longest)).ok_or_else(|| {
            CaptureError::Unsupported(format!(
                "the ring of netmap port {} is damaged: slot {} has no buffer",
                self.port, self.head
            ))
        })
    }

    fn sync(&mut self) -> Result<(), CaptureError> {
        self.ring.publish(self.head, self.head);
        self.published = self.head;
        match self.kernel.sync(abi::NIOCTXSYNC) {
            Ok(()) => self.look_for_reset(),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINTR | libc::EAGAIN)) => Ok(()),
            Err(error) => Err(explain::gone(&self.port, &format!("NIOCTXSYNC: {error}"))),
        }
    }

    /// The module may have found our head bad and gone back to its own.
    fn look_for_reset(&mut self) -> Result<(), CaptureError> {
        let Some(theirs) = self.ring.head().filter(|&theirs| theirs != self.published) else { return Ok(()) };
        let before = self.in_flight()?;
        (self.head, self.published) = (theirs, theirs);
        self.ring.publish(theirs, theirs);
        self.lost += before.saturating_sub(self.in_flight()?);
        tracing::warn!(port = %self.port, "netmap has set the transmit ring back: frames may be lost");
        Ok(())
    }
}

/// [`Tx::open`] with what `kernel` opens in the place of /dev/netmap.
#[allow(clippy::missing_errors_doc)]
pub fn tx_over(
    options: &TxOptions,
    mut kernel: impl FnMut() -> io::Result<Box<dyn Kernel>>,
) -> Result<Tx, CaptureError> {
    let port = options.check()?;
    let kernel = kernel().map_err(explain::no_device)?;
    let device = port.interface().map(Device::find).transpose()?;
    let flags = abi::TX_RINGS_ONLY | if port.exclusive { abi::EXCLUSIVE } else { 0 };
    let request = Request { ring: 0, flags, slots: options.slots.unwrap_or_default(), extra_bufs: 0, receives: false };
    let Opened { kernel, ring, .. } = register(kernel, &port, &request)?;
    let mut longest = ring.buffer_size();
    // What a NIC does not take would be dropped somewhere behind. The host takes what its interface could have received.
    if let (Some(device), Rings::All | Rings::One(_)) = (device, port.rings) {
        let socket = io::Error::other("no answer");
        match std::net::UdpSocket::bind("127.0.0.1:0").map_or(Err(socket), |socket| device.look(socket.as_fd())) {
            Ok(Sight::Present { mtu, .. }) => longest = longest.min(mtu as usize + ETHERNET_HEADER + VLAN_TAG),
            Ok(Sight::Deleted) => return Err(CaptureError::NoSuchInterface { name: port.name }),
            Err(_) => {}
        }
    }
    let head = ring.head().unwrap_or_default();
    let written = vec![0; ring.slots() as usize].into_boxed_slice();
    Ok(Tx { ring, kernel, port, head, published: head, filled: 0, lost: 0, longest, repeated: Vec::new(), written })
}

impl TxQueue for Tx {
    fn fill(&mut self, most: usize, mut write: impl FnMut(&mut [u8]) -> usize) -> Result<usize, CaptureError> {
        let room = self.room()? as usize;
        let mut filled = 0;
        while filled < most.min(room) {
            let slot = self.ring.slot(self.head);
            let length = write(self.buffer(slot)?).min(self.longest);
            if length == 0 {
                break;
            }
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            self.ring.set_slot(self.head, Slot { length, flags: 0, ..slot });
            self.written[self.head as usize] = 0;
            self.head = self.ring.next(self.head);
            filled += 1;
        }
        self.filled += filled as u64;
        Ok(filled)
    }

    fn repeat(&mut self, most: usize, frame: &[u8]) -> Result<usize, CaptureError> {
        let Some(length) =
            u16::try_from(frame.len()).ok().filter(|&length| (1..=self.longest).contains(&length.into()))
        else {
            return Ok(0);
        };
        if self.repeated != frame {
            self.repeated = frame.to_vec();
            self.written.fill(0);
        }
        let frames = most.min(self.room()? as usize);
        // The other end of a pipe has the same buffers, and may write into them.
        let shared = self.port.to_string().contains(['{', '}']);
        for _ in 0..frames {
            let slot = self.ring.slot(self.head);
            // 0 is no buffer of a slot.
            if shared || slot.buffer == 0 || self.written[self.head as usize] != slot.buffer {
                self.buffer(slot)?[..frame.len()].copy_from_slice(frame);
                self.written[self.head as usize] = slot.buffer;
            }
            self.ring.set_slot(self.head, Slot { length, flags: 0, ..slot });
            self.head = self.ring.next(self.head);
            self.filled += 1;
        }
        Ok(frames)
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        self.sync()
    }

    fn wait(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        if self.room()? > 0 {
            return Ok(true);
        }
        // Polling syncs: what is filled leaves, and what has left is given back.
        self.ring.publish(self.head, self.head);
        self.published = self.head;
        let begin = Instant::now();
        let events = self
            .kernel
            .poll(libc::POLLOUT, timeout)
            .map_err(|error| explain::gone(&self.port, &format!("poll: {error}")))?;
        self.look_for_reset()?;
        if events & libc::POLLERR != 0 && self.room()? == 0 {
            // The link is down, or the port is gone: the next sync tells.
            std::thread::sleep(timeout.saturating_sub(begin.elapsed()).min(TICK));
            self.sync()?;
        }
        Ok(self.room()? > 0)
    }

    fn drain(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        let end = Instant::now() + timeout;
        loop {
            self.sync()?;
            if self.in_flight()? == 0 {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(TICK);
        }
    }

    fn stats(&mut self) -> TxStats {
        // A ring that is damaged tells at the next fill.
        let in_flight = self.in_flight().unwrap_or_default().min(self.filled);
        let sent = self.filled.saturating_sub(in_flight).saturating_sub(self.lost);
        TxStats { filled: self.filled, sent, refused: self.filled - in_flight - sent, in_flight }
    }

    fn max_frame(&self) -> usize {
        self.longest
    }
}
