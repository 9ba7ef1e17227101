//! Frames to compare, by link type.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use capture::{Direction, InterfaceIndex, Readiness, RxBatch, RxQueue, Timestamp};
use capture_pcap::{FileOptions, FileQueue};
use testkit::frames;
use testkit::queues::OwnedFrame;
use testkit::random::Random;

use crate::pcaps;

/// A frame and where it comes from.
pub(crate) struct Named {
    pub(crate) origin: String,
    pub(crate) frame: OwnedFrame,
}

/// By link type.
pub(crate) type Corpus = BTreeMap<u32, Vec<Named>>;

/// What a comparison must hold.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// So many packets at least.
    pub(crate) packets: usize,
    /// Of a thousand values so many differ at most, for a reason: the rules are for exceptions.
    pub(crate) differing: usize,
    /// Of a thousand packets so many at most name a problem where Wireshark calls nothing malformed. It has other words for many; but
    /// a record must not call a sound frame damaged.
    pub(crate) problems: usize,
}

/// Frames of the captures in the folder that `RINGTAP_PCAPS` names; without it, of what scapy makes, much of it damaged.
pub(crate) fn real_or_made() -> (Corpus, Limits) {
    match pcaps::real() {
        Some(files) => {
            let mut corpus = Corpus::new();
            files.iter().for_each(|file| read(file, &mut corpus));
            (corpus, Limits { packets: files.len(), differing: 1, problems: 20 })
        }
        None => {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = pcaps::made(folder.path());
            let mut corpus = Corpus::new();
            read(&path, &mut corpus);
            (corpus, Limits { packets: 40, differing: 15, problems: 650 })
        }
    }
}

/// Adds what our reader reads of a file; how it reads damaged files is another test's business.
fn read(path: &Path, corpus: &mut Corpus) {
    let mut queue = FileQueue::open([path], FileOptions::default()).expect("a file of the folder");
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut number = 0;
    loop {
        // A damaged file gives its error once, and then ends.
        if let Ok(Some(mut batch)) = queue.next_batch() {
            for frame in batch.frames() {
                number += 1;
                let mut frame = OwnedFrame::from(frame);
                // Our index is one file's, directions are the file's, and a file of nanoseconds ends in 2106.
                frame.interface = InterfaceIndex(0);
                frame.direction = Direction::Unknown;
                frame.timestamp = Timestamp::from_nanos(frame.timestamp.as_nanos() % (1 << 62));
                let origin = format!("{name} packet {number}");
                corpus.entry(frame.link_type.0).or_default().push(Named { origin, frame });
            }
            continue;
        }
        if let Ok(Readiness::Ended) = queue.wait(Duration::ZERO) {
            return;
        }
    }
}

/// Generated frames, spoiled or not.
pub(crate) fn generated(n: u32, spoiled: bool) -> Corpus {
    let mut random = Random::new(17);
    let mut corpus = Corpus::new();
    for number in 0..n {
        let mut frame = frames::sound_frame(&mut random);
        if spoiled {
            frames::spoil(&mut random, &mut frame);
        }
        frame.timestamp = Timestamp::from_parts(1_700_000_000 + u64::from(number), number);
        frame.direction = Direction::Unknown;
        corpus.entry(frame.link_type.0).or_default().push(Named { origin: format!("frame {number}"), frame });
    }
    corpus
}
