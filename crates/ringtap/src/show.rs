//! The live view of `run --show`: a sink of this process's own that looks at batches and writes a few lines a second to
//! standard error.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pipeline::handoff::{Doorbell, LaneReceiver, lane};
use pipeline::ledger::{Ledger, SinkCounters};
use pipeline::worker::Lane;
use serde_json::Value;

const INTERVAL: Duration = Duration::from_secs(1);
/// Records looked at in an interval; all are counted.
const SAMPLE: usize = 500;
/// Records shown in an interval.
const SHOWN: usize = 5;

/// Starts the view; gives the lanes of `workers` workers, each for `buffers` batches.
pub(crate) fn start(ledger: &Arc<Ledger>, workers: usize, buffers: usize) -> Result<Vec<Lane>> {
    let counters = ledger.add_sink("show");
    let (ready, started) = mpsc::sync_channel(1);
    let (of_thread, watched) = (Arc::clone(&counters), Arc::downgrade(ledger));
    thread::Builder::new()
        .name("rt-show".to_owned())
        .spawn(move || {
            let bell = Doorbell::for_this_thread();
            let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| lane(buffers, bell.clone())).unzip();
            if ready.send(senders).is_ok() {
                View::default().run(receivers, &bell, &of_thread, &watched);
            }
        })
        .context("cannot start a thread")?;
    let senders = started.recv().context("the live view did not start")?;
    Ok(senders.into_iter().map(|sender| Lane { sender, counters: Arc::clone(&counters) }).collect())
}

/// What was seen in this interval.
#[derive(Default)]
struct View {
    sampled: usize,
    protocols: BTreeMap<String, usize>,
    lines: Vec<String>,
    frames: u64,
    octets: u64,
}

impl View {
    fn run(mut self, mut lanes: Vec<LaneReceiver>, bell: &Doorbell, counters: &SinkCounters, ledger: &Weak<Ledger>) {
        let mut last = Instant::now();
        while !lanes.iter().all(LaneReceiver::is_finished) {
            for lane in &mut lanes {
                while let Some(batch) = lane.receive() {
                    batch.records().for_each(|record| self.look(record));
                    counters.delivered(batch.len() as u64, batch.as_json_array().len() as u64);
                }
            }
            if last.elapsed() >= INTERVAL {
                self.print(ledger, last.elapsed());
                last = Instant::now();
            }
            let idle = || lanes.iter().any(|lane| !lane.is_empty()) || lanes.iter().all(LaneReceiver::is_finished);
            bell.sleep(INTERVAL.saturating_sub(last.elapsed()), idle);
        }
    }

    fn look(&mut self, record: &[u8]) {
        if self.sampled == SAMPLE {
            return;
        }
        let Ok(record) = serde_json::from_slice::<Value>(record) else { return };
        self.sampled += 1;
        let network = &record["network"];
        let protocol = network["transport"].as_str().or(network["type"].as_str()).unwrap_or("other");
        *self.protocols.entry(protocol.to_owned()).or_default() += 1;
        if self.lines.len() < SHOWN {
            self.lines.push(line(&record, protocol));
        }
    }

    fn print(&mut self, ledger: &Weak<Ledger>, time: Duration) {
        let Some(ledger) = ledger.upgrade() else { return };
        let frames = ledger.report(false).frames;
        let per_second = |n: u64| n as f64 / time.as_secs_f64();
        let (packets, bits) =
            (per_second(frames.processed - self.frames), per_second(frames.octets - self.octets) * 8.0);
        let shares: Vec<_> = self
            .protocols
            .iter()
            .map(|(name, n)| format!("{name} {:.0} %", *n as f64 * 100.0 / self.sampled as f64))
            .collect();
        eprintln!(
            "{packets:>10.0} packets/s {:>9} dropped {}   {}",
            rate(bits),
            frames.ring_dropped,
            shares.join(", ")
        );
        self.lines.iter().for_each(|line| eprintln!("             {line}"));
        *self = Self { frames: frames.processed, octets: frames.octets, ..Self::default() };
    }
}

fn rate(bits: f64) -> String {
    match bits {
        b if b >= 1e9 => format!("{:.2} Gbit/s", b / 1e9),
        b if b >= 1e6 => format!("{:.2} Mbit/s", b / 1e6),
        b => format!("{:.1} kbit/s", b / 1e3),
    }
}

/// `10.0.0.1:443 > 10.0.0.2:51234 tcp 60`
fn line(record: &Value, protocol: &str) -> String {
    let end = |side: &str| {
        let side = &record[side];
        let address = side["ip"].as_str().or(side["mac"].as_str()).unwrap_or("?");
        match (&side["port"], address.contains(':')) {
            (Value::Null, _) => address.to_owned(),
            (port, true) => format!("[{address}]:{port}"),
            (port, false) => format!("{address}:{port}"),
        }
    };
    let time = record["@timestamp"].as_str().and_then(|time| time.get(11..26)).unwrap_or_default();
    let direction = record["ringtap"]["frame"]["direction"].as_str().unwrap_or("--");
    format!(
        "{time} {direction} {} > {} {protocol} {} octets",
        end("source"),
        end("destination"),
        record["network"]["bytes"]
    )
}
