//! Measuring one queue: what arrived, what it cost, and the highest rate at which nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use capture::{CaptureError, Frame, QueueStats, Readiness, RxBatch, RxQueue};
use rustix::thread::ClockId;
use rustix::time::clock_gettime;

use crate::Tracker;

/// What a queue gave, from the first frame to the last.
#[derive(Debug)]
pub struct Received {
    /// What arrived, by the stamps.
    pub tracker: Tracker,
    /// What the mechanism says.
    pub stats: QueueStats,
    /// CPU time of the thread that read: user and system.
    pub cpu: Duration,
    /// For each mark that was reached: the time since the first frame was seen.
    pub marks: Vec<(u64, Duration)>,
    /// When the last of the marks was reached.
    pub reached: Option<Instant>,
    /// Frames seen, stamped or not.
    pub frames: u64,
}

/// The longest sleep, after which `stop` is looked at.
const TICK: Duration = Duration::from_millis(20);

/// What is done with the frames of a queue.
pub trait Work {
    /// A frame came.
    fn frame(&mut self, frame: &Frame<'_>);

    /// There is nothing more for the moment, or frames have come without a pause for 20 ms. Says whether it has had enough.
    fn pause(&mut self) -> bool {
        false
    }
}

impl<F: FnMut(&Frame<'_>)> Work for F {
    #[inline]
    fn frame(&mut self, frame: &Frame<'_>) {
        self(frame);
    }
}

/// Reads a queue until `stop` is set or the work has had enough, then to its end.
///
/// # Errors
/// What the queue says when it cannot go on.
pub fn read<Q: RxQueue>(queue: &mut Q, stop: &AtomicBool, work: &mut impl Work) -> Result<(), CaptureError> {
    let mut stopped = false;
    loop {
        let begin = Instant::now();
        while let Some(mut batch) = queue.next_batch()? {
            for frame in batch.frames() {
                work.frame(&frame);
            }
            // A ring that fills faster than it is read is never found empty.
            if begin.elapsed() >= TICK {
                break;
            }
        }
        let enough = work.pause();
        if !stopped && (enough || stop.load(Ordering::Acquire)) {
            queue.stop()?;
            stopped = true;
        }
        if queue.wait(TICK)? == Readiness::Ended {
            return Ok(());
        }
    }
}

/// Reads a queue until `stop` is set, then to its end, and accounts for what arrived in `tracker`. `marks`, in ascending order, are numbers of
/// frames whose times are wanted: with marks it ends by itself when the last is reached.
///
/// # Errors
/// What the queue says when it cannot go on.
pub fn receive<Q: RxQueue>(
    queue: &mut Q,
    tracker: Tracker,
    stop: &AtomicBool,
    marks: &[u64],
) -> Result<Received, CaptureError> {
    receive_until(queue, tracker, stop, marks, |_| {})
}

/// The same; `look` is shown what has arrived, some fifty times a second, so that it can decide to set `stop`.
///
/// # Errors
/// What the queue says when it cannot go on.
pub fn receive_until<Q: RxQueue>(
    queue: &mut Q,
    tracker: Tracker,
    stop: &AtomicBool,
    marks: &[u64],
    look: impl FnMut(&Tracker),
) -> Result<Received, CaptureError> {
    let cpu = thread_time();
    let reached = Vec::with_capacity(marks.len());
    let mut account = Account { tracker, frames: 0, first: None, marks, reached, last: None, look };
    read(queue, stop, &mut account)?;
    let cpu = thread_time().saturating_sub(cpu);
    let Account { tracker, frames, reached: marks, last: reached, .. } = account;
    Ok(Received { tracker, stats: queue.stats()?, cpu, marks, reached, frames })
}

struct Account<'m, L> {
    tracker: Tracker,
    frames: u64,
    first: Option<Instant>,
    /// Those still to come.
    marks: &'m [u64],
    reached: Vec<(u64, Duration)>,
    last: Option<Instant>,
    look: L,
}

impl<L: FnMut(&Tracker)> Work for Account<'_, L> {
    #[inline]
    fn frame(&mut self, frame: &Frame<'_>) {
        self.tracker.see(frame.data, frame.timestamp.as_nanos());
        self.frames += 1;
        if self.frames == 1 {
            self.first = Some(Instant::now());
        }
        let [mark, rest @ ..] = self.marks else { return };
        if *mark == self.frames {
            let now = Instant::now();
            self.reached.push((self.frames, now - self.first.unwrap_or(now)));
            (self.last, self.marks) = (Some(now), rest);
        }
    }

    fn pause(&mut self) -> bool {
        (self.look)(&self.tracker);
        !self.reached.is_empty() && self.marks.is_empty()
    }
}

