//! The measurements: a generator, a contestant, and the numbers that tell what is missing.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use capture::TxQueue;
use capture_afpacket::{CopyTx, Tx, TxOptions};
use pktgen::{Addresses, Endpoints, Kind, Limits, MacRange, Pace, Rate, Source, Uniform, highest_without_loss};

use super::args::Common;
use super::contestant::{Capture, Contestant, Field, Running};
use super::lab::Lab;
use super::report::{Report, Row};
use super::stages::{self, Log, Logged, Measured, Stage};
use crate::generate::{TxBackend, default_backend};
use crate::tell;

/// What all measurements need.
pub(crate) struct Bench<'b> {
    pub lab: &'b Lab,
    pub common: &'b Common,
    pub stop: &'b AtomicBool,
}

/// The first source address of the generator: 10.0.0.0, of which frames count on.
pub(super) const FIRST_ADDRESS: u32 = 0x0a00_0000;
/// The generator's stream.
pub(super) const STREAM: u16 = 0x5254;
/// After the last frame was sent: for what is still on its way. Programs that use libpcap with its usual timeout are given a block that is
/// not full a second late, and throw away what they have not been given when they are ended: that is no loss of the mechanism.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long a number of frames may take to be captured.
const PATIENCE: Duration = Duration::from_secs(600);

