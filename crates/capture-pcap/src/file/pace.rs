//! When a packet is due. Knows times and numbers, and no clock: callers say what the time is.

use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::{Duration, Instant};

use capture::{CaptureError, Frame, FrameFlags, Timestamp};

/// How fast a queue lends what is in its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rate {
    /// As fast as it is read.
    #[default]
    Max,
    /// At the pace of the file: as much later than the first packet as the timestamps say.
    Original,
    /// So many packets per second.
    Pps(NonZeroU64),
}

/// `max`, `original`, or packets per second.
impl FromStr for Rate {
    type Err = CaptureError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "max" => Ok(Self::Max),
            "original" => Ok(Self::Original),
            number => number.parse().map(Self::Pps).map_err(|_| CaptureError::BadOption {
                option: "rate",
                value: s.to_owned(),
                allowed: "max, original, or packets per second (a whole number above 0)".to_owned(),
            }),
        }
    }
}

/// The schedule of a queue.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    /// The moment against which packets are measured: that of the last batch.
    now: Instant,
    /// When packet number 0 was due (`Pps`), or the packet of `anchor_time` (`Original`).
    anchor: Option<Instant>,
    anchor_time: Timestamp,
    /// Packets lent since the anchor.
    lent: u64,
}

impl Pace {
    /// A step back in time by more than this is a new start; a smaller one is disorder, as several queues make it.
    const DISORDER: u64 = 1_000_000_000;

    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, now: Instant::now(), anchor: None, anchor_time: Timestamp::EPOCH, lent: 0 }
    }

    /// Whether every packet is due at any time.
    #[inline]
    pub(super) fn is_max(&self) -> bool {
        self.rate == Rate::Max
    }

    /// Takes the time for the packets of a batch.
    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Another file: its first packet does not wait for the gap between the files.
    pub(super) fn next_file(&mut self) {
        if self.rate == Rate::Original {
            self.anchor = None;
        }
    }

    /// How long the packet is not due yet; `None` if it is.
    pub(super) fn not_due(&mut self, frame: &Frame<'_>) -> Option<Duration> {
        let after = match self.rate {
            Rate::Max => return None,
            Rate::Original if frame.flags.contains(FrameFlags::NO_TIME) => return None,
            Rate::Original => match frame.timestamp.as_nanos().checked_sub(self.anchor_time.as_nanos()) {
                Some(nanos) => u128::from(nanos),
                None if self.anchor_time.as_nanos() - frame.timestamp.as_nanos() > Self::DISORDER => {
                    self.anchor = None;
                    0
                }
                None => 0,
            },
            Rate::Pps(rate) => u128::from(self.lent) * 1_000_000_000 / u128::from(rate.get()),
        };
        let Some(anchor) = self.anchor else {
            self.anchor = Some(self.now);
            self.anchor_time = frame.timestamp;
            return None;
        };
        let missing = after.saturating_sub(self.now.saturating_duration_since(anchor).as_nanos());
        // 2^64 ns are 584 years: whoever waits for that may as well be woken before.
        (missing > 0).then(|| Duration::from_nanos(u64::try_from(missing).unwrap_or(u64::MAX)))
    }

    /// A packet was lent.
    pub(super) fn lent(&mut self, frame: &Frame<'_>) {
        self.lent += 1;
        // The anchor follows, so that a step back is seen as one from the last packet, not from the first.
        if self.rate == Rate::Original
            && let Some(anchor) = self.anchor
            && let Some(nanos) = frame.timestamp.as_nanos().checked_sub(self.anchor_time.as_nanos())
            && let Some(due) = anchor.checked_add(Duration::from_nanos(nanos))
        {
            self.anchor = Some(due);
            self.anchor_time = frame.timestamp;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::{Direction, InterfaceIndex, LinkType};

    fn at(nanos: u64) -> Frame<'static> {
        Frame {
            data: &[],
            timestamp: Timestamp::from_nanos(nanos),
            wire_len: 0,
            interface: InterfaceIndex(0),
            link_type: LinkType::ETHERNET,
            direction: Direction::Unknown,
            vlan: None,
            flags: FrameFlags::NONE,
        }
    }

    /// Asks for a packet, and lends it if it is due.
    fn ask(pace: &mut Pace, frame: &Frame<'_>) -> Option<Duration> {
        let not_due = pace.not_due(frame);
        if not_due.is_none() {
            pace.lent(frame);
        }
        not_due
    }

    #[test]
    fn the_original_pace_is_kept_and_steps_back_do_not_stall() {
        let mut pace = Pace::new(Rate::Original);
        let start = Instant::now();
        pace.set_now(start);
        assert_eq!(ask(&mut pace, &at(5_000_000_000)), None, "the first is due at once");
        assert_eq!(ask(&mut pace, &at(5_000_000_100)), Some(Duration::from_nanos(100)));
        pace.set_now(start + Duration::from_nanos(100));
        assert_eq!(ask(&mut pace, &at(5_000_000_100)), None);
        assert_eq!(ask(&mut pace, &at(5_000_000_050)), None, "disorder");
        assert_eq!(ask(&mut pace, &at(5_000_000_150)), Some(Duration::from_nanos(50)), "and the pace stays");
        assert_eq!(ask(&mut pace, &at(1_000)), None, "a step back is a new start");
        assert_eq!(ask(&mut pace, &at(1_500)), Some(Duration::from_nanos(500)), "with its own pace");
        pace.next_file();
        assert_eq!(ask(&mut pace, &at(9_000_000_000)), None, "a gap between files does not wait");
        assert_eq!(ask(&mut pace, &at(u64::MAX)).map(|d| d.as_secs() > 1_000_000_000), Some(true));
    }

    #[test]
    fn packets_per_second_are_counted_from_the_first() {
        let mut pace = Pace::new("1000".parse().expect("a rate"));
        let start = Instant::now();
        pace.set_now(start);
        assert_eq!(ask(&mut pace, &at(0)), None);
        assert_eq!(ask(&mut pace, &at(0)), Some(Duration::from_millis(1)));
        pace.set_now(start + Duration::from_millis(2));
        assert_eq!((ask(&mut pace, &at(0)), ask(&mut pace, &at(0))), (None, None));
        assert_eq!(ask(&mut pace, &at(0)), Some(Duration::from_millis(1)));
        assert!("0".parse::<Rate>().is_err() && "fast".parse::<Rate>().is_err());
    }
}