/// CPU time that the calling thread has used: user and system.
#[must_use]
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The highest rate at which `trial` loses nothing: RFC 2544, section 26.1. The first trial is at `ceiling`; then the interval between the
/// highest rate that passed and the lowest that failed is halved until it is below `resolution` of the latter. `None` if none passes.
///
/// # Errors
/// What a trial says.
pub fn highest_without_loss<E>(
    ceiling: f64,
    resolution: f64,
    mut trial: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Option<f64>, E> {
    if trial(ceiling)? {
        return Ok(Some(ceiling));
    }
    let (mut passed, mut failed) = (0.0, ceiling);
    while failed - passed > ceiling * resolution {
        let middle = (passed + failed) / 2.0;
        if trial(middle)? {
            passed = middle;
        } else {
            failed = middle;
        }
    }
    Ok(Some(passed).filter(|rate| *rate > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::addresses;
    use crate::{Kind, Source, Stamp, StampKind, Uniform};
    use capture::Count;
    use testkit::queues::{FaultPlan, FaultQueue, MemoryQueue, OwnedFrame};

    #[test]
    fn a_queue_that_drops_every_thousandth_frame_is_measured_as_exactly_that() {
        let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, true).unwrap();
        let mut slot = [0; 2048];
        let frames = (0..100_000).map(|number| {
            let stamp = Stamp { kind: StampKind::Data, stream: 0, number, nanos: 1 };
            let length = source.write(&mut slot, Some(stamp));
            OwnedFrame::ethernet(slot[..length].to_vec())
        });
        let inner = MemoryQueue::new(frames.collect(), &[7, 64, 1000]);
        let mut queue = FaultQueue::new(inner, FaultPlan { drop_every: 1000, ..FaultPlan::default() });
        let mut received = receive(&mut queue, Tracker::default(), &AtomicBool::new(false), &[]).unwrap();
        received.tracker.expect(0, 100_000, 0);
        let arrivals = received.tracker.arrivals();
        assert_eq!((arrivals.received, arrivals.missing, arrivals.doubled), (99_900, Some(100), 0));
        assert_eq!(received.stats.ring_dropped, Count::Exact(100));
        assert_eq!(received.frames, 99_900);
    }

    #[test]
    fn frames_without_a_pause_do_not_keep_it_from_looking_up() {
        struct Slow(u32);
        impl Work for Slow {
            fn frame(&mut self, _: &Frame<'_>) {
                std::thread::sleep(Duration::from_millis(1));
            }

            fn pause(&mut self) -> bool {
                self.0 += 1;
                false
            }
        }
        let mut queue = MemoryQueue::new(vec![OwnedFrame::ethernet(vec![0; 60]); 200], &[1]);
        let mut work = Slow(0);
        read(&mut queue, &AtomicBool::new(false), &mut work).unwrap();
        assert!(work.0 >= 5, "{} times in 200 ms", work.0);
    }

    #[test]
    fn the_search_finds_the_limit() {
        for limit in [3.0, 1000.0, 123_456.0, 999_999.0] {
            let mut trials = 0;
            let found = highest_without_loss(1e6, 0.001, |rate| {
                trials += 1;
                Ok::<_, ()>(rate <= limit)
            });
            let found = found.unwrap().unwrap_or(0.0);
            assert!(found <= limit && limit - found <= 1000.0, "{found} for {limit}");
            assert!(trials <= 12, "{trials}");
        }
        assert_eq!(highest_without_loss(1e6, 0.01, |_| Ok::<_, ()>(true)).unwrap(), Some(1e6));
        assert_eq!(highest_without_loss(1e6, 0.01, |_| Ok::<_, ()>(false)).unwrap(), None);
    }

    #[test]
    fn times_are_taken_at_the_marks() {
        let frames = vec![OwnedFrame::ethernet(vec![0; 60]); 5000];
        let mut queue = MemoryQueue::new(frames, &[100]);
        let received = receive(&mut queue, Tracker::default(), &AtomicBool::new(false), &[1, 1000, 4000]).unwrap();
        assert!(received.marks.iter().map(|(mark, _)| *mark).eq([1, 1000, 4000]));
        assert!(received.marks.is_sorted_by_key(|(_, time)| *time));
        assert_eq!(received.tracker.arrivals().other, received.frames);
    }
}
