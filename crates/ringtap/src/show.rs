//! The live view of `run --show`: a few lines a second on standard error. Nothing waits for it, however slowly that is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pipeline::glimpse::Glimpse;
use pipeline::ledger::Ledger;
use serde_json::Value;

use crate::tell;

const INTERVAL: Duration = Duration::from_secs(1);
/// Records shown in an interval.
const SHOWN: usize = 5;

/// Starts the view of what is shown to `glimpse`. It ends with the ledger.
pub(crate) fn start(ledger: &Arc<Ledger>, glimpse: Glimpse) -> Result<()> {
    let watched = Arc::downgrade(ledger);
    let view = move || View::default().run(&glimpse, &watched);
    thread::Builder::new().name("rt-show".to_owned()).spawn(view).context("cannot start a thread")?;
    Ok(())
}

/// Packets by protocol.
#[derive(Default)]
struct Shares {
    packets: u64,
    protocols: BTreeMap<String, u64>,
}

/// What was seen in this interval.
#[derive(Default)]
struct View {
    /// By their own records, and by reports of flows, which count where there are no others.
    sampled: [Shares; 2],
    lines: Vec<String>,
    frames: u64,
    octets: u64,
}

impl View {
    fn run(mut self, glimpse: &Glimpse, ledger: &Weak<Ledger>) {
        let mut last = Instant::now();
        loop {
            thread::sleep(INTERVAL);
            let Some(ledger) = ledger.upgrade() else { return };
            glimpse.take().split(|&octet| octet == b'\n').for_each(|record| self.look(record));
            self.print(&ledger, last.elapsed());
            last = Instant::now();
        }
    }

    fn look(&mut self, record: &[u8]) {
        let Ok(record) = serde_json::from_slice::<Value>(record) else { return };
        let network = &record["network"];
        let protocol = network["transport"].as_str().or(network["type"].as_str()).unwrap_or("other");
        // Of a flow's report; a packet's record has no number of them.
        let packets = network["packets"].as_u64();
        let shares = &mut self.sampled[usize::from(packets.is_some())];
        shares.packets += packets.unwrap_or(1);
        *shares.protocols.entry(protocol.to_owned()).or_default() += packets.unwrap_or(1);
        if self.lines.len() < SHOWN {
            self.lines.push(line(&record, protocol));
        }
    }

    fn print(&mut self, ledger: &Ledger, time: Duration) {
        let frames = ledger.report(false).frames;
        let per_second = |n: u64| n as f64 / time.as_secs_f64();
        let (packets, bits) =
            (per_second(frames.processed - self.frames), per_second(frames.octets - self.octets) * 8.0);
        let [of_packets, of_flows] = &self.sampled;
        let Shares { packets: all, protocols } = if of_packets.packets > 0 { of_packets } else { of_flows };
        let share = |n: u64| n as f64 * 100.0 / *all as f64;
        let shares: Vec<_> = protocols.iter().map(|(name, n)| format!("{name} {:.0} %", share(*n))).collect();
        tell(format_args!(
            "{packets:>10.0} packets/s {:>9} dropped {}   {}",
            rate(bits),
            frames.ring_dropped,
            shares.join(", ")
        ));
        self.lines.iter().for_each(|line| tell(format_args!("             {line}")));
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

/// `10.0.0.1:443 > 10.0.0.2:51234 tcp 60 octets`; of a flow its packets, too.
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
    let network = &record["network"];
    let (what, packets) = match &network["packets"] {
        Value::Null => (record["ringtap"]["frame"]["direction"].as_str().unwrap_or("--"), String::new()),
        packets => ("flow", format!("{packets} packets ")),
    };
    let (source, destination) = (end("source"), end("destination"));
    format!("{time} {what} {source} > {destination} {protocol} {packets}{} octets", network["bytes"])
}
