//! What every backend has to keep, on a veth pair: with the program in the driver, and in the stack.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use capture::{CaptureDirection, CaptureError};
use capture_afxdp::{Attach, Options, Queue, Queues, open};
use testkit::conformance::{Lab, Nature, Settings, VethLab, wait_for_carrier};
use testkit::net::VethOptions;

const NATURE: Nature = Nature {
    time_per_frame: false,
    directions: &[CaptureDirection::In, CaptureDirection::Promisc],
    takes_tags_out: false,
    // Of 8192 chunks.
    holds: 8000,
    link_settles: Duration::from_millis(500),
    ..Nature::FULL
};

/// A cable of which as many queues are in use as are opened: a NIC deals frames to all that it has, and who opens fewer misses some.
struct Cable {
    veth: VethLab,
    queues: AtomicUsize,
}

impl Cable {
    fn new() -> Self {
        let veth = VethLab::new(&VethOptions { queues: 2, ..VethOptions::default() });
        let cable = Self { veth, queues: AtomicUsize::new(2) };
        cable.use_queues(1);
        cable
    }

    fn use_queues(&self, queues: usize) {
        if self.queues.swap(queues, Ordering::AcqRel) != queues {
            let count = queues.to_string();
            self.veth.a.run("ethtool", &["-L", "a0", "tx", &count, "rx", &count]);
            self.veth.b.run("ethtool", &["-L", "b0", "tx", &count, "rx", &count]);
            wait_for_carrier(&self.veth.a, "a0");
            wait_for_carrier(&self.veth.b, "b0");
        }
    }

    fn open(&self, attach: Attach, settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
        self.use_queues(settings.queues);
        let mut options = Options::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        options.attach = attach;
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = Queues::First(settings.queues);
        if settings.small_ring {
            options.frame_count = 2048;
        }
        self.veth.b.enter(|| open(&options))
    }
}

macro_rules! lab {
    ($name:ident, $attach:expr) => {
        struct $name(Cable);

        impl Lab for $name {
            type Queue = Queue;
            const NATURE: Nature = NATURE;

            fn new() -> Self {
                Self(Cable::new())
            }

            fn open(&self, settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
                self.0.open($attach, settings)
            }

            fn send(&self, frames: &[Vec<u8>]) {
                self.0.veth.send(frames);
            }

            fn send_out(&self, frames: &[Vec<u8>]) {
                self.0.veth.send_out(frames);
            }

            fn set_link(&self, up: bool) {
                self.0.veth.set_link(up);
            }

            fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
                self.0.veth.b.enter(task)
            }
        }
    };
}

mod native {
    use super::*;

    lab!(Native, Attach::Native);
    testkit::conformance_tests!(Native);
}

mod generic {
    use super::*;

    lab!(Generic, Attach::Generic);
    testkit::conformance_tests!(Generic);
}
