//! A steady pace: when how many frames are due, and waiting until then.

use std::time::{Duration, Instant};

use rustix::thread::{ClockId, clock_nanosleep_relative};
use rustix::time::Timespec;

/// How fast frames leave.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Frames a second; `None`: as fast as they go.
    pub rate: Option<f64>,
    /// Frames handed over at once at most. Below the highest rate far fewer are: as many as are due.
    pub burst: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rate: None, burst: 64 }
    }
}

/// What was late by more than this is not made up for: what follows would be a burst.
pub(crate) const FORGIVEN: Duration = Duration::from_millis(100);
/// The last part of a wait is spent turning: a sleep ends late by as much (timer slack of 50 us, and the way back to the core).
const SPIN: Duration = Duration::from_micros(100);

/// The schedule: frame `n` is due `n / rate` after the start, whatever became late before. So errors do not add up.
#[derive(Clone, Debug)]
pub struct Pacing {
    pace: Pace,
    start: Instant,
    done: u64,
    /// Time that was not made up for.
    forgiven: Duration,
}

impl Pacing {
    /// A schedule that starts now.
    #[must_use]
    pub fn new(pace: Pace, start: Instant) -> Self {
        Self { pace, start, done: 0, forgiven: Duration::ZERO }
    }

    /// How many frames may leave now.
    #[must_use]
    pub fn due(&mut self, now: Instant) -> usize {
        let Some(rate) = self.pace.rate else { return self.pace.burst };
        let late = now.saturating_duration_since(self.at(self.done));
        if late > FORGIVEN {
            self.start += late;
            self.forgiven += late;
        }
        let passed = now.saturating_duration_since(self.start).as_secs_f64();
        let due = (passed * rate) as u64 + 1;
        (due.saturating_sub(self.done) as usize).min(self.pace.burst)
    }

    /// That many have left.
    pub fn sent(&mut self, frames: usize) {
        self.done += frames as u64;
    }

    /// When the next frame is due.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.at(self.done)
    }

    /// Shifts what is to come: for that long nothing could be sent for a reason that is known.
    pub(crate) fn pause(&mut self, time: Duration) {
        self.start += time;
    }

    /// By how much the schedule was shifted, because frames could not leave in time.
    #[must_use]
    pub fn forgiven(&self) -> Duration {
        self.forgiven
    }

    fn at(&self, frame: u64) -> Instant {
        match self.pace.rate {
            Some(rate) => self.start + Duration::from_secs_f64(frame as f64 / rate),
            None => self.start,
        }
    }
}

/// Returns at `until`, or after `most` if that is sooner.
pub(crate) fn sleep_until(until: Instant, most: Duration) {
    let now = Instant::now();
    let wait = until.saturating_duration_since(now).min(most);
    if wait > SPIN {
        let sleep = wait - SPIN;
        let request = Timespec { tv_sec: sleep.as_secs() as i64, tv_nsec: i64::from(sleep.subsec_nanos()) };
        let _ = clock_nanosleep_relative(ClockId::Monotonic, &request); // ends early by a signal
    }
    let until = until.min(now + most);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_one_by_one_and_errors_do_not_add_up() {
        let start = Instant::now();
        let mut pacing = Pacing::new(Pace { rate: Some(1000.0), burst: 64 }, start);
        assert_eq!(pacing.due(start), 1);
        pacing.sent(1);
        assert_eq!(pacing.due(start), 0);
        assert_eq!(pacing.next(), start + Duration::from_millis(1));
        let mut now = start;
        let mut sent = 1;
        for _ in 0..10_000 {
            now += Duration::from_micros(777); // no multiple of the interval
            let due = pacing.due(now);
            assert!(due <= 1);
            pacing.sent(due);
            sent += due;
        }
        assert!((7770..=7771).contains(&sent), "{sent}");
        assert_eq!(pacing.forgiven(), Duration::ZERO);
    }

    #[test]
    fn a_short_delay_is_made_up_for_and_a_long_one_is_not() {
        let start = Instant::now();
        let mut pacing = Pacing::new(Pace { rate: Some(10_000.0), burst: 64 }, start);
        pacing.sent(1);
        let now = start + Duration::from_millis(50);
        assert_eq!(pacing.due(now), 64, "the burst is the most");
        for due in std::iter::repeat_with(|| pacing.due(now)).take(1) {
            assert_eq!(due, 64);
        }
        let mut made_up = 0;
        loop {
            let due = pacing.due(now);
            if due == 0 {
                break;
            }
            pacing.sent(due);
            made_up += due;
        }
        assert_eq!(made_up, 500);
        let now = now + Duration::from_secs(10);
        let due = pacing.due(now);
        assert!(due <= 1, "{due}");
        assert!(pacing.forgiven() > Duration::from_secs(9));
    }
}
