//! What every backend has to keep, on a veth pair: by the system's libpcap, and by another build of another release under another path.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use capture::CaptureError;
use capture_pcap::{LiveOptions, LiveQueue, open_live};
use testkit::conformance::{Lab, Nature, Settings, VethLab};
use testkit::net::VethOptions;

const NATURE: Nature = Nature {
    tells_direction: false,
    // libpcap puts them back into the frame.
    takes_tags_out: false,
    several_queues: false,
    link_settles: Duration::from_millis(500),
    ..Nature::FULL
};

fn open_by(library: Option<PathBuf>, veth: &VethLab, settings: &Settings) -> Result<Vec<LiveQueue>, CaptureError> {
    let mut options = LiveOptions::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
    options.libpcap = library;
    options.snaplen = settings.snaplen;
    options.direction = settings.direction;
    options.filter = settings.filter.clone();
    options.queues = settings.queues;
    if settings.small_ring {
        options.buffer_size = 2 << 20;
    }
    veth.b.enter(|| open_live(&options))
}

macro_rules! lab {
    ($name:ident, $library:expr) => {
        struct $name(VethLab);

        impl Lab for $name {
            type Queue = LiveQueue;
            const NATURE: Nature = NATURE;

            fn new() -> Self {
                Self(VethLab::new(&VethOptions::default()))
            }

            fn open(&self, settings: &Settings) -> Result<Vec<LiveQueue>, CaptureError> {
                open_by($library, &self.0, settings)
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
    };
}

mod system {
    use super::*;

    lab!(System, None);
    testkit::conformance_tests!(System);
}

mod other {
    use super::*;

    lab!(Other, Some(common::other_libpcap()));
    testkit::conformance_tests!(Other);
}
