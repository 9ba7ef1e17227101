//! A worker whose sinks take nothing, or that panics: what was captured has its account all the same.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use capture::{CaptureError, Count, Frame, Interface, QueueStats, Readiness, RxBatch, RxQueue};
use pipeline::handoff::{Doorbell, lane};
use pipeline::ledger::{Ledger, Report};
use pipeline::pool::Pool;
use pipeline::record::{Encoder, Observer};
use pipeline::worker::{self, Control, Lane, Output};
use testkit::frames;
use testkit::queues::{FaultPlan, FaultQueue, MemoryQueue, OwnedFrame};

/// A worker whose sink never takes anything, until someone loses patience.
fn with_a_dead_sink<Q: RxQueue + Send>(
    mut queue: Q,
    (buffers, octets): (usize, usize),
    patience: Duration,
    look: impl FnOnce(&Ledger),
) -> Report {
    let ledger = Ledger::new();
    let (counters, sink) = (ledger.add_queue("memory0", 0), ledger.add_sink("dead:"));
    let control = Control::new(None);
    let (sender, receiver) = lane(buffers, Doorbell::for_this_thread());
    thread::scope(|scope| {
        let (control, sink, ledger) = (&control, &sink, &ledger);
        let worker = scope.spawn(move || {
            let encoder = Encoder::new(Observer { name: "s".into(), hostname: "h".into(), run: 1 }, 0);
            let lanes = vec![Lane { sender: Some(sender), counters: Arc::clone(sink) }];
            let mut output =
                Output::new(encoder, Pool::new(buffers, octets), lanes, counters, 0, Duration::from_millis(5));
            worker::run(&mut queue, &mut worker::Everything, None, &mut output, control)
        });
        let begin = Instant::now();
        while !worker.is_finished() && begin.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        look(ledger);
        control.abort();
        worker.join().expect("no panic").expect("no error");
    });
    drop(receiver);
    ledger.report(false)
}

#[test]
fn a_dead_sink_fills_buffers_and_does_not_use_one_up_for_each_few_records() {
    // One frame in 6 ms, batches that are old after 5: each record would be a batch of its own.
    let faults = FaultPlan {
        withhold_one_in: 2,
        delay_one_in: 1,
        delay: Duration::from_millis(6),
        seed: 1,
        ..FaultPlan::default()
    };
    let frames: Vec<_> = frames::mix(1, 60);
    let queue = FaultQueue::new(MemoryQueue::new(frames, &[1]), faults);
    let report = with_a_dead_sink(queue, (8, 65_536), Duration::from_secs(20), |_| {});
    assert_eq!((report.frames.processed, report.stalled.times), (60, 0), "{report}");
}

/// Lends the same frames for ever; more and more is offered that it has no room for.
struct Flood {
    frames: Vec<OwnedFrame>,
    stats: QueueStats,
    stopped: bool,
}

struct FloodBatch<'q>(&'q mut Flood, usize);

impl RxQueue for Flood {
    type Batch<'q> = FloodBatch<'q>;

    fn next_batch(&mut self) -> Result<Option<FloodBatch<'_>>, CaptureError> {
        self.stats.received += self.frames.len() as u64;
        Ok((!self.stopped).then_some(FloodBatch(self, 0)))
    }

    fn wait(&mut self, _: Duration) -> Result<Readiness, CaptureError> {
        Ok(if self.stopped { Readiness::Ended } else { Readiness::Ready })
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.stopped = true;
        Ok(())
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        let dropped = self.stats.ring_dropped.exact().unwrap_or(0) + u64::from(!self.stopped) * 100;
        self.stats.ring_dropped = Count::Exact(dropped);
        self.stats.offered = Count::Exact(dropped + self.stats.received);
        Ok(self.stats)
    }

    fn interfaces(&self) -> &[Interface] {
        &[]
    }
}

impl RxBatch for FloodBatch<'_> {
    type Frames<'b>
        = std::iter::Map<std::slice::Iter<'b, OwnedFrame>, fn(&'b OwnedFrame) -> Frame<'b>>
    where
        Self: 'b;

    fn frames(&mut self) -> Self::Frames<'_> {
        let left = &self.0.frames[self.1.min(self.0.frames.len())..];
        self.1 = self.0.frames.len();
        left.iter().map(OwnedFrame::lend)
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.0.stats()
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.0.stop()
    }
}

