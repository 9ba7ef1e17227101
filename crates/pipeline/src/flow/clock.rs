//! The time of the table, which comes from the packets: it never goes back.
//!
//! A source's clock may jump. What counts for timeouts is how far it went forward in all, so that a jump back makes nothing expire, and
//! keeps nothing alive for ever.

use capture::Timestamp;

/// Ticks of the table's time in a second.
pub(super) const TICKS: u64 = 10;
const NANOS: u64 = 1_000_000_000 / TICKS;
/// Frames of several queues or interfaces come this much out of order, nanoseconds; what is further back is a clock that was set.
const DISORDER: u64 = 1_000_000_000;

/// Time as packets and a worker that waits for packets tell it.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The latest of what was seen since the last jump back.
    latest: Option<u64>,
    /// Nanoseconds forward, in all.
    forward: u64,
}

impl Clock {
    /// A packet's time, or the worker's clock while there is none. Returns the table's time in ticks.
    #[inline]
    pub(super) fn see(&mut self, time: Timestamp) -> u64 {
        let nanos = time.as_nanos();
        match self.latest {
            Some(latest) if nanos <= latest => {
                if latest - nanos > DISORDER {
                    self.latest = Some(nanos);
                }
            }
            Some(latest) => {
                self.forward = self.forward.saturating_add(nanos - latest);
                self.latest = Some(nanos);
            }
            None => self.latest = Some(nanos),
        }
        self.now()
    }

    /// Ticks since the first packet.
    pub(super) fn now(&self) -> u64 {
        self.forward / NANOS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_parts(seconds, 0)
    }

    #[test]
    fn it_counts_what_goes_forward() {
        let mut clock = Clock::default();
        assert_eq!(clock.see(seconds(1000)), 0);
        assert_eq!(clock.see(seconds(1002)), 2 * TICKS);
        assert_eq!(clock.see(Timestamp::from_parts(1001, 500_000_000)), 2 * TICKS, "out of order");
        assert_eq!(clock.see(seconds(1003)), 3 * TICKS);
        assert_eq!(clock.see(seconds(10)), 3 * TICKS, "set back");
        assert_eq!(clock.see(seconds(14)), 7 * TICKS);
        assert_eq!(clock.see(seconds(u64::MAX / 2_000_000_000)), clock.now(), "set forward");
        let far = clock.now();
        assert_eq!(clock.see(seconds(20)), far);
        assert_eq!(clock.see(seconds(21)), far + TICKS);
    }
}
