//! What every backend has to keep, by the system's libpcap on a veth pair.

use std::time::Duration;

use capture::CaptureError;
use capture_pcap::{LiveOptions, LiveQueue, open_live};
use testkit::conformance::{Nature, OnVeth, Settings, VethBackend, VethLab};

struct Pcap;

impl VethBackend for Pcap {
    type Queue = LiveQueue;
    const NATURE: Nature = Nature {
        tells_direction: false,
        // libpcap puts them back into the frame.
        takes_tags_out: false,
        several_queues: false,
        follows: false,
        link_settles: Duration::from_millis(500),
        ..Nature::FULL
    };

    fn open(settings: &Settings) -> Result<Vec<LiveQueue>, CaptureError> {
        let mut options = LiveOptions::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        if settings.small_ring {
            options.buffer_size = 2 << 20;
        }
        open_live(&options)
    }
}

testkit::conformance_tests!(OnVeth<Pcap>);
