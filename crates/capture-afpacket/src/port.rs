//! One socket with its ring, from preparation to the last frame.
//!
//! Holds the order of the steps that lets no unfiltered and no doubled frame through. A port belongs to one interface;
//! when that is deleted the queue opens another port.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use capture::{CaptureDirection, CaptureError, LinkType};

use crate::fanout::Group;
use crate::options::Options;
use crate::program;
use crate::sys::mmap::Ring;
use crate::sys::socket::{PacketSocket, RingRequest};
use crate::sys::{control, socket};

/// What all queues of one [`open`](crate::open) share.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) request: RingRequest,
    /// `None` for a single queue.
    pub(crate) group: Option<Group>,
}

/// An interface, as it was when the port was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hardware {
    pub(crate) index: i32,
    pub(crate) link_type: LinkType,
    pub(crate) loopback: bool,
}

pub(crate) struct Port {
    pub(crate) ring: Ring,
    pub(crate) socket: PacketSocket,
    pub(crate) hardware: Hardware,
    /// See [`Group::join`].
    pub(crate) epoch: u64,
    /// Frames lent, as the blocks claim.
    pub(crate) received: u64,
    /// Frames that the kernel says it put into the ring.
    pub(crate) accepted: u64,
}

/// What the kernel says about the interface now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Deleted,
    Present { name: String, up: bool, mtu: u32 },
}

impl Port {
    /// A socket of the right version that is bound to nothing.
    pub(crate) fn socket() -> Result<PacketSocket, CaptureError> {
        let socket = PacketSocket::open().map_err(|e| match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => permission(),
            _ => system("opening an AF_PACKET socket", e),
        })?;
        socket.set_version().map_err(|e| system("setting TPACKET_V3", e))?;
        Ok(socket)
    }

    /// A bound socket with a ring that still accepts nothing, of the interface that has the configured name now.
    ///
    /// Protocol 0, then the filter that rejects all, then the ring, then bind: with the filter after bind, thousands of
    /// frames slip in before it.
    pub(crate) fn prepare(plan: &Plan) -> Result<Self, CaptureError> {
        let name = &plan.options.interface;
        let socket = Self::socket()?;
        let hardware = Hardware::find(socket.as_fd(), name)?;
        socket.attach(&program::reject_all()).map_err(|e| system("attaching a filter", e))?;
        let RingRequest { block_size, block_count, .. } = plan.request;
        let megabytes = (u64::from(block_size) * u64::from(block_count)) >> 20;
        let ring_error = |e| {
            system(format!("making a ring of {block_count} blocks, {megabytes} MiB (fewer blocks take less memory)"), e)
        };
        socket.make_ring(plan.request).map_err(ring_error)?;
        let ring = Ring::map(socket.as_fd(), block_size as usize, block_count as usize).map_err(ring_error)?;
        if plan.options.direction == CaptureDirection::In {
            socket.ignore_outgoing().map_err(|e| match e.raw_os_error() {
                Some(libc::ENOPROTOOPT) => {
                    CaptureError::Unsupported("direction in needs Linux 4.20 or newer (PACKET_IGNORE_OUTGOING)".into())
                }
                _ => system("setting PACKET_IGNORE_OUTGOING", e),
            })?;
        }
        socket.bind(hardware.index).map_err(|e| missing_or(name, format!("binding to {name}"), e))?;
        if plan.options.direction == CaptureDirection::Promisc {
            socket
                .promiscuous(hardware.index)
                .map_err(|e| missing_or(name, format!("making {name} promiscuous"), e))?;
        }
        Ok(Self { ring, socket, hardware, epoch: 0, received: 0, accepted: 0 })
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
            system(format!("joining the fanout group of {name}"), e)
        })?;
        Ok(())
    }

    /// Puts the real program in the place of the one that rejects all.
    pub(crate) fn accept(&self, plan: &Plan) -> Result<(), CaptureError> {
        let Options { direction, snaplen, filter, .. } = &plan.options;
        let program = program::assemble(*direction, self.hardware.loopback, *snaplen, filter.as_ref())?;
        self.socket.attach(&program).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOMEM) => {
                system("attaching the filter (a long one needs a larger sysctl net.core.optmem_max)", e)
            }
            _ => system("attaching the filter", e),
        })
    }

    /// Accepts nothing from now on. When this returns, all that was accepted is in the ring or counted as dropped.
    pub(crate) fn refuse(socket: &PacketSocket) -> Result<(), CaptureError> {
        socket.attach(&program::reject_all()).map_err(|e| system("attaching the filter that ends the capture", e))?;
        if !socket::wait_for_receive_paths() {
            // No such barrier on this kernel: a receive path is through after far less than this.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
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
        let fd = self.socket.as_fd();
        let gone = |e: io::Error| match e.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => Ok(Sight::Deleted),
            _ => Err(e),
        };
        let name = match control::name_of(fd, self.hardware.index) {
            Ok(name) => name,
            Err(e) => return gone(e),
        };
        match control::flags_of(fd, &name).and_then(|flags| Ok((flags, control::mtu_of(fd, &name)?))) {
            Ok((flags, mtu)) => Ok(Sight::Present { name, up: flags & libc::IFF_UP != 0, mtu }),
            Err(e) => gone(e),
        }
    }
}

