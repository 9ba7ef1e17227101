//! What a queue does when its interface changes.
//!
//! Holds the log lines and the opening of a new port. Called about once a second, or when the kernel told of an error.

use std::time::{Duration, Instant};

use capture::{CaptureError, Interface, InterfaceIndex};

use super::{Link, Queue};
use netdev::{Change, Sight, longest_frame};

use crate::port::Port;

impl Queue {
    /// Looks at the interface: up or down, its name, its MTU.
    pub(super) fn look(&mut self, now: Instant) {
        self.log_damage();
        let sight = match self.port.look() {
            Ok(sight) => sight,
            Err(error) => {
                tracing::debug!(queue = self.number, %error, "cannot look at the interface");
                self.watch.next = now + Duration::from_secs(1);
                return;
            }
        };
        let change = self.watch.saw(&sight, now);
        if let Sight::Present { name, mtu, .. } = sight {
            self.constants.longest = longest_frame(self.constants.link_type, mtu);
            self.rename(name);
        }
        if change == Change::WasDeleted {
            self.end.deadline = Some(self.end.deadline.unwrap_or_else(|| now + self.patience()));
        }
        self.tell(change);
    }

    /// Reads the error that woke us up, so that it does so once.
    pub(super) fn on_socket_error(&mut self, pause: Duration) -> Result<(), CaptureError> {
        match self.port.socket.take_error().map_err(|e| CaptureError::system("reading SO_ERROR", e))? {
            Some(error) if matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO)) => {
                let change = self.watch.went_down(Instant::now());
                self.tell(change);
            }
            other => {
                tracing::debug!(queue = self.number, error = ?other, "the socket woke up with an error");
                std::thread::sleep(pause.min(Duration::from_millis(10)));
            }
        }
        Ok(())
    }

    /// Opens a port on the interface that has the configured name now, once the old ring is empty.
    pub(super) fn reopen_if_deleted(&mut self, now: Instant) -> Result<(), CaptureError> {
        if self.watch.link != Link::Deleted || self.end.stopped || self.port.ring.ready() {
            return Ok(());
        }
        // The old interface's frames first: deleted means that the kernel is through with its receive paths.
        self.books().read_statistics()?;
        if self.port.ring.ready() || !(self.port.drained() || self.end.deadline.is_some_and(|deadline| now >= deadline))
        {
            return Ok(());
        }
        // Before the new ring is made: both at once may be more memory than there is.
        self.port.release_ring();
        match self.open_port() {
            Ok(port) => self.adopt(port, now),
            Err(CaptureError::NoSuchInterface { .. }) => {}
            Err(error) => self.tell_obstacle(error.to_string()),
        }
        Ok(())
    }

    /// Why the interface cannot be captured though it is there again; tried several times a second, told when the reason is a new one.
    fn tell_obstacle(&mut self, reason: String) {
        if self.watch.obstacle.as_ref() != Some(&reason) {
            let interface = &self.plan.options.interface;
            tracing::warn!(interface, queue = self.number, "capture cannot go on yet, and is tried again: {reason}");
            self.watch.obstacle = Some(reason);
        }
    }

    fn open_port(&self) -> Result<Port, CaptureError> {
        let mut port = Port::prepare(&self.plan)?;
        let (new, old) = (port.device.link_type, self.constants.link_type);
        if self.plan.options.filter.is_some() && new != old {
            return Err(CaptureError::Unsupported(format!(
                "{} is another kind of interface now (link type {}), and the filter was compiled for the old one ({}): start ringtap again",
                self.plan.options.interface, new.0, old.0
            )));
        }
        // Rejects everything from before `bind` to after the join, like the first time. The flows that move to this queue
        // miss the frames of the microseconds between join and accept; the other queues have theirs.
        port.join(&self.plan, self.port.epoch)?;
        port.accept(&self.plan)?;
        Ok(port)
    }

    fn adopt(&mut self, port: Port, now: Instant) {
        self.watch.obstacle = None;
        self.constants.link_type = port.device.link_type;
        // Whatever `look` finds, or if it fails: frames must not refer to an entry of another link type.
        self.rename(self.plan.options.interface.clone());
        if let Some(nic) = &mut self.nic {
            nic.reopened(port.device.index);
        }
        self.port = port;
        self.end.deadline = None;
        self.look(now);
    }

    /// Later frames refer to the interface by this name and the current link type.
    fn rename(&mut self, name: String) {
        let InterfaceIndex(current) = self.constants.interface;
        let wanted = Interface { name, link_type: self.constants.link_type };
        let old = self.interfaces.get(current as usize);
        if old == Some(&wanted) {
            return;
        }
        if self.number == 0 {
            tracing::info!(from = old.map(|i| i.name.as_str()), to = %wanted.name, "the interface has another name or link type");
        }
        let known = self.interfaces.iter().position(|i| *i == wanted).unwrap_or_else(|| {
            self.interfaces.push(wanted);
            self.interfaces.len() - 1
        });
        self.constants.interface = InterfaceIndex(u32::try_from(known).unwrap_or(u32::MAX));
    }

    /// One queue of the interface speaks for all.
    fn tell(&self, change: Change) {
        if self.number != 0 {
            return;
        }
        let interface = self.interfaces.get(self.constants.interface.0 as usize);
        change.tell(interface.map_or("", |i| &i.name), &self.plan.options.interface);
    }

    fn log_damage(&mut self) {
        let new = self.counters.damaged - self.counters.damage_logged;
        if new > 0 {
            self.counters.damage_logged = self.counters.damaged;
            tracing::warn!(
                queue = self.number,
                frames = new,
                "a block of the ring pointed outside of itself: frames could not be read"
            );
        }
    }
}
