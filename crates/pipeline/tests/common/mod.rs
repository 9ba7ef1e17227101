//! Records of frames, as the tests look at them.
#![allow(dead_code, reason = "every test uses a part")]

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use capture::{Frame, Interface, LinkType};
use pipeline::batch::MAX_RECORD;
use pipeline::dissect::Layers;
use pipeline::enrich::{Enrichment, Services, What};
use pipeline::record::{Encoder, Observer};
use serde_json::Value;
use testkit::mmdb;

pub(crate) const NAME: &str = "sensor1";
pub(crate) const HOSTNAME: &str = "host1";
pub(crate) const INTERFACE: &str = "eth0";
pub(crate) const RUN: u64 = 0x4d;
pub(crate) const QUEUE: u16 = 3;

/// An encoder that knows one interface.
pub(crate) fn encoder() -> Encoder {
    let observer = Observer { name: NAME.to_owned(), hostname: HOSTNAME.to_owned(), run: RUN };
    let mut encoder = Encoder::new(observer, QUEUE);
    encoder.set_interfaces(&[Interface { name: INTERFACE.to_owned(), link_type: LinkType::ETHERNET }]);
    encoder
}

/// The same, which knows something of every address: countries and systems in turn, names of every kind.
pub(crate) fn encoder_that_knows() -> Encoder {
    static KNOWN: LazyLock<Arc<Enrichment>> = LazyLock::new(|| {
        let enrichment = Arc::new(Enrichment::new(&[], Services::built_in()));
        for (what, database) in [(What::Country, mmdb::countries()), (What::System, mmdb::systems())] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), database.octets()).expect("written");
            enrichment.add(what, file.path().to_owned()).result.expect("a database");
        }
        enrichment
    });
    encoder().with_enrich(KNOWN.worker())
}

/// Octets of a room before a record is written into it: nothing of them may be taken for the record.
const GARBAGE: u8 = b'\\';

/// The record as it is written, with the layers of the frame before it still in place.
pub(crate) fn write(encoder: &mut Encoder, layers: &mut Layers, frame: &Frame<'_>) -> Vec<u8> {
    let mut room = [GARBAGE; MAX_RECORD];
    let len = encoder.begin(&mut room, frame).write(frame, &layers.headers(frame));
    assert!(len < MAX_RECORD, "a record of {len} octets");
    room[..len].to_vec()
}

/// The first record of a queue.
pub(crate) fn record(frame: &Frame<'_>) -> Vec<u8> {
    write(&mut encoder(), &mut Layers::default(), frame)
}

/// The same with all that can be known.
pub(crate) fn record_with_all(frame: &Frame<'_>) -> Vec<u8> {
    thread_local!(static ENCODER: RefCell<Encoder> = RefCell::new(encoder_that_knows()));
    // Like a queue's first record, but the encoder is not made anew: its cache is large.
    ENCODER.with_borrow_mut(|encoder| write(encoder, &mut Layers::default(), frame))
}

/// The first record of a queue, read again.
pub(crate) fn value(frame: &Frame<'_>) -> Value {
    let record = record(frame);
    serde_json::from_slice(&record).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&record)))
}
