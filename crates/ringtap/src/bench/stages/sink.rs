//! Where records go, and how they are found again there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, bail};
use pipeline::ledger::{Ledger, QueueCounters};
use pipeline::worker::Lane;
use pktgen::{Source, Stamp, StampKind, Tracker};
use shipper::{FileConfig, KafkaConfig, SinkConfig, SinkHandle, TopicReader, Workers};

use crate::bench::process::IMPATIENCE;
use crate::bench::run::{FIRST_ADDRESS, STREAM};
use crate::bench::scratch::Scratch;

/// Buffers of a worker.
pub(super) const BUFFERS: usize = 32;
/// How long a sink may take for what it has when the traffic is over.
const DRAIN: Duration = Duration::from_secs(60);
/// How long a sink may take to answer at the start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long without a new record nothing more will come.
const SILENCE: Duration = Duration::from_secs(5);

/// A sink that is measured.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// Makes a file, which is removed again.
    File(Option<PathBuf>),
    Kafka(KafkaConfig),
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match SinkConfig::parse(text).map_err(|error| error.to_string())? {
            SinkConfig::Kafka(config) => Ok(Self::Kafka(config)),
            SinkConfig::File(FileConfig { path, zstd: None, .. }) => Ok(Self::File(Some(path))),
            SinkConfig::File(_) => Err("a compressed file cannot be read while it is written".to_owned()),
            SinkConfig::Stdout | SinkConfig::Null => Err("nothing can be found again there".to_owned()),
        }
    }
}

impl Goal {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "+ file sink",
            Self::Kafka(_) => "+ Kafka",
        }
    }

    /// Finds out whether it can be used.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::File(Some(path)) if path.exists() => {
                bail!("{} is there already: name a file that is not, for it is removed afterwards", path.display())
            }
            Self::File(Some(path)) => {
                let config = FileConfig { path: path.clone(), rotate: u64::MAX, zstd: None };
                shipper::probe(&SinkConfig::File(config), PROBE_TIMEOUT)?;
                Ok(())
            }
            Self::File(None) => Scratch::new().map(drop),
            Self::Kafka(config) => {
                shipper::probe(&SinkConfig::Kafka(config.clone()), PROBE_TIMEOUT)?;
                Ok(())
            }
        }
    }
}

/// A file that is removed with this value.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // perhaps it was never made
    }
}

/// A sink at work, with a ledger; or only the ledger.
pub(super) struct Sink {
    ledger: Ledger,
    handle: SinkHandle,
    name: String,
    /// As many records are there as this says, and no more will come.
    written: Arc<OnceLock<u64>>,
    tail: Option<thread::JoinHandle<Result<Tracker>>>,
    _file: Option<Removed>,
    _folder: Option<Scratch>,
}

impl Sink {
    /// Starts a sink, and whoever reads there what comes. Returns what a worker needs.
    pub(super) fn start(goal: Option<&Goal>, log: &Log) -> Result<(Self, Vec<Lane>, Arc<QueueCounters>)> {
        let written = Arc::new(OnceLock::new());
        let (mut folder, mut file, mut tail) = (None, None, None);
        let (over, stamps) = (Arc::clone(&written), Arc::clone(log));
        let config = match goal {
            None => SinkConfig::Null,
            Some(Goal::File(path)) => {
                let path = match path {
                    Some(path) => path.clone(),
                    None => folder.insert(Scratch::new()?).path().join("records.ndjson"),
                };
                file = Some(Removed(path.clone()));
                let config = SinkConfig::File(FileConfig { path: path.clone(), rotate: u64::MAX, zstd: None });
                tail = Some(thread::spawn(move || follow_file(&path, &over, &stamps)));
                config
            }
            Some(Goal::Kafka(config)) => {
                let reader = TopicReader::open(config, Duration::from_secs(10))?;
                tail = Some(thread::spawn(move || follow_topic(&reader, &over, &stamps)));
                SinkConfig::Kafka(config.clone())
            }
        };
        let ledger = Ledger::new();
        let name = config.to_string();
        let counters = ledger.add_sink(&name);
        let workers = Workers { sensor: "bench".to_owned(), count: 1, buffers: BUFFERS };
        let started = shipper::start(&config, &workers, Arc::clone(&counters));
        // Whoever reads there would wait for ever.
        let (senders, handle) = started.inspect_err(|_| written.set(0).unwrap_or_default())?;
        let lanes = senders.into_iter().map(|sender| Lane { sender, counters: Arc::clone(&counters) }).collect();
        let account = ledger.add_queue("bench", 0);
        Ok((Self { ledger, handle, name, written, tail, _file: file, _folder: folder }, lanes, account))
    }

    /// After the worker has ended: waits until the sink has settled everything, and says what was found there, if it was looked for. A
    /// sink that lost records is no sink that was measured.
    pub(super) fn finish(self, stop: &AtomicBool) -> Result<Option<Tracker>> {
        let patience = if stop.load(Ordering::Relaxed) { IMPATIENCE } else { DRAIN };
        let deadline = Instant::now() + patience;
        self.handle.begin_drain(deadline);
        self.handle.drain(deadline);
        let joined = self.handle.join();
        let report = self.ledger.report(true);
        let _ = self.written.set(report.sinks.first().map_or(0, |sink| sink.delivered)); // once
        let found = self.tail.map(|tail| tail.join().map_err(|_| anyhow!("a reader panicked; please report it")));
        if let Some(sink) = report.sinks.first().filter(|sink| sink.lost() > 0) {
            let reasons: Vec<String> = sink.reasons.iter().map(|(why, n)| format!("{why} {n}")).collect();
            let why = joined.err().map_or_else(String::new, |error| format!(" ({error})"));
            bail!("{} lost {} of {} records: {}{why}", self.name, sink.lost(), sink.produced, reasons.join(", "));
        }
        joined.map_err(|error| anyhow!("{}: {error}", self.name))?;
        found.transpose()?.transpose()
    }
}

