//! What arrived, by the stamps: missing, doubled, reordered, late.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::latency::{Latencies, Quantiles};
use crate::{Stamp, StampKind};

/// Numbers of a chunk, a bit each.
const CHUNK: u64 = 1 << 16;
/// Numbers from here on are not believed: a damaged frame must not take all the memory. An hour at 14.88 M frames a second is below it.
const MOST: u64 = 1 << 36;
/// Chunks of all streams together that are not whole, and of all trackers that share the memory: 512 MiB of them. Numbers that would take more are
/// not remembered, and from then on nobody knows what is missing.
const BUDGET: u32 = 1 << 16;
/// Different ends of a stream that are remembered: those that say most, for frames contradict the others first. A sender tells one.
const ENDS: usize = 8;

/// Sees frames, and accounts for the stamped ones. Memory: a bit for each number in chunks of 8 KiB, at most 512 MiB together with
/// those [`Tracker::beside`] it, of which those whose numbers all came take none; for each stream that is seen some 200 octets; and 200 kB for the latencies.
#[derive(Debug, Default)]
pub struct Tracker {
    streams: BTreeMap<u16, Stream>,
    /// Frames of other streams are others; without any, those of all are taken.
    only: Vec<u16>,
    /// Chunks that have memory, of all trackers that share it.
    chunks: Arc<AtomicU32>,
    /// There was none for a frame.
    full: bool,
    other: u64,
    /// Frames of all streams, doubled ones included.
    data: u64,
    /// How often a new end was told.
    ends: u64,
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

    /// One more of the same streams, as for another queue, which shares the memory of this one.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { only: self.only.clone(), chunks: Arc::clone(&self.chunks), ..Self::default() }
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
            self.ends += u64::from(stream.end((stamp.number, stamp.nanos)));
            return;
        }
        let Some(new) = stream.see(stamp.number, &self.chunks) else {
            self.other += 1;
            self.full = true;
            return;
        };
        self.data += 1;
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

    /// How far each stream is that was seen: a walk through all of them.
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
        self.data
    }

    /// How often an end was told that had not been told before.
    #[must_use]
    pub fn ends(&self) -> u64 {
        self.ends
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

    /// One more account of the same streams, as of another queue. Its memory becomes that of this one; nothing is copied.
    pub fn merge(&mut self, other: Self) {
        let shared = Arc::ptr_eq(&self.chunks, &other.chunks);
        for (number, theirs) in other.streams {
            let held = theirs.held();
            let (before, after) = match self.streams.entry(number) {
                Entry::Vacant(vacant) => (0, vacant.insert(theirs).held()),
                Entry::Occupied(mut ours) => {
                    let before = ours.get().held();
                    ours.get_mut().merge(theirs);
                    (before, ours.get().held())
                }
            };
            self.chunks.fetch_add(after, Ordering::Relaxed);
            self.chunks.fetch_sub(before + if shared { held } else { 0 }, Ordering::Relaxed);
        }
        self.data += other.data;
        self.ends += other.ends;
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
    fn see(&mut self, number: u64, chunks: &AtomicU32) -> Option<bool> {
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
    fn change(&mut self, chunk: u64, chunks: &AtomicU32) -> Option<()> {
        let held = u32::from(self.current.is_some());
        let kept = self.put_away();
        chunks.fetch_sub(held - kept, Ordering::Relaxed);
        let bits = match self.chunks.get_mut(&chunk).map(Option::take) {
            Some(Some(bits)) => bits,
            known => {
                if chunks.fetch_add(1, Ordering::Relaxed) >= BUDGET {
                    chunks.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                Box::new(if known.is_some() { ALL } else { [0; CHUNK as usize / 64] })
            }
        };
        self.chunks.remove(&chunk);
        self.current = Some((chunk, bits));
        Some(())
    }

    /// Puts the current chunk beside the others, and says how many of it still have memory: one, or none if it is whole.
    fn put_away(&mut self) -> u32 {
        let Some((chunk, bits)) = self.current.take() else { return 0 };
        let whole = *bits == ALL;
        self.chunks.insert(chunk, (!whole).then_some(bits));
        u32::from(!whole)
    }

    /// Chunks that have memory.
    fn held(&self) -> u32 {
        (self.chunks.values().flatten().count() + usize::from(self.current.is_some())) as u32
    }

    /// A frame said how many there were, and how many of them were refused. One that contradicts itself is nobody's end. Says whether it is a new one.
    /// What is not remembered is below all that are: if it could be believed so could they, and none is.
    fn end(&mut self, end: (u64, u64)) -> bool {
        let (frames, refused) = end;
        if refused > frames || self.ends.contains(&end) {
            return false;
        }
        if self.ends.len() < ENDS {
            self.ends.push(end);
            return true;
        }
        let lowest = self.ends.iter_mut().min().filter(|lowest| **lowest < end);
        lowest.map(|lowest| *lowest = end).is_some()
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
    fn merge(&mut self, mut other: Self) {
        self.put_away();
        other.put_away();
        self.reordered += other.reordered;
        self.doubled += other.doubled;
        self.received += other.received;
        self.told = self.told.or(other.told);
        other.ends.iter().for_each(|end| _ = self.end(*end));
        self.next = self.next.max(other.next);
        for (chunk, theirs) in other.chunks {
            let both = match self.chunks.entry(chunk) {
                Entry::Vacant(vacant) => {
                    vacant.insert(theirs);
                    continue;
                }
                Entry::Occupied(mut ours) => unite(ours.get_mut(), theirs),
            };
            // What came by both queues came twice.
            self.received -= both;
            self.doubled += both;
        }
    }
}

/// Adds the numbers of a chunk to another one, and says how many were in both.
fn unite(ours: &mut Option<Box<Bits>>, theirs: Option<Box<Bits>>) -> u64 {
    let ones = |bits: &Bits| bits.iter().map(|word| u64::from(word.count_ones())).sum();
    let Some(theirs) = theirs else { return ours.take().map_or(CHUNK, |ours| ones(&ours)) };
    let Some(ours) = ours else { return ones(&theirs) };
    let mut both = 0;
    for (ours, theirs) in ours.iter_mut().zip(theirs.iter()) {
        both += u64::from((*ours & theirs).count_ones());
        *ours |= theirs;
    }
    both
}

#[cfg(test)]
mod tests;
