//! The receiving end of a measurement between two machines: `ringtap gen --stream` sends, this finds out what arrived.

mod readers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use capture::Count;
use netdev::{Device, Follow, Link, interfaces};
use pktgen::{Arrivals, Doubt, Tracker};

use super::args::Measure;
use super::environment;
use super::lab::End;
use super::output::Files;
use super::report::{Report, figure, frames, known, micros, thousands};
use super::row::{Row, medians};
use crate::backends::{Backend, Queues};
use crate::config::options::Summary;
use crate::{Failure, explain, tell};
use readers::{Readers, Received};

/// So long nothing more of the streams has to come after their ends: they may have been told early, or by somebody else.
const SETTLE: Duration = Duration::from_millis(500);
/// How often it is looked whether the interface is still there.
const PRESENCE: Duration = Duration::from_millis(200);

/// What is waited for.
struct Wanted<'w> {
    interface: &'w str,
    backend: Backend,
    queues: Option<usize>,
    libpcap: Option<&'w Path>,
    streams: usize,
    only: &'w [u16],
    time: Option<Duration>,
    stop: &'w AtomicBool,
}

pub(crate) fn expect(measure: &Measure, stop: &AtomicBool) -> Result<(), Failure> {
    let Measure::Expect { streams, only, repeats, interface, backend, queues, libpcap, time, summary, files } = measure
    else {
        return Ok(());
    };
    let files = Files::prepare(files).map_err(Failure::Setup)?;
    if libpcap.is_some() && *backend != Backend::Pcap {
        return Err(Failure::Setup(anyhow!("--libpcap: has no effect without --backend pcap")));
    }
    let only: Vec<u16> = only.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let wanted = Wanted {
        interface,
        backend: *backend,
        queues: queues.map(|queues| queues.get() as usize),
        libpcap: libpcap.as_deref(),
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
        tell(format_args!(
            "receiving on {interface} by {}{of}; now start at the other end: {}",
            backend.name(),
            hint(wanted.streams, &only)
        ));
        let received = wanted.receive(readers);
        let mut row = match received {
            Err(error) if rows.is_empty() && stop.load(Ordering::Relaxed) => return Err(Failure::Running(error)),
            received => received.unwrap_or_else(|error| Row::failed(backend.name(), None, &error)),
        };
        row.options = Some(options);
        if repeats.get() > 1 {
            tell(super::run::one_line(&row));
        }
        let over = stop.load(Ordering::Relaxed);
        let cut = row.interrupted_by.is_some();
        // A run that the user did not wait for is none that failed.
        if row.runs > 0 || rows.is_empty() || !over {
            rows.push(row);
        }
        if over || cut {
            break;
        }
    }
    let row = medians(&rows).context("no run").map_err(Failure::Running)?;
    let text = match summary {
        Summary::Text => describe(&row),
        Summary::Json => serde_json::to_string(&row).map_err(|e| Failure::Running(e.into()))? + "\n",
    };
    files.print(&text).map_err(Failure::Running)?;
    let environment = environment::describe(None, &End::of_this_namespace(interface), BTreeMap::new());
    let report = Report { measure: "expect", environment: Some(environment), rows: vec![row], ..Report::default() };
    files.write(&report).map_err(Failure::Running)?;
    super::conclude(&report, stop.load(Ordering::Relaxed))
}

/// What sends those streams.
fn hint(streams: usize, only: &[u16]) -> String {
    let own = [1];
    let named = if only.is_empty() { &own[..] } else { only };
    // Threads have a stream each, with numbers that follow one another.
    let consecutive = named.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    let senders = if consecutive { &named[..1] } else { named };
    let threads = if consecutive && streams > 1 { format!(" -p {streams}") } else { String::new() };
    let senders: Vec<String> =
        senders.iter().map(|stream| format!("ringtap gen -i IFACE --stream {stream}{threads} ...")).collect();
    senders.join(" and ")
}

/// The interface, whatever its name is later. Of a port of a mechanism's own nobody tells whether it is there and has a carrier.
struct Presence(Option<Follow>);

impl Presence {
    fn of(interface: &str) -> Self {
        let follow = |device| Follow::new(interface, device, false).ok();
        Self(Device::find(interface).ok().and_then(follow))
    }

    fn is_deleted(&mut self) -> bool {
        self.0.as_mut().is_some_and(|follow| {
            follow.look(Instant::now());
            follow.link() == Link::Deleted
        })
    }

    /// How often it had got or lost its carrier.
    fn carrier_changes(&self) -> Option<u32> {
        interfaces::carrier_changes(self.0.as_ref()?.name()).ok().flatten()
    }
}

