//! One socket with its ring, from preparation to the last frame.
//!
//! Holds the order of the steps that lets no unfiltered and no doubled frame through. A port belongs to one interface;
//! when that is deleted the queue opens another port.

use std::io;
use std::os::fd::AsFd;

use capture::{CaptureDirection, CaptureError};
use netdev::{Device, Sight};

use crate::fanout::Group;
use crate::options::Options;
use crate::program;
use crate::sys::mmap::Ring;
use crate::sys::socket::{PacketSocket, RingRequest};

/// What all queues of one [`open`](crate::open) share.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) request: RingRequest,
    /// `None` for a single queue.
    pub(crate) group: Option<Group>,
}

pub(crate) struct Port {
    pub(crate) ring: Ring,
    pub(crate) socket: PacketSocket,
    pub(crate) device: Device,
    /// See [`Group::join`].
    pub(crate) epoch: u64,
    /// Frames lent, as the blocks claim.
    pub(crate) received: u64,
    /// Frames that the kernel says it put into the ring.
    pub(crate) accepted: u64,
}

impl Port {
    /// A socket of the right version that is bound to nothing.
    pub(crate) fn socket() -> Result<PacketSocket, CaptureError> {
        let socket = PacketSocket::open().map_err(|e| CaptureError::refused("opening an AF_PACKET socket", e))?;
        socket.set_version().map_err(|e| CaptureError::system("setting TPACKET_V3", e))?;
        Ok(socket)
    }

    /// A bound socket with a ring that still accepts nothing, of the interface that has the configured name now.
    ///
    /// Protocol 0, then the filter that rejects all, then the ring, then bind: with the filter after bind, thousands of
    /// frames slip in before it.
    pub(crate) fn prepare(plan: &Plan) -> Result<Self, CaptureError> {
        let name = &plan.options.interface;
        let socket = Self::socket()?;
        let device = Device::find_by(socket.as_fd(), name)?;
        socket.attach(&program::reject_all()).map_err(|e| CaptureError::system("attaching a filter", e))?;
        let RingRequest { block_size, block_count, .. } = plan.request;
        let megabytes = (u64::from(block_size) * u64::from(block_count)) >> 20;
        let ring_error = |e| {
            CaptureError::system(
                format!("making a ring of {block_count} blocks, {megabytes} MiB (fewer blocks take less memory)"),
                e,
            )
        };
        socket.make_ring(plan.request).map_err(ring_error)?;
        let ring = Ring::map(socket.as_fd(), block_size as usize, block_count as usize).map_err(ring_error)?;
        if plan.options.direction == CaptureDirection::In {
            socket.ignore_outgoing().map_err(|e| match e.raw_os_error() {
                Some(libc::ENOPROTOOPT) => {
                    CaptureError::Unsupported("direction in needs Linux 4.20 or newer (PACKET_IGNORE_OUTGOING)".into())
                }
                _ => CaptureError::system("setting PACKET_IGNORE_OUTGOING", e),
            })?;
        }
        socket.bind(device.index).map_err(|e| CaptureError::on_interface(name, format!("binding to {name}"), e))?;
        if plan.options.direction == CaptureDirection::Promisc {
            socket
                .promiscuous(device.index)
                .map_err(|e| CaptureError::on_interface(name, format!("making {name} promiscuous"), e))?;
        }
        Ok(Self { ring, socket, device, epoch: 0, received: 0, accepted: 0 })
    }

    /// Joins the group, if there is one. `seen`: the epoch of the port before, 0 if there was none.
    pub(crate) fn join(&mut self, plan: &Plan, seen: u64) -> Result<(), CaptureError> {
        let Some(group) = &plan.group else { return Ok(()) };
        let up = || matches!(self.look(), Ok(Sight::Present { up: true, .. }));
        self.epoch = group.join(&self.socket, seen, up).map_err(|e| {
            let name = &plan.options.interface;
            let down = matches!(self.look(), Ok(Sight::Present { up: false, .. }));
            if e.raw_os_error() == Some(libc::EINVAL) && down {
                return CaptureError::Unsupported(format!(
                    "{name} is down, and this kernel shares only an interface that is up between queues: ip link set {name} up, or use one queue"
                ));
            }
            CaptureError::system(format!("joining the fanout group of {name}"), e)
        })?;
        Ok(())
    }

    /// Puts the real program in the place of the one that rejects all.
    pub(crate) fn accept(&self, plan: &Plan) -> Result<(), CaptureError> {
        let Options { direction, snaplen, filter, .. } = &plan.options;
        let program = program::assemble(*direction, self.device.loopback, *snaplen, filter.as_ref())?;
        self.socket.attach(&program).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOMEM) => {
                CaptureError::system("attaching the filter (a long one needs a larger sysctl net.core.optmem_max)", e)
            }
            _ => CaptureError::system("attaching the filter", e),
        })
    }

    /// Accepts nothing from now on. When this returns, all that was accepted is in the ring or counted as dropped.
    pub(crate) fn refuse(socket: &PacketSocket) -> Result<(), CaptureError> {
        socket
            .attach(&program::reject_all())
            .map_err(|e| CaptureError::system("attaching the filter that ends the capture", e))?;
        netdev::wait_for_receive_paths();
        Ok(())
    }

    /// Whether every frame that the kernel had put into the ring, as of the statistics read last, was lent.
    pub(crate) fn drained(&self) -> bool {
        self.received >= self.accepted
    }

    /// Gives the ring's memory back. What the interface's end is known by, the socket, stays.
    pub(crate) fn release_ring(&mut self) {
        self.ring.release();
        if let Err(error) = self.socket.free_ring() {
            tracing::debug!(%error, "the kernel keeps the old ring until its socket is closed");
        }
    }

    pub(crate) fn look(&self) -> io::Result<Sight> {
        if self.socket.bound_to()?.is_none() {
            return Ok(Sight::Deleted);
        }
        self.device.look(self.socket.as_fd())
    }
}
