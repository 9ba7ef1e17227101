//! A ring whose bookkeeping lies: nothing outside of it is read, nothing panics, all is counted, and the queue goes on.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use capture::{Count, QueueStats, RxBatch, RxQueue};
use common::{Model, ModelQueue, Module, Settings, drain, open, open_one};
use proptest::prelude::*;
use testkit::send::{FrameShape, number_of, numbered};

/// The ring's first slot, in words.
const SLOTS: usize = 1024;
/// Words of a slot of 60 octets.
const WORDS: usize = 14;

fn with_frames(count: u64) -> (Model, ModelQueue, Arc<[AtomicU64]>) {
    let model = Model::default();
    let queue = open_one(&model, |_| {});
    for number in 0..count {
        model.0.receive(&numbered(&FrameShape::default(), number));
    }
    let memory = model.0.memory();
    (model, queue, memory)
}

fn numbers(queue: &mut ModelQueue) -> Vec<u64> {
    drain(queue).iter().filter_map(|frame| number_of(frame)).collect()
}

/// After damage: frames before it came, those behind are damaged, and what comes later comes.
fn goes_on(model: &Model, queue: &mut ModelQueue, before: u64, damaged: u64) {
    assert!(numbers(queue).into_iter().eq(0..before));
    model.0.receive(&numbered(&FrameShape::default(), 77));
    assert_eq!(numbers(queue), [77]);
    let QueueStats { received, damaged: counted, offered, ring_dropped, .. } =
        queue.stats().expect("it has statistics");
    assert_eq!((received, counted), (before + damaged + 1, damaged));
    assert_eq!(offered, Count::Exact(received) + ring_dropped);
}

#[test]
fn a_length_that_leads_away_ends_the_batch_and_not_the_queue() {
    for captured in [13_u32, 61, 256, 257, 1 << 20, u32::MAX - 60, u32::MAX] {
        let (model, mut queue, memory) = with_frames(10);
        // Of the fourth frame.
        memory[SLOTS + 3 * WORDS + 2].store(u64::from(captured) | 60 << 32, Ordering::Release);
        goes_on(&model, &mut queue, 3, 7);
    }
}

#[test]
fn a_slot_without_its_mark_is_damaged() {
    let (model, mut queue, memory) = with_frames(10);
    memory[SLOTS + 5 * WORDS + 13].store(0, Ordering::Release);
    goes_on(&model, &mut queue, 5, 5);
}

#[test]
fn a_frame_shorter_on_the_wire_than_captured_is_damaged() {
    let (model, mut queue, memory) = with_frames(10);
    memory[SLOTS + 2].store(60 | 59 << 32, Ordering::Release);
    goes_on(&model, &mut queue, 0, 10);
}

#[test]
fn more_frames_than_lie_before_the_next_place_are_damaged() {
    let (model, mut queue, memory) = with_frames(10);
    memory[7].store(12, Ordering::Release);
    assert!(numbers(&mut queue).into_iter().eq(0..10));
    assert_eq!(queue.stats().unwrap().damaged, 2);
    drop(model);
}

#[test]
fn a_counter_that_goes_back_or_far_ahead_costs_no_frame_that_is_not_there() {
    for inserted in [3, 0, u64::MAX, 1 << 40] {
        let (model, mut queue, memory) = with_frames(10);
        assert_eq!(numbers(&mut queue).len(), 10);
        memory[7].store(inserted, Ordering::Release);
        assert!(queue.next_batch().unwrap().is_none());
        let stats = queue.stats().unwrap();
        assert_eq!((stats.received, stats.damaged), (10, 0), "{inserted}");
        model.0.receive(&numbered(&FrameShape::default(), 10));
        // The model's own counter stands where it stood.
        let _ = drain(&mut queue);
    }
}

#[test]
fn a_next_place_outside_of_the_ring_is_an_error_after_what_could_be_read() {
    let (_model, mut queue, memory) = with_frames(10);
    memory[3].store(1 << 50, Ordering::Release);
    let mut batch = queue.next_batch().unwrap().unwrap();
    assert_eq!(batch.frames().count(), 0);
    drop(batch);
    let error = queue.next_batch().err().unwrap().to_string();
    assert!(error.contains("will put the next frame outside of it"), "{error}");
    assert_eq!(queue.stats().unwrap().damaged, 10);
}

