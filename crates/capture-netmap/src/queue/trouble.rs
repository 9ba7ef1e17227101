//! What a queue does when the module complains, and when its interface changes.

use std::time::{Duration, Instant};

use capture::{CaptureError, Interface, InterfaceIndex};
use netdev::Link;

use super::{LOOK, Queue};
use crate::explain;
use crate::walk::Walk;

/// How long polling may give an error before the port is taken for gone. A driver stops its rings for a moment when it resets, and the
/// module locks them when somebody else opens the port.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a port in trouble is asked.
const TICK: Duration = Duration::from_millis(10);

impl Queue {
    /// Our head in the ring is not what we wrote: the module found it bad and went back to its own, or somebody else wrote it.
    ///
    /// If our slots begin within what is ours by its account they do so again, so that no frame comes twice; otherwise where it says.
    #[cold]
    pub(super) fn put_right(&mut self) {
        if let (Some(theirs), Some(tail), false) = (self.ring.head(), self.ring.tail(), self.walk.on_loan()) {
            let ours = self.walk.head;
            if self.ring.distance(theirs, ours) > self.ring.distance(theirs, tail) {
                self.walk = Walk::new(theirs);
            }
            tracing::warn!(port = %self.port, ours, theirs, tail, "netmap has set the ring back: frames may be missing");
        }
        self.ring.publish(self.walk.head, self.walk.head);
    }

    /// Polling gave an error: for a moment, as long as the interface is down, or for good.
    #[cold]
    pub(super) fn complaint(&mut self, now: Instant, pause: Duration) -> Result<(), CaptureError> {
        let since = *self.trouble.get_or_insert(now);
        match self.follow.as_ref().map(netdev::Follow::link) {
            // The driver of an interface that is down has no rings; that one was deleted `wait` finds out.
            Some(Link::Down | Link::Deleted) => {}
            Some(Link::Up) | None if now.saturating_duration_since(since) >= PATIENCE => {
                return Err(explain::gone(&self.port, &format!("poll has given POLLERR for {} s", PATIENCE.as_secs())));
            }
            Some(Link::Up) | None => {}
        }
        std::thread::sleep(pause.min(TICK));
        Ok(())
    }

    /// Looks at the interface, and tells of damage.
    #[cold]
    pub(super) fn look(&mut self, now: Instant) {
        self.next_look = now + LOOK;
        self.tell_damage();
        let Some(follow) = &mut self.follow else { return };
        follow.look(now);
        self.constants.longest = follow.longest_frame(self.constants.link_type);
        let name = follow.name().to_owned();
        self.rename(name);
    }

    /// Later frames refer to the interface by this name.
    fn rename(&mut self, name: String) {
        let InterfaceIndex(current) = self.constants.interface;
        if self.interfaces.get(current as usize).is_some_and(|interface| interface.name == name) {
            return;
        }
        let known = self.interfaces.iter().position(|interface| interface.name == name).unwrap_or_else(|| {
            self.interfaces.push(Interface { name, link_type: self.constants.link_type });
            self.interfaces.len() - 1
        });
        self.constants.interface = InterfaceIndex(u32::try_from(known).unwrap_or(u32::MAX));
    }

    fn tell_damage(&mut self) {
        let new = self.counters.damaged - self.counters.damage_told;
        if new > 0 {
            self.counters.damage_told = self.counters.damaged;
            tracing::warn!(port = %self.port, queue = self.number, frames = new, "slots of the ring pointed nowhere: frames could not be read");
        }
    }
}
