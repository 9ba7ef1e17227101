//! Nothing is lost unaccounted.

use std::time::Duration;

use capture::{Count, RxBatch, RxQueue};

use super::content::frames;
use super::reading::{finish_in, open};
use super::{Lab, Settings};
use crate::send::number_of;

/// More frames than the ring holds, and nobody reads: what is missing is what is counted, or the count is unknown.
pub fn a_reader_that_sleeps_loses_exactly_what_is_counted<L: Lab>() {
    let lab = L::new();
    let queue = open(&lab, &Settings { small_ring: true, ..Settings::default() });
    for start in (0..40_000).step_by(2000) {
        lab.send(&frames(start, 2000, &[300]));
    }
    let harvest = finish_in(&lab, queue);
    harvest.assert_closed();
    let numbers = harvest.numbers();
    assert!(numbers.windows(2).all(|w| w[0] < w[1]), "in order, none twice");
    assert!(!numbers.is_empty() && numbers.len() < 40_000, "{} of 40000", numbers.len());
    let missing = 40_000 - numbers.len() as u64;
    let expected = if L::NATURE.drops_known { Count::Exact(missing) } else { Count::Unknown };
    assert_eq!(harvest.stats.ring_dropped, expected, "{missing} are missing");
}

/// A ring that is read while it is filled, round and round.
pub fn many_laps_of_the_ring<L: Lab>() {
    let lab = L::new();
    let mut queue = open(&lab, &Settings { small_ring: true, ..Settings::default() });
    let mut numbers = Vec::new();
    let mut collect = |queue: &mut L::Queue| {
        lab.inside(|| {
            queue.wait(Duration::from_millis(20)).expect("the queue waits");
            while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
                numbers.extend(batch.frames().filter_map(|f| number_of(f.data)));
            }
        });
    };
    for start in (0..30_000).step_by(100) {
        lab.send(&frames(start, 100, &[60, 1000, 200]));
        collect(&mut queue);
    }
    let harvest = finish_in(&lab, queue);
    numbers.extend(harvest.numbers());
    assert!(numbers.iter().copied().eq(0..30_000), "{} frames of 30000", numbers.len());
    assert_eq!(harvest.stats.received, 30_000);
    let none = if L::NATURE.drops_known { Count::Exact(0) } else { Count::Unknown };
    assert_eq!(harvest.stats.ring_dropped, none);
}

/// A batch that is leaked costs its own unread frames and no others, and they are in the account.
pub fn leaked_batches_are_taken_back<L: Lab>() {
    let lab = L::new();
    let mut queue = open(&lab, &Settings { small_ring: true, ..Settings::default() });
    let (mut seen, mut leaked, mut rounds) = (Vec::new(), 0, 0);
    for round in 0..40u64 {
        lab.send(&frames(round * 100, 100, &[60, 300]));
        lab.inside(|| {
            queue.wait(Duration::from_millis(20)).expect("the queue waits");
            while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
                rounds += 1;
                if rounds % 3 == 0 {
                    // Read in part, then forgotten.
                    seen.extend(batch.frames().take(5).filter_map(|f| number_of(f.data)));
                    leaked += 1;
                    std::mem::forget(batch);
                } else {
                    seen.extend(batch.frames().filter_map(|f| number_of(f.data)));
                }
            }
            if round % 7 == 0 {
                queue.stats().expect("the queue has statistics");
            }
        });
    }
    let harvest = finish_in(&lab, queue);
    seen.extend(harvest.numbers());
    assert!(seen.windows(2).all(|w| w[0] < w[1]), "in order, none twice");
    assert!(leaked > 5, "{leaked}");
    assert_eq!(harvest.stats.received, 4000, "those that nobody looked at are received too");
    assert!(seen.len() < 4000 && seen.len() > 1000, "{}", seen.len());
}