/// When which frames were written by the generator: the first number of a batch, and its time.
pub(super) type Log = Arc<Mutex<Vec<(u64, u64)>>>;

/// Takes note of the stamps that pass.
pub(super) struct Logged<S> {
    pub source: S,
    pub log: Log,
    pub last: u64,
}

impl<S: Source> Source for Logged<S> {
    fn write(&mut self, slot: &mut [u8], stamp: Option<Stamp>) -> usize {
        if let Some(stamp) = stamp.filter(|stamp| stamp.nanos != self.last) {
            self.last = stamp.nanos;
            // Once a batch of frames. Who reads at the sink looks at it for each record, and holds it as long as a search takes.
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push((stamp.number, stamp.nanos));
        }
        self.source.write(slot, stamp)
    }

    fn longest(&self) -> usize {
        self.source.longest()
    }
}

/// The numbers of the frames whose records these are: the generator's addresses run through 2^16 ports and then go on by one. Looked for by
/// words: to parse records as JSON takes longer than to make them, and would be measured as latency.
fn numbers(records: &str) -> impl Iterator<Item = u64> {
    const SOURCE: &str = "\"source\":{";
    let number = |source: &str| {
        let after = |words: &str, end: char| {
            let value = &source[source.find(words)? + words.len()..];
            value.find(end).map(|end| &value[..end])
        };
        let address: std::net::Ipv4Addr = after("\"ip\":\"", '"')?.parse().ok()?;
        let port: u64 = after("\"port\":", ',')?.trim_end_matches('}').parse().ok()?;
        Some(u64::from(u32::from(address).checked_sub(FIRST_ADDRESS)?) << 16 | port)
    };
    records.match_indices(SOURCE).filter_map(move |(at, _)| number(&records[at..]))
}

/// Accounts for records that have come to the end of their way.
fn account(tracker: &mut Tracker, records: &str, log: &Log) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    for number in numbers(records) {
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = log.partition_point(|(first, _)| *first <= number);
        let sent = batch.checked_sub(1).and_then(|batch| log.get(batch)).map(|(_, nanos)| *nanos);
        drop(log);
        let stamp = Stamp { kind: StampKind::Data, stream: STREAM, number, nanos: sent.unwrap_or(0) };
        tracker.see_stamp(stamp, if sent.is_some() { now } else { 0 });
    }
}

/// Reads the records as they come to the file.
fn follow_file(file: &Path, written: &OnceLock<u64>, log: &Log) -> Result<Tracker> {
    let mut tracker = Tracker::of([STREAM]);
    let mut line = String::new();
    let mut lines: Option<BufReader<fs::File>> = None;
    loop {
        let over = written.get().is_some();
        let Some(reader) = &mut lines else {
            lines = fs::File::open(file).ok().map(BufReader::new);
            if lines.is_none() {
                if over {
                    bail!("the sink made no file");
                }
                thread::sleep(Duration::from_millis(1));
            }
            continue;
        };
        if reader.read_line(&mut line)? == 0 {
            if over {
                return Ok(tracker);
            }
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        if !line.ends_with('\n') {
            continue; // the rest of the line is still to come
        }
        account(&mut tracker, &line, log);
        line.clear();
    }
}

/// Reads the messages as they come to the topic.
fn follow_topic(reader: &TopicReader, written: &OnceLock<u64>, log: &Log) -> Result<Tracker> {
    let mut tracker = Tracker::of([STREAM]);
    let (mut last, mut seen) = (Instant::now(), 0);
    loop {
        let written = written.get();
        reader.next(Duration::from_millis(20), |payload| {
            account(&mut tracker, &String::from_utf8_lossy(payload), log);
        })?;
        // Others may write to the topic without an end.
        if tracker.seen() > seen || written.is_none() {
            (last, seen) = (Instant::now(), tracker.seen());
        }
        if written.is_some_and(|records| tracker.seen() >= *records || last.elapsed() > SILENCE) {
            return Ok(tracker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_lines_and_in_messages() {
        let record = |ip: &str, port: u16| format!("{{\"source\":{{\"ip\":\"{ip}\",\"port\":{port}}},\"x\":1}}");
        let message = format!("[{},{},{}]", record("10.0.0.0", 7), record("10.0.1.0", 0), record("9.0.0.0", 1));
        assert_eq!(numbers(&message).collect::<Vec<_>>(), [7, 256 << 16]);
    }

    #[test]
    fn only_where_records_can_be_found_again() {
        assert!("kafka://127.0.0.1:9092/packets".parse::<Goal>().is_ok());
        assert!("file:///tmp/x.ndjson".parse::<Goal>().is_ok());
        for wrong in ["file:///tmp/x?zstd=true", "null:", "stdout:", "nonsense"] {
            assert!(wrong.parse::<Goal>().is_err(), "{wrong}");
        }
    }
}
