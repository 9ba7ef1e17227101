//! What arrived, by the stamps: missing, doubled, reordered, late.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::{Latencies, Quantiles};
use crate::{Stamp, StampKind};

/// Numbers of a chunk, a bit each.
const CHUNK: u64 = 1 << 16;
/// Numbers from here on are not believed: a damaged frame must not take all the memory. An hour at 14.88 M frames a second is below it.
const MOST: u64 = 1 << 36;
/// Chunks of all streams together that are not whole: 512 MiB of them. Numbers that would take more are not remembered, and from then on nobody
/// knows what is missing.
const BUDGET: u32 = 1 << 16;
/// Different ends of a stream that are remembered. A sender tells one.
const ENDS: usize = 8;

/// Sees frames, and accounts for the stamped ones. Memory: a bit for each number in chunks of 8 KiB, at most 512 MiB, of which those whose
/// numbers all came take none; and 200 kB for the latencies.
#[derive(Debug, Default)]
pub struct Tracker {
    streams: BTreeMap<u16, Stream>,
    /// Frames of other streams are others; without any, those of all are taken.
    only: Vec<u16>,
    /// Chunks that have memory.
    chunks: u32,
    /// There was none for a frame.
    full: bool,
    other: u64,
    latencies: Latencies,
    /// When the first and the last stamped frame were seen, nanoseconds since 1970.
    seen: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Stream {
    /// `None`: all numbers of it came.
    chunks: BTreeMap<u64, Option<Box<Bits>>>,
    /// The chunk that was used last is kept beside the others.
    current: Option<(u64, Box<Bits>)>,
    received: u64,
    doubled: u64,
    reordered: u64,
    /// One above the highest number seen.
    next: u64,
    /// How many frames there were, and how many of them the sender's interface refused, as different frames said that told the end.
    ends: Vec<(u64, u64)>,
    /// The same, as the sender on this machine says.
    told: Option<(u64, u64)>,
}

/// How far a stream is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// One above the highest number seen.
    pub next: u64,
    /// How many frames there were, as its ends say.
    pub ends: Vec<u64>,
}

impl Progress {
    /// Whether an end was seen that no frame contradicts.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ends.iter().any(|&frames| frames >= self.next)
    }

    /// Of another queue as well.
    pub fn merge(&mut self, other: &Self) {
        self.next = self.next.max(other.next);
        self.ends.extend(&other.ends);
    }
}

/// An end that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// Which stream's.
    pub stream: u16,
    /// How many frames it says that there were.
    pub said: u64,
    /// The number of a frame that came all the same; `None` if another end says another number, and both may be right.
    pub came: Option<u64>,
}

type Bits = [u64; CHUNK as usize / 64];
/// All numbers came.
static ALL: Bits = [u64::MAX; CHUNK as usize / 64];

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
    /// Time from stamp to sight, with the generator's and the receiver's clocks.
    pub latency: Option<Quantiles>,
    /// From the first stamped frame to the last, by the receiver's clock; `None` below two frames with a time.
    pub took: Option<Duration>,
    /// Ends that are not believed.
    pub doubts: Vec<Doubt>,
}

impl Tracker {
    /// Of these streams alone: stamped frames of others are frames without a stamp. Of all if none is named.
    #[must_use]
    pub fn of(streams: impl IntoIterator<Item = u16>) -> Self {
        Self { only: streams.into_iter().collect(), ..Self::default() }
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
        if !(self.only.is_empty() || self.only.contains(&stamp.stream)) || stamp.number >= MOST {
            self.other += 1;
            return;
        }
        let stream = self.streams.entry(stamp.stream).or_default();
        if stamp.kind == StampKind::End {
            stream.end(stamp.number, stamp.nanos);
            return;
        }
        let Some(new) = stream.see(stamp.number, &mut self.chunks) else {
            self.other += 1;
            self.full = true;
            return;
        };
        if nanos > 0 {
            self.seen = Some((self.seen.map_or(nanos, |(first, _)| first), nanos));
            if new {
                self.latencies.record(stamp.nanos, nanos);
            }
        }
    }

    /// How many frames a stream had, and how many of them the sender's interface refused, as this machine's generator says: whatever
    /// else told an end did not know it.
    pub fn expect(&mut self, stream: u16, frames: u64, refused: u64) {
        self.streams.entry(stream).or_default().told = Some((frames, refused.min(frames)));
    }

    /// How far each stream is that was seen.
    pub fn progress(&self) -> impl Iterator<Item = (u16, Progress)> {
        let of = |stream: &Stream| Progress {
            next: stream.next,
            ends: stream.ends.iter().map(|(frames, _)| *frames).collect(),
        };
        self.streams.iter().map(move |(number, stream)| (*number, of(stream)))
    }

