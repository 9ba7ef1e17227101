//! The loop that sends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capture::TxQueue;

use crate::pace::{FORGIVEN, Pace, Pacing, sleep_until};
use crate::{GenError, Source, Stamp, StampKind};

/// When to end; without any limit when told to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// After this many frames.
    pub count: Option<u64>,
    /// After this time.
    pub duration: Option<Duration>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Frames that were filled: their numbers are below this.
    pub filled: u64,
    /// Frames that left.
    pub sent: u64,
    /// Frames that the mechanism did not take.
    pub refused: u64,
    /// Frames of which nobody knows: in flight when the wait for them was given up.
    pub unknown: u64,
    /// Octets of all frames that were filled, those refused included, without frame check sequences.
    pub octets: u64,
    /// When the first frames were handed over: just before.
    pub began: Option<Instant>,
    /// From the first frame to the last.
    pub elapsed: Duration,
    /// Frames a second: those after the first in the time since the first.
    pub rate: f64,
    /// The most frames that were handed over at once.
    pub largest_burst: usize,
    /// By how much the schedule had to be shifted, because frames could not leave in time.
    pub behind: Duration,
}

/// How long to wait for the last frames to leave.
const DRAIN: Duration = Duration::from_secs(2);
/// The longest sleep, after which `stop` is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Sends frames of `source` until a limit is reached, the source ends, or `stop` is set. With a `stream` each frame is stamped.
/// `progress` is told the frames filled so far, several times a second.
///
/// # Errors
/// [`GenError::TooLong`] before anything is sent; [`GenError::Capture`] if the queue cannot go on.
pub fn generate<T: TxQueue>(
    tx: &mut T,
    source: &mut impl Source,
    pace: Pace,
    limits: Limits,
    stream: Option<u16>,
    stop: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> Result<Report, GenError> {
    let (length, most) = (source.longest(), tx.max_frame());
    if length > most {
        return Err(GenError::TooLong { length, most });
    }
    let before = tx.stats();
    let start = Instant::now();
    let mut pacing = Pacing::new(pace, start);
    let ends = limits.duration.map(|duration| start + duration);
    let count = limits.count.unwrap_or(u64::MAX);
    let mut report = Report::default();
    let (mut filled, mut over) = (0, false);
    // The time of a source that has its own is shifted, too, when frames cannot leave in time.
    let (mut source_start, mut shifted) = (start, Duration::ZERO);
    let (mut now, mut last, mut next_progress) = (start, start, start + TICK);
    while filled < count && !over && !stop.load(Ordering::Relaxed) && ends.is_none_or(|ends| now < ends) {
        let own_time = source.due().map(|due| source_start + due);
        let due = match own_time {
            Some(at) if at > now => 0,
            Some(at) => {
                let late = now - at;
                if late > FORGIVEN {
                    source_start += late;
                    shifted += late;
                }
                pace.burst
            }
            None => pacing.due(now),
        };
        if due == 0 {
            let until = own_time.unwrap_or_else(|| pacing.next());
            sleep_until(ends.map_or(until, |ends| until.min(ends)), TICK);
        } else {
            let most = due.min(usize::try_from(count - filled).unwrap_or(usize::MAX));
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
            let mut number = filled;
            let mut octets = 0;
            let frames = match source.same().filter(|_| stream.is_none()) {
                Some(frame) => {
                    let frames = tx.repeat(most, frame)?;
                    octets = (frames * frame.len()) as u64;
                    frames
                }
                None => tx.fill(most, |slot| {
                    if own_time.is_some() && source.due().is_some_and(|due| source_start + due > now) {
                        return 0;
                    }
                    let stamp = stream.map(|stream| Stamp { kind: StampKind::Data, stream, number, nanos });
                    let length = source.write(slot, stamp);
                    over = length == 0;
                    number += 1;
                    octets += length as u64;
                    length
                })?,
            };
            report.began = report.began.or_else(|| (frames > 0).then(Instant::now));
            tx.flush()?;
            if frames == 0 && !over {
                tx.wait(TICK)?;
            } else {
                last = Instant::now();
            }
            filled += frames as u64;
            pacing.sent(frames);
            report.octets += octets;
            report.largest_burst = report.largest_burst.max(frames);
        }
        now = Instant::now();
        if now >= next_progress {
            progress(filled);
            next_progress = now + TICK;
        }
    }
    tx.drain(DRAIN)?;
    let stats = tx.stats();
    report.filled = filled;
    report.sent = stats.sent - before.sent;
    report.refused = stats.refused - before.refused;
    report.unknown = stats.in_flight;
    // Flat out the ring takes frames at once: when the last has left is what counts.
    let end = if pace.rate.is_none() { Instant::now() } else { last };
    report.elapsed = end.saturating_duration_since(start);
    // Of those that left.
    report.rate = (report.sent + report.unknown).saturating_sub(1) as f64 / report.elapsed.as_secs_f64().max(1e-9);
    report.behind = pacing.forgiven() + shifted;
    Ok(report)
}

/// Tells the receiver of a stream that it is over, and how many frames were filled and refused: three frames, for one may be lost.
///
/// # Errors
/// [`GenError::Capture`] if the queue cannot go on.
pub fn send_end<T: TxQueue>(
    tx: &mut T,
    source: &mut impl Source,
    stream: u16,
    report: &Report,
) -> Result<(), GenError> {
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(10));
        let stamp = Stamp { kind: StampKind::End, stream, number: report.filled, nanos: report.refused };
        tx.fill(1, |slot| source.write(slot, Some(stamp)))?;
        tx.flush()?;
    }
    tx.drain(DRAIN)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::addresses;
    use crate::{Kind, Replay, Tracker, Uniform};
    use capture::{CaptureError, TxStats};

    /// Keeps what is sent; has room for `room` frames until `flush` is called, of which the first takes as long as `slow` says.
    struct Memory {
        slow: Duration,
        frames: Vec<Vec<u8>>,
        room: usize,
        free: usize,
        flushes: Vec<usize>,
    }

    impl TxQueue for Memory {
        fn fill(&mut self, most: usize, mut write: impl FnMut(&mut [u8]) -> usize) -> Result<usize, CaptureError> {
            let mut slot = [0; 2048];
            for n in 0..most.min(self.free) {
                match write(&mut slot) {
                    0 => return Ok(n),
                    length => self.frames.push(slot[..length].to_vec()),
                }
                self.free -= 1;
            }
            Ok(most.min(self.room))
        }

        fn flush(&mut self) -> Result<(), CaptureError> {
            std::thread::sleep(std::mem::take(&mut self.slow));
            self.flushes.push(self.frames.len());
            self.free = self.room;
            Ok(())
        }

        fn wait(&mut self, _: Duration) -> Result<bool, CaptureError> {
            Ok(true)
        }

        fn drain(&mut self, _: Duration) -> Result<bool, CaptureError> {
            Ok(true)
        }

        fn stats(&mut self) -> TxStats {
            let filled = self.frames.len() as u64;
            TxStats { filled, sent: filled, ..TxStats::default() }
        }

        fn max_frame(&self) -> usize {
            2048
        }
    }

    fn memory() -> Memory {
        Memory { slow: Duration::ZERO, frames: Vec::new(), room: 32, free: 32, flushes: Vec::new() }
    }

    #[test]
    fn every_frame_is_found_again() {
        let mut tx = memory();
        let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, true).unwrap();
        let limits = Limits { count: Some(1000), duration: None };
        let stop = AtomicBool::new(false);
        let before = Instant::now();
        let report = generate(&mut tx, &mut source, Pace::default(), limits, Some(3), &stop, |_| {}).unwrap();
        assert_eq!((report.sent, report.octets), (1000, 60_000));
        assert!(report.began.is_some_and(|began| began >= before), "{report:?}");
        send_end(&mut tx, &mut source, 3, &report).unwrap();
        let mut tracker = Tracker::default();
        tx.frames.iter().for_each(|frame| tracker.see(frame, 0));
        let arrivals = tracker.arrivals();
        assert_eq!((arrivals.expected, arrivals.received, arrivals.missing), (Some(1000), 1000, Some(0)));
    }

    #[test]
    fn the_rate_is_kept_and_bursts_are_small() {
        let mut tx = memory();
        let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, false).unwrap();
        let limits = Limits { count: Some(400), duration: None };
        let pace = Pace { rate: Some(2000.0), burst: 64 };
        let report = generate(&mut tx, &mut source, pace, limits, None, &AtomicBool::new(false), |_| {}).unwrap();
        assert_eq!(report.sent, 400);
        assert!((report.rate - 2000.0).abs() < 100.0 || report.behind > Duration::ZERO, "{report:?}");
    }

    #[test]
    fn frames_of_a_capture_file_that_are_due_leave_together_and_what_is_late_is_told() {
        let frame: &[u8] = &[0; 60];
        let frames = |step: u64| (0..100).map(move |n| (frame, Duration::from_millis(n * step)));
        let go = |mut tx: Memory, step: u64| {
            let mut source = Replay::new(frames(step), 1, Some(1.0), "x").unwrap();
            let stop = AtomicBool::new(false);
            let report =
                generate(&mut tx, &mut source, Pace::default(), Limits::default(), None, &stop, |_| {}).unwrap();
            assert_eq!((report.sent, tx.frames.len()), (100, 100));
            (report, tx.flushes.len())
        };
        let (report, flushes) = go(memory(), 0);
        assert_eq!((report.largest_burst, flushes), (32, 4), "all were due at once, and there was room for 32");
        let slow = Memory { slow: Duration::from_millis(150), ..memory() };
        assert!(go(slow, 0).0.behind > Duration::from_millis(100));
    }

    #[test]
    fn a_frame_that_does_not_fit_is_told_before_anything_is_sent() {
        let mut source = Uniform::new(addresses(), Kind::Udp, None, 4000, false).unwrap();
        let error = generate(
            &mut memory(),
            &mut source,
            Pace::default(),
            Limits::default(),
            None,
            &AtomicBool::new(false),
            |_| {},
        );
        assert!(error.unwrap_err().to_string().contains("slots take 2048"));
    }
}
