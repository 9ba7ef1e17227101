//! What arrived, by the stamps: missing, doubled, reordered, late.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{Stamp, StampKind};

/// Numbers of a chunk, a bit each.
const CHUNK: u64 = 1 << 16;
/// Numbers from here on are not believed: a damaged frame must not take all the memory. An hour at 14.88 M frames a second is below it.
const MOST: u64 = 1 << 36;
/// The longest latency that is told apart, nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Chunks of all streams together: 512 MiB of them. What would take more is not believed.
const BUDGET: u32 = 1 << 16;

/// Sees frames, and accounts for the stamped ones. Memory: a bit for each number in chunks of 8 KiB, at most 512 MiB, and 30 kB for the
/// latencies.
#[derive(Debug)]
pub struct Tracker {
    streams: BTreeMap<u16, Stream>,
    /// Frames of other streams are others.
    only: Option<u16>,
    /// Chunks that may still be made.
    budget: u32,
    other: u64,
    latency: Histogram<u64>,
}

#[derive(Debug, Default)]
struct Stream {
    chunks: BTreeMap<u64, Box<Bits>>,
    /// The chunk that was used last is kept beside the others.
    current: Option<(u64, Box<Bits>)>,
    received: u64,
    doubled: u64,
    reordered: u64,
    /// One above the highest number seen.
    next: u64,
    expected: Option<u64>,
    /// Of the expected ones: those that the sender's interface refused.
    refused: u64,
}

type Bits = [u64; CHUNK as usize / 64];

/// The account of all streams together.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    /// Frames sent, if the end of every stream was seen or told.
    pub expected: Option<u64>,
    /// Different numbers that came.
    pub received: u64,
    /// Of the frames sent: numbers that did not come; unknown while an end is not known.
    pub missing: Option<u64>,
    /// Numbers that came again, each time.
    pub doubled: u64,
    /// Frames that came after one with a higher number (RFC 4737, section 4.2.1: type P reordered).
    pub reordered: u64,
    /// Frames without a stamp.
    pub other: u64,
    /// Time from stamp to sight at 50, 90, 99, 99.9 percent and the longest; with the generator's and the receiver's clocks.
    pub latency: Option<[Duration; 5]>,
}

impl Default for Tracker {
    fn default() -> Self {
        // Three digits, up to a minute; the bounds are constants that are right.
        let latency = Histogram::new_with_max(LONGEST, 3).unwrap_or_else(|_| unreachable!("the bounds are right"));
        Self { streams: BTreeMap::new(), only: None, budget: BUDGET, other: 0, latency }
    }
}

impl Tracker {
    /// Of this stream alone: stamped frames of others are frames without a stamp.
    #[must_use]
    pub fn of(stream: u16) -> Self {
        Self { only: Some(stream), ..Self::default() }
    }

    /// A frame was seen at `nanos` since 1970; 0 if the time is not known.
    #[inline]
    pub fn see(&mut self, frame: &[u8], nanos: u64) {
        match Stamp::find(frame) {
            Some(stamp) => self.see_stamp(stamp, nanos),
            None => self.other += 1,
        }
    }

    /// The same for a stamp that came by another way.
    #[inline]
    pub fn see_stamp(&mut self, stamp: Stamp, nanos: u64) {
        if self.only.is_some_and(|only| only != stamp.stream) || stamp.number >= MOST {
            self.other += 1;
            return;
        }
        let stream = self.streams.entry(stamp.stream).or_default();
        if stamp.kind == StampKind::End {
            (stream.expected, stream.refused) = (Some(stamp.number), stamp.nanos.min(stamp.number));
            return;
        }
        let Some(new) = stream.see(stamp.number, &mut self.budget) else {
            self.other += 1;
            return;
        };
        if new && nanos > 0 {
            // A clock that is ahead: latency 0.
            self.latency.saturating_record(nanos.saturating_sub(stamp.nanos).min(LONGEST));
        }
    }

    /// How many frames a stream had, and how many of them the sender's interface refused: known otherwise than by its end.
    pub fn expect(&mut self, stream: u16, frames: u64, refused: u64) {
        let stream = self.streams.entry(stream).or_default();
        (stream.expected, stream.refused) = (Some(frames), refused.min(frames));
    }

    /// Streams whose end is known.
    pub fn ended_streams(&self) -> impl Iterator<Item = u16> {
        self.streams.iter().filter(|(_, stream)| stream.expected.is_some()).map(|(number, _)| *number)
    }

    /// Whether the end of every stream that was seen is known.
    #[must_use]
    pub fn ended(&self) -> bool {
        !self.streams.is_empty() && self.streams.values().all(|stream| stream.expected.is_some())
    }

