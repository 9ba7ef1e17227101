//! One socket with its ring, from preparation to the last frame.
//!
//! Holds the order of the steps that lets no unfiltered and no doubled frame through: a ring accepts nothing before it is activated, and
//! it is activated (also by the first poll) when filter, direction and share are set.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use capture::{CaptureDirection, CaptureError, LinkType};
use netdev::{Device, Promiscuous};

use crate::options::{Options, bad};
use crate::sys::abi::{self, MAX_QUEUES, RECEIVE_ONLY, RING_VERSION, direction, info, option, slot};
use crate::sys::memory::Memory;
use crate::sys::ring::{Unusable, Walk, total_of};
use crate::sys::socket::{Socket, System};

/// The module writes 18 octets of a frame whose tag it puts back, whatever the bucket's length (`copy_data_to_ring`): a shorter bucket
/// would let it write behind its slot. The walk cuts to the snaplen.
const SMALLEST_BUCKET: u32 = 64;

/// What all queues of one [`open`](crate::open) share.
#[derive(Debug)]
pub(crate) struct Plan<S> {
    pub(crate) system: S,
    pub(crate) options: Options,
    /// `None`: everything is accepted.
    pub(crate) program: Option<Vec<capture::BpfInstruction>>,
    /// For some time the module showed frames to no queue, and counted none: what came then is not known. One queue notices it for all.
    pub(crate) forgotten: Arc<AtomicBool>,
}

/// A queue's part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it.
    Alone,
    /// The channels of this set.
    Channels(u64),
    /// This queue of this cluster.
    Cluster { id: u16, queue: u16 },
}

impl Share {
    /// Queue `number` of `queues` gets each `queues`-th channel; of those that the NIC does not have, too, for a frame that was sent, or
    /// received by another queue than the module counted, must belong to somebody.
    pub(crate) fn channels(number: usize, queues: usize) -> Self {
        Self::Channels((0..MAX_QUEUES).filter(|channel| channel % queues == number).map(|channel| 1 << channel).sum())
    }
}

#[derive(Debug)]
pub(crate) struct Port<K: Socket> {
    pub(crate) memory: Memory,
    pub(crate) walk: Walk,
    pub(crate) socket: K,
    pub(crate) device: Device,
    in_cluster: bool,
    _promiscuous: Option<Promiscuous>,
}

/// A socket, or the reason why there is none.
pub(crate) fn socket<S: System>(system: &S) -> Result<S::Socket, CaptureError> {
    system.socket().map_err(|e| match e.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => CaptureError::Unsupported(
            "pf_ring.ko is not loaded: modprobe pf_ring (after a kernel update it has to be built again for the new kernel)".into(),
        ),
        Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT | libc::EINVAL) => CaptureError::Unsupported(
            "the kernel's address family 27 is not PF_RING's: another module than pf_ring.ko has it".into(),
        ),
        _ => CaptureError::refused("opening a PF_RING socket", e),
    })
}

/// The whole ring of a socket.
pub(crate) fn map<K: Socket>(socket: &K) -> Result<Memory, CaptureError> {
    let failed = |what: &str| {
        let action = format!("mapping the ring{what} (a smaller snaplen takes less memory)");
        move |e| CaptureError::system(action.clone(), e)
    };
    let first = socket.map(4096).map_err(failed("'s first page"))?;
    let total = total_of(&first).map_err(|reason| unusable(socket, reason))?;
    // Two mappings of one ring are not needed.
    drop(first);
    socket.map(total).map_err(failed(""))
}

fn unusable<K: Socket>(socket: &K, reason: Unusable) -> CaptureError {
    let mut version = [0; 4];
    let module = match socket.get(option::GET_RING_VERSION, &mut version).map(|_| u32::from_ne_bytes(version)) {
        Ok(n) if n != 0 => format!("pf_ring.ko {}.{}.{}", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff),
        _ => "pf_ring.ko".to_owned(),
    };
    CaptureError::Unsupported(match reason {
        Unusable::Version(found) => format!(
            "wrong ring version: {module} has {found}, this program knows {RING_VERSION} (PF_RING 8): load a module of that version"
        ),
        Unusable::Layout => format!("{module} made a ring whose sizes do not fit together"),
    })
}

