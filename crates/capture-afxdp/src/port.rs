//! One socket with its memory, from preparation to the last frame.
//!
//! Holds the order of the steps. A port belongs to one life of an interface; when that is deleted the queue opens another port.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use capture::CaptureError;
use netdev::Device;

use crate::attachment::{Attachment, CAPABILITIES, Plan};
use crate::options::{HEADROOM, Mode, Options};
use crate::sys::bpf::Hook;
use crate::sys::memory::{HUGE_PAGE, Memory};
use crate::sys::receive::Receiver;
use crate::sys::ring::Ring;
use crate::sys::socket::{Binding, FILL_PLACE, RX_PLACE, RingKind, XdpSocket};

/// Octets of an Ethernet header and two VLAN tags.
const LINK_HEADER: u32 = 14 + 8;
/// Of a completion ring that nothing ever comes back by; the kernel wants one.
const NO_COMPLETIONS: u32 = 1;

pub(crate) struct Port {
    // Closed first: the kernel is through with the memory before it goes.
    pub(crate) socket: XdpSocket,
    pub(crate) memory: Receiver,
    pub(crate) attachment: Arc<Attachment>,
    /// The number of the receive queue.
    pub(crate) queue: u32,
    pub(crate) binding: Binding,
}

impl Port {
    /// A bound socket that no frame comes to yet.
    pub(crate) fn prepare(plan: &Plan, device: &Device, mtu: u32, queue: u32) -> Result<Self, CaptureError> {
        let Options { frame_count, frame_size, huge_pages, snaplen, .. } = plan.options;
        let name = &plan.options.interface;
        // Before the program: what is missing is said with all that is needed.
        let socket = open_socket()?;
        let attachment = plan.attach(device)?;
        let umem = memory(frame_count, frame_size, huge_pages)?;
        socket.register(&umem, frame_size).map_err(|e| memory_refused(&umem, e))?;
        let rings = |e| CaptureError::system(format!("making rings of {frame_count} entries"), e);
        socket.make_ring(RingKind::Fill, frame_count).map_err(rings)?;
        socket.make_ring(RingKind::Completion, NO_COMPLETIONS).map_err(rings)?;
        socket.make_ring(RingKind::Rx, frame_count).map_err(rings)?;
        let layout = layout(&socket)?;
        let rx = Ring::map(socket.as_fd(), RX_PLACE, &layout.rx, frame_count).map_err(rings)?;
        let fill = Ring::map(socket.as_fd(), FILL_PLACE, &layout.fr, frame_count).map_err(rings)?;
        let whole = mtu.saturating_add(LINK_HEADER) <= frame_size - HEADROOM;
        let bindings = bindings(plan.options.mode, attachment.hook, attachment.frags, whole);
        let binding = bind(&socket, name, device, queue, &bindings)?;
        // The chunks are put into the fill ring here: a driver that writes by itself fetches them when it is woken, by the first wait.
        let memory = Receiver::new(umem, rx, fill, frame_size, snaplen, binding.frags);
        Ok(Self { socket, memory, attachment, queue, binding })
    }

    /// Lets frames come.
    pub(crate) fn accept(&self) -> Result<(), CaptureError> {
        self.attachment.lead_to(self.queue, &self.socket).map_err(|e| {
            CaptureError::system(format!("putting the socket of queue {} into the XDP map", self.queue), e)
        })?;
        if self.memory.needs_wakeup() {
            // Only to be early: if it fails the first wait does the same.
            let _ = self.socket.wake();
        }
        Ok(())
    }

    /// Accepts nothing from now on: frames go on to the host. When this returns, all that was accepted is in the ring or counted as dropped.
    pub(crate) fn refuse(attachment: &Attachment, queue: u32) -> Result<(), CaptureError> {
        attachment
            .lead_on(queue)
            .map_err(|e| CaptureError::system(format!("taking the socket of queue {queue} out of the XDP map"), e))?;
        netdev::wait_for_receive_paths();
        Ok(())
    }
}

/// A socket without memory.
pub(crate) fn open_socket() -> Result<XdpSocket, CaptureError> {
    const ACTION: &str = "opening an AF_XDP socket";
    XdpSocket::open().map_err(|e| match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => CaptureError::no_permission(ACTION, "CAP_NET_RAW", CAPABILITIES),
        Some(libc::EAFNOSUPPORT) => CaptureError::Unsupported("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)".into()),
        _ => CaptureError::system(ACTION, e),
    })
}