impl Wanted<'_> {
    fn open(&self) -> Result<(Readers, String)> {
        let mut readers = Readers::of(self.only);
        let (queues, options) = Queues::open_plain(self.backend, self.interface, self.queues, self.libpcap)?;
        queues.give(&mut readers)?;
        Ok((readers, options))
    }

    /// One run, to its end.
    fn receive(&self, readers: Readers) -> Result<Row> {
        let mut presence = Presence::of(self.interface);
        let carriers = presence.carrier_changes();
        let begin = Instant::now();
        let (mut frames, mut quiet, mut looked) = (0, begin, begin);
        let mut deleted = false;
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
            if now - looked >= PRESENCE {
                looked = now;
                deleted = presence.is_deleted();
            }
            let late = self.time.is_some_and(|time| now - begin >= time);
            if deleted || late || self.stop.load(Ordering::Relaxed) || readers.broken() {
                break !late;
            }
            thread::sleep(Duration::from_millis(20));
        };
        // Before the queues are closed, which sets many a NIC back.
        let deleted = deleted || presence.is_deleted();
        let kept = deleted || presence.carrier_changes() == carriers;
        let Received { tracker, said, cpu, error } = readers.finish()?;
        let cut = match error {
            _ if deleted => Some(format!("{} was deleted", self.interface)),
            Some(error) => Some(explain(&error.into())),
            None if kept => None,
            None => bail!("the link of {} went down during the run: look at cable and switch", self.interface),
        };
        let interrupted = interrupted || cut.is_some();
        let row = self.account(&tracker, said, cpu, cut.as_deref());
        let row = row.unwrap_or_else(|error| Row::failed(self.backend.name(), None, &error));
        Ok(Row { interrupted, interrupted_by: cut, ..row })
    }

    /// `cut`: what ended the run before its time.
    fn account(&self, tracker: &Tracker, said: Count, cpu: Duration, cut: Option<&str>) -> Result<Row> {
        let streams = tracker.progress().count();
        let Arrivals { expected, received, missing, doubled, reordered, other, latency, took, doubts } =
            tracker.arrivals();
        if let Some(cut) = cut.filter(|_| received == 0) {
            bail!("nothing was received: {cut}");
        }
        if received == 0 {
            let seen = match (other, streams) {
                (0, 0) => "no frame came at all: is the cable in, is the sender's link up, is it the right interface?"
                    .to_owned(),
                (_, 0) => format!(
                    "{} came, none of them of a stream that is waited for: does the other end run `ringtap gen --stream N`, \
                     and does a switch between take its frames elsewhere?",
                    frames(other)
                ),
                _ => "only a stream's end came: was the sender started before this?".to_owned(),
            };
            bail!("nothing was received: {seen}");
        }
        let mut notes: Vec<String> = doubts.iter().map(doubt).collect();
        if streams > self.streams {
            notes.push(format!(
                "{streams} streams came where {} {} waited for, and all of them count; those that are meant can be named by --stream",
                self.streams,
                if self.streams == 1 { "was" } else { "were" }
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
                "{} came again under a number that had come: a second way to this interface, or another sender of the same stream",
                frames(doubled)
            ));
        }
        if let Some(more) = expected.and_then(|sent| received.checked_sub(sent)).filter(|more| *more > 0) {
            notes.push(format!("{} came beyond those that were sent: another sender of the same stream", frames(more)));
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
    let said = frames(*said);
    match came {
        Some(number) => format!(
            "an end of stream {stream} that says {said} is not believed, for frame {} came: it was early, or somebody else's",
            thousands(*number)
        ),
        None => {
            format!("an end of stream {stream} says {said} and another one something else: nobody knows which is right")
        }
    }
}

fn describe(row: &Row) -> String {
    let mut text = String::new();
    if row.runs > 0 {
        text = format!(
            "sent {}, received {}, missing {}, doubled {}, reordered {}, dropped (said by the mechanism) {}, other frames {}\n",
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
        text += &format!("{} frames/s", figure(rate, 4));
        if let Some(cpu) = row.cpu_seconds_per_million {
            text += &format!(", {} CPU s per million frames", figure(cpu, 3));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_senders_command_is_that_of_the_streams() {
        assert_eq!(hint(1, &[]), "ringtap gen -i IFACE --stream 1 ...");
        assert_eq!(hint(2, &[]), "ringtap gen -i IFACE --stream 1 -p 2 ...");
        assert_eq!(hint(2, &[7, 8]), "ringtap gen -i IFACE --stream 7 -p 2 ...");
        assert_eq!(hint(2, &[3, 9]), "ringtap gen -i IFACE --stream 3 ... and ringtap gen -i IFACE --stream 9 ...");
        assert_eq!(hint(1, &[65_535]), "ringtap gen -i IFACE --stream 65535 ...");
    }
}
