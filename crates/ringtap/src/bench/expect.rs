//! The receiving end of a measurement between two machines: `ringtap gen --stream` sends, this finds out what arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use capture::{CaptureError, Count, RxQueue};
use netdev::interfaces;
use pktgen::{Arrivals, Doubt, Progress, Received, Tracker, receive_until};

use super::args::Measure;
use super::environment;
use super::lab::End;
use super::output::Files;
use super::report::{Report, known, micros, thousands};
use super::row::{Row, medians};
use crate::backends::{Backend, Queues, Take};
use crate::config::options::Summary;
use crate::{Failure, print, tell};

/// What a thread has seen so far.
#[derive(Clone, Debug, Default)]
struct Sight {
    streams: BTreeMap<u16, Progress>,
    frames: u64,
}

/// A thread for each queue; all end when the streams have ended, or are told to.
struct Readers {
    only: Vec<u16>,
    stop: Arc<AtomicBool>,
    sights: Vec<Arc<Mutex<Sight>>>,
    threads: Vec<JoinHandle<Result<Received, CaptureError>>>,
}

impl Take for Readers {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let (stop, sight) = (Arc::clone(&self.stop), Arc::new(Mutex::new(Sight::default())));
        self.sights.push(Arc::clone(&sight));
        let number = self.threads.len();
        let tracker = Tracker::of(self.only.iter().copied());
        let read = move || {
            crate::session::pin_to(number);
            let mut looked: Option<Instant> = None;
            receive_until(&mut queue, tracker, &stop, &[], |tracker| {
                // A mechanism that wakes up for every few frames shall not pay for this each time.
                if looked.is_some_and(|looked| looked.elapsed() < LOOK) {
                    return;
                }
                looked = Some(Instant::now());
                let seen = Sight { streams: tracker.progress().collect(), frames: tracker.seen() };
                *sight.lock().unwrap_or_else(PoisonError::into_inner) = seen;
            })
        };
        self.threads.push(thread::Builder::new().name(format!("rt-expect-{number}")).spawn(read)?);
        Ok(())
    }
}

impl Readers {
    /// What all threads have seen: the frames that tell an end come to one queue, and those that contradict it perhaps to another.
    fn sight(&self) -> Sight {
        let mut all = Sight::default();
        for sight in &self.sights {
            let sight = sight.lock().unwrap_or_else(PoisonError::into_inner);
            all.frames += sight.frames;
            for (stream, progress) in &sight.streams {
                all.streams.entry(*stream).or_default().merge(progress);
            }
        }
        all
    }
}

/// How often threads tell what they have seen.
const LOOK: Duration = Duration::from_millis(10);
/// So long nothing more of the streams has to come after their ends: they may have been told early, or by somebody else.
const SETTLE: Duration = Duration::from_millis(500);

/// What is waited for.
struct Wanted<'w> {
    interface: &'w str,
    backend: Backend,
    queues: Option<usize>,
    streams: usize,
    only: &'w [u16],
    time: Option<Duration>,
    stop: &'w AtomicBool,
}