/// The memory of a socket.
pub(crate) fn memory(frame_count: u32, frame_size: u32, huge_pages: bool) -> Result<Memory, CaptureError> {
    let length = frame_count as usize * frame_size as usize;
    let length = if huge_pages { length.next_multiple_of(HUGE_PAGE) } else { length };
    Memory::anonymous(length, huge_pages).map_err(|e| {
        let action = if huge_pages {
            let pages = length / HUGE_PAGE;
            format!(
                "{} MiB of huge pages (sysctl vm.nr_hugepages has to be {pages} more, or leave huge pages out)",
                length >> 20
            )
        } else {
            format!("{} MiB of memory (a lower frame_count takes less)", length >> 20)
        };
        CaptureError::system(action, e)
    })
}

/// Why the kernel does not take the memory.
pub(crate) fn memory_refused(memory: &Memory, error: io::Error) -> CaptureError {
    let megabytes = memory.length() >> 20;
    match error.raw_os_error() {
        // What xdp_umem_account_pages says (net/xdp/xdp_umem.c).
        Some(libc::ENOBUFS | libc::ENOMEM) => CaptureError::system(
            format!(
                "locking {megabytes} MiB of memory (raise the limit, ulimit -l or LimitMEMLOCK= of systemd, or grant CAP_IPC_LOCK, or lower \
                 frame_count)"
            ),
            error,
        ),
        _ => CaptureError::system(format!("giving {megabytes} MiB of memory to an AF_XDP socket"), error),
    }
}

/// Where the rings lie.
pub(crate) fn layout(socket: &XdpSocket) -> Result<libc::xdp_mmap_offsets, CaptureError> {
    socket.layout().map_err(|e| match e.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => CaptureError::Unsupported("AF_XDP needs Linux 5.9 or newer here".into()),
        _ => CaptureError::system("reading XDP_MMAP_OFFSETS", e),
    })
}

/// The ways to bind, the best first. `whole`: every frame fits into a chunk.
///
/// A driver that writes without a copy but knows no frames of several buffers is taken without them, as long as they are not needed.
pub(crate) fn bindings(mode: Mode, hook: Hook, frags: bool, whole: bool) -> Vec<Binding> {
    let mut ways = Vec::new();
    if mode != Mode::Copy && hook == Hook::Native {
        ways.push(Binding { zero_copy: true, frags: true });
        if whole || mode == Mode::ZeroCopy {
            ways.push(Binding { zero_copy: true, frags: false });
        }
    }
    if mode != Mode::ZeroCopy {
        ways.push(Binding { zero_copy: false, frags: true });
        ways.push(Binding { zero_copy: false, frags: false });
    }
    ways.retain(|way| frags || !way.frags);
    ways
}

/// Binds in the first way that the kernel takes.
pub(crate) fn bind(
    socket: &XdpSocket,
    name: &str,
    device: &Device,
    queue: u32,
    ways: &[Binding],
) -> Result<Binding, CaptureError> {
    let mut last = None;
    for &way in ways {
        match patiently(|| socket.bind(device.index, queue, way)) {
            Ok(()) => {
                let zero_copy = socket.is_zero_copy().unwrap_or(way.zero_copy);
                return Ok(Binding { zero_copy, ..way });
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                return Err(CaptureError::Unsupported(format!(
                    "queue {queue} of {name} has an AF_XDP socket already: end the program that has it, or take other queues"
                )));
            }
            Err(error) => last = Some((way, error)),
        }
    }
    Err(match last {
        Some((way, error)) if way.zero_copy => CaptureError::system(
            format!(
                "binding to queue {queue} of {name} without a copy (the driver may not be able to: mode = auto or copy)"
            ),
            error,
        ),
        Some((_, error)) => CaptureError::on_interface(name, format!("binding to queue {queue} of {name}"), error),
        None => CaptureError::Unsupported(format!("there is no way to bind to queue {queue} of {name}")),
    })
}

/// Tries again for a while if the queue is busy: the kernel takes a closed socket apart later, and a child between fork and exec keeps it.
fn patiently(attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..25 {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(Duration::from_millis(20)),
            other => return other,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_way_comes_first() {
        let names = |mode, hook, frags, whole| {
            let name =
                |b: Binding| format!("{}{}", if b.zero_copy { "zc" } else { "copy" }, if b.frags { "+sg" } else { "" });
            bindings(mode, hook, frags, whole).into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(Mode::Auto, Hook::Native, true, true), ["zc+sg", "zc", "copy+sg", "copy"]);
        assert_eq!(names(Mode::Auto, Hook::Native, true, false), ["zc+sg", "copy+sg", "copy"]);
        assert_eq!(names(Mode::Auto, Hook::Native, false, true), ["zc", "copy"]);
        assert_eq!(names(Mode::Auto, Hook::Generic, true, true), ["copy+sg", "copy"]);
        assert_eq!(names(Mode::ZeroCopy, Hook::Native, true, false), ["zc+sg", "zc"]);
        assert_eq!(names(Mode::Copy, Hook::Native, true, true), ["copy+sg", "copy"]);
    }
}