impl Bench<'_> {
    pub(crate) fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn report(&self, measure: &'static str, field: &Field) -> Report {
        Report { measure, frame_octets: self.common.length.get(), absent: field.absent.clone(), ..Report::default() }
    }

    /// Each contestant at each rate, several times over; contestants in turn, so that a busy minute hits all.
    pub(crate) fn drop_rate(&self, field: &Field, rates: &[Rate], repeats: u64, time: Duration) -> Result<Report> {
        let mut report = self.report("drop-rate", field);
        for rate in rates {
            let mut runs: Vec<Vec<Row>> = field.present.iter().map(|_| Vec::new()).collect();
            for run in 0..repeats {
                for (contestant, rows) in field.present.iter().zip(&mut runs) {
                    if self.interrupted() {
                        break;
                    }
                    let row =
                        self.trial(contestant, rate.0, time).unwrap_or_else(|error| failed(contestant, rate.0, &error));
                    tell(format_args!("run {} of {repeats}: {}", run + 1, one_line(&row)));
                    rows.push(row);
                }
            }
            report.rows.extend(runs.iter().filter_map(|rows| medians(rows)));
        }
        Ok(report)
    }

    /// The highest rate without loss of each contestant.
    pub(crate) fn zero_loss(&self, field: &Field, time: Duration, resolution: f64) -> Result<Report> {
        let mut report = self.report("zero-loss", field);
        for contestant in &field.present {
            if self.interrupted() {
                break;
            }
            // What the generator reaches while this contestant captures is the highest rate that can be tried.
            let search = || -> Result<Row> {
                let first = self.trial(contestant, None, time)?;
                tell(one_line(&first));
                let mut best: Option<Row> = (first.missing == 0).then(|| first.clone());
                if best.is_none() {
                    highest_without_loss(first.rate, resolution, |rate| -> Result<bool> {
                        if self.interrupted() {
                            return Err(anyhow!("interrupted"));
                        }
                        let row = self.trial(contestant, Some(rate), time)?;
                        tell(one_line(&row));
                        let passed = row.missing == 0 && row.rate >= rate * 0.99;
                        if passed && best.as_ref().is_none_or(|best| best.rate < row.rate) {
                            best = Some(row);
                        }
                        Ok(passed)
                    })?;
                }
                best.ok_or_else(|| anyhow!("lost frames at every rate that was tried"))
            };
            report.rows.push(search().unwrap_or_else(|error| failed(contestant, None, &error)));
        }
        Ok(report)
    }

    /// Where the time of a frame goes: each mechanism, each stage.
    pub(crate) fn stages(&self, field: &Field, rate: Option<f64>, time: Duration, repeats: u64) -> Result<Report> {
        let mut report = self.report("stages", field);
        for contestant in &field.present {
            let Contestant::Ours { backend, .. } = contestant else {
                report.absent.push((contestant.name().to_owned(), "stages are ringtap's own".to_owned()));
                continue;
            };
            let mut before = None;
            for stage in Stage::ALL {
                let mut rows = Vec::new();
                for _ in 0..repeats {
                    if self.interrupted() {
                        return Ok(report);
                    }
                    let row = stages::measure(self, *backend, stage, rate, time)
                        .map(|measured| stage_row(contestant, stage, rate, &measured));
                    let row = row.unwrap_or_else(|error| failed(contestant, rate, &error));
                    tell(format_args!("{} {}: {}", contestant.name(), stage.name(), one_line(&row)));
                    rows.push(row);
                }
                let Some(row) = medians(&rows) else { continue };
                let cpu = row.cpu_seconds_per_million.map(|cpu| cpu * 1e3);
                let own = cpu.map(|cpu| cpu - before.unwrap_or(0.0));
                before = cpu;
                report.rows.push(Row { stage: Some(stage.name()), stage_ns: own, ..row });
            }
        }
        Ok(report)
    }

    /// The time that each contestant takes for each number of frames.
    pub(crate) fn elapsed(&self, field: &Field, packets: &[u64], repeats: u64) -> Result<Report> {
        let mut report = self.report("elapsed", field);
        for &count in packets {
            let mut runs: Vec<Vec<Row>> = field.present.iter().map(|_| Vec::new()).collect();
            for run in 0..repeats {
                for (contestant, rows) in field.present.iter().zip(&mut runs) {
                    if self.interrupted() {
                        break;
                    }
                    let row = self.time_for(contestant, count).unwrap_or_else(|error| failed(contestant, None, &error));
                    let seconds =
                        row.seconds.map_or_else(|| row.error.clone().unwrap_or_default(), |s| format!("{s:.6} s"));
                    tell(format_args!("run {} of {repeats}: {}, {count} frames: {seconds}", run + 1, row.contestant));
                    rows.push(Row { packets: Some(count), ..row });
                }
            }
            report.rows.extend(runs.iter().filter_map(|rows| medians(rows)));
        }
        Ok(report)
    }

    fn time_for(&self, contestant: &Contestant, count: u64) -> Result<Row> {
        let mut running = contestant.start(self.lab, Some(count))?;
        let enough = AtomicBool::new(false);
        let begin = Instant::now();
        let reached = thread::scope(|scope| -> Result<Option<Instant>> {
            let sending = scope.spawn(|| self.send(None, None, &enough));
            let mut reached = None;
            while !sending.is_finished() && begin.elapsed() < PATIENCE && !self.interrupted() {
                if running.ended() {
                    reached = Some(Instant::now());
                    break;
                }
                thread::sleep(Duration::from_micros(200));
            }
            enough.store(true, Ordering::Relaxed);
            sending.join().map_err(|_| anyhow!("the generator panicked; please report it"))??;
            Ok(reached)
        })?;
        // Programs end some time after their last frame; what they report is their end.
        let ended = match running {
            Running::Ours(_) => running.finish()?.reached.or(reached),
            Running::Program(_) => reached,
        };
        let ended = ended.with_context(|| format!("{count} frames were not reached"))?;
        let seconds = ended.saturating_duration_since(begin).as_secs_f64();
        Ok(Row { contestant: contestant.name().to_owned(), seconds: Some(seconds), runs: 1, ..Row::default() })
    }

    /// One contestant at one rate for some time.
    fn trial(&self, contestant: &Contestant, rate: Option<f64>, time: Duration) -> Result<Row> {
        let running = contestant.start(self.lab, None)?;
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(|| self.send(rate, Some(time), self.stop));
            sending.join().map_err(|_| anyhow!("the generator panicked; please report it"))?
        });
        thread::sleep(SETTLE);
        let Capture { mut tracker, counted, dropped_said, cpu, .. } = running.finish()?;
        let sent = sent?;
        if let Some(received) = counted {
            return Ok(counted_row(contestant, rate, &sent, received, dropped_said, cpu));
        }
        tracker.expect(STREAM, sent.filled, sent.refused);
        let arrivals = tracker.arrivals();
        let missing = arrivals.missing.context("the number of frames sent is not known")?;
        Ok(Row {
            contestant: contestant.name().to_owned(),
            rate_wanted: rate,
            rate: sent.rate,
            runs: 1,
            sent: sent.sent,
            received: arrivals.received,
            missing,
            missing_percent: missing as f64 * 100.0 / sent.sent.max(1) as f64,
            doubled: Some(arrivals.doubled),
            reordered: Some(arrivals.reordered),
            dropped_said,
            cpu_seconds_per_million: cpu
                .filter(|_| arrivals.received > 0)
                .map(|cpu| cpu.as_secs_f64() * 1e6 / arrivals.received as f64),
            latency_us: arrivals.latency.map(|times| times.map(|time| time.as_nanos() as f64 / 1e3)),
            ..Row::default()
        })
    }

    /// The generator, on the highest core: readers are on the lowest.
    fn send(&self, rate: Option<f64>, time: Option<Duration>, stop: &AtomicBool) -> Result<pktgen::Report> {
        // Some hundreds of flows, so that several queues have work.
        let source = Endpoints { ports: 500, port: 1000, ..Endpoints::one(Ipv4Addr::from(FIRST_ADDRESS).into()) };
        self.send_from(self.source(source)?, rate, time, stop)
    }

    /// The same, with the numbers of the frames in their addresses, and a log of when they were written.
    pub(super) fn send_logged(&self, rate: Option<f64>, time: Duration, log: &Log) -> Result<pktgen::Report> {
        let source =
            Endpoints { first: Ipv4Addr::from(FIRST_ADDRESS).into(), addresses: 1 << 24, port: 0, ports: 1 << 16 };
        let source = Logged { source: self.source(source)?, log: Arc::clone(log), last: 0 };
        self.send_from(source, rate, Some(time), self.stop)
    }

    fn source(&self, source: Endpoints) -> Result<Uniform> {
        let addresses = Addresses {
            source,
            destination: "10.255.0.1".parse().context("an address")?,
            source_mac: MacRange::one([2, 0, 0, 0, 0, 1]),
            destination_mac: MacRange::one([0xff; 6]),
        };
        Ok(Uniform::new(addresses, Kind::Udp, None, self.common.length.get() as usize, true)?)
    }

    fn send_from(
        &self,
        source: impl Source + Send,
        rate: Option<f64>,
        time: Option<Duration>,
        stop: &AtomicBool,
    ) -> Result<pktgen::Report> {
        let end = &self.lab.sender;
        let options = TxOptions { slot_size: 16_384, ..TxOptions::new(&end.interface) };
        end.inside(|| {
            crate::session::pin_to(usize::MAX);
            if self.lab.vale {
                let options = capture_netmap::TxOptions::new(&end.interface);
                return send_by(capture_netmap::Tx::open(&options)?, source, rate, time, stop);
            }
            if default_backend(&end.interface) == TxBackend::Packet {
                send_by(CopyTx::open(&options)?, source, rate, time, stop)
            } else {
                send_by(Tx::open(&options)?, source, rate, time, stop)
            }
        })?
    }
}