impl Hardware {
    /// Any socket of the namespace may ask.
    pub(crate) fn find(socket: BorrowedFd<'_>, name: &str) -> Result<Self, CaptureError> {
        let question = || format!("asking for the hardware of {name}");
        let index = control::index_of(socket, name).map_err(|e| missing_or(name, question(), e))?;
        let (kind, _) = control::hardware_of(socket, name).map_err(|e| missing_or(name, question(), e))?;
        let link_type = link_type_of(kind).ok_or_else(|| {
            CaptureError::Unsupported(format!(
                "{name} has link type {kind} (ARPHRD_ in linux/if_arp.h), which cannot be captured yet"
            ))
        })?;
        Ok(Self { index, link_type, loopback: kind == libc::ARPHRD_LOOPBACK })
    }
}

/// What a `SOCK_RAW` frame of an interface of this `ARPHRD_` type starts with.
///
/// `ARPHRD_PPP` gives bare IP: ppp_generic.c takes the PPP header off before a received frame is shown and puts it on after
/// a sent one was (a device without `header_ops` shows no link layer: the comment at the top of net/packet/af_packet.c).
pub(crate) fn link_type_of(kind: u16) -> Option<LinkType> {
    match kind {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(LinkType::ETHERNET),
        libc::ARPHRD_NONE
        | ARPHRD_RAWIP
        | libc::ARPHRD_TUNNEL
        | libc::ARPHRD_TUNNEL6
        | libc::ARPHRD_SIT
        | libc::ARPHRD_PPP => Some(LinkType::RAW),
        _ => None,
    }
}

/// Of linux/if_arp.h, since Linux 4.14.
const ARPHRD_RAWIP: u16 = 519;

pub(crate) fn system(action: impl Into<String>, source: io::Error) -> CaptureError {
    CaptureError::System { action: action.into(), source }
}

fn missing_or(name: &str, action: String, source: io::Error) -> CaptureError {
    match source.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => CaptureError::NoSuchInterface { name: name.into() },
        _ => system(action, source),
    }
}

fn permission() -> CaptureError {
    let program = std::env::current_exe().map_or_else(|_| "the program".into(), |path| path.display().to_string());
    CaptureError::Permission {
        action: "opening an AF_PACKET socket",
        capability: "CAP_NET_RAW",
        setcap: "cap_net_raw",
        program,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_types_have_link_types() {
        assert_eq!(link_type_of(libc::ARPHRD_ETHER), Some(LinkType::ETHERNET));
        assert_eq!(link_type_of(libc::ARPHRD_NONE), Some(LinkType::RAW));
        assert_eq!(link_type_of(libc::ARPHRD_IEEE80211), None);
    }

    #[test]
    fn the_permission_error_says_what_to_do() {
        let text = permission().to_string();
        assert!(text.contains("needs CAP_NET_RAW") && text.contains("sudo setcap cap_net_raw+ep /"), "{text}");
    }
}