#[test]
fn the_account_goes_on_while_the_worker_waits_for_a_buffer() {
    let queue = Flood { frames: frames::mix(1, 64), stats: QueueStats::ZERO, stopped: false };
    let mut dropped = None;
    let report = with_a_dead_sink(queue, (2, 8192), Duration::from_millis(2_500), |ledger| {
        let report = ledger.report(false);
        dropped = report.frames.ring_dropped.exact();
        assert_eq!(report.stalled.times, 1);
        assert!(report.stalled.milliseconds > 2_000, "{report}");
    });
    assert!(dropped >= Some(200), "read about once a second, not when the stall is over: {dropped:?}");
    assert_eq!(report.frames.received, report.frames.processed + report.frames.abandoned, "{report}");
}

#[test]
fn a_stop_is_passed_on_while_the_worker_waits_for_a_buffer() {
    let mut queue = Flood { frames: frames::mix(1, 64), stats: QueueStats::ZERO, stopped: false };
    let ledger = Ledger::new();
    let (counters, sink) = (ledger.add_queue("memory0", 0), ledger.add_sink("slow:"));
    let control = Control::new(None);
    let (sender, mut receiver) = lane(2, Doorbell::for_this_thread());
    thread::scope(|scope| {
        let (control, of_worker) = (&control, Arc::clone(&sink));
        let worker = scope.spawn(move || {
            let encoder = Encoder::new(Observer { name: "s".into(), hostname: "h".into(), run: 1 }, 0);
            let lanes = vec![Lane { sender: Some(sender), counters: of_worker }];
            let mut output = Output::new(encoder, Pool::new(2, 8192), lanes, counters, 0, Duration::from_millis(5));
            let result = worker::run(&mut queue, &mut worker::Everything, None, &mut output, control);
            (result, queue.stats.ring_dropped)
        });
        thread::sleep(Duration::from_millis(300));
        control.stop();
        thread::sleep(Duration::from_millis(100));
        // Only now the sink takes what is there.
        while !receiver.is_finished() {
            let Some(batch) = receiver.receive() else { continue };
            sink.delivered(batch.len() as u64, batch.as_json_array().len() as u64);
        }
        let (result, dropped) = worker.join().expect("no panic");
        result.expect("no error");
        assert_eq!(dropped, Count::Exact(0), "it was stopped before it was asked for its counters again");
    });
    let report = ledger.report(true);
    assert!(report.stalled.times > 0);
    assert_eq!(report.sinks[0].delivered, report.frames.processed);
}

#[test]
fn a_panic_is_passed_on_and_everything_before_it_has_an_account() {
    let ledger = Ledger::new();
    let (counters, sink) = (ledger.add_queue("memory0", 0), ledger.add_sink("one:"));
    let (sender, mut receiver) = lane(4, Doorbell::for_this_thread());
    let lanes = vec![Lane { sender: Some(sender), counters: Arc::clone(&sink) }];
    let encoder = Encoder::new(Observer { name: "s".into(), hostname: "h".into(), run: 1 }, 0);
    let mut output = Output::new(encoder, Pool::new(4, 65_536), lanes, counters, 0, Duration::from_secs(5));
    let mut queue = MemoryQueue::new(frames::mix(1, 100), &[10]);
    let mut seen = 0;
    let mut matcher = |_: &Frame<'_>| {
        seen += 1;
        assert!(seen != 35, "on purpose");
        true
    };
    let work = || worker::run(&mut queue, &mut matcher, None, &mut output, &Control::new(None));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
    drop(output);
    let mut records = 0;
    while let Some(batch) = receiver.receive() {
        records += batch.len();
        sink.delivered(batch.len() as u64, batch.as_json_array().len() as u64);
    }
    let report = ledger.report(true);
    assert_eq!((records, report.frames.processed, report.frames.abandoned), (34, 34, 66), "{report}");
    assert_eq!(report.closes, Some(true), "{report}");
}