impl<K: Socket> Port<K> {
    /// A bound socket with a ring that still accepts nothing, of the interface that has the configured name now.
    pub(crate) fn prepare<S: System<Socket = K>>(plan: &Plan<S>) -> Result<Self, CaptureError> {
        let Options { interface: name, snaplen, watermark, .. } = &plan.options;
        let socket = socket(&plan.system)?;
        let device = plan.system.device(name)?;
        if device.link_type != LinkType::ETHERNET {
            return Err(CaptureError::Unsupported(format!(
                "{name} is no Ethernet interface, and PF_RING captures on no other"
            )));
        }
        let bucket = (*snaplen).max(SMALLEST_BUCKET);
        set(&socket, option::RING_BUCKET_LEN, &bucket.to_ne_bytes(), "SO_RING_BUCKET_LEN")?;
        set(&socket, option::USE_SHORT_PKT_HEADER, &[1], "SO_USE_SHORT_PKT_HEADER")?;
        if let Some(program) = &plan.program {
            socket.attach(program).map_err(|e| match e.raw_os_error() {
                Some(libc::ENOMEM) => CaptureError::system(
                    "attaching the filter (a long one needs a larger sysctl net.core.optmem_max)",
                    e,
                ),
                _ => CaptureError::system("attaching the filter", e),
            })?;
        }
        socket.bind(&abi::address(device.index)).map_err(|e| bind_error(name, e))?;
        let direction = direction_of(plan.options.direction, device.loopback);
        set(&socket, option::SET_PACKET_DIRECTION, &direction.to_ne_bytes(), "SO_SET_PACKET_DIRECTION")?;
        set(&socket, option::SET_SOCKET_MODE, &RECEIVE_ONLY.to_ne_bytes(), "SO_SET_SOCKET_MODE")?;
        set(&socket, option::SET_POLL_WATERMARK, &watermark.to_ne_bytes(), "SO_SET_POLL_WATERMARK")?;
        let memory = map(&socket)?;
        let mut header = [0; 4];
        socket
            .get(option::GET_PKT_HEADER_LEN, &mut header)
            .map_err(|e| CaptureError::system("asking for the length of a slot's header", e))?;
        if u32::from_ne_bytes(header) as usize != slot::HEADER {
            return Err(unusable(&socket, Unusable::Layout));
        }
        let walk = Walk::new(&memory, bucket as usize, *snaplen as usize).map_err(|e| unusable(&socket, e))?;
        let promiscuous = match plan.options.direction {
            CaptureDirection::Promisc => plan.system.promiscuous(&device)?,
            CaptureDirection::In | CaptureDirection::Out => None,
        };
        Ok(Self { memory, walk, socket, device, in_cluster: false, _promiscuous: promiscuous })
    }

    /// RX channels of the interface: its RSS queues.
    pub(crate) fn channels(&self) -> Result<usize, CaptureError> {
        let mut channels = [0];
        self.socket
            .get(option::GET_NUM_RX_CHANNELS, &mut channels)
            .map_err(|e| CaptureError::system("asking for the interface's RX channels", e))?;
        Ok(usize::from(channels[0]))
    }

    /// Takes its part.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn take(&mut self, share: Share) -> io::Result<()> {
        self.in_cluster = matches!(share, Share::Cluster { .. });
        match share {
            Share::Alone => Ok(()),
            Share::Channels(mask) => self.socket.set(option::SET_CHANNEL_ID, &mask.to_ne_bytes()),
            Share::Cluster { id, queue } => self.socket.set(option::ADD_TO_CLUSTER, &abi::cluster(id, queue)),
        }
    }

    /// Leaves its cluster, if it is in one.
    pub(crate) fn leave(&mut self) {
        if std::mem::take(&mut self.in_cluster)
            && let Err(error) = self.socket.set(option::REMOVE_FROM_CLUSTER, &[])
        {
            tracing::debug!(%error, "a socket stays in its cluster");
        }
    }

    /// The module's count of sockets on the interface goes up by one.
    pub(crate) fn bind_again(&self, name: &str) -> Result<(), CaptureError> {
        self.socket.bind(&abi::address(self.device.index)).map_err(|e| bind_error(name, e))
    }

    /// From now on frames come.
    pub(crate) fn activate(&self) -> Result<(), CaptureError> {
        set(&self.socket, option::ACTIVATE_RING, &[1], "SO_ACTIVATE_RING")
    }

    /// Finds the next slot again after damage: the kernel pauses while the walk goes on behind all that is in the ring. Says how many
    /// frames were passed over.
    pub(crate) fn find_again<S: System<Socket = K>>(&mut self, system: &S, stopped: bool) -> Result<u64, CaptureError> {
        if !stopped {
            set(&self.socket, option::DEACTIVATE_RING, &[1], "SO_DEACTIVATE_RING")?;
            system.settle();
        }
        let passed = self.walk.resume(&self.memory).ok_or_else(|| {
            CaptureError::Unsupported(
                "the ring is damaged: pf_ring.ko says that it will put the next frame outside of it".into(),
            )
        })?;
        if !stopped {
            self.activate()?;
        }
        Ok(passed)
    }
}

