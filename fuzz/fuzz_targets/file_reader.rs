//! Files of any octets: the reader ends, lends no more than the file can hold, and its counters are what it lent.
#![no_main]

use std::io::Cursor;
use std::time::Duration;

use capture::{Count, Readiness, RxBatch, RxQueue};
use capture_pcap::FileQueue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut queue = FileQueue::from_reader("fuzz", Box::new(Cursor::new(input.to_vec())));
    let (mut lent, mut octets) = (0_u64, 0);
    // Every step reads on, gives a batch or an error, or ends: a file has no more of them than octets (compressed ones
    // are cut short here, not there).
    for _ in 0..input.len() + 100 {
        match queue.next_batch() {
            Ok(Some(mut batch)) => {
                for frame in batch.frames() {
                    lent += 1;
                    octets += frame.data.len();
                    assert!(frame.data.len() <= frame.wire_len as usize);
                }
                continue;
            }
            Ok(None) | Err(_) => {}
        }
        if let Ok(Readiness::Ended) | Err(_) = queue.wait(Duration::ZERO) {
            break;
        }
    }
    let interfaces = queue.interfaces().len();
    let stats = queue.stats().expect("a file has counters");
    assert_eq!((stats.received, stats.offered), (lent, Count::Exact(lent)));
    let compressed = input.starts_with(&[0x1f, 0x8b]) || input.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    assert!(compressed || octets <= input.len());
    assert!(compressed || interfaces <= input.len());
});
