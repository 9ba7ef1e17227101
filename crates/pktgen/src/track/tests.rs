//! Known arrivals, and a reference account of random ones.

use super::*;
use crate::Latency;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn stamp(number: u64) -> Stamp {
    Stamp { kind: StampKind::Data, stream: 0, number, nanos: 1000 }
}

#[test]
fn a_frame_in_a_thousand_is_missed_and_said() {
    let mut tracker = Tracker::default();
    (0..1_000_000).filter(|n| n % 1000 != 999).for_each(|n| tracker.see_stamp(stamp(n), 2000));
    assert_eq!(tracker.arrivals().missing, None, "nobody knows how many there were");
    tracker.expect(0, 1_000_000, 0);
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.received, arrivals.missing), (999_000, Some(1000)));
    assert_eq!((arrivals.doubled, arrivals.reordered), (0, 0));
    assert_eq!(arrivals.latency.unwrap().at[0], Latency::Time(Duration::from_micros(1)));
}

proptest! {
    /// Against sets.
    #[test]
    fn the_account_is_that_of_a_set(numbers in proptest::collection::vec(0u64..200_000, 0..300), expected in 0u64..200_000, cut in 0usize..300) {
        let mut tracker = Tracker::default();
        let mut second = Tracker::default();
        let cut = cut.min(numbers.len());
        numbers[..cut].iter().for_each(|&n| tracker.see_stamp(stamp(n), 0));
        numbers[cut..].iter().for_each(|&n| second.see_stamp(stamp(n), 0));
        tracker.merge(second);
        tracker.expect(0, expected, 0);
        let set: BTreeSet<u64> = numbers.iter().copied().collect();
        let arrivals = tracker.arrivals();
        prop_assert_eq!(arrivals.received, set.len() as u64);
        prop_assert_eq!(arrivals.doubled, (numbers.len() - set.len()) as u64);
        prop_assert_eq!(arrivals.missing, Some(expected - set.range(..expected).count() as u64));
    }
}

#[test]
fn refused_frames_are_not_missing_and_other_streams_do_not_count() {
    let mut tracker = Tracker::of([0]);
    (0..100).filter(|n| n % 10 != 3).for_each(|n| tracker.see_stamp(stamp(n), 2000));
    tracker.see_stamp(Stamp { stream: 777, ..stamp(5) }, 2000);
    tracker.expect(0, 100, 8);
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.expected, arrivals.received, arrivals.missing, arrivals.other), (Some(92), 90, Some(2), 1));
}

#[test]
fn an_end_that_contradicts_itself_is_none() {
    let mut tracker = Tracker::default();
    (0..100).for_each(|n| tracker.see_stamp(stamp(n), 2000));
    tracker.see_stamp(Stamp { kind: StampKind::End, nanos: 150, ..stamp(100) }, 2000);
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.expected, arrivals.received, arrivals.missing), (None, 100, None));
}

#[test]
fn an_end_that_frames_contradict_is_not_believed_and_is_named() {
    let end = |number| Stamp { kind: StampKind::End, nanos: 0, ..stamp(number) };
    let mut tracker = Tracker::default();
    (0..10).for_each(|n| tracker.see_stamp(stamp(n), 2000));
    tracker.see_stamp(end(12), 2000);
    assert_eq!((tracker.arrivals().expected, tracker.arrivals().missing), (Some(12), Some(2)));
    assert!(tracker.progress().all(|(stream, progress)| stream == 0 && progress.ended()));
    // Frames still come: the end was somebody else's.
    (10..20).for_each(|n| tracker.see_stamp(stamp(n), 3000));
    assert_eq!((tracker.arrivals().expected, tracker.arrivals().missing), (None, None));
    assert!(tracker.progress().all(|(_, progress)| !progress.ended()));
    tracker.see_stamp(end(20), 4000);
    tracker.see_stamp(end(20), 4000);
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.expected, arrivals.received, arrivals.missing), (Some(20), 20, Some(0)));
    assert_eq!(arrivals.doubts, [Doubt { stream: 0, said: 12, came: Some(19) }]);
    assert_eq!(arrivals.took, Some(Duration::from_nanos(1000)));
    // Two that may both be right: nobody knows.
    tracker.see_stamp(end(1_000_000), 4000);
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.expected, arrivals.missing, arrivals.doubts.len()), (None, None, 3));
    // The generator of this machine knows.
    tracker.expect(0, 21, 0);
    assert_eq!(tracker.arrivals().missing, Some(1));
}

/// The end may come to one queue, and the frames that contradict it to another.
#[test]
fn ends_are_weighed_by_the_frames_of_all_queues() {
    let (mut one, mut other) = (Tracker::default(), Tracker::default());
    one.see_stamp(Stamp { kind: StampKind::End, nanos: 0, ..stamp(5) }, 2000);
    (0..10).for_each(|n| other.see_stamp(stamp(n), 2000));
    let mut progress = Progress::default();
    [&one, &other].iter().flat_map(|tracker| tracker.progress()).for_each(|(_, part)| progress.merge(&part));
    assert!(!progress.ended());
    one.merge(other);
    assert_eq!((one.arrivals().expected, one.arrivals().received), (None, 10));
    assert_eq!(one.arrivals().doubts, [Doubt { stream: 0, said: 5, came: Some(9) }]);
}

