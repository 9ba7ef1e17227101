//! What every backend has to keep, on a veth pair: by the system's libpcap, and by another build of another release under another path.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use capture::CaptureError;
use capture_pcap::{LiveOptions, LiveQueue, open_live};
use testkit::conformance::{Nature, OnVeth, Settings, VethBackend, VethLab};

const NATURE: Nature = Nature {
    tells_direction: false,
    // libpcap puts them back into the frame.
    takes_tags_out: false,
    several_queues: false,
    follows: false,
    link_settles: Duration::from_millis(500),
    ..Nature::FULL
};

fn open_by(library: Option<PathBuf>, settings: &Settings) -> Result<Vec<LiveQueue>, CaptureError> {
    let mut options = LiveOptions::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
    options.libpcap = library;
    options.snaplen = settings.snaplen;
    options.direction = settings.direction;
    options.filter = settings.filter.clone();
    options.queues = settings.queues;
    if settings.small_ring {
        options.buffer_size = 2 << 20;
    }
    open_live(&options)
}

struct System;

impl VethBackend for System {
    type Queue = LiveQueue;
    const NATURE: Nature = NATURE;

    fn open(settings: &Settings) -> Result<Vec<LiveQueue>, CaptureError> {
        open_by(None, settings)
    }
}

mod system {
    testkit::conformance_tests!(super::OnVeth<super::System>);
}

struct Other;

impl VethBackend for Other {
    type Queue = LiveQueue;
    const NATURE: Nature = NATURE;

    fn open(settings: &Settings) -> Result<Vec<LiveQueue>, CaptureError> {
        open_by(Some(common::other_libpcap()), settings)
    }
}

mod other {
    testkit::conformance_tests!(super::OnVeth<super::Other>);
}
