//! `ringtap gen -f rx`: receives and counts, as pkt-gen's own function of this name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use capture::{CaptureError, Count, Frame, QueueStats, RxQueue};
use pktgen::Work;
use serde::Serialize;

use super::args::GenArgs;
use crate::backends::{Queues, Take};
use crate::config::options::Summary;
use crate::{Failure, print, tell};

/// What is told at the end.
#[derive(Serialize)]
struct Outcome {
    frames: u64,
    /// Of the frames on the wire, without frame check sequences.
    octets: u64,
    /// From the first sight of frames to the last; `None` if all were seen at once.
    seconds: Option<f64>,
    /// In this time.
    frames_per_second: Option<f64>,
    /// As the mechanism says; `None` if it does not know.
    dropped: Option<u64>,
}

/// How often it is looked at what has come.
const TICK: Duration = Duration::from_millis(10);

/// What one thread has seen so far.
#[derive(Debug, Default)]
struct Seen {
    frames: AtomicU64,
    octets: AtomicU64,
}

/// Counts in the thread, and shows it when the queue is empty.
#[derive(Default)]
struct Counter {
    frames: u64,
    octets: u64,
    seen: Arc<Seen>,
}

impl Work for Counter {
    #[inline]
    fn frame(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        self.octets += u64::from(frame.wire_len);
    }

    fn pause(&mut self) -> bool {
        self.seen.frames.store(self.frames, Ordering::Relaxed);
        self.seen.octets.store(self.octets, Ordering::Relaxed);
        false
    }
}

/// A thread for each queue.
struct Readers {
    args: GenArgs,
    stop: Arc<AtomicBool>,
    seen: Vec<Arc<Seen>>,
    threads: Vec<JoinHandle<Result<QueueStats, CaptureError>>>,
}

impl Take for Readers {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let (args, stop, number) = (self.args.clone(), Arc::clone(&self.stop), self.threads.len());
        let mut counter = Counter::default();
        self.seen.push(Arc::clone(&counter.seen));
        let read = move || {
            args.pin(number);
            pktgen::read(&mut queue, &stop, &mut counter)?;
            counter.pause();
            queue.stats()
        };
        self.threads.push(thread::Builder::new().name(format!("rt-gen-rx-{number}")).spawn(read)?);
        Ok(())
    }
}

impl Readers {
    fn frames(&self) -> u64 {
        self.seen.iter().map(|seen| seen.frames.load(Ordering::Relaxed)).sum()
    }

    fn ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Frames, their octets, and what the mechanism says was dropped.
    fn end(self) -> Result<(u64, u64, Count)> {
        self.stop.store(true, Ordering::Release);
        let mut dropped = Count::Exact(0);
        for thread in self.threads {
            let stats = thread.join().map_err(|_| anyhow!("a reader panicked; please report it"))??;
            dropped = dropped + stats.ring_dropped + stats.nic_dropped;
        }
        let sum =
            |value: fn(&Seen) -> &AtomicU64| self.seen.iter().map(|seen| value(seen).load(Ordering::Relaxed)).sum();
        Ok((sum(|seen| &seen.frames), sum(|seen| &seen.octets), dropped))
    }
}

pub(super) fn receive(args: &GenArgs, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    super::wait_for_link(args, stop).map_err(Failure::Setup)?;
    let backend = args.backend.unwrap_or_default();
    let stop_readers = Arc::new(AtomicBool::new(false));
    let mut readers = Readers { args: args.clone(), stop: stop_readers, seen: Vec::new(), threads: Vec::new() };
    Queues::open_plain(backend, &args.interface, args.threads.map(|n| n.get() as usize), None)
        .and_then(|(queues, _)| queues.give(&mut readers))
        .map_err(Failure::Setup)?;
    tell(format_args!("receiving on {} by {}", args.interface, backend.name()));
    let begin = Instant::now();
    let (mut shown, mut first, mut last) = ((0, begin), None, (0, begin));
    loop {
        let (seen, now) = (readers.frames(), Instant::now());
        if seen > last.0 {
            last = (seen, now);
            first.get_or_insert(last);
        }
        if now - shown.1 >= Duration::from_secs(1) {
            tell(format_args!("{seen} frames, {:.0}/s", (seen - shown.0) as f64 / (now - shown.1).as_secs_f64()));
            shown = (seen, now);
        }
        let enough = args.count > 0 && seen >= args.count;
        let over = args.duration.is_some_and(|time| now - begin >= time.duration());
        if enough || over || stop.load(Ordering::Relaxed) || readers.ended() {
            break;
        }
        thread::sleep(TICK);
    }
    let (frames, octets, dropped) = readers.end().map_err(Failure::Running)?;
    let seconds = first.map(|(_, then)| (last.1 - then).as_secs_f64()).filter(|seconds| *seconds > 0.0);
    let frames_per_second = first.zip(seconds).map(|((before, _), seconds)| (last.0 - before) as f64 / seconds);
    let outcome = Outcome { frames, octets, seconds, frames_per_second, dropped: dropped.exact() };
    let text = match args.summary {
        Summary::Text => describe(&outcome),
        Summary::Json => serde_json::to_string(&outcome).map_err(|e| Failure::Running(e.into()))? + "\n",
    };
    print(text.as_bytes()).map_err(Failure::Running)
}

fn describe(outcome: &Outcome) -> String {
    let mut text = format!("received {} frames ({} octets)", outcome.frames, outcome.octets);
    if let (Some(seconds), Some(rate)) = (outcome.seconds, outcome.frames_per_second) {
        text += &format!(" in {seconds:.2} s: {rate:.0} frames/s");
    }
    text + &format!("; dropped, as the mechanism says: {}\n", super::or_unknown(outcome.dropped))
}
