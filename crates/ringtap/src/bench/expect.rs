//! The receiving end of a measurement between two machines: `ringtap gen --stream` sends, this finds out what arrived.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use capture::{CaptureError, Count, RxQueue};
use pktgen::{Arrivals, Received, Tracker, receive_until};
use serde::Serialize;

use super::args::Measure;
use super::report::thousands;
use crate::backends::{Queues, Take};
use crate::config::options::Summary;
use crate::{Failure, print, tell};

/// What is told.
#[derive(Serialize)]
struct Outcome {
    /// Frames that were sent, if the end of every stream was seen.
    sent: Option<u64>,
    received: u64,
    missing: Option<u64>,
    doubled: u64,
    reordered: u64,
    other_frames: u64,
    /// As the mechanism says.
    dropped_said: Option<u64>,
    /// Stamp to sight at 50, 90, 99, 99.9 percent and the longest. Right as far as the clocks of both machines agree.
    latency_us: Option<[f64; 5]>,
}

/// A thread for each queue; all end when the streams have ended, or are told to.
struct Readers {
    stop: Arc<AtomicBool>,
    /// Streams whose end any thread has seen: the frames that tell it may come to several queues.
    ended: Arc<Mutex<BTreeSet<u16>>>,
    threads: Vec<JoinHandle<Result<Received, CaptureError>>>,
}

impl Take for Readers {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let (stop, ended) = (Arc::clone(&self.stop), Arc::clone(&self.ended));
        let number = self.threads.len();
        let read = move || {
            crate::session::pin_to(number);
            receive_until(&mut queue, &stop, &[], |tracker| {
                ended.lock().unwrap_or_else(PoisonError::into_inner).extend(tracker.ended_streams());
            })
        };
        self.threads.push(thread::Builder::new().name(format!("rt-expect-{number}")).spawn(read)?);
        Ok(())
    }
}

/// After the last end was seen: frames of other queues may be behind.
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) fn expect(measure: &Measure, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let Measure::Expect { streams, interface, backend, queues, time, summary } = measure else { return Ok(()) };
    let done = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(Mutex::new(BTreeSet::new()));
    let mut readers = Readers { stop: Arc::clone(&done), ended: Arc::clone(&ended), threads: Vec::new() };
    Queues::open_plain(*backend, interface, queues.map(|queues| queues.get() as usize), None)
        .and_then(|queues| queues.give(&mut readers))
        .map_err(Failure::Setup)?;
    tell(format_args!("receiving on {interface} by {}; now start there: ringtap gen --stream 1 ...", backend.name()));
    let begin = Instant::now();
    let over = || time.is_some_and(|time| begin.elapsed() >= time.duration()) || stop.load(Ordering::Relaxed);
    let seen = || ended.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    while seen() < streams.get() && !over() && readers.threads.iter().all(|thread| !thread.is_finished()) {
        thread::sleep(Duration::from_millis(20));
    }
    if !over() {
        thread::sleep(SETTLE);
    }
    done.store(true, Ordering::Release);
    let outcome = gather(readers.threads).map_err(Failure::Running)?;
    let text = match summary {
        Summary::Text => describe(&outcome),
        Summary::Json => serde_json::to_string(&outcome).map_err(|e| Failure::Running(e.into()))? + "\n",
    };
    print(text.as_bytes()).map_err(Failure::Running)
}

fn gather(threads: Vec<JoinHandle<Result<Received, CaptureError>>>) -> Result<Outcome> {
    let mut tracker = Tracker::default();
    let mut said = Count::Exact(0);
    for thread in threads {
        let received = thread.join().map_err(|_| anyhow!("a reader panicked; please report it"))??;
        said = said + received.stats.ring_dropped + received.stats.nic_dropped;
        tracker.merge(received.tracker);
    }
    let Arrivals { expected, received, missing, doubled, reordered, other, latency } = tracker.arrivals();
    let latency_us = latency.map(|times| times.map(|time| time.as_nanos() as f64 / 1e3));
    let dropped_said = said.exact();
    Ok(Outcome { sent: expected, received, missing, doubled, reordered, other_frames: other, dropped_said, latency_us })
}

fn describe(outcome: &Outcome) -> String {
    let count = |n: Option<u64>| n.map_or_else(|| "unknown".to_owned(), thousands);
    let mut text = format!(
        "sent {}, received {}, missing {}, doubled {}, reordered {}, dropped as the mechanism says {}, other frames {}\n",
        count(outcome.sent),
        thousands(outcome.received),
        count(outcome.missing),
        thousands(outcome.doubled),
        thousands(outcome.reordered),
        count(outcome.dropped_said),
        thousands(outcome.other_frames)
    );
    if outcome.sent.is_none() {
        text += "no stream's end was seen: does the other end run `ringtap gen --stream N`, and has it ended?\n";
    }
    if let Some([p50, p90, p99, p999, longest]) = outcome.latency_us {
        text += &format!(
            "latency us: 50 % {p50:.0}, 90 % {p90:.0}, 99 % {p99:.0}, 99.9 % {p999:.0}, longest {longest:.0} (as far as both clocks agree)\n"
        );
    }
    text
}
