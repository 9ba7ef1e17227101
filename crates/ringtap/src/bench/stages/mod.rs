//! `bench stages`: where the time of a frame goes, from the ring to the sink, and whether each frame arrives there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use capture::{Frame, Interface, LinkType, Readiness, RxBatch, RxQueue};
use hdrhistogram::Histogram;
use pipeline::batch::OpenBatch;
use pipeline::dissect::Layers;
use pipeline::ledger::Ledger;
use pipeline::pool::Pool;
use pipeline::record::{Encoder, Observer};
use pipeline::worker::{self, Control, Everything, Lane, Output};
use pktgen::{Source, Stamp, thread_time};
use shipper::{SinkConfig, Workers};

use super::run::Bench;
use crate::backends::{Backend, Queues, Take};

/// How far frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Out of the ring, and looked at.
    Ring,
    /// Their headers are read.
    Dissect,
    /// Their records are written into batches.
    Encode,
    /// The whole worker, with its ledger; batches go nowhere.
    Worker,
    /// The same, and batches go to a file by another thread.
    File,
}

impl Stage {
    pub(super) const ALL: [Self; 5] = [Self::Ring, Self::Dissect, Self::Encode, Self::Worker, Self::File];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Dissect => "+ dissect",
            Self::Encode => "+ encode",
            Self::Worker => "+ hand-off and ledger",
            Self::File => "+ file sink",
        }
    }
}

/// What a stage cost and lost.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub frames: u64,
    pub sent: u64,
    pub rate: f64,
    /// CPU time of the thread that reads the ring.
    pub cpu: Duration,
    /// At the end of the way: different frames by their numbers, and those that came twice. Where frames become no records, as many as were read.
    pub arrived: u64,
    pub doubled: u64,
    /// From the generator to the line in the file, microseconds: 50, 90, 99, 99.9 percent, longest.
    pub latency_us: Option<[f64; 5]>,
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
            // Once a batch of frames. The reader of the file looks at it for each record, and holds it as long as a search takes.
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push((stamp.number, stamp.nanos));
        }
        self.source.write(slot, stamp)
    }

    fn longest(&self) -> usize {
        self.source.longest()
    }
}

/// Reads a queue as far as a stage goes.
struct Reader<'r> {
    stage: Stage,
    stop: Arc<AtomicBool>,
    file: &'r Path,
    thread: Option<JoinHandle<Result<(u64, Duration)>>>,
}

impl Take for Reader<'_> {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        if self.thread.is_some() {
            bail!("stages are measured with one queue");
        }
        let (stage, stop, file) = (self.stage, Arc::clone(&self.stop), self.file.to_owned());
        let read = move || {
            crate::session::pin_to(0);
            let before = thread_time();
            let frames = match stage {
                Stage::Ring => each(&mut queue, &stop, |frame| {
                    std::hint::black_box(frame.data.first());
                })?,
                Stage::Dissect => {
                    let mut layers = Layers::default();
                    each(&mut queue, &stop, |frame| {
                        std::hint::black_box(&layers.headers(frame));
                    })?
                }
                Stage::Encode => {
                    let mut writer = Writer::new();
                    each(&mut queue, &stop, |frame| writer.write(frame))?
                }
                Stage::Worker => run_worker(queue, &stop, SinkConfig::Null)?,
                Stage::File => run_worker(queue, &stop, SinkConfig::parse(&format!("file://{}", file.display()))?)?,
            };
            Ok((frames, thread_time().saturating_sub(before)))
        };
        self.thread = Some(thread::Builder::new().name("rt-bench-stage".to_owned()).spawn(read)?);
        Ok(())
    }
}

/// Calls `work` for each frame until `stop`, then to the queue's end.
fn each<Q: RxQueue>(queue: &mut Q, stop: &AtomicBool, mut work: impl FnMut(&Frame<'_>)) -> Result<u64> {
    let mut frames = 0;
    let mut stopped = false;
    loop {
        while let Some(mut batch) = queue.next_batch()? {
            for frame in batch.frames() {
                work(&frame);
                frames += 1;
            }
        }
        if !stopped && stop.load(Ordering::Acquire) {
            queue.stop()?;
            stopped = true;
        }
        if queue.wait(Duration::from_millis(20))? == Readiness::Ended {
            return Ok(frames);
        }
    }
}

fn observer() -> Observer {
    Observer { name: "bench".to_owned(), hostname: "bench".to_owned(), run: 1 }
}

/// Writes records into batches that go nowhere.
struct Writer {
    encoder: Encoder,
    layers: Layers,
    pool: Pool,
    open: Option<OpenBatch>,
    now: Instant,
}

impl Writer {
    fn new() -> Self {
        let mut encoder = Encoder::new(observer(), 0);
        encoder.set_interfaces(&[Interface { name: "bench0".to_owned(), link_type: LinkType::ETHERNET }]);
        Self { encoder, layers: Layers::default(), pool: Pool::new(2, 900_000), open: None, now: Instant::now() }
    }

    fn write(&mut self, frame: &Frame<'_>) {
        if self.open.as_mut().and_then(OpenBatch::room).is_none() {
            let full = self.open.take();
            drop(full.and_then(|full| full.close(self.pool.home(), self.now)));
            let buffer = self.pool.take().unwrap_or_default();
            self.open = Some(OpenBatch::new(buffer, 0, self.encoder.next_sequence(), self.now));
        }
        let Some(open) = &mut self.open else { return };
        let Some(room) = open.room() else { return };
        let length = self.encoder.begin(room, frame).write(frame, &self.layers.headers(frame));
        open.commit(length, frame.timestamp);
    }
}

/// The whole worker with one sink, as `run` has it.
fn run_worker<Q: RxQueue>(mut queue: Q, stop: &Arc<AtomicBool>, sink: SinkConfig) -> Result<u64> {
    const BUFFERS: usize = 32;
    let ledger = Ledger::new();
    let counters = ledger.add_sink(&sink.to_string());
    let workers = Workers { sensor: "bench".to_owned(), count: 1, buffers: BUFFERS };
    let (senders, handle) = shipper::start(&sink, &workers, Arc::clone(&counters))?;
    let lanes = senders.into_iter().map(|sender| Lane { sender, counters: Arc::clone(&counters) }).collect();
    let account = ledger.add_queue("bench", 0);
    let encoder = Encoder::new(observer(), 0);
    let mut output = Output::new(encoder, Pool::new(BUFFERS, 900_000), lanes, account, 0, Duration::from_millis(200));
    let control = Arc::new(Control::new(None));
    let (watched, told) = (Arc::clone(stop), Arc::clone(&control));
    let watch = thread::spawn(move || {
        while !watched.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(20));
        }
        told.stop();
    });
    let result = worker::run(&mut queue, &mut Everything, &mut output, &control);
    stop.store(true, Ordering::Release);
    drop(output);
    let deadline = Instant::now() + Duration::from_secs(60);
    handle.begin_drain(deadline);
    handle.drain(deadline);
    handle.join().map_err(|error| anyhow!("{error}"))?;
    let _ = watch.join();
    result?;
    Ok(queue.stats()?.received)
}

