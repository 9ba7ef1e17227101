//! The program on the interface, with the map that leads from queues to sockets: what all queues of an interface share.
//!
//! Lives until the last queue is dropped, or the process ends in any way.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use capture::{CaptureDirection, CaptureError};
use netdev::{Device, Promiscuous};

use crate::options::{Attach, Options};
use crate::program;
use crate::sys::bpf::{self, Hook};
use crate::sys::socket::XdpSocket;

/// What granting all that is needed takes.
pub(crate) const CAPABILITIES: &str = "cap_net_raw,cap_net_admin,cap_bpf";

/// What all queues of one [`open`](crate::open) share.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    /// One more than the highest number of a queue.
    pub(crate) places: u32,
    /// The lock is taken when an interface is opened, never while frames are read.
    current: Mutex<Weak<Attachment>>,
}

/// How often the kernel is asked whether the program is still on the interface, for all queues together. It takes the lock of all network
/// configuration (RTNL) for the answer, which others hold for as long as it takes them, and the asking thread waits.
const ASK: Duration = Duration::from_secs(1);

/// The program on one life of the interface.
#[derive(Debug)]
pub(crate) struct Attachment {
    link: OwnedFd,
    /// When the kernel was last asked, and what it said.
    answer: Mutex<(Instant, bool)>,
    map: OwnedFd,
    interface: i32,
    pub(crate) hook: Hook,
    /// The program reads frames of several buffers.
    pub(crate) frags: bool,
    _promiscuous: Option<Promiscuous>,
}

impl Plan {
    pub(crate) fn new(options: Options, places: u32) -> Self {
        Self { options, places, current: Mutex::default() }
    }

    /// The program on `device`: that which is there, or a new one.
    pub(crate) fn attach(&self, device: &Device) -> Result<Arc<Attachment>, CaptureError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attachment) = current.upgrade().filter(|a| a.interface == device.index && a.ask()) {
            return Ok(attachment);
        }
        let attachment = Arc::new(Attachment::new(&self.options, self.places, device)?);
        *current = Arc::downgrade(&attachment);
        Ok(attachment)
    }
}

impl Attachment {
    fn new(options: &Options, places: u32, device: &Device) -> Result<Self, CaptureError> {
        let name = &options.interface;
        let map = bpf::socket_map(places).map_err(|e| refused("making an XDP map", e))?;
        let (program, frags) = load(options, &map)?;
        let hooks: &[Hook] = match options.attach {
            Attach::Auto => &[Hook::Native, Hook::Generic],
            Attach::Native => &[Hook::Native],
            Attach::Generic => &[Hook::Generic],
        };
        let mut last = None;
        for &hook in hooks {
            match bpf::attach(program.as_fd(), device.index, hook) {
                Ok(link) => {
                    let promisc = options.direction == CaptureDirection::Promisc;
                    let promiscuous = promisc.then(|| Promiscuous::hold(device)).transpose()?;
                    let answer = Mutex::new((Instant::now(), true));
                    return Ok(Self {
                        link,
                        answer,
                        map,
                        interface: device.index,
                        hook,
                        frags,
                        _promiscuous: promiscuous,
                    });
                }
                Err(error) => {
                    if let Some(taken) = taken_by_another(name, device, &error) {
                        return Err(taken);
                    }
                    tracing::debug!(interface = name, ?hook, %error, "the XDP program was not taken");
                    last = Some((hook, error));
                }
            }
        }
        Err(match last {
            Some((Hook::Native, error)) if error.raw_os_error() != Some(libc::EPERM) => CaptureError::system(
                format!(
                    "attaching the XDP program to the driver of {name} (attach = generic works without the driver)"
                ),
                error,
            ),
            Some((_, error)) => match error.raw_os_error() {
                Some(libc::EPERM) => refused("attaching an XDP program", error),
                _ => CaptureError::on_interface(name, format!("attaching the XDP program to {name}"), error),
            },
            None => CaptureError::Unsupported("there is no way to attach an XDP program".into()),
        })
    }

    /// Whether the program is still on the interface, as of the last second: not if that was deleted, or somebody detached the link.
    pub(crate) fn is_there(&self, now: Instant) -> bool {
        // Another queue's thread waits for the answer.
        let Ok(mut answer) = self.answer.try_lock() else { return true };
        if now.saturating_duration_since(answer.0) >= ASK {
            *answer = (now, self.ask());
        }
        answer.1
    }

    /// As somebody else may do it.
    #[cfg(test)]
    pub(crate) fn take_off(&self) {
        bpf::detach(self.link.as_fd()).expect("it is on the interface");
    }

    fn ask(&self) -> bool {
        // What cannot be asked is taken for unchanged.
        bpf::linked_to(self.link.as_fd()).map_or(true, |interface| interface == Some(self.interface))
    }

    /// Frames of receive queue `queue` come to `socket` from now on.
    pub(crate) fn lead_to(&self, queue: u32, socket: &XdpSocket) -> io::Result<()> {
        bpf::put_socket(self.map.as_fd(), queue, socket.as_fd())
    }

    /// Frames of receive queue `queue` go on to the host from now on.
    pub(crate) fn lead_on(&self, queue: u32) -> io::Result<()> {
        bpf::remove_socket(self.map.as_fd(), queue)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // Closing the link does the same, but not while a child between fork and exec has it open too.
        if let Err(error) = bpf::detach(self.link.as_fd()) {
            tracing::debug!(%error, "the XDP program goes when its link is closed");
        }
    }
}

fn load(options: &Options, map: &OwnedFd) -> Result<(OwnedFd, bool), CaptureError> {
    let make = |frags| {
        program::assemble(map.as_raw_fd().unsigned_abs(), options.filter.as_ref(), options.host, frags)
            .map(|program| bpf::load(&program, frags))
    };
    match make(true)? {
        Ok(program) => Ok((program, true)),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(refused("loading an XDP program", error)),
        // A kernel before 5.18, most likely; if not, the second error says what it is.
        Err(_) => match make(false)? {
            Ok(program) => Ok((program, false)),
            Err(error) => {
                Err(refused("loading the XDP program (a long filter may be more than the kernel takes)", error))
            }
        },
    }
}

/// Says whose program is in the way, if that is the reason.
fn taken_by_another(name: &str, device: &Device, error: &io::Error) -> Option<CaptureError> {
    if !matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) {
        return None;
    }
    let program = netdev::xdp_program(device.index).ok().flatten()?;
    let id = program.id;
    Some(CaptureError::Unsupported(format!(
        "{name} has another XDP {program} already, and takes only one: end the process that put it there (bpftool link list shows it), or, \
         if none is left, `ip link set dev {name} xdp off` (see `bpftool prog show id {id}`); or capture with AF_PACKET"
    )))
}

/// The system refused something of bpf(2), perhaps for want of a capability.
pub(crate) fn refused(action: &'static str, error: io::Error) -> CaptureError {
    match error.raw_os_error() {
        // Kernels before 5.11 charge maps and programs to the limit of locked memory, and say EPERM for that too.
        Some(libc::EPERM | libc::EACCES) => CaptureError::no_permission(
            action,
            "CAP_BPF and CAP_NET_ADMIN (before Linux 5.11 also: ulimit -l unlimited)",
            CAPABILITIES,
        ),
        Some(libc::ENOSYS) => CaptureError::Unsupported(format!("{action}: this kernel has no bpf(2)")),
        _ => CaptureError::system(action, error),
    }
}