    /// Frames of all streams so far, doubled ones included.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.streams.values().map(|stream| stream.received + stream.doubled).sum()
    }

    /// The account so far.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        let sum = |value: fn(&Stream) -> u64| self.streams.values().map(value).sum::<u64>();
        let each = |value: fn(&Stream) -> Option<u64>| -> Option<u64> {
            self.streams.values().map(value).sum::<Option<u64>>().filter(|_| !self.streams.is_empty())
        };
        let (first, last) = self.seen.unwrap_or_default();
        Arrivals {
            expected: each(|stream| stream.believed().map(|(frames, refused)| frames - refused)),
            received: sum(|s| s.received),
            missing: each(Stream::missing).filter(|_| !self.full),
            doubled: sum(|s| s.doubled),
            reordered: sum(|s| s.reordered),
            other: self.other,
            latency: self.latencies.quantiles(),
            took: last.checked_sub(first).filter(|nanos| *nanos > 0).map(Duration::from_nanos),
            doubts: self.streams.iter().flat_map(|(number, stream)| stream.doubts(*number)).collect(),
        }
    }

    /// One more account of the same streams, as of another queue.
    pub fn merge(&mut self, other: Self) {
        for (number, theirs) in other.streams {
            self.full |= !self.streams.entry(number).or_default().merge(theirs, &mut self.chunks);
        }
        self.full |= other.full;
        self.other += other.other;
        self.latencies.add(&other.latencies);
        self.seen = match (self.seen, other.seen) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (ours, theirs) => ours.or(theirs),
        };
    }
}

impl Stream {
    /// Whether the number is a new one; `None` if there is no memory to remember it in.
    #[inline]
    fn see(&mut self, number: u64, chunks: &mut u32) -> Option<bool> {
        let chunk = number / CHUNK;
        if self.current.as_ref().is_none_or(|(current, _)| *current != chunk) {
            self.change(chunk, chunks)?;
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
    fn change(&mut self, chunk: u64, chunks: &mut u32) -> Option<()> {
        if let Some((before, bits)) = self.current.take() {
            let whole = *bits == ALL;
            *chunks -= u32::from(whole);
            self.chunks.insert(before, (!whole).then_some(bits));
        }
        let bits = match self.chunks.get_mut(&chunk).map(Option::take) {
            Some(Some(bits)) => bits,
            _ if *chunks >= BUDGET => return None,
            known => {
                *chunks += 1;
                Box::new(if known.is_some() { ALL } else { [0; CHUNK as usize / 64] })
            }
        };
        self.chunks.remove(&chunk);
        self.current = Some((chunk, bits));
        Some(())
    }

    /// A frame said how many there were.
    fn end(&mut self, frames: u64, refused: u64) {
        let end = (frames, refused.min(frames));
        if !self.ends.contains(&end) && self.ends.len() < ENDS {
            self.ends.push(end);
        }
    }

    /// The only end that no frame contradicts. An end that came early, or from somebody else, must not make up an account.
    fn believed(&self) -> Option<(u64, u64)> {
        let mut possible = self.ends.iter().filter(|(frames, _)| *frames >= self.next);
        self.told.or_else(|| possible.next().copied().filter(|_| possible.next().is_none()))
    }

    fn doubts(&self, stream: u16) -> impl Iterator<Item = Doubt> {
        let doubted = self.ends.iter().filter(|end| self.believed() != Some(**end));
        doubted.map(move |&(said, _)| Doubt { stream, said, came: self.next.checked_sub(1).filter(|n| *n >= said) })
    }

    /// Of the numbers that were sent. One that was never sent cannot make up for one that was.
    fn missing(&self) -> Option<u64> {
        let (frames, refused) = self.believed()?;
        let beyond =
            if self.next <= frames { 0 } else { self.numbers().filter(|&number| number >= frames).count() as u64 };
        Some(frames.saturating_sub(refused + self.received - beyond))
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        let current = self.current.iter().map(|(chunk, bits)| (&**bits, *chunk));
        let chunks = self.chunks.iter().map(|(chunk, bits)| (bits.as_deref().unwrap_or(&ALL), *chunk));
        chunks.chain(current).flat_map(|(bits, chunk)| {
            bits.iter().zip(0u64..).flat_map(move |(&word, at)| {
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| chunk * CHUNK + at * 64 + bit)
            })
        })
    }

    /// Of two queues each is in order by itself, and neither says anything about the other.
    /// Says whether there was memory for it.
    fn merge(&mut self, other: Self, chunks: &mut u32) -> bool {
        let reordered = self.reordered + other.reordered;
        self.doubled += other.doubled;
        self.told = self.told.or(other.told);
        other.ends.iter().for_each(|&(frames, refused)| self.end(frames, refused));
        let mut room = true;
        for number in other.numbers() {
            room &= self.see(number, chunks).is_some();
        }
        self.next = self.next.max(other.next);
        self.reordered = reordered;
        room
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            (arrivals.expected, arrivals.received, arrivals.missing, arrivals.other),
            (Some(92), 90, Some(2), 1)
        );
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
        assert_eq!(tracker.chunks, 2, "the one with a gap, and the current one");
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
        let mut tracker = Tracker { chunks: BUDGET - 100, ..Tracker::default() };
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
}
