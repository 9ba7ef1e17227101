//! What a queue does when its interface changes: about once a second it looks, and opens a new port on one that was made again.

use std::sync::atomic::Ordering;
use std::time::Instant;

use capture::{CaptureError, Interface, InterfaceIndex, LinkType};
use netdev::{Follow, Link};

use super::{NEVER, Queue};
use crate::port::Port;
use crate::sys::socket::System;

impl<S: System> Queue<S> {
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        self.companions.follow.as_ref().map_or(now + NEVER, Follow::next)
    }

    /// Looks at the interface: up or down, its name, its MTU.
    pub(super) fn look(&mut self, now: Instant) {
        if let Some(follow) = &mut self.companions.follow {
            follow.look(now);
        }
        self.note_interface();
        self.be_counted();
    }

    /// When any socket is closed, also another program's, the module takes it off the counts of all interfaces of that number, those of other
    /// namespaces included (`ring_release` goes through its list of all devices). An interface with a count of 0 shows frames to nobody, without
    /// an error. Binding once more sets it right.
    fn be_counted(&mut self) {
        let (Some(port), Some(follow)) = (&self.port, &self.companions.follow) else { return };
        if self.stopped || follow.link() != Link::Up || self.plan.system.bound_sockets(follow.name()) != Some(0) {
            return;
        }
        let interface = follow.name();
        self.counters.forgotten.store(true, Ordering::Relaxed);
        match port.bind_again(interface) {
            Ok(()) => tracing::warn!(
                interface,
                queue = self.number,
                "pf_ring.ko had forgotten this capture when another one ended; for up to a second frames were neither seen nor counted, so that the losses are not known"
            ),
            Err(error) => {
                tracing::warn!(interface, queue = self.number, "pf_ring.ko has forgotten this capture: {error}");
            }
        }
    }

    /// The frames to come are of the interface as it was last seen.
    pub(super) fn note_interface(&mut self) {
        let Some(follow) = &self.companions.follow else { return };
        self.constants.longest = follow.longest_frame(LinkType::ETHERNET);
        let wanted = Interface { name: follow.name().to_owned(), link_type: LinkType::ETHERNET };
        let current = self.interfaces.get(self.constants.interface.0 as usize);
        if current == Some(&wanted) {
            return;
        }
        if self.number == 0 {
            tracing::info!(from = current.map(|i| i.name.as_str()), to = %wanted.name, "the interface has another name");
        }
        let known = self.interfaces.iter().position(|i| *i == wanted).unwrap_or_else(|| {
            self.interfaces.push(wanted);
            self.interfaces.len() - 1
        });
        self.constants.interface = InterfaceIndex(u32::try_from(known).unwrap_or(u32::MAX));
    }

    /// Opens a port on the interface that has the configured name now. The old ring is empty: only then does `wait` come here, and a
    /// deleted interface fills it no more.
    pub(super) fn reopen_if_deleted(&mut self, now: Instant) {
        if self.companions.follow.as_ref().map(Follow::link) != Some(Link::Deleted) {
            return;
        }
        // Closed before the new one is bound: the module counts the sockets of an interface, and shows frames to none if it counts none. A
        // socket that is closed later than its interface it may take off the count of the new one.
        if let Some(port) = self.port.take() {
            self.counters.read(&port.memory);
            self.counters.new_ring();
        }
        match self.open_port() {
            Ok(port) => {
                let device = port.device;
                self.port = Some(port);
                self.obstacle = None;
                if let Some(follow) = &mut self.companions.follow {
                    follow.adopt(device, now);
                }
                if let Some(nic) = &mut self.companions.nic {
                    nic.reopened(device.index);
                }
                self.note_interface();
            }
            Err(CaptureError::NoSuchInterface { .. }) => {}
            Err(error) => self.tell_obstacle(error.to_string()),
        }
    }

    /// Sockets of a cluster have to be bound to the same interface: this works when those of the other queues are closed, too.
    fn open_port(&self) -> Result<Port<S::Socket>, CaptureError> {
        let mut port = Port::prepare(&self.plan)?;
        port.take(self.share).map_err(|e| CaptureError::system("sharing the interface", e))?;
        port.activate()?;
        Ok(port)
    }

    /// Why the interface cannot be captured though it is there again; tried several times a second, told when the reason is a new one.
    fn tell_obstacle(&mut self, reason: String) {
        if self.obstacle.as_ref() != Some(&reason) {
            let interface = &self.plan.options.interface;
            tracing::warn!(interface, queue = self.number, "capture cannot go on yet, and is tried again: {reason}");
            self.obstacle = Some(reason);
        }
    }
}
