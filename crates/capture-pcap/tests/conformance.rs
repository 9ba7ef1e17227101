//! What every backend has to keep, by the system's libpcap on a veth pair.

use std::time::Duration;

use capture::CaptureError;
use capture_pcap::{LiveOptions, LiveQueue, open_live};
use testkit::conformance::{Lab, Nature, Settings, VethLab};
use testkit::net::VethOptions;

struct Pcap(VethLab);

impl Lab for Pcap {
    type Queue = LiveQueue;
    const NATURE: Nature = Nature {
        tells_direction: false,
        // libpcap puts them back into the frame.
        takes_tags_out: false,
        several_queues: false,
        link_settles: Duration::from_millis(500),
        ..Nature::FULL
    };

    fn new() -> Self {
        Self(VethLab::new(&VethOptions::default()))
    }

    fn open(&self, settings: &Settings) -> Result<Vec<LiveQueue>, CaptureError> {
        let mut options = LiveOptions::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        if settings.small_ring {
            options.buffer_size = 2 << 20;
        }
        self.inside(|| open_live(&options))
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

testkit::conformance_tests!(Pcap);