/// The module takes a socket out of its cluster when it is closed, but not if its interface was deleted meanwhile (`ring_release` does so
/// for a bound socket, and `remove_device_from_ring_list` unbinds it): then the cluster would keep a pointer to freed memory.
impl<K: Socket> Drop for Port<K> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Frames for a ring, and those of them for which there was no room, since it was made. 64 bits, and never cleared.
pub(crate) fn totals(memory: &Memory) -> (u64, u64) {
    (memory.word(info::TOT_PKTS).load(Relaxed), memory.word(info::TOT_LOST).load(Relaxed))
}

/// Accepts nothing from now on, for good. When this returns, all that was accepted is in the ring or counted as lost.
pub(crate) fn shut_down<S: System>(system: &S, socket: &S::Socket) -> Result<(), CaptureError> {
    set(socket, option::SHUTDOWN_RING, &[1], "SO_SHUTDOWN_RING")?;
    system.settle();
    Ok(())
}

/// On a loopback interface each frame is shown when it is sent and again when it is received: the first is left out unless only sent
/// frames are asked for.
fn direction_of(asked: CaptureDirection, loopback: bool) -> u32 {
    match asked {
        CaptureDirection::In => direction::RX,
        CaptureDirection::Promisc if loopback => direction::RX,
        CaptureDirection::Promisc => direction::BOTH,
        CaptureDirection::Out => direction::TX,
    }
}

fn bind_error(name: &str, error: io::Error) -> CaptureError {
    match error.raw_os_error() {
        Some(libc::ENETDOWN) => CaptureError::Unsupported(format!(
            "{name} is down, and PF_RING opens only an interface that is up: ip link set {name} up"
        )),
        Some(libc::EINVAL) => CaptureError::Unsupported(format!(
            "pf_ring.ko does not capture on {name}: it takes Ethernet and loopback interfaces that it knows (/proc/net/pf_ring/dev)"
        )),
        _ => CaptureError::on_interface(name, format!("binding to {name}"), error),
    }
}

fn set<K: Socket>(socket: &K, option: i32, value: &[u8], name: &str) -> Result<(), CaptureError> {
    socket.set(option, value).map_err(|e| CaptureError::system(format!("setting {name}"), e))
}

/// A cluster's number that somebody else has, or that cannot be.
pub(crate) fn cluster_error(id: u16, error: io::Error) -> CaptureError {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EINVAL | libc::EPERM) => bad(
            "cluster_id",
            id,
            format!(
                "a number that no other program uses for its cluster, also not in another namespace ({error}); or none, for a free one"
            ),
        ),
        _ => CaptureError::system(format!("joining cluster {id}"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_belongs_to_one_queue() {
        let masks = (0..3).map(|number| match Share::channels(number, 3) {
            Share::Channels(mask) => mask,
            other => panic!("{other:?}"),
        });
        let masks: Vec<u64> = masks.collect();
        assert_eq!(masks.iter().fold(0, |all, mask| all ^ mask), u64::MAX);
        assert_eq!(masks[1] & 0xff, 0b1001_0010);
        assert_eq!(Share::channels(0, 1), Share::Channels(u64::MAX));
    }

    #[test]
    fn loopback_frames_are_taken_once() {
        assert_eq!(direction_of(CaptureDirection::Promisc, true), direction::RX);
        assert_eq!(direction_of(CaptureDirection::Promisc, false), direction::BOTH);
        assert_eq!(direction_of(CaptureDirection::Out, true), direction::TX);
    }
}