    /// Frames so far, without those that tell the end of a stream.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.other + self.streams.values().map(|stream| stream.received + stream.doubled).sum::<u64>()
    }

    /// The account so far.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        let sum = |value: fn(&Stream) -> u64| self.streams.values().map(value).sum::<u64>();
        let expected = self.ended().then(|| sum(|s| s.expected.unwrap_or(0) - s.refused));
        let at = |quantile| Duration::from_nanos(self.latency.value_at_quantile(quantile));
        let latency = (!self.latency.is_empty()).then(|| [at(0.5), at(0.9), at(0.99), at(0.999), at(1.0)]);
        Arrivals {
            expected,
            received: sum(|s| s.received),
            missing: expected.map(|_| self.streams.values().map(Stream::missing).sum()),
            doubled: sum(|s| s.doubled),
            reordered: sum(|s| s.reordered),
            other: self.other,
            latency,
        }
    }

    /// One more account of the same streams, as of another queue.
    pub fn merge(&mut self, other: Self) {
        for (number, theirs) in other.streams {
            self.streams.entry(number).or_default().merge(theirs, &mut self.budget);
        }
        self.other += other.other;
        let _ = self.latency.add(other.latency); // same bounds
    }
}

impl Stream {
    /// Whether the number is a new one; `None` if there is no memory to remember it in.
    #[inline]
    fn see(&mut self, number: u64, budget: &mut u32) -> Option<bool> {
        let chunk = number / CHUNK;
        if self.current.as_ref().is_none_or(|(current, _)| *current != chunk) {
            self.change(chunk, budget)?;
        }
        let (_, bits) = self.current.as_mut()?;
        let (word, bit) = ((number % CHUNK / 64) as usize, 1 << (number % 64));
        if bits[word] & bit != 0 {
            self.doubled += 1;
            return Some(false);
        }
        bits[word] |= bit;
        self.received += 1;
        if number < self.next {
            self.reordered += 1;
        } else {
            self.next = number + 1;
        }
        Some(true)
    }

    /// Makes a chunk the current one.
    #[cold]
    fn change(&mut self, chunk: u64, budget: &mut u32) -> Option<()> {
        let bits = match self.chunks.remove(&chunk) {
            Some(bits) => bits,
            None => {
                *budget = budget.checked_sub(1)?;
                Box::new([0; CHUNK as usize / 64])
            }
        };
        if let Some((before, bits)) = self.current.replace((chunk, bits)) {
            self.chunks.insert(before, bits);
        }
        Some(())
    }

    /// Of the numbers that were sent. One that was never sent cannot make up for one that was.
    fn missing(&self) -> u64 {
        let expected = self.expected.unwrap_or(0);
        let beyond =
            if self.next <= expected { 0 } else { self.numbers().filter(|&number| number >= expected).count() as u64 };
        expected.saturating_sub(self.refused + self.received - beyond)
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        let current = self.current.iter().map(|(chunk, bits)| (bits, *chunk));
        let chunks = self.chunks.iter().map(|(chunk, bits)| (bits, *chunk)).chain(current);
        chunks.flat_map(|(bits, chunk)| {
            bits.iter().zip(0u64..).flat_map(move |(&word, at)| {
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| chunk * CHUNK + at * 64 + bit)
            })
        })
    }

    /// Of two queues each is in order by itself, and neither says anything about the other.
    fn merge(&mut self, other: Self, budget: &mut u32) {
        let reordered = self.reordered + other.reordered;
        self.doubled += other.doubled;
        self.expected = self.expected.max(other.expected);
        self.refused = self.refused.max(other.refused);
        for number in other.numbers() {
            self.see(number, budget);
        }
        self.next = self.next.max(other.next);
        self.reordered = reordered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(arrivals.latency.unwrap()[0], Duration::from_micros(1));
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
        let mut tracker = Tracker::of(0);
        (0..100).filter(|n| n % 10 != 3).for_each(|n| tracker.see_stamp(stamp(n), 2000));
        tracker.see_stamp(Stamp { stream: 777, ..stamp(5) }, 2000);
        tracker.expect(0, 100, 8);
        let arrivals = tracker.arrivals();
        assert_eq!(
            (arrivals.expected, arrivals.received, arrivals.missing, arrivals.other),
            (Some(92), 90, Some(2), 1)
        );
    }

    /// Numbers far apart, each in a chunk of its own, as an attacker would send.
    #[test]
    fn memory_has_a_limit() {
        let mut tracker = Tracker { budget: 100, ..Tracker::default() };
        (0..1000u64).for_each(|n| tracker.see_stamp(Stamp { stream: n as u16, ..stamp(n << 25) }, 0));
        let arrivals = tracker.arrivals();
        assert_eq!((arrivals.received, arrivals.other), (100, 900));
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
}
