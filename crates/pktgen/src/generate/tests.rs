//! The loop against a queue in memory.

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
    /// Nothing leaves.
    stuck: bool,
    /// When each frame was written.
    times: Vec<Instant>,
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
            self.times.push(Instant::now());
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
        let stuck = if self.stuck { filled } else { 0 };
        TxStats { filled, sent: filled - stuck, in_flight: stuck, ..TxStats::default() }
    }

    fn max_frame(&self) -> usize {
        2048
    }
}

fn memory() -> Memory {
    Memory {
        slow: Duration::ZERO,
        frames: Vec::new(),
        room: 32,
        free: 32,
        flushes: Vec::new(),
        times: Vec::new(),
        stuck: false,
        fails_after: None,
    }
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
    assert_eq!(send_end(&mut tx, &mut source, 3, &report).unwrap(), 3);
    let mut tracker = Tracker::default();
    tx.frames.iter().for_each(|frame| tracker.see(frame, 0));
    let arrivals = tracker.arrivals();
    assert_eq!((arrivals.expected, arrivals.received, arrivals.missing), (Some(1000), 1000, Some(0)));
}

#[test]
fn an_end_that_did_not_leave_is_told() {
    let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, true).unwrap();
    for mut tx in [Memory { stuck: true, ..memory() }, Memory { room: 0, free: 0, ..memory() }] {
        assert_eq!(send_end(&mut tx, &mut source, 3, &Report::default()).unwrap(), 0);
    }
}

#[test]
fn the_rate_is_kept_and_bursts_are_small() {
    let mut tx = memory();
    let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, false).unwrap();
    let limits = Limits { count: Some(400), duration: None };
    let pace = Pace { rate: Some(2000.0), ..Pace::default() };
    let report = generate(&mut tx, &mut source, pace, limits, None, &AtomicBool::new(false), |_| {}).unwrap();
    assert_eq!(report.sent, 400);
    assert!((report.rate - 2000.0).abs() < 100.0 || report.behind > Duration::ZERO, "{report:?}");
}

#[test]
fn threads_that_share_a_rate_take_turns() {
    let from = Instant::now() + Duration::from_millis(20);
    let limits = Limits { count: Some(20), duration: None };
    let times: Vec<Vec<Duration>> = std::thread::scope(|scope| {
        let thread = |n: u32| {
            scope.spawn(move || {
                let mut tx = memory();
                let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, false).unwrap();
                let from = Some(from + n * Duration::from_millis(10));
                let pace = Pace { rate: Some(50.0), from, ..Pace::default() };
                let report = generate(&mut tx, &mut source, pace, limits, None, &AtomicBool::new(false), |_| {});
                assert_eq!(report.unwrap().start, from);
                tx.times
            })
        };
        [thread(0), thread(1)]
            .map(|thread| thread.join().unwrap())
            .into_iter()
            .map(|times| times.into_iter().map(|at| at.saturating_duration_since(from)).collect())
            .collect()
    });
    // None is early, whatever else the machine does.
    for (n, frame) in (0..2).flat_map(|n| (0..20).map(move |frame| (n, frame))) {
        let due = Duration::from_millis(10 * (2 * frame as u64 + n as u64));
        assert!(times[n][frame] + Duration::from_micros(1) >= due, "{times:?}");
    }
}

#[test]
fn the_schedule_waits_for_the_link_and_a_limit_of_time_does_not() {
    let (mut tx, stop, link_down) = (memory(), AtomicBool::new(false), AtomicBool::new(true));
    let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, false).unwrap();
    let pace = Pace { rate: Some(1000.0), ..Pace::default() };
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
        let report = generate(&mut tx, &mut source, Pace::default(), Limits::default(), None, &stop, |_| {}).unwrap();
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
    let error =
        generate(&mut memory(), &mut source, Pace::default(), Limits::default(), None, &AtomicBool::new(false), |_| {});
    assert!(error.unwrap_err().to_string().contains("slots take 2048"));
}
