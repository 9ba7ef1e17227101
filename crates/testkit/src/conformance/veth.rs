//! The usual lab: a veth pair between two namespaces.

use std::marker::PhantomData;
use std::thread;
use std::time::{Duration, Instant};

use capture::{CaptureError, RxQueue};
use netdev::interfaces;

use super::{Lab, Nature, Settings};
use crate::net::{NetNs, Veth, VethOptions};
use crate::send::Sender;

/// Two namespaces and a cable: frames are sent on `a0` in `a`, and `b0` in `b` is under test.
#[derive(Debug)]
pub struct VethLab {
    /// The other end's namespace.
    pub a: NetNs,
    /// The namespace of the interface under test.
    pub b: NetNs,
    options: VethOptions,
}

/// A backend that is tried on a veth pair: [`OnVeth`] makes a [`Lab`] of it.
pub trait VethBackend: Sync {
    /// Its queue.
    type Queue: RxQueue + Send;

    /// What the mechanism can do.
    const NATURE: Nature;

    /// The cable under test.
    fn cable() -> VethOptions {
        VethOptions::default()
    }

    /// Something to be done to the cable before it is opened with these settings.
    fn prepare(_lab: &VethLab, _settings: &Settings) {}

    /// Opens `settings.interface` or else the interface under test. Called in its namespace.
    ///
    /// # Errors
    /// What the backend says.
    fn open(settings: &Settings) -> Result<Vec<Self::Queue>, CaptureError>;
}

/// The lab of a [`VethBackend`].
#[derive(Debug)]
pub struct OnVeth<B>(VethLab, PhantomData<fn() -> B>);

impl<B: VethBackend> Lab for OnVeth<B> {
    type Queue = B::Queue;
    const NATURE: Nature = B::NATURE;

    fn new() -> Self {
        Self(VethLab::new(&B::cable()), PhantomData)
    }

    fn open(&self, settings: &Settings) -> Result<Vec<B::Queue>, CaptureError> {
        B::prepare(&self.0, settings);
        self.inside(|| B::open(settings))
    }

    fn send(&self, frames: &[Vec<u8>]) {
        self.0.send(frames);
    }

    fn send_out(&self, frames: &[Vec<u8>]) {
        self.0.send_out(frames);
    }

    fn set_link(&self, up: bool) {
        self.0.set_link(up);
    }

    fn delete(&self) -> bool {
        self.0.delete();
        true
    }

    fn make_again(&self) {
        self.0.make_again();
        B::prepare(&self.0, &Settings::default());
    }

    fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.0.b.enter(task)
    }
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
        let lab = Self { a: NetNs::new(), b: NetNs::new(), options: options.clone() };
        lab.make_again();
        lab
    }

    /// Deletes the cable.
    ///
    /// # Panics
    /// If it cannot.
    pub fn delete(&self) {
        self.a.ip(&format!("link del {}", Self::OTHER));
    }

    /// Makes the cable again that was deleted.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn make_again(&self) {
        Veth::pair(&self.a, Self::OTHER, &self.b, Self::INTERFACE, &self.options);
        wait_for_carrier(&self.a, Self::OTHER);
        wait_for_carrier(&self.b, Self::INTERFACE);
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
