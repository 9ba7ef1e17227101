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
    /// Since when `elapsed` counts; `None` if it is 0.
    pub start: Option<Instant>,
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
    let opened = Instant::now();
    let start = pace.from.unwrap_or(opened);
    let mut run = Run {
        report: Report::default(),
        pace,
        pacing: Pacing::new(pace, start),
        count: limits.count.unwrap_or(u64::MAX),
        ends: limits.duration.map(|duration| opened + duration),
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
    report.start = (last > start).then_some(start);
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
        let mut now = Instant::now();
        let mut next_progress = now + TICK;
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
/// Says how many of them are known to have left.
///
/// # Errors
/// [`GenError::Capture`] if the queue cannot go on.
pub fn send_end<T: TxQueue>(
    tx: &mut T,
    source: &mut impl Source,
    stream: u16,
    report: &Report,
) -> Result<u64, GenError> {
    let before = tx.stats();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(10));
        let stamp = Stamp { kind: StampKind::End, stream, number: report.filled, nanos: report.refused };
        let filled = tx.fill(1, |slot| source.write(slot, Some(stamp)))?;
        tx.flush()?;
        if filled == 0 {
            tx.wait(TICK)?;
        }
    }
    tx.drain(DRAIN)?;
    let left = tx.stats().sent - before.sent;
    // What was in flight before may be what has left.
    Ok(left.saturating_sub(before.in_flight))
}

#[cfg(test)]
mod tests;
