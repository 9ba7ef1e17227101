//! Sending by a `PACKET_TX_RING` (TPACKET_V2): frames written into mapped slots, one system call for all that are filled.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use capture::{CaptureError, TxQueue, TxStats};
use netdev::{Device, Sight};

use crate::options::bad;
use crate::sys::socket::PacketSocket;
use crate::sys::tx_ring::{HEADER, Slot, TxRing};

/// How frames are sent.
#[derive(Clone, Debug)]
pub struct TxOptions {
    /// The interface's name.
    pub interface: String,
    /// Octets of a slot, a power of two from 256 to 65,536; 32 of them are the kernel's. Default 2048.
    pub slot_size: u32,
    /// Slots, 32 to 65,536. Default 1024.
    pub slots: u32,
    /// Past the queueing discipline, straight to the driver. Default true.
    pub qdisc_bypass: bool,
}

impl TxOptions {
    /// The defaults for `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self { interface: interface.into(), slot_size: 2048, slots: 1024, qdisc_bypass: true }
    }
}

/// Octets of an Ethernet header, and of a VLAN tag.
const ETHERNET_HEADER: u32 = 14;
const VLAN_TAG: u32 = 4;
/// Octets of a block of the ring at least.
const BLOCK: u32 = 1 << 16;
/// How often a `drain` looks.
const TICK: Duration = Duration::from_millis(1);

/// A TX ring on one interface.
///
/// `sent` counts the frames that the driver was given and has let go of again. With the queueing discipline bypassed a driver without room
/// makes the kernel try again later, so that none is lost on the way there; what happens behind the driver shows in the interface's counters.
pub struct Tx {
    ring: TxRing,
    socket: PacketSocket,
    device: Device,
    interface: String,
    /// The slot that is filled next, and the oldest that is not known to be sent.
    head: usize,
    tail: usize,
    /// Longest frame that the interface takes, with and without a VLAN tag (`packet_extra_vlan_len_allowed`).
    longest: u32,
    stats: TxStats,
}

impl Tx {
    /// Makes a ring on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// [`CaptureError::BadOption`], [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`] without `CAP_NET_RAW`,
    /// [`CaptureError::System`] for the rest.
    pub fn open(options: &TxOptions) -> Result<Self, CaptureError> {
        let TxOptions { ref interface, slot_size, slots, qdisc_bypass } = *options;
        if !slot_size.is_power_of_two() || !(256..=65_536).contains(&slot_size) {
            return Err(bad("slot size", slot_size, "a power of two from 256 to 65536 octets"));
        }
        if !(32..=65_536).contains(&slots) {
            return Err(bad("slots", slots, "32 to 65536"));
        }
        let device = Device::find(interface)?;
        let socket = PacketSocket::open().map_err(|e| CaptureError::refused("opening an AF_PACKET socket", e))?;
        let on =
            |action: &'static str| move |e| CaptureError::on_interface(interface, format!("{action} {interface}"), e);
        socket.bind_to_send(device.index).map_err(on("binding to"))?;
        if qdisc_bypass {
            socket.bypass_qdisc().map_err(|e| CaptureError::system("setting PACKET_QDISC_BYPASS", e))?;
        }
        let block_size = BLOCK.max(slot_size);
        let blocks = slots.div_ceil(block_size / slot_size);
        socket.make_tx_ring(block_size, blocks, slot_size).map_err(on("making a TX ring on"))?;
        let slots = (blocks * (block_size / slot_size)) as usize;
        let ring = TxRing::map(socket.as_fd(), slot_size as usize, slots).map_err(on("mapping the TX ring of"))?;
        let mut tx = Self {
            ring,
            socket,
            device,
            interface: interface.clone(),
            head: 0,
            tail: 0,
            longest: 0,
            stats: TxStats::default(),
        };
        match tx.device.look(tx.socket.as_fd()) {
            Ok(Sight::Present { mtu, .. }) => tx.longest = mtu + ETHERNET_HEADER,
            _ => return Err(CaptureError::NoSuchInterface { name: interface.clone() }),
        }
        Ok(tx)
    }

    /// Takes note of the slots that the kernel is through with.
    fn reap(&mut self) -> Result<(), CaptureError> {
        while self.stats.in_flight > 0 {
            match self.ring.state(self.tail) {
                Slot::Free => {
                    self.stats.sent += 1;
                    self.stats.in_flight -= 1;
                    self.tail = (self.tail + 1) % self.ring.slots();
                }
                Slot::Busy => break,
                Slot::Refused => {
                    return Err(CaptureError::Unsupported(format!(
                        "{} refused a frame: its MTU or type has changed since the start; start again",
                        self.interface
                    )));
                }
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.stats.in_flight < self.ring.slots() as u64 && self.ring.state(self.head) == Slot::Free
    }
}

impl TxQueue for Tx {
    fn fill(&mut self, most: usize, mut write: impl FnMut(&mut [u8]) -> usize) -> Result<usize, CaptureError> {
        self.reap()?;
        let mut filled = 0;
        while filled < most && self.has_room() {
            let octets = self.ring.octets(self.head);
            let length = write(octets).min(octets.len());
            if length == 0 {
                break;
            }
            filled += 1;
            self.stats.filled += 1;
            let tagged = matches!(octets.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
            let length = length as u32;
            // What the kernel would refuse never gets there, for it would hold up all that follow.
            if length < ETHERNET_HEADER || length > self.longest + if tagged { VLAN_TAG } else { 0 } {
                self.stats.refused += 1;
                continue;
            }
            self.ring.hand_over(self.head, length);
            self.stats.in_flight += 1;
            self.head = (self.head + 1) % self.ring.slots();
        }
        Ok(filled)
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        match self.socket.send_ring() {
            Ok(()) => Ok(()),
            // No room at the driver, or it is down for a while: what was not sent stays in the ring.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ENETDOWN)) => {
                Ok(())
            }
            Err(e) => {
                self.reap()?; // a refused frame has an explanation
                Err(CaptureError::on_interface(&self.interface, format!("sending on {}", self.interface), e))
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        self.reap()?;
        if self.has_room() {
            return Ok(true);
        }
        // Frames that the driver had no room for are sent only by another call.
        self.flush()?;
        self.reap()?;
        if !self.has_room() {
            self.socket.poll_to_send(timeout.min(TICK)).map_err(|e| CaptureError::system("waiting for room", e))?;
            self.reap()?;
        }
        Ok(self.has_room())
    }

    fn drain(&mut self, timeout: Duration) -> Result<bool, CaptureError> {
        let end = Instant::now() + timeout;
        loop {
            self.reap()?;
            if self.stats.in_flight == 0 {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            self.flush()?;
            std::thread::sleep(TICK);
        }
    }

    fn stats(&mut self) -> TxStats {
        let _ = self.reap(); // the next fill tells
        self.stats
    }

    fn max_frame(&self) -> usize {
        self.ring.room().min((self.longest + VLAN_TAG) as usize)
    }
}

const _: () = assert!(HEADER == 32, "the documentation of `slot_size` says so");
