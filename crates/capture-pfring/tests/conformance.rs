//! What every backend has to keep, on the model of the module.

mod common;

use capture::CaptureError;
use capture_pfring::{Options, open_with};
use common::{Model, ModelQueue, NAME};
use testkit::conformance::{Lab, Nature, Settings};

struct Modelled(Model);

impl Lab for Modelled {
    type Queue = ModelQueue;
    const NATURE: Nature = Nature { takes_tags_out: false, keeps_tpid: false, ..Nature::FULL };

    fn new() -> Self {
        Self(Model::default())
    }

    fn open(&self, settings: &Settings) -> Result<Vec<ModelQueue>, CaptureError> {
        let mut options = Options::new(settings.interface.as_deref().unwrap_or(NAME));
        // The ring's size follows from the snaplen: short frames are all that a small ring is tried with.
        options.snaplen = if settings.small_ring { 128 } else { settings.snaplen };
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        open_with(self.0.clone(), &options)
    }

    fn send(&self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.0.0.receive(frame);
        }
    }

    fn send_out(&self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.0.0.transmit(frame);
        }
    }

    fn set_link(&self, up: bool) {
        self.0.0.change(|settings| settings.up = up);
    }
}

testkit::conformance_tests!(Modelled);
