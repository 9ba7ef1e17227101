//! `bench stages`: where the time of a frame goes, from the ring to the sink, and whether each frame arrives there.

mod sink;
mod way;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use pktgen::Endpoints;

use super::contestant::{Contestant, Field};
use super::report::{Absent, Report};
use super::row::{Row, median, medians};
use super::run::{Bench, FIRST_ADDRESS, one_line};
use crate::backends::{Backend, Queues};
use crate::tell;
pub(crate) use sink::Goal;
use sink::{Log, Logged, Sink};
use way::{Reader, Way};

/// How far frames go.
#[derive(Clone, Copy, Debug)]
enum Stage<'g> {
    Ring,
    Dissect,
    /// Dissected, and counted in a table of flows. Records of packets have no need of it.
    Flow,
    /// Dissected, and the packets' records written.
    Encode,
    /// The whole worker, with its ledger; batches go nowhere.
    Worker,
    /// The same, and batches go to a sink by another thread.
    Sink(&'g Goal),
}

impl Stage<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Dissect => "+ dissect",
            Self::Flow => "+ flow",
            Self::Encode => "+ encode",
            Self::Worker => "+ hand-off and ledger",
            Self::Sink(goal) => goal.name(),
        }
    }
}

/// The place among the stages of the one that each is compared with: flows and records both with dissecting, each sink with the worker.
fn stage_before(stage: usize) -> Option<usize> {
    match stage {
        0 => None,
        1 => Some(0),
        2 | 3 => Some(1),
        4 => Some(3),
        _ => Some(4),
    }
}

/// The sinks that the user named, or else a file of its own.
pub(crate) fn or_own(goals: &[Goal]) -> &[Goal] {
    static OWN: [Goal; 1] = [Goal::File(None)];
    if goals.is_empty() { &OWN } else { goals }
}

/// Where the time of a frame goes: each mechanism, each stage. All stages once, then all again, so that a busy minute hits all; what a stage
/// takes by itself is compared within a round.
pub(crate) fn measure(
    bench: &Bench<'_>,
    field: &Field,
    rate: Option<f64>,
    time: Duration,
    repeats: u64,
    goals: &[Goal],
) -> Report {
    let mut report = bench.report("stages", field);
    let first = [Stage::Ring, Stage::Dissect, Stage::Flow, Stage::Encode, Stage::Worker];
    let stages: Vec<Stage<'_>> = first.into_iter().chain(goals.iter().map(Stage::Sink)).collect();
    for contestant in &field.present {
        let Contestant::Ours { backend, .. } = contestant else {
            let (name, why) = (contestant.name().to_owned(), "stages are ringtap's own".to_owned());
            report.absent.push(Absent { name, why, by_name: true });
            continue;
        };
        let mut rounds: Vec<Vec<Row>> = stages.iter().map(|_| Vec::new()).collect();
        for round in 0..repeats {
            for (stage, rows) in stages.iter().zip(&mut rounds) {
                if bench.interrupted() {
                    break;
                }
                let row = run(bench, *backend, *stage, rate, time);
                let row = row.unwrap_or_else(|error| Row::failed(contestant.name(), rate, &error));
                tell(format_args!("round {} of {repeats}, {}: {}", round + 1, stage.name(), one_line(&row)));
                rows.push(Row { stage: Some(stage.name().to_owned()), ..row });
            }
        }
        for (n, rows) in rounds.iter().enumerate() {
            let Some(mut row) = medians(rows) else { continue };
            let before = stage_before(n).map(|before| &rounds[before][..]);
            compare(&mut row, rows, before);
            report.rows.push(row);
        }
    }
    report
}

/// CPU nanoseconds a frame of each round.
fn costs(rows: &[Row]) -> impl Iterator<Item = Option<f64>> {
    rows.iter().map(|row| row.cpu_seconds_per_million.filter(|_| !row.interrupted).map(|cpu| cpu * 1e3))
}

/// What a stage takes by itself: the median of the differences within each round. That it is no more than what these differ by is noise.
fn compare(row: &mut Row, rows: &[Row], before: Option<&[Row]>) {
    let Some(before) = before else {
        row.stage_ns = row.cpu_seconds_per_million.map(|cpu| cpu * 1e3);
        return;
    };
    let mut differences: Vec<f64> =
        costs(rows).zip(costs(before)).filter_map(|(with, without)| Some(with? - without?)).collect();
    differences.sort_by(f64::total_cmp);
    if differences.len() < 2 {
        if row.runs > 0 {
            row.notes.push("what the stage takes by itself is not known from one round: --repeats".to_owned());
        }
        return;
    }
    // Of many rounds the middle half: one that something else disturbed says nothing.
    let quarter = differences.len() / 4;
    let spread = differences[differences.len() - 1 - quarter] - differences[quarter];
    let middle = median(differences);
    row.stage_spread_ns = Some(spread);
    row.below_noise = Some(middle <= spread);
    row.stage_ns = (middle > spread).then_some(middle);
}

