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
    /// Frames a second: those that left after the first in the time since the first.
    pub rate: f64,
    /// The most frames that were handed over at once.
    pub largest_burst: usize,
    /// By how much the schedule had to be shifted, because frames could not leave in time.
    pub behind: Duration,
    /// How long the link was down meanwhile, as far as the loop was told: part of `elapsed`, and not of `behind`.
    pub link_down: Duration,
}

/// What the loop is told from outside.
#[derive(Clone, Copy, Debug)]
pub struct Signals<'s> {
    /// It is enough.
    pub stop: &'s AtomicBool,
    /// The link is down: until it is back nothing is sent, and the schedule waits. A limit of time does not.
    pub link_down: &'s AtomicBool,
}

/// How long to wait for the last frames to leave.
const DRAIN: Duration = Duration::from_secs(2);
/// The longest sleep, after which `stop` is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often it is looked at whether the link is back.
const LINK_TICK: Duration = Duration::from_millis(5);

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
    progress: impl FnMut(u64),
) -> Result<Report, GenError> {
    static LINK_IS_UP: AtomicBool = AtomicBool::new(false);
    let signals = Signals { stop, link_down: &LINK_IS_UP };
    let (report, ended) = attempt(tx, source, pace, limits, stream, signals, progress);
    ended.map(|()| report)
}

/// The same for a link that is watched; and what was sent is told also if the queue could not go on.
pub fn attempt<T: TxQueue>(
    tx: &mut T,
    source: &mut impl Source,
    pace: Pace,
    limits: Limits,
    stream: Option<u16>,
    signals: Signals<'_>,
    progress: impl FnMut(u64),
) -> (Report, Result<(), GenError>) {
    let before = tx.stats();
    let start = Instant::now();
    let mut run = Run {
        report: Report::default(),
        pace,
        pacing: Pacing::new(pace, start),
        count: limits.count.unwrap_or(u64::MAX),
        ends: limits.duration.map(|duration| start + duration),
        stream,
        signals,
        start,
        last: start,
        shifted: Duration::ZERO,
    };
    let ended = run.fill_all(tx, source, progress).and_then(|()| run.drain(tx));
    tx.take_back();
    let stats = tx.stats();
    let Run { mut report, pacing, last, shifted, .. } = run;
    report.sent = stats.sent - before.sent;
    report.refused = stats.refused - before.refused;
    report.unknown = stats.in_flight;
    report.elapsed = last.saturating_duration_since(start);
    // Of those that are known to have left.
    report.rate = report.sent.saturating_sub(1) as f64 / report.elapsed.as_secs_f64().max(1e-9);
    report.behind = pacing.forgiven() + shifted;
    (report, ended)
}

/// What is under way.
struct Run<'s> {
    report: Report,
    pace: Pace,
    pacing: Pacing,
    count: u64,
    ends: Option<Instant>,
    stream: Option<u16>,
    signals: Signals<'s>,
    start: Instant,
    /// When the last frames were handed over, or had left, or would have if there had been a link.
    last: Instant,
    /// The time of a source that has its own is shifted, too, when frames cannot leave in time.
    shifted: Duration,
}