#[test]
fn a_batch_that_is_dropped_unread_passes_over_damage_too() {
    let (model, mut queue, memory) = with_frames(10);
    memory[SLOTS + 3 * WORDS + 2].store(u64::MAX, Ordering::Release);
    drop(queue.next_batch().unwrap().unwrap());
    std::mem::forget(queue.next_batch().unwrap());
    model.0.receive(&numbered(&FrameShape::default(), 77));
    assert_eq!(numbers(&mut queue), [77]);
    let stats = queue.stats().unwrap();
    assert_eq!((stats.received, stats.offered), (11, Count::Exact(11)));
}

#[test]
fn counters_that_were_cleared_are_counted_on() {
    let (model, mut queue, memory) = with_frames(10);
    assert_eq!(queue.stats().unwrap().offered, Count::Exact(10));
    memory[5].store(0, Ordering::Release);
    model.0.receive(&numbered(&FrameShape::default(), 10));
    assert_eq!(queue.stats().unwrap().offered, Count::Exact(11));
}

#[test]
fn sizes_that_do_not_fit_together_are_refused() {
    let refused = |settings| open(&Model(Module::new(settings)), |_| {}).err().unwrap().to_string();
    for slot_len in [0, 1, 303, u32::MAX, 1 << 30] {
        let text = refused(Settings { slot_len: Some(slot_len), ..Settings::default() });
        assert!(text.contains("sizes do not fit together"), "{slot_len}: {text}");
    }
    for total in [0, 8192, 8193, 1 << 34, u64::MAX] {
        let text = refused(Settings { total: Some(total), ..Settings::default() });
        assert!(text.contains("sizes do not fit together"), "{total}: {text}");
    }
    let text = refused(Settings { header: 209, ..Settings::default() });
    assert!(text.contains("sizes do not fit together"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any words anywhere in what was inserted, or in the counters.
    #[test]
    fn nonsense_is_survived(
        pokes in prop::collection::vec((prop_oneof![3..8_usize, SLOTS..SLOTS + 30 * WORDS], any::<u64>(), 0..64_u32), 1..6),
        rounds in 1..5_usize,
        taken in 0..40_usize,
    ) {
        let (model, mut queue, memory) = with_frames(30);
        for (word, value, shift) in pokes {
            memory[word].store(value >> shift, Ordering::Release);
        }
        let mut lent = 0;
        for round in 0..rounds {
            model.0.receive(&numbered(&FrameShape::default(), round as u64));
            // An error is an answer, too.
            if let Ok(Some(mut batch)) = queue.next_batch() {
                for frame in batch.frames().take(taken) {
                    lent += 1;
                    assert!(frame.data.len() <= 256 && frame.data.len() <= frame.wire_len as usize);
                    assert!(frame.data.iter().map(|octet| u64::from(*octet)).sum::<u64>() < u64::MAX);
                }
            }
        }
        let stats = queue.stats().unwrap();
        prop_assert!(stats.received >= lent + stats.damaged);
    }

    /// Frames of any lengths in a small ring, read in any rhythm: what is not lost comes whole and in order.
    #[test]
    fn every_rhythm_of_reading_gives_what_was_inserted(
        steps in prop::collection::vec((0..60_usize, 0..40_usize, any::<bool>()), 1..40),
        lengths in prop::collection::vec(54..400_usize, 1..8),
    ) {
        let model = Model(Module::new(Settings { min_num_slots: 12, ..Settings::default() }));
        let mut queue = open_one(&model, |o| o.snaplen = 300);
        let (mut sent, mut got, mut looked_at) = (0_u64, Vec::new(), 0);
        for (frames, read, leak) in steps {
            for _ in 0..frames {
                let length = lengths[sent as usize % lengths.len()];
                model.0.receive(&numbered(&FrameShape { length, ..FrameShape::default() }, sent));
                sent += 1;
            }
            if let Some(mut batch) = queue.next_batch().unwrap() {
                for frame in batch.frames().take(read) {
                    let number = number_of(frame.data).unwrap();
                    let length = lengths[number as usize % lengths.len()];
                    assert_eq!((frame.wire_len as usize, frame.data.len()), (length, length.min(300)));
                    got.push(number);
                    looked_at += 1;
                }
                if leak {
                    std::mem::forget(batch);
                }
            }
        }
        got.extend(drain(&mut queue).iter().filter_map(|frame| { looked_at += 1; number_of(frame) }));
        prop_assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice");
        let stats = queue.stats().unwrap();
        prop_assert_eq!(stats.offered, Count::Exact(sent));
        prop_assert_eq!(Count::Exact(stats.received) + stats.ring_dropped, Count::Exact(sent));
        prop_assert!(stats.received >= looked_at && stats.damaged == 0);
    }
}
