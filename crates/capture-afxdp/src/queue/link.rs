//! What a queue does when its interface changes.
//!
//! Holds the log lines and the opening of a new port. Called some times a second: nothing wakes an AF_XDP socket when its interface goes.

use std::time::{Duration, Instant};

use capture::{CaptureError, Interface, InterfaceIndex, LinkType};
use netdev::{Change, Device, Link};

use super::{Queue, books};
use crate::open::tell;
use crate::port::Port;

/// How often the interface is looked at, there or not: four or five system calls, none of them under RTNL while frames come.
const PERIOD: Duration = Duration::from_millis(200);

impl Queue {
    /// Looks at the interface: up or down, its name, its MTU, and whether our program is still there.
    pub(super) fn look(&mut self, now: Instant) {
        self.log_damage();
        let change = self.follow.look(now);
        self.next_look = now + PERIOD;
        // Frames that came say it, and a busy queue does not wait for others' configuration.
        let came = std::mem::replace(&mut self.looked_at, self.counters.received) != self.counters.received;
        let is_there = |port: &Port| came || (port.socket.is_bound() && port.attachment.is_there(now));
        let there = self.port.as_ref().is_some_and(is_there);
        if !self.gone
            && !there
            && self.follow.link() != Link::Deleted
            && change != Change::WasDeleted
            && self.number == 0
        {
            let interface = self.follow.name();
            tracing::warn!(
                interface,
                "the XDP program was taken off the interface, or that was made anew: capture starts again"
            );
        }
        // The socket knows of an interface that was made anew under the same index; the look of one that moved to another namespace.
        self.gone = !there || self.follow.link() == Link::Deleted;
        if self.gone {
            return;
        }
        self.constants.longest = self.follow.longest_frame(self.constants.link_type);
        self.rename(self.follow.name().to_owned());
    }

    /// Opens a port on the interface that has the configured name now, once the old ring is empty.
    pub(super) fn reopen_if_gone(&mut self, now: Instant) -> Result<(), CaptureError> {
        if !self.gone || self.stopped || self.ready() {
            return Ok(());
        }
        // The old memory first: both at once may be more than there is.
        if let Some(port) = &self.port {
            let lost = books::dropped(&port.socket)?;
            self.counters.dropped_before += lost;
        }
        self.port = None;
        match self.open_port(now) {
            Ok(()) | Err(CaptureError::NoSuchInterface { .. }) => {}
            Err(error) => self.tell_obstacle(error.to_string()),
        }
        Ok(())
    }

    fn open_port(&mut self, now: Instant) -> Result<(), CaptureError> {
        let name = &self.plan.options.interface;
        let device = Device::find(name)?;
        if device.link_type != LinkType::ETHERNET {
            return Err(CaptureError::Unsupported(format!("{name} is no Ethernet interface now")));
        }
        self.follow.adopt(device, now);
        let port = Port::prepare(&self.plan, &device, self.follow.mtu(), self.queue)?;
        port.accept()?;
        tell(name, &port, &self.plan.options);
        if let Some(nic) = &mut self.nic {
            nic.reopened(device.index);
        }
        self.port = Some(port);
        self.obstacle = None;
        self.look(now);
        Ok(())
    }

    /// Why the interface cannot be captured though it is there again; tried several times a second, told when the reason is a new one.
    fn tell_obstacle(&mut self, reason: String) {
        if self.obstacle.as_ref() != Some(&reason) {
            let interface = &self.plan.options.interface;
            tracing::warn!(interface, queue = self.queue, "capture cannot go on yet, and is tried again: {reason}");
            self.obstacle = Some(reason);
        }
    }

    /// Later frames refer to the interface by this name.
    fn rename(&mut self, name: String) {
        let InterfaceIndex(current) = self.constants.interface;
        let wanted = Interface { name, link_type: self.constants.link_type };
        let old = self.interfaces.get(current as usize);
        if old == Some(&wanted) {
            return;
        }
        if self.number == 0 {
            tracing::info!(from = old.map(|i| i.name.as_str()), to = %wanted.name, "the interface has another name");
        }
        let known = self.interfaces.iter().position(|i| *i == wanted).unwrap_or_else(|| {
            self.interfaces.push(wanted);
            self.interfaces.len() - 1
        });
        self.constants.interface = InterfaceIndex(u32::try_from(known).unwrap_or(u32::MAX));
    }

    fn log_damage(&mut self) {
        let new = self.counters.damaged - self.counters.damage_logged;
        if new > 0 {
            self.counters.damage_logged = self.counters.damaged;
            let queue = self.queue;
            tracing::warn!(
                queue,
                frames = new,
                "descriptors pointed outside of their memory: frames could not be read"
            );
        }
    }
}
