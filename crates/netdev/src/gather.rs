//! Letting frames gather before a reader wakes up for them.
//!
//! A socket that is polled wakes its reader by the first frame. In a steady stream that is a system call and two changes of threads for
//! nearly every frame, though each costs more than many a frame's whole way. So a queue that has just been read to its end, and whose rate
//! says that more will come at once, is not waited for but left alone for a short time.
//!
//! Knows counts and times, and no socket.

use std::time::{Duration, Instant};

use crate::sys::doze as sleep;

/// The longest time that frames are left to gather: what it adds to the delay of a frame, where the ring allows more.
const LONGEST: Duration = Duration::from_millis(1);
/// By how much a sleep is longer than was asked for: the timer slack of prctl(2), 50 us, and the way back to a core.
const LATE: Duration = Duration::from_micros(60);
/// It is not worth while for fewer frames than these.
const FEWEST: f64 = 4.0;
/// Frames a second that one receive queue has at most, however fast the link: a core has to bring each of them in. Not the link's own rate:
/// that can change, and to ask for it takes a lock of the kernel that others hold for long.
const MOST: f64 = 30e6;

/// Decides for one queue how long frames may gather.
///
/// # No frame is lost by it
/// If frames came at the highest rate that a queue has from the moment the sleep begins, they would fill half of the ring when it ends. At the
/// rate that was seen they fill a quarter.
#[derive(Debug)]
pub struct Gather {
    /// Frames that the ring holds.
    ring: u64,
    longest: Duration,
    /// What the last stretch of time said.
    pause: Option<Duration>,
    /// When the present one began, and how many frames there had been.
    since: Option<Instant>,
    seen: u64,
}

impl Gather {
    /// For a queue whose ring holds `ring` frames.
    #[must_use]
    pub fn new(ring: u32) -> Self {
        let half = Duration::from_secs_f64(f64::from(ring) / 2.0 / MOST);
        let longest = half.saturating_sub(LATE).min(LONGEST);
        Self { ring: ring.into(), longest, pause: None, since: None, seen: 0 }
    }

    /// How long to let frames gather now that the queue is empty; `None` if the next frame is to be waited for. `seen` are the frames so far.
    ///
    /// It says `None` when few frames come, so that each is seen at once, and after a sleep in which none came.
    pub fn pause(&mut self, seen: u64, now: Instant) -> Option<Duration> {
        let Some(since) = self.since else {
            (self.since, self.seen) = (Some(now), seen);
            return None;
        };
        let elapsed = now.saturating_duration_since(since);
        // A stretch of time in which chance matters less: two frames that follow each other closely are no stream.
        if elapsed >= self.longest {
            self.pause = self.pause_at(seen.saturating_sub(self.seen), elapsed);
            (self.since, self.seen) = (Some(now), seen);
        }
        self.pause
    }

    fn pause_at(&self, frames: u64, elapsed: Duration) -> Option<Duration> {
        let rate = frames as f64 / elapsed.as_secs_f64();
        let expected = rate * (self.longest + LATE).as_secs_f64();
        if self.longest.is_zero() || expected < FEWEST {
            return None;
        }
        Some(self.longest.min(Duration::from_secs_f64(self.ring as f64 / 4.0 / rate)))
    }
}

/// Sleeps for `time`, or until a signal is delivered to this thread; says whether it was the whole time.
#[must_use]
pub fn doze(time: Duration) -> bool {
    sleep::doze(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered after a stretch at `rate`.
    fn at_rate(gather: &mut Gather, rate: f64) -> Option<Duration> {
        let start = Instant::now();
        gather.since = None;
        gather.pause(0, start);
        let stretch = Duration::from_millis(10);
        gather.pause((rate * stretch.as_secs_f64()) as u64, start + stretch)
    }

    #[test]
    fn frames_that_come_alone_are_seen_at_once() {
        let mut gather = Gather::new(8192);
        for rate in [0.0, 1.0, 1000.0, 10_000.0] {
            assert_eq!(at_rate(&mut gather, rate), None, "{rate}");
        }
        assert!(at_rate(&mut gather, 100_000.0).is_some());
    }

    #[test]
    fn a_ring_is_never_more_than_half_full() {
        for ring in [64, 1024, 2048, 8192, 65_536, 1 << 20] {
            let mut gather = Gather::new(ring);
            for rate in [1e3, 1e5, 1.488e6, 14.88e6, 30e6] {
                let Some(pause) = at_rate(&mut gather, rate) else { continue };
                assert!(pause <= LONGEST);
                let come = MOST * (pause + LATE).as_secs_f64();
                assert!(come <= f64::from(ring) / 2.0 + 1.0, "{come} of {ring}");
                let quarter = f64::from(ring) / 4.0 + 1.0;
                assert!(rate * pause.as_secs_f64() <= quarter, "{pause:?} for {ring} at {rate}/s");
            }
        }
    }

    #[test]
    fn the_end_of_a_stream_is_noticed_after_one_sleep() {
        let mut gather = Gather::new(1 << 20);
        let pause = at_rate(&mut gather, 1e6).unwrap();
        assert_eq!(pause, LONGEST);
        let now = gather.since.unwrap();
        assert_eq!(gather.pause(gather.seen, now + pause), None);
    }

    #[test]
    fn two_frames_that_follow_each_other_are_no_stream() {
        let mut gather = Gather::new(8192);
        let mut now = Instant::now();
        for pair in 0..100 {
            assert_eq!(gather.pause(2 * pair, now), None);
            assert_eq!(gather.pause(2 * pair + 1, now + Duration::from_micros(5)), None);
            now += Duration::from_millis(2);
        }
    }

    #[test]
    fn a_small_ring_is_left_alone_for_no_time() {
        assert_eq!(at_rate(&mut Gather::new(64), 1e6), None);
    }
}