pub(crate) fn expect(measure: &Measure, stop: &AtomicBool) -> Result<(), Failure> {
    let Measure::Expect { streams, only, repeats, interface, backend, queues, time, summary, files } = measure else {
        return Ok(());
    };
    let files = Files::prepare(files).map_err(Failure::Setup)?;
    let only: Vec<u16> = only.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let wanted = Wanted {
        interface,
        backend: *backend,
        queues: queues.map(|queues| queues.get() as usize),
        streams: if only.is_empty() { streams.get() as usize } else { only.len() },
        only: &only,
        time: time.map(|time| time.duration()),
        stop,
    };
    let mut rows = Vec::new();
    for run in 0..repeats.get() {
        let (readers, options) = match wanted.open() {
            Ok(opened) => opened,
            Err(error) if rows.is_empty() => return Err(Failure::Setup(error)),
            // What was measured stays.
            Err(error) => {
                rows.push(Row::failed(backend.name(), None, &error));
                break;
            }
        };
        let of = if repeats.get() > 1 { format!(", run {} of {}", run + 1, repeats.get()) } else { String::new() };
        let stream = only.first().unwrap_or(&1);
        tell(format_args!(
            "receiving on {interface} by {}{of}; now start there: ringtap gen --stream {stream} ...",
            backend.name()
        ));
        // A port of a mechanism's own has no carrier.
        let carrier = || interfaces::carrier_changes(interface).ok().flatten();
        let before = carrier();
        let received = wanted.receive(readers, || {
            let kept = carrier() == before;
            if kept {
                Ok(())
            } else {
                bail!("the link of {interface} went down during the run: look at cable and switch")
            }
        });
        let mut row = match received {
            Err(error) if rows.is_empty() && stop.load(Ordering::Relaxed) => return Err(Failure::Running(error)),
            received => received.unwrap_or_else(|error| Row::failed(backend.name(), None, &error)),
        };
        row.options = Some(options);
        if repeats.get() > 1 {
            tell(super::run::one_line(&row));
        }
        let over = stop.load(Ordering::Relaxed);
        // A run that the user did not wait for is none that failed.
        if row.runs > 0 || rows.is_empty() || !over {
            rows.push(row);
        }
        if over {
            break;
        }
    }
    let row = medians(&rows).context("no run").map_err(Failure::Running)?;
    let text = match summary {
        Summary::Text => describe(&row),
        Summary::Json => serde_json::to_string(&row).map_err(|e| Failure::Running(e.into()))? + "\n",
    };
    print(text.as_bytes()).map_err(Failure::Running)?;
    let nothing = row.runs == 0;
    let environment = environment::describe(None, &End::of_this_namespace(interface), BTreeMap::new());
    let report = Report { measure: "expect", environment: Some(environment), rows: vec![row], ..Report::default() };
    files.write(&report).map_err(Failure::Running)?;
    if nothing { Err(Failure::Told) } else { Ok(()) }
}

