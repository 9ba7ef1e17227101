//! Captured frames, sent again.

use std::time::Duration;

use crate::{GenError, Source, Stamp};

/// Frames in memory with their times. They are sent as they are: a stamp would spoil them.
#[derive(Clone, Debug)]
pub struct Replay {
    octets: Vec<u8>,
    /// Where each frame ends, and when it is due after the first.
    frames: Vec<(usize, Duration)>,
    next: usize,
    rounds: u64,
    round: u64,
    /// 2 is twice as fast as captured; `None`: by the generator's rate.
    speed: Option<f64>,
    longest: usize,
    longest_untagged: usize,
}

impl Replay {
    /// Frames with their times since 1970, `rounds` times over. `what` is named if there is none.
    ///
    /// # Errors
    /// [`GenError::Nothing`].
    pub fn new<'f>(
        frames: impl IntoIterator<Item = (&'f [u8], Duration)>,
        rounds: u64,
        speed: Option<f64>,
        what: &str,
    ) -> Result<Self, GenError> {
        let mut replay = Self {
            octets: Vec::new(),
            frames: Vec::new(),
            next: 0,
            rounds,
            round: 0,
            speed,
            longest: 0,
            longest_untagged: 0,
        };
        let mut first = None;
        for (frame, time) in frames {
            let first = *first.get_or_insert(time);
            replay.octets.extend_from_slice(frame);
            replay.frames.push((replay.octets.len(), time.saturating_sub(first)));
            let tag = if matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8])) { 4 } else { 0 };
            replay.longest = replay.longest.max(frame.len());
            replay.longest_untagged = replay.longest_untagged.max(frame.len() - tag);
        }
        if replay.frames.is_empty() {
            return Err(GenError::Nothing(what.to_owned()));
        }
        Ok(replay)
    }

    /// How many frames will be sent in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rounds.saturating_mul(self.frames.len() as u64)
    }
}

impl Source for Replay {
    #[inline]
    fn write(&mut self, slot: &mut [u8], _: Option<Stamp>) -> usize {
        if self.next == self.frames.len() {
            self.next = 0;
            self.round += 1;
        }
        if self.round >= self.rounds {
            return 0;
        }
        let start = self.next.checked_sub(1).map_or(0, |before| self.frames[before].0);
        let frame = &self.octets[start..self.frames[self.next].0];
        let Some(place) = slot.get_mut(..frame.len()) else { return 0 };
        place.copy_from_slice(frame);
        self.next += 1;
        frame.len()
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn longest_untagged(&self) -> usize {
        self.longest_untagged
    }

    fn due(&self) -> Option<Duration> {
        let speed = self.speed?;
        let round = self.frames.last().map_or(Duration::ZERO, |(_, time)| *time);
        let (done, next) = if self.next == self.frames.len() { (self.round + 1, 0) } else { (self.round, self.next) };
        let time = round.as_secs_f64() * done as f64 + self.frames[next].1.as_secs_f64();
        Some(Duration::try_from_secs_f64(time / speed).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_order_at_their_times_and_again() {
        let frames: [&[u8]; 3] = [&[1; 60], &[2; 70], &[3; 80]];
        let times = [5.0, 5.5, 7.0].map(Duration::from_secs_f64);
        let mut replay = Replay::new(frames.into_iter().zip(times), 2, Some(2.0), "x").unwrap();
        assert_eq!((replay.count(), replay.longest()), (6, 80));
        let mut slot = [0; 100];
        let mut seen = Vec::new();
        loop {
            let due = replay.due().unwrap().as_secs_f64();
            let length = replay.write(&mut slot, None);
            if length == 0 {
                break;
            }
            seen.push((slot[0], length, due));
        }
        let expected = [(1, 60, 0.0), (2, 70, 0.25), (3, 80, 1.0), (1, 60, 1.0), (2, 70, 1.25), (3, 80, 2.0)];
        assert_eq!(seen, expected);
        assert!(Replay::new([], 1, None, "empty.pcap").unwrap_err().to_string().contains("empty.pcap"));
    }
}
