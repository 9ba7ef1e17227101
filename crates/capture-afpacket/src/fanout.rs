//! One fanout group for the queues of an interface, also after the interface was made anew.
//!
//! Holds the group's identifier behind a lock, which is taken when a socket joins and never while frames are read.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::options::FanoutMode;
use crate::sys::socket::PacketSocket;

/// `PACKET_FANOUT_FLAG_UNIQUEID`: the kernel chooses an identifier that no group of the namespace has.
const UNIQUE_ID: u16 = 0x2000;
/// `PACKET_FANOUT_FLAG_IGNORE_OUTGOING`, Linux 6.2; older kernels store and ignore it. The socket's own
/// `PACKET_IGNORE_OUTGOING` has no effect in a group, whose hook is another (`fanout_add` in net/packet/af_packet.c).
/// Both only spare work: the filter decides.
const IGNORE_OUTGOING: u16 = 0x4000;

/// The group that the queues share.
#[derive(Debug)]
pub(crate) struct Group {
    mode: u16,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    /// Counts the groups made: 0 before the first. A socket cannot leave a group, and a group cannot change its interface.
    epoch: u64,
    id: u16,
}

impl Group {
    pub(crate) fn new(mode: FanoutMode, ignore_outgoing: bool) -> Self {
        let mode = mode.kernel_mode() | if ignore_outgoing { IGNORE_OUTGOING } else { 0 };
        Self { mode, current: Mutex::default() }
    }

    /// Lets `socket`, which is bound, join. `seen` is the epoch of the queue's socket before, 0 at first. Returns the new one.
    ///
    /// The first queue that comes with the current epoch makes the next group; the others find it made.
    pub(crate) fn join(&self, socket: &PacketSocket, seen: u64) -> io::Result<u64> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.epoch > seen {
            match socket.join_fanout(current.id, self.mode) {
                Ok(()) => return Ok(current.epoch),
                // The interface was made anew twice, and the group found here belongs to the first time. At the first
                // opening there is no such case, and a second group would double every frame.
                Err(e) if seen > 0 && e.raw_os_error() == Some(libc::EINVAL) => {}
                Err(e) => return Err(e),
            }
        }
        socket.join_fanout(0, self.mode | UNIQUE_ID)?;
        let id = socket.fanout_id()?;
        *current = Current { epoch: current.epoch + 1, id };
        Ok(current.epoch)
    }
}
