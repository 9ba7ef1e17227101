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
use super::link::LinkWatch;
use super::words;
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
    /// Why it ended before its time.
    interrupted: Option<String>,
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

/// What the mechanism says at the end, and why that came too early.
type Ended = (Result<QueueStats, CaptureError>, Result<(), CaptureError>);

/// A thread for each queue.
struct Readers {
    args: GenArgs,
    stop: Arc<AtomicBool>,
    seen: Vec<Arc<Seen>>,
    threads: Vec<JoinHandle<Ended>>,
}

impl Take for Readers {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let (args, stop, number) = (self.args.clone(), Arc::clone(&self.stop), self.threads.len());
        let mut counter = Counter::default();
        self.seen.push(Arc::clone(&counter.seen));
        let read = move || {
            args.pin(number);
            let ended = pktgen::read(&mut queue, &stop, &mut counter);
            counter.pause();
            (queue.stats(), ended)
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

    /// Frames, their octets, what the mechanism says was dropped, and the first error.
    fn end(self) -> Result<(u64, u64, Count, Option<CaptureError>)> {
        self.stop.store(true, Ordering::Release);
        let (mut dropped, mut problem) = (Count::Exact(0), None);
        for thread in self.threads {
            let (stats, ended) = thread.join().map_err(|_| anyhow!("a reader panicked; please report it"))?;
            dropped = match stats {
                Ok(stats) => dropped + stats.ring_dropped + stats.nic_dropped,
                Err(_) => Count::Unknown,
            };
            problem = problem.or(ended.err());
        }
        let sum =
            |value: fn(&Seen) -> &AtomicU64| self.seen.iter().map(|seen| value(seen).load(Ordering::Relaxed)).sum();
        Ok((sum(|seen| &seen.frames), sum(|seen| &seen.octets), dropped, problem))
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
    let mut link = LinkWatch::new(&args.interface);
    let begin = Instant::now();
    let (mut shown, mut first, mut last) = ((0, begin), None, (0, begin));
    let interrupted = loop {
        let (seen, now) = (readers.frames(), Instant::now());
        if seen > last.0 {
            last = (seen, now);
            first.get_or_insert(last);
        }
        if now - shown.1 >= Duration::from_secs(1) {
            let rate = (seen - shown.0) as f64 / (now - shown.1).as_secs_f64();
            tell(format_args!("{}, {}/s", words::frames(seen), words::rate(rate)));
            shown = (seen, now);
        }
        let enough = args.count > 0 && seen >= args.count;
        let over = args.duration.is_some_and(|time| now - begin >= time.duration());
        let interrupted = link.end(now);
        if enough || over || interrupted.is_some() || stop.load(Ordering::Relaxed) || readers.ended() {
            break interrupted;
        }
        thread::sleep(TICK);
    };
    let (frames, octets, dropped, problem) = readers.end().map_err(Failure::Running)?;
    let interrupted = interrupted.or_else(|| problem.map(|error| link.explain(&error)));
    let seconds = first.map(|(_, then)| (last.1 - then).as_secs_f64()).filter(|seconds| *seconds > 0.0);
    let frames_per_second = first.zip(seconds).map(|((before, _), seconds)| (last.0 - before) as f64 / seconds);
    let outcome = Outcome { frames, octets, seconds, frames_per_second, dropped: dropped.exact(), interrupted };
    let text = match args.summary {
        Summary::Text => describe(&outcome),
        Summary::Json => serde_json::to_string(&outcome).map_err(|e| Failure::Running(e.into()))? + "\n",
    };
    print(text.as_bytes()).map_err(Failure::Running)?;
    match outcome.interrupted {
        Some(why) => {
            tell(format_args!("ringtap: {why}"));
            Err(Failure::Told)
        }
        None => Ok(()),
    }
}

fn describe(outcome: &Outcome) -> String {
    let mut text = format!("received {} ({} octets)", words::frames(outcome.frames), outcome.octets);
    if let (Some(seconds), Some(rate)) = (outcome.seconds, outcome.frames_per_second) {
        text += &format!(" in {seconds:.2} s: {} frames/s", words::rate(rate));
    }
    text += &format!("; dropped, as the mechanism says: {}", super::or_unknown(outcome.dropped));
    if let Some(why) = &outcome.interrupted {
        text += &format!("; interrupted: {why}");
    }
    text.push('\n');
    text
}