fn send_by<T: TxQueue>(
    mut tx: T,
    mut source: impl Source,
    rate: Option<f64>,
    time: Option<Duration>,
    stop: &AtomicBool,
) -> Result<pktgen::Report> {
    // At a rate the same number of frames in every run; the time only ends one that cannot keep up.
    let count = rate.zip(time).map(|(rate, time)| (rate * time.as_secs_f64()).round().max(1.0) as u64);
    let duration = time.map(|time| if count.is_some() { time * 2 + Duration::from_secs(1) } else { time });
    let limits = Limits { count, duration };
    let pace = Pace { rate, ..Pace::default() };
    Ok(pktgen::generate(&mut tx, &mut source, pace, limits, Some(STREAM), stop, |_| {})?)
}

/// Of a program that only counts: which frames it saw, when and in which order is not known.
fn counted_row(
    contestant: &Contestant,
    rate: Option<f64>,
    sent: &pktgen::Report,
    received: u64,
    dropped_said: Option<u64>,
    cpu: Option<Duration>,
) -> Row {
    let missing = sent.sent.saturating_sub(received);
    Row {
        contestant: contestant.name().to_owned(),
        rate_wanted: rate,
        rate: sent.rate,
        runs: 1,
        sent: sent.sent,
        received,
        missing,
        missing_percent: missing as f64 * 100.0 / sent.sent.max(1) as f64,
        dropped_said,
        cpu_seconds_per_million: cpu.filter(|_| received > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / received as f64),
        ..Row::default()
    }
}

