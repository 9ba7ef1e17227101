//! Times from a frame's stamp to its sight, and those that the clocks make impossible.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart.
const LONGEST: Duration = Duration::from_secs(60);

/// One of a distribution's points. In the order of their lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    /// The stamp lies in the receiver's future: the clocks differ, and nobody knows how long the frame took.
    Ahead,
    /// So long.
    Time(Duration),
    /// Longer than [`Latencies::LONGEST`].
    Beyond,
}

/// A distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// At 50, 90, 99, 99.9 percent of all frames, and the longest.
    pub at: [Latency; 5],
    /// Frames whose stamp lies in the future. They are the shortest in the distribution.
    pub ahead: u64,
    /// Frames that took longer than [`Latencies::LONGEST`].
    pub beyond: u64,
}

/// Collects latencies, in three digits.
#[derive(Debug)]
pub struct Latencies {
    times: Histogram<u64>,
    ahead: u64,
    beyond: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        // The bounds are constants that are right.
        let times = Histogram::new_with_max(LONGEST.as_nanos() as u64, 3);
        Self { times: times.unwrap_or_else(|_| unreachable!("the bounds are right")), ahead: 0, beyond: 0 }
    }
}

impl Latencies {
    /// What is longer is only known to be longer.
    pub const LONGEST: Duration = LONGEST;

    /// A frame that was stamped and seen at these times, in nanoseconds since 1970.
    #[inline]
    pub fn record(&mut self, stamped: u64, seen: u64) {
        match seen.checked_sub(stamped) {
            None => self.ahead += 1,
            Some(time) if u128::from(time) > LONGEST.as_nanos() => self.beyond += 1,
            Some(time) => self.times.saturating_record(time),
        }
    }

    /// Those of another queue as well.
    pub fn add(&mut self, other: &Self) {
        let _ = self.times.add(&other.times); // same bounds
        self.ahead += other.ahead;
        self.beyond += other.beyond;
    }

    /// The distribution of all that were recorded; `None` if none was.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        let measured = self.times.len();
        let all = self.ahead + measured + self.beyond;
        let at = |part: f64| {
            let rank = ((part * all as f64).ceil() as u64).clamp(1, all);
            match rank.checked_sub(self.ahead) {
                None | Some(0) => Latency::Ahead,
                Some(rank) if rank > measured => Latency::Beyond,
                // The middle of a step: rounding must not lead to the next one.
                Some(rank) => {
                    let quantile = (rank as f64 - 0.5) / measured as f64;
                    Latency::Time(Duration::from_nanos(self.times.value_at_quantile(quantile)))
                }
            }
        };
        let Self { ahead, beyond, .. } = *self;
        (all > 0).then(|| Quantiles { at: [at(0.5), at(0.9), at(0.99), at(0.999), at(1.0)], ahead, beyond })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_clock_that_is_ahead_is_no_latency_of_zero_and_ten_minutes_are_not_one() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantiles(), None);
        (0..60).for_each(|_| latencies.record(100 * SECOND, 99 * SECOND));
        (0..35).for_each(|_| latencies.record(SECOND, SECOND + 1000));
        (0..5).for_each(|_| latencies.record(SECOND, 601 * SECOND));
        let time = Latency::Time(Duration::from_micros(1));
        let quantiles = latencies.quantiles().unwrap();
        assert_eq!(quantiles.at, [Latency::Ahead, time, Latency::Beyond, Latency::Beyond, Latency::Beyond]);
        assert_eq!((quantiles.ahead, quantiles.beyond), (60, 5));
    }

    #[test]
    fn those_of_two_queues_are_one_distribution() {
        let (mut one, mut other) = (Latencies::default(), Latencies::default());
        (1..=500).for_each(|n| one.record(0, n * 1000));
        (501..=1000).for_each(|n| other.record(0, n * 1000));
        other.record(5, 4);
        one.add(&other);
        let Quantiles { at: [Latency::Time(half), .., Latency::Time(longest)], ahead, .. } = one.quantiles().unwrap()
        else {
            panic!("{one:?}");
        };
        assert!(half.abs_diff(Duration::from_micros(500)) < Duration::from_micros(2), "{half:?}");
        assert!(longest.abs_diff(Duration::from_millis(1)) < Duration::from_micros(2), "{longest:?}");
        assert_eq!(ahead, 1);
    }
}
