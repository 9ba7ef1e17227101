//! Sending: by a ring that the kernel maps, or by copies.

mod copy;
mod ring;

use std::time::{Duration, Instant};

use capture::CaptureError;
use netdev::{Carrier, Device, Sight};

use crate::options::bad;
use crate::sys::socket::PacketSocket;

pub use copy::CopyTx;
pub use ring::Tx;

/// How frames are sent.
#[derive(Clone, Debug)]
pub struct TxOptions {
    /// The interface's name.
    pub interface: String,
    /// Octets of a slot, a power of two from 256 to 131,072; 32 of them are the kernel's in a mapped ring. Default 2048.
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

    fn check(&self) -> Result<(), CaptureError> {
        if !self.slot_size.is_power_of_two() || !(256..=131_072).contains(&self.slot_size) {
            return Err(bad("slot size", self.slot_size, "a power of two from 256 to 131072 octets"));
        }
        if !(32..=65_536).contains(&self.slots) {
            return Err(bad("slots", self.slots, "32 to 65536"));
        }
        Ok(())
    }
}

/// Octets of an Ethernet header, and of a VLAN tag.
const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;
/// How often a `drain` looks.
const TICK: Duration = Duration::from_millis(1);

/// A socket that sends on one interface, and what the interface takes.
struct Way {
    socket: PacketSocket,
    interface: String,
    /// The longest frame without a VLAN tag: with one it may be 4 octets longer (`packet_extra_vlan_len_allowed`).
    longest: usize,
    device: Device,
    patience: Patience,
}

impl Way {
    fn open(options: &TxOptions) -> Result<Self, CaptureError> {
        use std::os::fd::AsFd;
        options.check()?;
        let interface = options.interface.clone();
        let device = Device::find(&interface)?;
        let socket = PacketSocket::open().map_err(|e| CaptureError::refused("opening an AF_PACKET socket", e))?;
        socket
            .bind_to_send(device.index)
            .map_err(|e| CaptureError::on_interface(&interface, format!("binding to {interface}"), e))?;
        if options.qdisc_bypass {
            socket.bypass_qdisc().map_err(|e| CaptureError::system("setting PACKET_QDISC_BYPASS", e))?;
        }
        match device.look(socket.as_fd()) {
            Ok(Sight::Present { mtu, .. }) => Ok(Self {
                socket,
                interface,
                longest: mtu as usize + ETHERNET_HEADER,
                device,
                patience: Patience::default(),
            }),
            _ => Err(CaptureError::NoSuchInterface { name: interface }),
        }
    }

    /// Whether the kernel would take the frame: one that it refuses would hold up all that follow.
    fn takes(&self, octets: &[u8], length: usize) -> bool {
        let tagged = matches!(octets.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
        (ETHERNET_HEADER..=self.longest + if tagged { VLAN_TAG } else { 0 }).contains(&length)
    }

    fn max_frame(&self, room: usize) -> usize {
        room.min(self.longest + VLAN_TAG)
    }

    /// What a failed attempt to send means; nothing if it is to be tried again: no room at the driver, or it is down for a while.
    fn failed(&self, error: std::io::Error) -> Result<(), CaptureError> {
        match error.raw_os_error() {
            Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ENETDOWN) => Ok(()),
            _ => Err(CaptureError::on_interface(&self.interface, format!("sending on {}", self.interface), error)),
        }
    }

    /// Whether a frame of `length` octets, for which an attempt to send failed like this, is to be given up.
    fn gives_up(&mut self, error: &std::io::Error, length: usize) -> bool {
        use std::os::fd::AsFd;
        let (device, socket, interface) = (&self.device, &self.socket, &self.interface);
        // One that cannot be asked is waited for, and the next attempt to send says why.
        let link = || device.carrier(socket.as_fd()).is_ok_and(|carrier| carrier == Carrier::Present);
        let drops = || netdev::interfaces::tx_dropped(interface);
        error.raw_os_error() == Some(libc::ENOBUFS) && self.patience.ends(length, Instant::now(), link, drops)
    }
}

/// How long to go on with a frame. The kernel has one error for a driver without room, a link without carrier, and a frame that the driver
/// drops whenever it is tried, as a veth does with one that is too long for its peer. The last is what goes on, and is counted as dropped by
/// the interface, while there is a carrier. A driver without room, such as one that pause frames hold up, drops nothing, and is waited for.
#[derive(Debug)]
struct Patience {
    /// The oldest frame is tried since then, when so many had been dropped.
    since: Option<(Instant, Option<u64>)>,
    /// Octets of the shortest frame that was given up: those as long have no time of their own, until one is taken.
    hopeless: usize,
}

/// Longer than a peer that cannot keep up drops every frame.
const PATIENCE: Duration = Duration::from_millis(100);

impl Default for Patience {
    fn default() -> Self {
        Self { since: None, hopeless: usize::MAX }
    }
}

impl Patience {
    /// Whether it ends here, for a frame of `length` octets that was not taken: by the `link`, and what the interface says it `drops`.
    fn ends(
        &mut self,
        length: usize,
        now: Instant,
        link: impl FnOnce() -> bool,
        drops: impl Fn() -> Option<u64>,
    ) -> bool {
        let (since, before) = *self.since.get_or_insert_with(|| (now, drops()));
        if length < self.hopeless && now - since < PATIENCE {
            return false;
        }
        if !link() {
            self.since = None;
            return false;
        }
        let after = drops();
        if after.is_none() || after == before {
            return false;
        }
        self.since = Some((now, after));
        self.hopeless = self.hopeless.min(length);
        true
    }

    /// Frames were taken, the longest of which has so many octets.
    fn took(&mut self, longest: impl FnOnce() -> usize) {
        self.since = None;
        if self.hopeless < usize::MAX && longest() >= self.hopeless {
            self.hopeless = usize::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Every look finds one more.
    fn drops() -> impl Fn() -> Option<u64> {
        let count = Cell::new(0);
        move || {
            count.set(count.get() + 1);
            Some(count.get())
        }
    }

    #[test]
    fn a_frame_is_given_up_after_a_while_and_one_as_long_at_once() {
        let (mut patience, start, drops) = (Patience::default(), Instant::now(), drops());
        let mut ends = |length, time| patience.ends(length, start + time, || true, &drops);
        assert!(!ends(1000, Duration::ZERO));
        assert!(!ends(1000, PATIENCE / 2));
        assert!(ends(1000, PATIENCE));
        assert!(ends(1200, PATIENCE));
        assert!(!ends(999, PATIENCE), "shorter ones have their own time");
        assert!(ends(999, PATIENCE * 2));
        patience.took(|| 998);
        assert!(patience.ends(1000, start + PATIENCE * 3, || true, &drops));
        patience.took(|| 999);
        assert!(!patience.ends(1000, start + PATIENCE * 4, || true, &drops), "one was taken");
    }

    #[test]
    fn the_time_without_a_link_or_room_does_not_count() {
        let (mut patience, start, drops) = (Patience::default(), Instant::now(), drops());
        for n in 0..10 {
            assert!(!patience.ends(60, start + PATIENCE * n, || false, &drops));
        }
        for n in 10..20 {
            assert!(!patience.ends(60, start + PATIENCE * n, || true, || Some(7)), "nothing is dropped");
        }
        patience.took(|| 60);
        assert!(!patience.ends(60, start + PATIENCE * 20, || true, &drops));
        assert!(patience.ends(60, start + PATIENCE * 21, || true, &drops));
    }
}