impl Run<'_> {
    fn goes_on(&self, now: Instant) -> bool {
        !self.signals.stop.load(Ordering::Relaxed) && self.ends.is_none_or(|ends| now < ends)
    }

    fn link_is_down(&self) -> bool {
        self.signals.link_down.load(Ordering::Relaxed)
    }

    /// Waits until the link is back, and says for how long.
    fn wait_for_link(&mut self) -> Duration {
        let (begin, mut now) = (Instant::now(), Instant::now());
        while self.link_is_down() && self.goes_on(now) {
            std::thread::sleep(LINK_TICK);
            now = Instant::now();
        }
        self.pacing.pause(now - begin);
        self.report.link_down += now - begin;
        self.last = now;
        now - begin
    }

    fn fill_all<T: TxQueue>(
        &mut self,
        tx: &mut T,
        source: &mut impl Source,
        mut progress: impl FnMut(u64),
    ) -> Result<(), GenError> {
        let (length, most) = (source.longest(), tx.max_frame());
        if length > most {
            return Err(GenError::TooLong { length, most });
        }
        let (mut source_start, mut over) = (self.start, false);
        let (mut now, mut next_progress) = (self.start, self.start + TICK);
        while self.report.filled < self.count && !over && self.goes_on(now) {
            if self.link_is_down() {
                source_start += self.wait_for_link();
                now = Instant::now();
                continue;
            }
            let own_time = source.due().map(|due| source_start + due);
            let due = match own_time {
                Some(at) if at > now => 0,
                Some(at) => {
                    let late = now - at;
                    if late > FORGIVEN {
                        source_start += late;
                        self.shifted += late;
                    }
                    self.pace.burst
                }
                None => self.pacing.due(now),
            };
            if due == 0 {
                let until = own_time.unwrap_or_else(|| self.pacing.next());
                sleep_until(self.ends.map_or(until, |ends| until.min(ends)), TICK);
            } else {
                let most = due.min(usize::try_from(self.count - self.report.filled).unwrap_or(usize::MAX));
                let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
                let (stream, mut number) = (self.stream, self.report.filled);
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
                let report = &mut self.report;
                report.filled += frames as u64;
                report.octets += octets;
                report.largest_burst = report.largest_burst.max(frames);
                report.began = report.began.or_else(|| (frames > 0).then(Instant::now));
                self.pacing.sent(frames);
                tx.flush()?;
                if frames == 0 && !over {
                    tx.wait(TICK)?;
                } else {
                    self.last = Instant::now();
                }
            }
            now = Instant::now();
            if now >= next_progress {
                progress(self.report.filled);
                next_progress = now + TICK;
            }
        }
        Ok(())
    }

    /// Waits for what is under way.
    fn drain<T: TxQueue>(&mut self, tx: &mut T) -> Result<(), GenError> {
        // What waits in the ring leaves when the link is back.
        while self.link_is_down() && self.goes_on(Instant::now()) && tx.stats().in_flight > 0 {
            self.wait_for_link();
        }
        let begin = Instant::now();
        let all_left = tx.drain(if self.link_is_down() { Duration::ZERO } else { DRAIN })?;
        // Flat out the ring takes frames at once: when the last has left is what counts. Else it is the schedule, unless they had to wait.
        if all_left && (self.pace.rate.is_none() || begin.elapsed() > TICK) {
            self.last = Instant::now();
        }
        Ok(())
    }
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
        /// So many flushes, and the next is an error.
        fails_after: Option<usize>,
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
            if self.fails_after == Some(self.flushes.len()) {
                self.frames.truncate(self.flushes.last().copied().unwrap_or(0));
                return Err(CaptureError::NoSuchInterface { name: "eth9".into() });
            }
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
        Memory { slow: Duration::ZERO, frames: Vec::new(), room: 32, free: 32, flushes: Vec::new(), fails_after: None }
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
    fn the_schedule_waits_for_the_link_and_a_limit_of_time_does_not() {
        let (mut tx, stop, link_down) = (memory(), AtomicBool::new(false), AtomicBool::new(true));
        let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, false).unwrap();
        let pace = Pace { rate: Some(1000.0), burst: 64 };
        let signals = Signals { stop: &stop, link_down: &link_down };
        let limits = Limits { count: Some(100), duration: None };
        let report = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                link_down.store(false, Ordering::Relaxed);
            });
            let (report, ended) = attempt(&mut tx, &mut source, pace, limits, None, signals, |_| {});
            ended.unwrap();
            report
        });
        assert_eq!(report.sent, 100);
        assert!(report.link_down >= Duration::from_millis(250), "{report:?}");
        assert!(report.elapsed >= report.link_down + Duration::from_millis(99), "{report:?}");
        assert!(report.rate < 100.0 / 0.34, "{report:?}");
        link_down.store(true, Ordering::Relaxed);
        let limits = Limits { count: Some(100), duration: Some(Duration::from_millis(200)) };
        let (report, ended) = attempt(&mut tx, &mut source, pace, limits, None, signals, |_| {});
        ended.unwrap();
        assert_eq!((report.sent, report.behind), (0, Duration::ZERO));
        assert!(report.link_down >= Duration::from_millis(200) && report.elapsed >= report.link_down, "{report:?}");
    }

    #[test]
    fn what_was_sent_is_told_when_the_queue_cannot_go_on() {
        let mut tx = Memory { fails_after: Some(2), ..memory() };
        let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, false).unwrap();
        let (stop, link_down) = (AtomicBool::new(false), AtomicBool::new(false));
        let signals = Signals { stop: &stop, link_down: &link_down };
        let (report, ended) = attempt(&mut tx, &mut source, Pace::default(), Limits::default(), None, signals, |_| {});
        assert!(ended.unwrap_err().to_string().contains("eth9"));
        assert_eq!((report.filled, report.sent), (96, 64));
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
