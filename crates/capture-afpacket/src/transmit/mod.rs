//! Sending: by a ring that the kernel maps, or by copies.

mod copy;
mod ring;

use std::time::Duration;

use capture::CaptureError;
use netdev::{Device, Sight};

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
            Ok(Sight::Present { mtu, .. }) => Ok(Self { socket, interface, longest: mtu as usize + ETHERNET_HEADER }),
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
}