/// One stage of one mechanism at one rate.
fn run(bench: &Bench<'_>, backend: Backend, stage: Stage<'_>, rate: Option<f64>, time: Duration) -> Result<Row> {
    let log = Log::default();
    // Outside of the receiver's namespace: there is no way from there to a broker.
    let mut sink = None;
    let mut work = |goal| -> Result<Way> {
        let (started, lanes, account) = Sink::start(goal, &log)?;
        sink = Some(started);
        Ok(Way::Worker { lanes, account })
    };
    let way = match stage {
        Stage::Ring => Way::Ring,
        Stage::Dissect => Way::Dissect,
        Stage::Flow => Way::Flow,
        Stage::Encode => Way::Encode,
        Stage::Worker => work(None)?,
        Stage::Sink(goal) => work(Some(goal))?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut reader = Reader { way: Some(way), stop: Arc::clone(&stop), thread: None };
    let end = &bench.lab.receiver;
    let opened = end.inside(|| {
        let (queues, options) = Queues::open_plain(backend, &end.interface, None, bench.lab.libpcap.as_deref())?;
        queues.give(&mut reader).map(|()| options)
    });
    let opened = opened.and_then(|opened| opened);
    // Only now: to open a ring sets many a NIC back, and its link with it.
    let carriers = opened.is_ok().then(|| bench.lab.carriers()).transpose();
    let sent = if matches!(carriers, Ok(Some(_))) { Some(send_logged(bench, rate, time, &log)) } else { None };
    let interrupted = bench.interrupted();
    thread::sleep(Duration::from_millis(300));
    let kept = carriers.and_then(|before| before.map_or(Ok(()), |before| bench.lab.kept_carriers(&before)));
    stop.store(true, Ordering::Release);
    // Its lanes close, without which no sink ends.
    let read = reader.join();
    let found = sink.map(|sink| sink.finish(bench.stop)).transpose();
    kept?;
    let options = opened?;
    let ((stats, cpu), found) = (read?, found?.flatten());
    let frames = stats.received;
    let dropped = (stats.ring_dropped + stats.nic_dropped).exact();
    let Some(sent) = sent.transpose()?.filter(|sent| sent.sent > 0) else {
        bail!("{}", if interrupted { "interrupted" } else { "nothing was sent" })
    };
    let mut row = Row {
        interrupted,
        received: Some(frames),
        dropped_said: dropped,
        options: Some(options),
        ..Row::sent(backend.name(), rate, &sent)
    };
    row.set_cpu(Some(cpu), frames);
    if let Some(arrivals) = found.map(|tracker| tracker.arrivals()) {
        (row.received, row.doubled) = (Some(arrivals.received), Some(arrivals.doubled));
        row.set_latency(arrivals.latency);
    }
    if let Some(received) = row.received {
        row.set_missing_by_counts(received);
    }
    Ok(row)
}

/// The generator, with the numbers of the frames in their addresses, and a log of when they were written.
fn send_logged(bench: &Bench<'_>, rate: Option<f64>, time: Duration, log: &Log) -> Result<pktgen::Report> {
    let source = Endpoints { first: Ipv4Addr::from(FIRST_ADDRESS).into(), addresses: 1 << 24, port: 0, ports: 1 << 16 };
    let source = Logged { source: bench.source(source)?, log: Arc::clone(log), last: 0 };
    bench.send_from(source, rate, Some(time), bench.stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(nanos: &[f64]) -> Vec<Row> {
        let row = |ns: &f64| Row { runs: 1, cpu_seconds_per_million: Some(ns / 1e3), ..Row::default() };
        nanos.iter().map(row).collect()
    }

    #[test]
    fn a_stage_is_compared_within_its_round_and_noise_is_no_figure() {
        let own = |with: &[f64], without: &[f64]| {
            let mut row = medians(&rounds(with)).unwrap();
            compare(&mut row, &rounds(with), Some(&rounds(without)));
            (row.stage_ns.map(f64::round), row.stage_spread_ns.map(f64::round), row.below_noise)
        };
        // A busy round hits both.
        assert_eq!(own(&[150.0, 90.0, 92.0], &[100.0, 41.0, 42.0]), (Some(50.0), Some(1.0), Some(false)));
        assert_eq!(own(&[40.0, 45.0, 43.0], &[42.0, 41.0, 44.0]), (None, Some(6.0), Some(true)));
        assert_eq!(own(&[40.0], &[42.0]), (None, None, None));
        let one_disturbed = [50.0, 51.0, 52.0, 50.0, 500.0];
        assert_eq!(own(&one_disturbed, &[40.0; 5]), (Some(11.0), Some(2.0), Some(false)));
    }
}