/// One stage of one mechanism at one rate.
pub(super) fn measure(
    bench: &Bench<'_>,
    backend: Backend,
    stage: Stage,
    rate: Option<f64>,
    time: Duration,
) -> Result<Measured> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file: PathBuf = folder.path().join("records.ndjson");
    let stop = Arc::new(AtomicBool::new(false));
    let mut reader = Reader { stage, stop: Arc::clone(&stop), file: &file, thread: None };
    let end = &bench.lab.receiver;
    end.inside(|| Queues::open_plain(backend, &end.interface, None).and_then(|queues| queues.give(&mut reader)))??;
    let thread = reader.thread.take().context("a reader")?;
    let log = Log::default();
    let written = Arc::new(AtomicBool::new(false));
    let tail = (stage == Stage::File).then(|| {
        let (file, written, log) = (file.clone(), Arc::clone(&written), Arc::clone(&log));
        thread::spawn(move || follow(&file, &written, &log))
    });
    let sent = bench.send_logged(rate, time, &log);
    thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Release);
    let read = thread.join().map_err(|_| anyhow!("a reader panicked; please report it"));
    written.store(true, Ordering::Release);
    let arrived =
        tail.map(|tail| tail.join().map_err(|_| anyhow!("a reader panicked; please report it"))).transpose()?;
    let (sent, (frames, cpu)) = (sent?, read??);
    let mut measured =
        Measured { frames, sent: sent.sent, rate: sent.rate, cpu, arrived: frames, ..Measured::default() };
    if let Some(arrived) = arrived {
        let (numbers, doubled, latency) = arrived?;
        (measured.arrived, measured.doubled) = (numbers, doubled);
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        measured.latency_us = (!latency.is_empty()).then(|| [at(0.5), at(0.9), at(0.99), at(0.999), at(1.0)]);
    }
    Ok(measured)
}

/// The number of a frame as its record has it: the generator's addresses run through 2^16 ports and then go on by one. Looked for by words: to
/// parse records as JSON takes longer than to make them, and would be measured as latency.
fn number_of(record: &str) -> Option<u64> {
    let source = &record[record.find("\"source\":{")?..];
    let after = |words: &str, end: char| {
        let value = &source[source.find(words)? + words.len()..];
        value.find(end).map(|end| &value[..end])
    };
    let address: std::net::Ipv4Addr = after("\"ip\":\"", '"')?.parse().ok()?;
    let port: u64 = after("\"port\":", ',')?.trim_end_matches('}').parse().ok()?;
    Some(u64::from(u32::from(address).checked_sub(super::run::FIRST_ADDRESS)?) << 16 | port)
}

/// Reads the records as they come to the file: different numbers, doubled ones, and the time from the generator to the line.
fn follow(file: &Path, written: &AtomicBool, log: &Log) -> Result<(u64, u64, Histogram<u64>)> {
    let mut latency = Histogram::<u64>::new_with_max(600_000_000_000, 3)?;
    let (mut numbers, mut doubled) = (BTreeSet::new(), 0);
    let mut line = String::new();
    let mut lines: Option<BufReader<fs::File>> = None;
    loop {
        let over = written.load(Ordering::Acquire);
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
                return Ok((numbers.len() as u64, doubled, latency));
            }
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        if !line.ends_with('\n') {
            continue; // the rest of the line is still to come
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        let number = number_of(&line);
        line.clear();
        if let Some(number) = number {
            if !numbers.insert(number) {
                doubled += 1;
            }
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let batch = log.partition_point(|(first, _)| *first <= number);
            if let Some((_, sent)) = batch.checked_sub(1).and_then(|batch| log.get(batch)) {
                latency.saturating_record(now.saturating_sub(*sent).max(1));
            }
        }
    }
}