fn stage_row(contestant: &Contestant, stage: Stage, rate: Option<f64>, measured: &Measured) -> Row {
    let missing = measured.sent.saturating_sub(measured.arrived);
    Row {
        contestant: contestant.name().to_owned(),
        stage: Some(stage.name()),
        rate_wanted: rate,
        rate: measured.rate,
        runs: 1,
        sent: measured.sent,
        received: measured.arrived,
        missing,
        missing_percent: missing as f64 * 100.0 / measured.sent.max(1) as f64,
        doubled: Some(measured.doubled),
        cpu_seconds_per_million: (measured.frames > 0)
            .then(|| measured.cpu.as_secs_f64() * 1e6 / measured.frames as f64),
        latency_us: measured.latency_us,
        ..Row::default()
    }
}

fn failed(contestant: &Contestant, rate: Option<f64>, error: &anyhow::Error) -> Row {
    Row {
        contestant: contestant.name().to_owned(),
        rate_wanted: rate,
        error: Some(crate::explain(error)),
        ..Row::default()
    }
}

fn one_line(row: &Row) -> String {
    match &row.error {
        Some(error) => format!("{}: {error}", row.contestant),
        None => format!(
            "{} at {:.0}/s: sent {}, received {}, missing {}, dropped as it says {}",
            row.contestant,
            row.rate,
            row.sent,
            row.received,
            row.missing,
            row.dropped_said.map_or_else(|| "unknown".to_owned(), |n| n.to_string())
        ),
    }
}

/// The runs of one contestant under one load as one row. If any failed, the row says why.
fn medians(rows: &[Row]) -> Option<Row> {
    if let Some(failed) = rows.iter().find(|row| row.error.is_some()) {
        return Some(failed.clone());
    }
    let first = rows.first()?;
    let count = |value: fn(&Row) -> u64| median(rows.iter().map(|row| value(row) as f64)) as u64;
    let some = |value: fn(&Row) -> Option<f64>| {
        let all: Option<Vec<f64>> = rows.iter().map(value).collect();
        all.map(|values| median(values.into_iter()))
    };
    Some(Row {
        rate: median(rows.iter().map(|row| row.rate)),
        runs: rows.len(),
        sent: count(|row| row.sent),
        received: count(|row| row.received),
        missing: count(|row| row.missing),
        missing_percent: median(rows.iter().map(|row| row.missing_percent)),
        doubled: some(|row| row.doubled.map(|n| n as f64)).map(|n| n as u64),
        reordered: some(|row| row.reordered.map(|n| n as f64)).map(|n| n as u64),
        // Known only if it was known each time.
        dropped_said: some(|row| row.dropped_said.map(|n| n as f64)).map(|n| n as u64),
        cpu_seconds_per_million: some(|row| row.cpu_seconds_per_million),
        latency_us: first.latency_us.and_then(|_| {
            let at = |n: usize| {
                let all: Option<Vec<f64>> = rows.iter().map(|row| row.latency_us.map(|latency| latency[n])).collect();
                all.map(|values| median(values.into_iter()))
            };
            Some([at(0)?, at(1)?, at(2)?, at(3)?, at(4)?])
        }),
        seconds: some(|row| row.seconds),
        ..first.clone()
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even.is_multiple_of(2) => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_medians_and_what_is_unknown_once_is_unknown() {
        let row =
            |missing, said| Row { contestant: "x".into(), missing, dropped_said: said, runs: 1, ..Row::default() };
        let middle = medians(&[row(5, Some(1)), row(1, Some(2)), row(100, Some(3))]).unwrap();
        assert_eq!((middle.missing, middle.dropped_said, middle.runs), (5, Some(2), 3));
        assert_eq!(medians(&[row(5, Some(1)), row(1, None)]).unwrap().dropped_said, None);
        assert!(medians(&[]).is_none());
        let failed = Row { error: Some("no".into()), ..row(0, None) };
        assert_eq!(medians(&[row(5, None), failed]).unwrap().error.as_deref(), Some("no"));
    }
}
