//! The usual lab: a veth pair between two namespaces.

use std::thread;
use std::time::{Duration, Instant};

use netdev::interfaces;

use crate::net::{NetNs, Veth, VethOptions};
use crate::send::Sender;

/// Two namespaces and a cable: frames are sent on `a0` in `a`, and `b0` in `b` is under test.
#[derive(Debug)]
pub struct VethLab {
    /// The other end's namespace.
    pub a: NetNs,
    /// The namespace of the interface under test.
    pub b: NetNs,
}

impl VethLab {
    /// The interface under test.
    pub const INTERFACE: &'static str = "b0";
    const OTHER: &'static str = "a0";

    /// A cable that can carry frames.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(options: &VethOptions) -> Self {
        let lab = Self { a: NetNs::new(), b: NetNs::new() };
        Veth::pair(&lab.a, Self::OTHER, &lab.b, Self::INTERFACE, options);
        wait_for_carrier(&lab.a, Self::OTHER);
        wait_for_carrier(&lab.b, Self::INTERFACE);
        lab
    }

    /// `b0` receives frames. Returns when it has.
    ///
    /// # Panics
    /// If they do not arrive.
    pub fn send(&self, frames: &[Vec<u8>]) {
        let before = self.b.received(Self::INTERFACE);
        self.a.enter(|| Sender::open(Self::OTHER).send(frames));
        let begin = Instant::now();
        // What the other end's driver counts as dropped, a queue of a full interface does not get either.
        while self.b.received(Self::INTERFACE) < before + frames.len() as u64
            && begin.elapsed() < Duration::from_millis(200)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// `b0` sends frames.
    ///
    /// # Panics
    /// If the kernel refuses one.
    pub fn send_out(&self, frames: &[Vec<u8>]) {
        self.b.enter(|| Sender::open(Self::INTERFACE).send(frames));
    }

    /// Takes the other end down or up, and waits until both ends know.
    ///
    /// # Panics
    /// If it cannot.
    pub fn set_link(&self, up: bool) {
        self.a.ip(&format!("link set {} {}", Self::OTHER, if up { "up" } else { "down" }));
        if up {
            wait_for_carrier(&self.a, Self::OTHER);
            wait_for_carrier(&self.b, Self::INTERFACE);
        }
    }
}

/// Waits until the interface can send. The kernel acts on a carrier up to a second late (`linkwatch_event`), and until then
/// what is sent vanishes in the noop queue discipline, without an error.
///
/// # Panics
/// If it does not come.
pub fn wait_for_carrier(namespace: &NetNs, name: &str) {
    let running = || interfaces::list().expect("the list").iter().any(|i| i.name == name && i.running);
    let begin = Instant::now();
    while !namespace.enter(running) {
        assert!(begin.elapsed() < Duration::from_secs(5), "no carrier");
        thread::sleep(Duration::from_millis(20));
    }
    // The state shows shortly before the queue discipline is in place.
    thread::sleep(Duration::from_millis(20));
}
