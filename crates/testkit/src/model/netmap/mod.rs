//! A model of the netmap module: ports, rings and buffers in plain memory, and the module's side of the rules.
//!
//! A second reading of net/netmap.h, written without the backend's: it lays out the memory by numbers, and does at each sync what the
//! comments there say that the module does. A backend's tests put it in the place of /dev/netmap. It can be made to lie: see
//! [`Module::meddle`] and [`View`].

mod descriptor;
mod layout;
mod port;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use port::Port;

pub use crate::sys::shared::Shared;
pub use descriptor::Descriptor;
pub use layout::{Slot, View};

/// The module, as it is loaded.
#[derive(Clone, Default)]
pub struct Module {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// Something has changed that a poll may wait for.
    change: Condvar,
}

struct State {
    ports: BTreeMap<String, Port>,
    versions: RangeInclusive<u16>,
    /// What the next registration answers.
    refusal: Option<i32>,
    closed: Vec<Closed>,
}

impl Default for State {
    fn default() -> Self {
        Self { ports: BTreeMap::new(), versions: 14..=15, refusal: None, closed: Vec::new() }
    }
}

/// How a port is made.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rings of each direction.
    pub rings: u16,
    /// Slots of each ring, if the registration asks for no other number.
    pub slots: u32,
    /// Octets of a buffer.
    pub buffer_size: u32,
    /// Whether it has a pair of host rings.
    pub host: bool,
    /// Whether the module writes the time of a sync.
    pub stamps: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { rings: 1, slots: 1024, buffer_size: 2048, host: false, stamps: true }
    }
}

/// What a descriptor left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Of the port.
    pub port: String,
    /// Spare buffers that it was given.
    pub extra: u32,
    /// Those in its list at the end.
    pub back: Vec<u32>,
    /// Whether each buffer of its ring and of the list is one that it was given, and none is there twice.
    pub whole: bool,
}

impl Module {
    /// Without any port. VALE ports and pipes come by being opened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The versions of the API that it speaks; 14 and 15 at first.
    pub fn speak(&self, versions: RangeInclusive<u16>) {
        self.lock().versions = versions;
    }

    /// Answers the next registration by an error.
    pub fn refuse(&self, errno: i32) {
        self.lock().refusal = Some(errno);
    }

    /// Makes a port, for interfaces or to give a VALE port another shape.
    pub fn port(&self, name: &str, shape: Shape) {
        self.lock().ports.insert(name.to_owned(), Port::new(shape));
    }

    /// Opens it, as /dev/netmap is opened.
    #[must_use]
    pub fn open(&self) -> Descriptor {
        Descriptor::new(self.clone())
    }

    /// A frame comes to the port. Says whether it found room. Of several rings the one that belongs to the UDP source port.
    pub fn deliver(&self, port: &str, frame: &[u8]) -> bool {
        let ring = usize::from(frame.get(35).copied().unwrap_or_default());
        self.deliver_in_pieces(port, ring, frame, usize::MAX)
    }

    /// A frame comes to one ring, in slots of at most `piece` octets.
    pub fn deliver_in_pieces(&self, port: &str, ring: usize, frame: &[u8], piece: usize) -> bool {
        let mut state = self.lock();
        let taken = state.ports.get_mut(port).is_some_and(|port| port.deliver(ring, frame, piece, 0));
        state.watch(port, frame, false);
        self.inner.change.notify_all();
        taken
    }

    /// The host sends a frame by the interface, whose transmit rings are in netmap mode: it comes to the host ring.
    pub fn host_sends(&self, port: &str, frame: &[u8]) -> bool {
        let taken = self.lock().ports.get_mut(port).is_some_and(|port| port.deliver_to_host_ring(frame));
        self.inner.change.notify_all();
        taken
    }

    /// Frames that were forwarded to the host, or sent to its ring.
    #[must_use]
    pub fn host_got(&self, port: &str) -> Vec<Vec<u8>> {
        self.lock().ports.get_mut(port).map(|port| std::mem::take(&mut port.host)).unwrap_or_default()
    }

    /// Frames that went out by the interface.
    #[must_use]
    pub fn wire_got(&self, port: &str) -> Vec<Vec<u8>> {
        self.lock().ports.get_mut(port).map(|port| std::mem::take(&mut port.wire)).unwrap_or_default()
    }

    /// The driver stops its rings, or starts them again.
    pub fn set_stopped(&self, port: &str, stopped: bool) {
        if let Some(port) = self.lock().ports.get_mut(port) {
            port.stopped = stopped;
        }
        self.inner.change.notify_all();
    }

    /// The driver is unloaded: every call on the port gives `ENXIO`.
    pub fn remove(&self, port: &str) {
        if let Some(port) = self.lock().ports.get_mut(port) {
            port.gone = true;
        }
        self.inner.change.notify_all();
    }

    /// Runs at the end of every registration and sync of a receive ring, with the memory at hand.
    pub fn meddle(&self, port: &str, how: impl FnMut(&View<'_>) + Send + 'static) {
        if let Some(port) = self.lock().ports.get_mut(port) {
            port.meddler = Some(Box::new(how));
        }
    }

    /// Does something to a receive ring behind the back of both sides.
    ///
    /// # Panics
    /// If the port is not open.
    pub fn touch<T>(&self, port: &str, ring: usize, how: impl FnOnce(&View<'_>) -> T) -> T {
        let state = self.lock();
        how(&state.ports[port].view(ring))
    }

    /// What descriptors left behind, in the order of their ends.
    #[must_use]
    pub fn closed(&self) -> Vec<Closed> {
        self.lock().closed.clone()
    }

    /// Times that a head or cur was bad, on any port.
    #[must_use]
    pub fn resets(&self) -> u64 {
        self.lock().ports.values().map(|port| port.resets).sum()
    }
}

impl State {
    /// Monitors see what comes to a port and what it sends.
    fn watch(&mut self, name: &str, frame: &[u8], sent: bool) {
        const SENT: u16 = 0x40;
        let prefix = format!("{name}/");
        for (_, monitor) in self.ports.range_mut(prefix.clone()..).take_while(|(other, _)| other.starts_with(&prefix)) {
            if if sent { monitor.watches_tx } else { monitor.watches_rx } {
                monitor.deliver(0, frame, usize::MAX, if sent { SENT } else { 0 });
            }
        }
    }

    /// A frame leaves by a port. Says whether it was taken.
    fn route(&mut self, from: &str, frame: &[u8]) -> bool {
        if let Some(at) = from.find(['{', '}']) {
            let (base, end) = from.split_at(at);
            let peer = format!("{base}{}{}", if end.starts_with('{') { "}" } else { "{" }, &end[1..]);
            let taken = self.ports.get_mut(&peer).is_some_and(|peer| peer.deliver(0, frame, usize::MAX, 0));
            if taken {
                self.watch(&peer, frame, false);
            }
            return taken;
        }
        if let Some((switch, _)) = from.split_once(':') {
            let prefix = format!("{switch}:");
            let others: Vec<String> =
                self.ports.keys().filter(|name| name.starts_with(&prefix) && !name.contains('/')).cloned().collect();
            for other in others.iter().filter(|other| *other != from) {
                if let Some(port) = self.ports.get_mut(other) {
                    port.deliver(0, frame, usize::MAX, 0);
                }
                self.watch(other, frame, false);
            }
            return true;
        }
        if let Some(port) = self.ports.get_mut(from) {
            port.wire.push(frame.to_vec());
        }
        true
    }
}
