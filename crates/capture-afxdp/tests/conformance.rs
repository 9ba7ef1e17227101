//! What every backend has to keep, on a veth pair: with the program in the driver, and in the stack.

use std::time::Duration;

use capture::{CaptureDirection, CaptureError};
use capture_afxdp::{Attach, Options, Queue, Queues, open};
use testkit::conformance::{Nature, OnVeth, Settings, VethBackend, VethLab, wait_for_carrier};
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

macro_rules! backend {
    ($name:ident, $attach:expr) => {
        struct $name;

        impl VethBackend for $name {
            type Queue = Queue;
            const NATURE: Nature = NATURE;

            fn cable() -> VethOptions {
                VethOptions { queues: 2, ..VethOptions::default() }
            }

            fn prepare(lab: &VethLab, settings: &Settings) {
                use_queues(lab, settings.queues);
            }

            fn open(settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
                open_by($attach, settings)
            }
        }
    };
}

/// As many queues are in use as are opened: a NIC deals frames to all that it has, and who opens fewer misses some.
fn use_queues(lab: &VethLab, queues: usize) {
    for (namespace, name) in [(&lab.a, "a0"), (&lab.b, "b0")] {
        let count = queues.to_string();
        namespace.run("ethtool", &["-L", name, "tx", &count, "rx", &count]);
        wait_for_carrier(namespace, name);
    }
}

fn open_by(attach: Attach, settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
    let mut options = Options::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
    options.attach = attach;
    options.snaplen = settings.snaplen;
    options.direction = settings.direction;
    options.filter = settings.filter.clone();
    options.queues = Queues::First(settings.queues);
    if settings.small_ring {
        options.frame_count = 2048;
    }
    open(&options)
}

mod native {
    use super::*;

    backend!(Native, Attach::Native);
    testkit::conformance_tests!(OnVeth<Native>);
}

mod generic {
    use super::*;

    backend!(Generic, Attach::Generic);
    testkit::conformance_tests!(OnVeth<Generic>);
}
