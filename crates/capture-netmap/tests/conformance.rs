//! What every backend has to keep, over the model of the module: on a VALE port, and on a NIC with two rings.

mod common;

use std::time::Duration;

use capture::{CaptureDirection, CaptureError};
use capture_netmap::{Options, Queue};
use testkit::conformance::{Lab, Nature, Settings, VethLab};
use testkit::model::netmap::{Module, Shape};
use testkit::net::VethOptions;

const NATURE: Nature = Nature {
    keeps_tpid: true,
    time_per_frame: false,
    drops_known: false,
    filters: false,
    cuts: true,
    directions: &[CaptureDirection::In, CaptureDirection::Promisc],
    tells_direction: false,
    takes_tags_out: false,
    several_queues: false,
    follows: false,
    longest: 9000,
    holds: 500,
    link_settles: Duration::ZERO,
};

fn options(port: &str, settings: &Settings) -> Options {
    let mut options = Options::new(settings.interface.as_deref().unwrap_or(port));
    options.snaplen = settings.snaplen;
    options.direction = settings.direction;
    options.filter = settings.filter.clone();
    options.queues = settings.queues;
    options.slots = settings.small_ring.then_some(512);
    options
}

/// A port of a VALE switch; frames longer than 2048 octets come in several slots.
struct Vale(Module);

impl Lab for Vale {
    type Queue = Queue;
    const NATURE: Nature = NATURE;

    fn new() -> Self {
        Self(Module::new())
    }

    fn open(&self, settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
        common::open(&self.0, &options("vale0:1", settings))
    }

    fn send(&self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.0.deliver("vale0:1", frame);
        }
    }

    fn send_out(&self, _: &[Vec<u8>]) {}

    fn set_link(&self, _: bool) {}
}

/// The interface is a real one, whose link really goes away; the frames are the model's.
struct Nic {
    module: Module,
    veth: VethLab,
}

impl Lab for Nic {
    type Queue = Queue;
    const NATURE: Nature = Nature { several_queues: true, holds: 1000, longest: 1514, ..NATURE };

    fn new() -> Self {
        let module = Module::new();
        module.port(VethLab::INTERFACE, Shape { host: true, ..Shape::default() });
        Self { module, veth: VethLab::new(&VethOptions::default()) }
    }

    fn open(&self, settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
        let shape = Shape {
            rings: settings.queues as u16,
            slots: if settings.small_ring { 512 } else { 1024 },
            ..Shape::default()
        };
        self.module.port(VethLab::INTERFACE, shape);
        self.inside(|| common::open(&self.module, &options(VethLab::INTERFACE, settings)))
    }

    fn send(&self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.module.deliver(VethLab::INTERFACE, frame);
        }
    }

    /// Frames of the host go to the driver, past the receive rings.
    fn send_out(&self, frames: &[Vec<u8>]) {
        self.veth.send_out(frames);
    }

    fn set_link(&self, up: bool) {
        self.module.set_stopped(VethLab::INTERFACE, !up);
        self.veth.set_link(up);
    }

    fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.veth.b.enter(task)
    }
}

mod vale {
    testkit::conformance_tests!(super::Vale);
}

mod nic {
    testkit::conformance_tests!(super::Nic);
}