impl Wanted<'_> {
    fn open(&self) -> Result<(Readers, String)> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut readers = Readers { only: self.only.to_vec(), stop, sights: Vec::new(), threads: Vec::new() };
        let (queues, options) = Queues::open_plain(self.backend, self.interface, self.queues, None)?;
        queues.give(&mut readers)?;
        Ok((readers, options))
    }

    /// One run, to its end.
    fn receive(&self, readers: Readers, kept: impl Fn() -> Result<()>) -> Result<Row> {
        let begin = Instant::now();
        let (mut frames, mut quiet) = (0, begin);
        let interrupted = loop {
            let now = Instant::now();
            let sight = readers.sight();
            if sight.frames != frames {
                (frames, quiet) = (sight.frames, now);
            }
            let ended = sight.streams.values().filter(|progress| progress.ended()).count();
            if ended >= self.streams && now - quiet >= SETTLE {
                break false;
            }
            let late = self.time.is_some_and(|time| now - begin >= time);
            if late || self.stop.load(Ordering::Relaxed) || readers.threads.iter().any(JoinHandle::is_finished) {
                break !late;
            }
            thread::sleep(Duration::from_millis(20));
        };
        // Before the queues are closed, which sets many a NIC back.
        let kept = kept();
        readers.stop.store(true, Ordering::Release);
        let mut tracker = Tracker::of(self.only.iter().copied());
        let (mut said, mut cpu) = (Count::Exact(0), Duration::ZERO);
        for thread in readers.threads {
            let received = thread.join().map_err(|_| anyhow!("a reader panicked; please report it"))??;
            said = said + received.stats.ring_dropped + received.stats.nic_dropped;
            cpu += received.cpu;
            tracker.merge(received.tracker);
        }
        kept?;
        let name = self.backend.name();
        let row = self.account(&tracker, said, cpu);
        Ok(Row { interrupted, ..row.unwrap_or_else(|error| Row::failed(name, None, &error)) })
    }

    fn account(&self, tracker: &Tracker, said: Count, cpu: Duration) -> Result<Row> {
        let streams = tracker.progress().count();
        let Arrivals { expected, received, missing, doubled, reordered, other, latency, took, doubts } =
            tracker.arrivals();
        if received == 0 {
            let seen = match (other, streams) {
                (0, 0) => "no frame came at all: is the cable in, is the sender's link up, is it the right interface?"
                    .to_owned(),
                (_, 0) => format!(
                    "{} frames came, none of them of a stream that is waited for: does the other end run `ringtap gen --stream N`, \
                     and does a switch between take its frames elsewhere?",
                    thousands(other)
                ),
                _ => "only a stream's end came: was the sender started before this?".to_owned(),
            };
            bail!("nothing was received: {seen}");
        }
        let mut notes: Vec<String> = doubts.iter().map(doubt).collect();
        if streams > self.streams {
            notes.push(format!(
                "{streams} streams came where {} were waited for, and all of them count; those that are meant can be named by --stream",
                self.streams
            ));
        }
        if expected.is_none() {
            notes.push(
                "how many frames were sent is not known, for no end of a stream is sure: has the sender ended?"
                    .to_owned(),
            );
        }
        if doubled > 0 {
            notes.push(format!(
                "{} frames came again under a number that had come: a second way to this interface, or another sender of the same stream",
                thousands(doubled)
            ));
        }
        if let Some(more) = expected.and_then(|sent| received.checked_sub(sent)).filter(|more| *more > 0) {
            notes.push(format!(
                "{} frames more came than were sent: another sender of the same stream",
                thousands(more)
            ));
        }
        let mut row = Row {
            contestant: self.backend.name().to_owned(),
            runs: 1,
            rate: took.map(|took| (received + doubled).saturating_sub(1) as f64 / took.as_secs_f64()),
            sent: expected,
            received: Some(received),
            doubled: Some(doubled),
            reordered: Some(reordered),
            other_frames: Some(other),
            dropped_said: said.exact(),
            notes,
            ..Row::default()
        };
        row.set_cpu(Some(cpu), received);
        row.set_missing(missing);
        row.set_latency(latency);
        Ok(row)
    }
}

fn doubt(doubt: &Doubt) -> String {
    let Doubt { stream, said, came } = doubt;
    let said = thousands(*said);
    match came {
        Some(number) => format!(
            "an end of stream {stream} that says {said} frames is not believed, for frame {} came: it was early, or somebody else's",
            thousands(*number)
        ),
        None => format!(
            "an end of stream {stream} says {said} frames and another one something else: nobody knows which is right"
        ),
    }
}

fn describe(row: &Row) -> String {
    let mut text = String::new();
    if row.runs > 0 {
        text = format!(
            "sent {}, received {}, missing {}, doubled {}, reordered {}, dropped as the mechanism says {}, other frames {}\n",
            known(row.sent),
            known(row.received),
            known(row.missing),
            known(row.doubled),
            known(row.reordered),
            known(row.dropped_said),
            known(row.other_frames)
        );
    }
    if row.runs > 1 {
        text = format!("medians of {} runs: {text}", row.runs);
    }
    if let Some(rate) = row.rate {
        text += &format!("{} frames/s", thousands(rate.round() as u64));
        if let Some(cpu) = row.cpu_seconds_per_million {
            text += &format!(", {cpu:.3} CPU s per million frames");
        }
        text.push('\n');
    }
    if let Some(points) = row.latency_us {
        let [p50, p90, p99, p999, longest] = points.map(micros);
        text += &format!(
            "latency us: 50 % {p50}, 90 % {p90}, 99 % {p99}, 99.9 % {p999}, longest {longest} (as far as both clocks agree)\n"
        );
    }
    let report = Report { measure: "expect", rows: vec![Row { options: None, ..row.clone() }], ..Report::default() };
    for remark in report.remarks() {
        text += &(remark + "\n");
    }
    if let Some(error) = row.error.as_ref().filter(|_| row.runs == 0) {
        text += &(error.clone() + "\n");
    }
    text
}