/// A long run takes no more memory than what is missing does.
#[test]
fn chunks_that_are_whole_take_no_memory_and_are_remembered() {
    let mut tracker = Tracker::default();
    (0..10 * CHUNK).filter(|n| *n != 3 * CHUNK + 5).for_each(|n| tracker.see_stamp(stamp(n), 0));
    assert_eq!(tracker.chunks.load(Ordering::Relaxed), 2, "the one with a gap, and the current one");
    [7, 3 * CHUNK + 5, 9 * CHUNK].into_iter().for_each(|n| tracker.see_stamp(stamp(n), 0));
    tracker.expect(0, 10 * CHUNK, 0);
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.missing, arrivals.doubled, arrivals.reordered), (Some(0), 2, 1));
    let mut other = Tracker::default();
    other.merge(tracker);
    assert_eq!((other.arrivals().received, other.arrivals().missing), (10 * CHUNK, Some(0)));
}

/// Numbers far apart, each in a chunk of its own, as an attacker would send.
#[test]
fn memory_has_a_limit() {
    let mut tracker = Tracker { chunks: Arc::new(AtomicU32::new(BUDGET - 100)), ..Tracker::default() };
    (0..1000u64).for_each(|n| tracker.see_stamp(Stamp { stream: n as u16, ..stamp(n << 25) }, 0));
    tracker.expect(0, 1 << 35, 0);
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.received, arrivals.other, arrivals.missing), (100, 900, None));
}

#[test]
fn numbers_out_of_reason_are_not_believed() {
    let mut frame = [0u8; 60];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[23] = 17;
    frame[42..60].copy_from_slice(&stamp(MOST).to_octets());
    let mut tracker = Tracker::default();
    tracker.see(&frame, 0);
    assert_eq!((tracker.arrivals().received, tracker.arrivals().other), (0, 1));
}

#[test]
fn ends_that_frames_contradict_make_room_for_the_true_one() {
    let end = |number| Stamp { kind: StampKind::End, nanos: 0, ..stamp(number) };
    let mut tracker = Tracker::default();
    for n in 0..100 {
        tracker.see_stamp(stamp(n), 0);
        // Some are contradicted at once, and others only later.
        tracker.see_stamp(end(n), 0);
        tracker.see_stamp(end(99 - n), 0);
    }
    tracker.see_stamp(end(101), 0);
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.expected, arrivals.missing), (Some(101), Some(1)));
    assert!(tracker.progress().all(|(_, progress)| progress.ended()));
    // A queue to which no frame comes cannot know which ends others contradict.
    let mut other = Tracker::default();
    (0..100).chain([101]).for_each(|n| other.see_stamp(end(n), 0));
    other.merge(tracker);
    assert_eq!(other.arrivals().missing, Some(1));
    // More ends than are remembered that no frame contradicts: nobody knows.
    (1000..1100).rev().for_each(|n| other.see_stamp(end(n), 0));
    assert_eq!((other.arrivals().expected, other.arrivals().missing), (None, None));
}

/// As many streams as there can be, by two queues.
#[test]
fn memory_has_a_limit_for_all_queues_together() {
    let held = |tracker: &Tracker| tracker.streams.values().map(Stream::held).sum::<u32>();
    let mut one = Tracker { chunks: Arc::new(AtomicU32::new(BUDGET - 100)), ..Tracker::default() };
    let mut other = one.beside();
    (0..80u16).for_each(|stream| one.see_stamp(Stamp { stream, ..stamp(0) }, 0));
    (60..140u16).for_each(|stream| other.see_stamp(Stamp { stream, ..stamp(u64::from(stream % 2)) }, 0));
    assert_eq!((held(&one), held(&other), other.other), (80, 20, 60));
    one.merge(other);
    assert_eq!((held(&one), one.chunks.load(Ordering::Relaxed)), (80, BUDGET - 20), "what is the same is there once");
    let arrivals = one.arrivals();
    assert_eq!((arrivals.received, arrivals.doubled, arrivals.missing, one.seen()), (90, 10, None, 100));
}

#[test]
fn whole_chunks_of_two_queues_are_merged() {
    let (mut one, mut other) = (Tracker::default(), Tracker::default());
    (0..CHUNK + 10).for_each(|n| one.see_stamp(stamp(n), 0));
    // Of the first chunk one number again, the second one whole, the third by halves.
    [7].into_iter().chain(CHUNK..2 * CHUNK + 100).for_each(|n| other.see_stamp(stamp(n), 0));
    (2 * CHUNK + 100..3 * CHUNK).for_each(|n| one.see_stamp(stamp(n), 0));
    one.merge(other);
    one.see_stamp(stamp(3 * CHUNK), 0);
    one.expect(0, 3 * CHUNK + 1, 0);
    let arrivals = one.arrivals();
    assert_eq!((arrivals.received, arrivals.missing, arrivals.doubled), (3 * CHUNK + 1, Some(0), 11));
}
