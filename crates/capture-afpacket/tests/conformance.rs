//! What every backend has to keep, on a veth pair.

use capture::CaptureError;
use capture_afpacket::{Options, PlainOptions, PlainQueue, Queue, open, open_plain};
use testkit::conformance::{Lab, Nature, Settings, VethLab};
use testkit::net::VethOptions;

struct AfPacket(VethLab);

impl Lab for AfPacket {
    type Queue = Queue;
    const NATURE: Nature = Nature::FULL;

    fn new() -> Self {
        Self(VethLab::new(&VethOptions::default()))
    }

    fn open(&self, settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
        let mut options = Options::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        if settings.small_ring {
            // 16 blocks of 128 KiB.
            (options.block_size, options.block_count) = (128 << 10, Some(16));
        }
        self.inside(|| open(&options))
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

    fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.0.b.enter(task)
    }
}

mod ring {
    testkit::conformance_tests!(super::AfPacket);
}

/// A socket without a ring.
struct Plain(VethLab);

impl Lab for Plain {
    type Queue = PlainQueue;
    const NATURE: Nature = Nature { several_queues: false, ..Nature::FULL };

    fn new() -> Self {
        Self(VethLab::new(&VethOptions::default()))
    }

    fn open(&self, settings: &Settings) -> Result<Vec<PlainQueue>, CaptureError> {
        let mut options = PlainOptions::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        if settings.small_ring {
            options.buffer_size = 2 << 20;
        }
        self.inside(|| open_plain(&options))
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

    fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.0.b.enter(task)
    }
}

mod plain {
    testkit::conformance_tests!(super::Plain);
}
