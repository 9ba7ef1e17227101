//! Every frame is accounted for: also when the reader sleeps, leaks, or stops.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capture::{Count, Readiness, RxBatch, RxQueue};
use common::{Lab, Readers, SetOnDrop, finish, read, single};
use testkit::send::{FrameShape, Sender, number_of};

#[test]
fn a_reader_that_sleeps_loses_exactly_what_is_counted() {
    let lab = Lab::plain();
    let queue = single(lab.open(|o| {
        o.block_size = 65_536;
        o.block_count = Some(16);
    }));
    // A ring of 1 MiB holds some thousand frames; nobody reads.
    lab.send(&FrameShape { length: 300, ..FrameShape::default() }, 0, 50_000);
    let mut harvest = finish(queue);
    harvest.assert_closed();
    assert_eq!(harvest.stats.offered, Count::Exact(50_000));
    let numbers = harvest.numbers();
    assert!(numbers.is_sorted() && numbers.windows(2).all(|w| w[0] != w[1]));
    let dropped = harvest.stats.ring_dropped.exact().unwrap();
    assert!(dropped > 40_000, "{dropped}");
    assert_eq!(numbers.len() as u64 + dropped, 50_000);
    assert!(harvest.stats.freezes.exact().unwrap() >= 1);
    harvest.frames.clear();
}

#[test]
fn a_reader_that_sleeps_now_and_then_goes_on_afterwards() {
    let lab = Arc::new(Lab::plain());
    let mut queue = single(lab.open(|o| {
        o.block_size = 65_536;
        o.block_count = Some(16);
    }));
    let sender = {
        let lab = Arc::clone(&lab);
        thread::spawn(move || {
            lab.send_at(&FrameShape { length: 300, ..FrameShape::default() }, 0, 60_000, Some(60_000));
        })
    };
    let mut numbers = Vec::new();
    let mut pauses = 0;
    while !sender.is_finished() {
        while let Some(mut batch) = queue.next_batch().unwrap() {
            numbers.extend(batch.frames().filter_map(|f| number_of(f.data)));
        }
        if numbers.len() > 5_000 * (pauses + 1) && pauses < 3 {
            pauses += 1;
            thread::sleep(Duration::from_millis(200));
            // The statistics are cleared at each read: they have to be added up.
            queue.stats().unwrap();
        }
        queue.wait(Duration::from_millis(5)).unwrap();
    }
    sender.join().unwrap();
    let harvest = finish(queue);
    numbers.extend(harvest.numbers());
    assert!(numbers.is_sorted());
    let stats = harvest.stats;
    assert_eq!(stats.offered, Count::Exact(60_000));
    assert_eq!(stats.received, numbers.len() as u64);
    assert_eq!(stats.ring_dropped, Count::Exact(60_000 - stats.received));
    assert!(stats.received < 60_000, "the pauses lost something");
    assert_eq!(numbers.last(), Some(&59_999));
}

#[test]
fn leaked_batches_are_taken_back_and_the_ring_goes_on() {
    let lab = Lab::plain();
    let mut queue = single(lab.open(|o| {
        o.block_size = 65_536;
        o.block_count = Some(8);
    }));
    let (mut seen, mut leaked, mut rounds) = (Vec::new(), 0, 0);
    for round in 0..40u64 {
        lab.send(&FrameShape::default(), round * 1000, 1000);
        thread::sleep(Duration::from_millis(30));
        while let Some(mut batch) = queue.next_batch().unwrap() {
            rounds += 1;
            if rounds % 3 == 0 {
                // Half read, then forgotten.
                let half = batch.frames().size_hint().1.unwrap() / 2;
                seen.extend(batch.frames().take(half).filter_map(|f| number_of(f.data)));
                leaked += batch.frames().size_hint().1.unwrap() as u64;
                std::mem::forget(batch);
            } else {
                seen.extend(batch.frames().filter_map(|f| number_of(f.data)));
            }
        }
        if round % 7 == 0 {
            queue.stats().unwrap();
        }
    }
    let harvest = finish(queue);
    seen.extend(harvest.numbers());
    assert!(seen.is_sorted() && seen.windows(2).all(|w| w[0] != w[1]));
    assert!(rounds > 40 && leaked > 0);
    assert_eq!(harvest.stats.ring_dropped, Count::Exact(0));
    assert_eq!(harvest.stats.received, 40_000);
    assert_eq!(seen.len() as u64 + leaked, 40_000);
}

#[test]
fn a_batch_goes_on_where_the_last_iterator_stopped() {
    let lab = Lab::plain();
    let mut queue = single(lab.open(|_| {}));
    lab.send(&FrameShape::default(), 0, 100);
    let mut numbers = Vec::new();
    while numbers.len() < 100 {
        assert_ne!(queue.wait(Duration::from_secs(5)).unwrap(), Readiness::TimedOut);
        while let Some(mut batch) = queue.next_batch().unwrap() {
            loop {
                let before = numbers.len();
                numbers.extend(batch.frames().take(7).filter_map(|f| number_of(f.data)));
                if numbers.len() == before {
                    break;
                }
            }
        }
    }
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[test]
fn stopping_under_traffic_drains_everything_accepted_and_nothing_after() {
    let lab = Lab::plain();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            lab.a.enter(|| {
                let sender = Sender::open("a0");
                let mut next = 0;
                while !stop.load(Ordering::Acquire) {
                    sender.send_numbered(&FrameShape::default(), next, 512, None);
                    next += 512;
                }
            });
        });
        let _stopping = SetOnDrop(&stop);
        for round in 0..20 {
            let mut queue = single(lab.open(|_| {}));
            thread::sleep(Duration::from_millis(5 * (round % 3)));
            let begin = Instant::now();
            queue.stop().unwrap();
            queue.stop().unwrap();
            let harvest = read(&mut queue, &AtomicBool::new(true));
            assert!(begin.elapsed() < Duration::from_millis(1000), "{:?}", begin.elapsed());
            harvest.assert_closed();
            let numbers = harvest.numbers();
            assert_eq!(harvest.stats.ring_dropped, Count::Exact(0));
            assert!(numbers.windows(2).all(|w| w[0] + 1 == w[1]), "a gap");
            assert_eq!(queue.wait(Duration::from_secs(9)).unwrap(), Readiness::Ended);
            assert!(queue.next_batch().unwrap().is_none());
        }
    });
}

#[test]
fn a_quiet_queue_sleeps_and_a_stopped_one_ends_at_once() {
    let lab = Lab::plain();
    let mut queue = single(lab.open(|_| {}));
    let begin = Instant::now();
    assert!(queue.next_batch().unwrap().is_none());
    assert_eq!(queue.wait(Duration::from_millis(300)).unwrap(), Readiness::TimedOut);
    assert!(begin.elapsed() >= Duration::from_millis(300));
    queue.stop().unwrap();
    assert_eq!(queue.wait(Duration::from_secs(5)).unwrap(), Readiness::Ended);
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_million_frames_flat_out_are_all_received() {
    let lab = Arc::new(Lab::plain());
    let readers = Readers::start(&lab, lab.open(|_| {}));
    lab.send(&FrameShape::default(), 0, 1_000_000);
    let harvest = readers.finish().pop().unwrap();
    harvest.assert_closed();
    assert_eq!(harvest.stats.offered, Count::Exact(1_000_000));
    assert_eq!(harvest.stats.ring_dropped, Count::Exact(0));
    assert!(harvest.numbers().into_iter().eq(0..1_000_000));
}
