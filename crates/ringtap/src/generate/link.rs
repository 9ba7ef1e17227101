//! The interface while frames are sent or received: its link goes down and comes back, or it is deleted.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use netdev::{Carrier, Device, control_socket};

/// An interface that is looked at every now and then. Of a module's own port, such as one of VALE, nothing is ever seen.
pub(super) struct LinkWatch {
    name: String,
    device: Option<(Device, OwnedFd)>,
    seen: Carrier,
    next: Instant,
}

/// How often it is looked at: the driver is asked, which takes a lock of the kernel's.
const INTERVAL: Duration = Duration::from_millis(50);

impl LinkWatch {
    /// Of an interface of the calling thread's namespace whose link is there.
    pub(super) fn new(name: &str) -> Self {
        let device = Device::find(name).ok().zip(control_socket().ok());
        Self { name: name.to_owned(), device, seen: Carrier::Present, next: Instant::now() }
    }

    /// What there is to be seen, if it is time to look.
    fn look(&mut self, now: Instant) -> Carrier {
        if now >= self.next {
            self.next = now + INTERVAL;
            self.seen = self.look_now();
        }
        self.seen
    }

    fn look_now(&self) -> Carrier {
        let Some((device, socket)) = &self.device else { return Carrier::Present };
        // What cannot be asked now is as it was.
        device.carrier(socket.as_fd()).unwrap_or(self.seen)
    }

    /// Whether the link is down; that it is, or is no longer, is told in the log.
    pub(super) fn is_down(&mut self, now: Instant) -> bool {
        let before = self.seen;
        let (was, is) = (down(before), down(self.look(now)));
        match (was, is, self.seen) {
            (false, true, Carrier::Down) => {
                tracing::warn!("{}: the interface is down; sending goes on when it is up again", self.name);
            }
            (false, true, _) => {
                tracing::warn!("{}: the link is down (no carrier); sending goes on when it is up again", self.name);
            }
            (true, false, Carrier::Present) => tracing::info!("{}: the link is up again", self.name),
            _ => {}
        }
        is
    }

    /// Why nothing more can come of it: it was deleted.
    pub(super) fn end(&mut self, now: Instant) -> Option<String> {
        (self.look(now) == Carrier::Deleted).then(|| self.deleted())
    }

    /// Why there was an error: that the interface was deleted says more than the error.
    pub(super) fn explain(&self, error: &dyn std::fmt::Display) -> String {
        if self.look_now() == Carrier::Deleted { self.deleted() } else { error.to_string() }
    }

    fn deleted(&self) -> String {
        format!("{} was deleted", self.name)
    }
}

fn down(carrier: Carrier) -> bool {
    matches!(carrier, Carrier::Down | Carrier::Missing)
}
