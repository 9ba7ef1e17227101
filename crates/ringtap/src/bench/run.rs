//! The measurements: a generator, a contestant, and the numbers that tell what is missing.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use capture::TxQueue;
use capture_afpacket::{CopyTx, Tx, TxOptions};
use pktgen::{Addresses, Endpoints, Kind, Limits, MacRange, Pace, Rate, Source, Uniform, highest_without_loss};

use super::args::Common;
use super::contestant::{Capture, Contestant, Field, Running};
use super::lab::Lab;
use super::report::{Report, figure, frames, known};
use super::row::{Row, medians};
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

    pub(super) fn report(&self, measure: &'static str, field: &Field) -> Report {
        let frame_octets = Some(self.common.length.get());
        Report { measure, frame_octets, absent: field.absent.clone(), ..Report::default() }
    }

    /// Each contestant under one load, several times over; contestants in turn, so that a busy minute hits all.
    fn rounds(&self, field: &Field, repeats: u64, run: impl Fn(&Contestant) -> Row) -> Vec<Row> {
        let mut runs: Vec<Vec<Row>> = field.present.iter().map(|_| Vec::new()).collect();
        for n in 0..repeats {
            for (contestant, rows) in field.present.iter().zip(&mut runs) {
                if self.interrupted() {
                    break;
                }
                let row = run(contestant);
                tell(format_args!("run {} of {repeats}: {}", n + 1, one_line(&row)));
                // A run that the user broke off is no failure of the contestant.
                if row.runs > 0 || rows.is_empty() || !self.interrupted() {
                    rows.push(row);
                }
            }
        }
        runs.iter().filter_map(|rows| medians(rows)).collect()
    }

    /// What each contestant loses at each rate.
    pub(crate) fn drop_rate(&self, field: &Field, rates: &[Rate], repeats: u64, time: Duration) -> Report {
        let mut report = self.report("drop-rate", field);
        for rate in rates {
            report.rows.extend(self.rounds(field, repeats, |contestant| {
                self.trial(contestant, rate.0, time)
                    .unwrap_or_else(|error| Row::failed(contestant.name(), rate.0, &error))
            }));
        }
        report
    }

    /// The highest rate without loss of each contestant.
    pub(crate) fn zero_loss(&self, field: &Field, time: Duration, resolution: f64) -> Report {
        let mut report = self.report("zero-loss", field);
        for contestant in &field.present {
            if self.interrupted() {
                break;
            }
            let row = search(resolution, |rate| {
                let row = self.trial(contestant, rate, time)?;
                tell(one_line(&row));
                Ok(row)
            });
            report.rows.push(Row { contestant: contestant.name().to_owned(), ..row });
        }
        report
    }

    /// The time that each contestant takes for each number of frames.
    pub(crate) fn elapsed(&self, field: &Field, packets: &[u64], repeats: u64) -> Report {
        let mut report = self.report("elapsed", field);
        for &count in packets {
            report.rows.extend(self.rounds(field, repeats, |contestant| {
                let row = self.time_for(contestant, count);
                let row = row.unwrap_or_else(|error| Row::failed(contestant.name(), None, &error));
                Row { packets: Some(count), ..row }
            }));
        }
        report
    }

    /// From the first frame that was sent to the last that was captured; of a program, to its end.
    fn time_for(&self, contestant: &Contestant, count: u64) -> Result<Row> {
        let mut running = contestant.start(self.lab, Some(count), self.stop)?;
        // Only now: to open a ring or to attach a program sets many a NIC back, and its link with it.
        let carriers = self.lab.carriers()?;
        let enough = AtomicBool::new(false);
        let start = Instant::now();
        let (sent, reached) = thread::scope(|scope| -> Result<(pktgen::Report, Option<Instant>)> {
            let sending = scope.spawn(|| self.send(None, None, &enough));
            let mut reached = None;
            while !sending.is_finished() && start.elapsed() < PATIENCE && !self.interrupted() {
                if running.ended() {
                    reached = Some(Instant::now());
                    break;
                }
                thread::sleep(Duration::from_micros(200));
            }
            enough.store(true, Ordering::Relaxed);
            Ok((sending.join().map_err(|_| anyhow!("the generator panicked; please report it"))??, reached))
        })?;
        if self.interrupted() && reached.is_none() {
            bail!("interrupted");
        }
        self.lab.kept_carriers(&carriers)?;
        let mut captured = None;
        if reached.is_some() || matches!(running, Running::Ours(_)) {
            captured = Some(running.finish(self.stop)?);
        }
        let reached = captured.as_ref().and_then(|capture| capture.reached).or(reached);
        let (reached, capture) =
            reached.zip(captured).with_context(|| format!("it did not reach {}", frames(count)))?;
        let frames = capture.counted.unwrap_or_else(|| capture.tracker.seen() + capture.tracker.arrivals().other);
        if frames < count {
            bail!("it ended after {frames} frames of {count}");
        }
        let began = sent.began.context("nothing was sent")?;
        Ok(Row {
            contestant: contestant.name().to_owned(),
            seconds: Some(reached.saturating_duration_since(began).as_secs_f64()),
            runs: 1,
            options: Some(capture.options),
            ..Row::default()
        })
    }

    /// One contestant at one rate for some time.
    fn trial(&self, contestant: &Contestant, rate: Option<f64>, time: Duration) -> Result<Row> {
        let running = contestant.start(self.lab, None, self.stop)?;
        // Only now: to open a ring or to attach a program sets many a NIC back, and its link with it.
        let carriers = self.lab.carriers()?;
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(|| self.send(rate, Some(time), self.stop));
            sending.join().map_err(|_| anyhow!("the generator panicked; please report it"))?
        });
        let interrupted = self.interrupted();
        thread::sleep(SETTLE);
        // First of all: it explains all others.
        let kept = self.lab.kept_carriers(&carriers);
        let captured = running.finish(self.stop);
        kept?;
        let (sent, Capture { mut tracker, counted, dropped_said, cpu, options, .. }) = (sent?, captured?);
        if sent.filled == 0 {
            bail!("{}", if interrupted { "interrupted" } else { "nothing was sent" });
        }
        tracker.expect(STREAM, sent.filled, sent.refused);
        let arrivals = tracker.arrivals();
        if counted.is_none() && arrivals.received == 0 && arrivals.other > 0 {
            bail!(
                "{} came, and none has a number that can be read: does it keep too few octets of each?",
                frames(arrivals.other)
            );
        }
        let received = counted.unwrap_or(arrivals.received);
        let mut row = Row {
            interrupted,
            received: Some(received),
            dropped_said,
            options: Some(options),
            ..Row::sent(contestant.name(), rate, &sent)
        };
        row.set_cpu(cpu, received);
        if counted.is_some() {
            // Which frames they were, when and in which order they came, is not known.
            row.set_missing_by_counts(received);
            return Ok(row);
        }
        (row.doubled, row.reordered) = (Some(arrivals.doubled), Some(arrivals.reordered));
        row.other_frames = Some(arrivals.other);
        if sent.unknown > 0 {
            row.notes
                .push(format!("{} may have left or not, so that nobody knows what is missing", frames(sent.unknown)));
        } else {
            row.set_missing(arrivals.missing);
        }
        row.set_latency(arrivals.latency);
        Ok(row)
    }

    /// The generator, on the highest core: readers are on the lowest.
    fn send(&self, rate: Option<f64>, time: Option<Duration>, stop: &AtomicBool) -> Result<pktgen::Report> {
        // Some hundreds of flows, so that several queues have work.
        let source = Endpoints { ports: 500, port: 1000, ..Endpoints::one(Ipv4Addr::from(FIRST_ADDRESS).into()) };
        self.send_from(self.source(source)?, rate, time, stop)
    }

    /// Frames of the lab from these addresses and ports.
    pub(super) fn source(&self, source: Endpoints) -> Result<Uniform> {
        let addresses = Addresses {
            source,
            destination: "10.255.0.1".parse().context("an address")?,
            source_mac: MacRange::one([2, 0, 0, 0, 0, 1]),
            destination_mac: MacRange::one([0xff; 6]),
        };
        Ok(Uniform::new(addresses, Kind::Udp, None, self.common.length.get() as usize, true)?)
    }

    pub(super) fn send_from(
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

/// The highest rate without loss. What the generator reaches while the contestant captures is the first that is tried. The best that was found
/// stays, also if the search does not come to its end: by an error, or by a trial that the user broke off.
fn search(resolution: f64, mut run: impl FnMut(Option<f64>) -> Result<Row>) -> Row {
    let (mut best, mut interrupted): (Option<Row>, bool) = (None, false);
    let mut trial = |rate: Option<f64>| -> Result<(bool, f64)> {
        let row = run(rate)?;
        if row.interrupted {
            interrupted = true;
            bail!("interrupted");
        }
        let reached = row.rate.unwrap_or(0.0);
        let passed = row.missing == Some(0) && rate.is_none_or(|rate| reached >= rate * 0.99);
        if passed && best.as_ref().is_none_or(|best| best.rate < row.rate) {
            best = Some(row);
        }
        Ok((passed, reached))
    };
    let searched = trial(None).and_then(|(passed, ceiling)| match passed {
        true => Ok(()),
        false => highest_without_loss(ceiling, resolution, |rate| Ok(trial(Some(rate))?.0)).map(drop),
    });
    match (best, searched) {
        (Some(best), Ok(())) => best,
        (Some(best), Err(_)) if interrupted => Row { interrupted, ..best },
        (Some(best), Err(error)) => Row { failed: 1, error: Some(crate::explain(&error)), ..best },
        // That is what was asked.
        (None, Ok(())) => {
            Row { runs: 1, notes: vec!["lost frames at every rate that was tried".to_owned()], ..Row::default() }
        }
        (None, Err(error)) => Row { interrupted, ..Row::failed("", None, &error) },
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

/// A run, for those who wait.
pub(super) fn one_line(row: &Row) -> String {
    if let Some(error) = row.error.as_ref().filter(|_| row.runs == 0) {
        return format!("{}: {error}", row.contestant);
    }
    if let (Some(packets), Some(seconds)) = (row.packets, row.seconds) {
        return format!("{}: {} in {seconds:.6} s", row.contestant, frames(packets));
    }
    format!(
        "{}{}: sent {}, received {}, missing {}, dropped (said) {}",
        row.contestant,
        row.rate.map_or_else(String::new, |rate| format!(" at {}/s", figure(rate, 4))),
        known(row.sent),
        known(row.received),
        known(row.missing),
        known(row.dropped_said)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A contestant that loses above 100,000/s, with a generator that does 1,000,000/s; the `n`th trial goes otherwise.
    fn trials(n: usize, otherwise: impl Fn(Row) -> Result<Row>) -> Row {
        let mut count = 0;
        search(0.01, |wanted| {
            let rate = wanted.unwrap_or(1e6);
            let row = Row { rate: Some(rate), missing: Some(u64::from(rate > 1e5)), runs: 1, ..Row::default() };
            count += 1;
            if count == n { otherwise(row) } else { Ok(row) }
        })
    }

    #[test]
    fn the_best_rate_outlives_the_end_of_the_search() {
        let whole = trials(0, Ok);
        assert!(whole.rate.is_some_and(|rate| rate > 90e3) && !whole.interrupted && whole.error.is_none(), "{whole:?}");
        let cut = trials(8, |row| Ok(Row { interrupted: true, ..row }));
        assert!(cut.rate.is_some_and(|rate| rate < 1e5) && cut.interrupted && cut.runs == 1, "{cut:?}");
        let broken = trials(8, |_| bail!("the cable"));
        assert_eq!((broken.rate, broken.failed, broken.error.as_deref()), (cut.rate, 1, Some("the cable")));
        let lossy = search(0.01, |_| Ok(Row { rate: Some(1e6), missing: Some(1), runs: 1, ..Row::default() }));
        assert_eq!((lossy.rate, lossy.runs, lossy.failed), (None, 1, 0));
        assert!(lossy.notes[0].contains("every rate"), "{lossy:?}");
        let early = trials(2, |row| Ok(Row { interrupted: true, ..row }));
        assert_eq!((early.rate, early.runs, early.error.as_deref()), (None, 0, Some("interrupted")));
    }
}
