//! What every backend has to keep, on a veth pair.

use capture::CaptureError;
use capture_afpacket::{Options, PlainOptions, PlainQueue, Queue, open, open_plain};
use testkit::conformance::{Nature, OnVeth, Settings, VethBackend, VethLab};

struct Ring;

impl VethBackend for Ring {
    type Queue = Queue;
    const NATURE: Nature = Nature::FULL;

    fn open(settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
        let mut options = Options::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        if settings.small_ring {
            // 16 blocks of 128 KiB.
            (options.block_size, options.block_count) = (128 << 10, Some(16));
        }
        open(&options)
    }
}

mod ring {
    testkit::conformance_tests!(super::OnVeth<super::Ring>);
}

/// A socket without a ring.
struct Plain;

impl VethBackend for Plain {
    type Queue = PlainQueue;
    const NATURE: Nature = Nature { several_queues: false, follows: false, ..Nature::FULL };

    fn open(settings: &Settings) -> Result<Vec<PlainQueue>, CaptureError> {
        let mut options = PlainOptions::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        if settings.small_ring {
            options.buffer_size = 2 << 20;
        }
        open_plain(&options)
    }
}

mod plain {
    testkit::conformance_tests!(super::OnVeth<super::Plain>);
}
