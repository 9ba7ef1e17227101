//! `ringtap gen -f rx`: receives and counts, as pkt-gen's own function of this name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use capture::{CaptureError, Count, RxQueue};
use pktgen::{Received, receive_until};
use serde::Serialize;

use super::args::GenArgs;
use crate::backends::{Queues, Take};
use crate::config::options::Summary;
use crate::{Failure, print, tell};

/// What is told at the end.
#[derive(Serialize)]
struct Outcome {
    frames: u64,
    /// From the first sight of frames to the last; `None` if all were seen at once.
    seconds: Option<f64>,
    /// In this time.
    frames_per_second: Option<f64>,
    /// As the mechanism says; `None` if it does not know.
    dropped: Option<u64>,
}

/// How often it is looked at what has come.
const TICK: Duration = Duration::from_millis(10);

/// One thread, and the frames that it has seen so far.
type Reader = (Arc<AtomicU64>, JoinHandle<Result<Received, CaptureError>>);

/// A thread for each queue.
struct Readers {
    args: GenArgs,
    stop: Arc<AtomicBool>,
    threads: Vec<Reader>,
}

impl Take for Readers {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let (args, stop, number) = (self.args.clone(), Arc::clone(&self.stop), self.threads.len());
        let seen = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&seen);
        let read = move || {
            args.pin(number);
            receive_until(&mut queue, &stop, &[], |tracker| shown.store(tracker.seen(), Ordering::Relaxed))
        };
        self.threads.push((seen, thread::Builder::new().name(format!("rt-gen-rx-{number}")).spawn(read)?));
        Ok(())
    }
}

impl Readers {
    fn seen(&self) -> u64 {
        self.threads.iter().map(|(seen, _)| seen.load(Ordering::Relaxed)).sum()
    }

    fn ended(&self) -> bool {
        self.threads.iter().any(|(_, thread)| thread.is_finished())
    }
}

pub(super) fn receive(args: &GenArgs, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    super::wait_for_link(args, stop).map_err(Failure::Setup)?;
    let backend = args.backend.unwrap_or_default();
    let mut readers = Readers { args: args.clone(), stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
    Queues::open_plain(backend, &args.interface, args.threads.map(|n| n.get() as usize), None)
        .and_then(|queues| queues.give(&mut readers))
        .map_err(Failure::Setup)?;
    tell(format_args!("receiving on {} by {}", args.interface, backend.name()));
    let begin = Instant::now();
    let (mut shown, mut first, mut last) = ((0, begin), None, (0, begin));
    loop {
        let (seen, now) = (readers.seen(), Instant::now());
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
    readers.stop.store(true, Ordering::Release);
    let (frames, dropped) = gather(readers.threads).map_err(Failure::Running)?;
    let seconds = first.map(|(_, then)| (last.1 - then).as_secs_f64()).filter(|seconds| *seconds > 0.0);
    let frames_per_second = first.zip(seconds).map(|((before, _), seconds)| (last.0 - before) as f64 / seconds);
    let outcome = Outcome { frames, seconds, frames_per_second, dropped: dropped.exact() };
    let text = match args.summary {
        Summary::Text => describe(&outcome),
        Summary::Json => serde_json::to_string(&outcome).map_err(|e| Failure::Running(e.into()))? + "\n",
    };
    print(text.as_bytes()).map_err(Failure::Running)
}

fn gather(threads: Vec<Reader>) -> Result<(u64, Count)> {
    let (mut frames, mut dropped) = (0, Count::Exact(0));
    for (_, thread) in threads {
        let received = thread.join().map_err(|_| anyhow!("a reader panicked; please report it"))??;
        frames += received.frames;
        dropped = dropped + received.stats.ring_dropped + received.stats.nic_dropped;
    }
    Ok((frames, dropped))
}

fn describe(outcome: &Outcome) -> String {
    let mut text = format!("received {} frames", outcome.frames);
    if let (Some(seconds), Some(rate)) = (outcome.seconds, outcome.frames_per_second) {
        text += &format!(" in {seconds:.2} s: {rate:.0} frames/s");
    }
    text + &format!("; dropped, as the mechanism says: {}\n", super::or_unknown(outcome.dropped))
}
