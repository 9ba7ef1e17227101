//! The time of the table, which comes from the packets: it never goes back.
//!
//! A source's clock may jump. What counts for timeouts is how far it went forward in all, so that a jump back makes nothing expire, and
//! keeps nothing alive for ever. A jump forward counts as what makes everything expire at most: a first packet of 1970 uses up no table's time.

use capture::Timestamp;

/// Ticks of the table's time in a second.
pub(super) const TICKS: u64 = 10;
const NANOS: u64 = 1_000_000_000 / TICKS;
/// Frames of several queues or interfaces come this much out of order, nanoseconds; what is further back has another clock, or one that was set.
const DISORDER: u64 = 1_000_000_000;

/// Time as packets and a worker that waits for packets tell it.
#[derive(Debug)]
pub(super) struct Clock {
    /// The latest of what was seen since the last jump back.
    latest: Option<u64>,
    /// Where another clock, far behind, began and is. It counts when it has gone on for a second and none was nearer meanwhile: then the clock was set. Of two sources that
    /// differ for good, the one that is ahead counts.
    behind: Option<(u64, u64)>,
    /// The most that a jump forward counts, nanoseconds.
    most: u64,
    /// Nanoseconds forward, in all.
    forward: u64,
}

impl Clock {
    /// Of which a jump forward counts at most so many ticks.
    pub(super) const fn new(most: u64) -> Self {
        Self { latest: None, behind: None, most: most.saturating_mul(NANOS), forward: 0 }
    }

    /// A packet's time, or the worker's clock while there is none. Returns the table's time in ticks.
    #[inline]
    pub(super) fn see(&mut self, time: Timestamp) -> u64 {
        let nanos = time.as_nanos();
        match self.latest {
            Some(latest) if nanos <= latest => {
                if latest - nanos > DISORDER {
                    self.fall_behind(nanos);
                } else {
                    self.behind = None;
                }
            }
            Some(latest) => {
                self.go_on(nanos - latest);
                (self.latest, self.behind) = (Some(nanos), None);
            }
            None => self.latest = Some(nanos),
        }
        self.now()
    }

    #[inline]
    fn go_on(&mut self, nanos: u64) {
        self.forward = self.forward.saturating_add(nanos.min(self.most));
    }

    #[cold]
    fn fall_behind(&mut self, nanos: u64) {
        let (first, last) = match self.behind {
            Some((first, last)) if nanos.saturating_add(DISORDER) >= first => (first.min(nanos), last.max(nanos)),
            _ => (nanos, nanos),
        };
        self.behind = Some((first, last));
        if last - first >= DISORDER {
            self.go_on(last - first);
            (self.latest, self.behind) = (Some(last), None);
        }
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
        let mut clock = Clock::new(100 * TICKS);
        assert_eq!(clock.see(seconds(1000)), 0);
        assert_eq!(clock.see(seconds(1002)), 2 * TICKS);
        assert_eq!(clock.see(Timestamp::from_parts(1001, 500_000_000)), 2 * TICKS, "out of order");
        assert_eq!(clock.see(seconds(1003)), 3 * TICKS);
        assert_eq!(clock.see(seconds(10)), 3 * TICKS, "set back");
        assert_eq!(clock.see(seconds(14)), 7 * TICKS);
        assert_eq!(clock.see(seconds(16)), 9 * TICKS);
    }

    #[test]
    fn a_jump_forward_counts_no_more_than_what_makes_all_expire() {
        let mut clock = Clock::new(100 * TICKS);
        assert_eq!(clock.see(seconds(0)), 0, "no time, or a clock that was not set yet");
        assert_eq!(clock.see(seconds(1_700_000_000)), 100 * TICKS);
        assert_eq!(clock.see(seconds(1_700_000_001)), 101 * TICKS);
        assert_eq!(clock.see(seconds(u64::MAX / 2_000_000_000)), 201 * TICKS);
    }

    #[test]
    fn of_two_clocks_the_one_ahead_counts() {
        let mut clock = Clock::new(100 * TICKS);
        for second in 0..50 {
            clock.see(seconds(1_000 + second));
            clock.see(seconds(990 + second));
            clock.see(seconds(0));
        }
        assert_eq!(clock.now(), 49 * TICKS);
    }
}
