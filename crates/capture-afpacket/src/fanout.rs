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

    /// Lets `socket`, which is bound, join. `seen` is the epoch of the queue's socket before, 0 at first; `up` looks whether the interface is.
    /// Returns the new epoch.
    ///
    /// The first queue that comes with the current epoch makes the next group; the others find it made.
    pub(crate) fn join(&self, socket: &impl Joins, seen: u64, up: impl Fn() -> bool) -> io::Result<u64> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.epoch > seen {
            let refused = match socket.join_fanout(current.id, self.mode) {
                Ok(()) => return Ok(current.epoch),
                Err(e) if seen > 0 && e.raw_os_error() == Some(libc::EINVAL) => e,
                Err(e) => return Err(e),
            };
            // The interface was made anew twice, and the group found here belongs to the first time (at the first opening there
            // is no such case, and a second group would double every frame). Or the interface was down: then the group is the
            // right one, and one more would double every frame too. So ask again while the interface is up for sure.
            if !up() {
                return Err(refused);
            }
            match socket.join_fanout(current.id, self.mode) {
                Ok(()) => return Ok(current.epoch),
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) && up() => {}
                Err(e) => return Err(e),
            }
        }
        socket.join_fanout(0, self.mode | UNIQUE_ID)?;
        let id = socket.fanout_id()?;
        *current = Current { epoch: current.epoch + 1, id };
        Ok(current.epoch)
    }
}

/// What of a socket a group needs.
pub(crate) trait Joins {
    fn join_fanout(&self, id: u16, mode_and_flags: u16) -> io::Result<()>;
    fn fanout_id(&self) -> io::Result<u16>;
}

impl Joins for PacketSocket {
    fn join_fanout(&self, id: u16, mode_and_flags: u16) -> io::Result<()> {
        self.join_fanout(id, mode_and_flags)
    }

    fn fanout_id(&self) -> io::Result<u16> {
        self.fanout_id()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A socket on an interface that comes up after some calls. As `fanout_add`: EINVAL if it is down, or if the group is another
    /// interface's.
    struct Fake {
        down_for: Cell<u32>,
        group_is_ours: bool,
        joined: RefCell<Vec<u16>>,
    }

    impl Fake {
        fn new(down_for: u32, group_is_ours: bool) -> Self {
            Self { down_for: Cell::new(down_for), group_is_ours, joined: RefCell::default() }
        }

        fn up(&self) -> bool {
            let left = self.down_for.get();
            self.down_for.set(left.saturating_sub(1));
            left == 0
        }
    }

    impl Joins for Fake {
        fn join_fanout(&self, id: u16, _: u16) -> io::Result<()> {
            if !self.up() || id != 0 && !self.group_is_ours {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            self.joined.borrow_mut().push(id);
            Ok(())
        }

        fn fanout_id(&self) -> io::Result<u16> {
            Ok(7)
        }
    }

    fn join(group: &Group, socket: &Fake, seen: u64) -> Option<u64> {
        group.join(socket, seen, || socket.up()).ok()
    }

    #[test]
    fn an_interface_that_comes_up_meanwhile_gets_no_second_group() {
        for down_for in 1..4 {
            let group = Group::new(FanoutMode::Hash, false);
            assert_eq!(join(&group, &Fake::new(0, true), 0), Some(1));
            assert_eq!(join(&group, &Fake::new(0, true), 1), Some(2), "made anew");
            let late = Fake::new(down_for, true);
            let epoch = join(&group, &late, 1).or_else(|| join(&group, &late, 1)).or_else(|| join(&group, &late, 1));
            assert_eq!((epoch, late.joined.take()), (Some(2), vec![7]), "down for {down_for} calls");
        }
    }

    #[test]
    fn an_interface_that_was_made_anew_twice_gets_a_new_group() {
        let group = Group::new(FanoutMode::Hash, false);
        assert_eq!(join(&group, &Fake::new(0, true), 0), Some(1));
        assert_eq!(join(&group, &Fake::new(0, true), 1), Some(2));
        let other = Fake::new(0, false);
        assert_eq!((join(&group, &other, 1), other.joined.take()), (Some(3), vec![0]));
        assert_eq!(join(&group, &Fake::new(0, false), 0), None, "not at the first opening");
    }
}
