//! Workers without frames: batches of numbered records into a sink, and what must hold afterwards.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use capture::Timestamp;
use pipeline::batch::{OpenBatch, SharedBatch};
use pipeline::handoff::LaneSender;
use pipeline::ledger::{Ledger, SinkCounters, SinkReport};
use pipeline::pool::Pool;
use shipper::{SinkConfig, SinkError, SinkHandle, Workers, start};
use testkit::kafka::{Kafka, Message};

/// Octets of a record.
pub const RECORD: usize = 400;

/// Some workers, their pools and lanes, and one sink.
pub struct Harness {
    pub counters: Arc<SinkCounters>,
    ledger: Ledger,
    pub handle: SinkHandle,
    workers: Vec<Worker>,
}

struct Worker {
    pool: Pool,
    lane: LaneSender,
    next: u64,
    queue: u16,
}

/// What is left after everything has ended.
#[derive(Debug)]
pub struct Done {
    pub report: SinkReport,
    pub result: Result<(), Arc<SinkError>>,
}

impl Harness {
    /// Two workers with 32 buffers of 64 KiB each.
    pub fn new(url: &str) -> Self {
        Self::with(url, 2, 32, 64 * 1024)
    }

    pub fn with(url: &str, queues: u16, limit: usize, capacity: usize) -> Self {
        Self::try_with(url, queues, limit, capacity).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub fn try_with(url: &str, queues: u16, limit: usize, capacity: usize) -> Result<Self, SinkError> {
        logs();
        let config = SinkConfig::parse(url).expect("a sink");
        let ledger = Ledger::new();
        let counters = ledger.add_sink(&config.to_string());
        let workers = Workers { sensor: "test".to_owned(), count: usize::from(queues), buffers: limit };
        let (lanes, handle) = start(&config, &workers, Arc::clone(&counters))?;
        let workers = (0..queues)
            .zip(lanes)
            .map(|(queue, lane)| Worker {
                pool: Pool::new(limit, capacity),
                lane: lane.expect("a sink that takes batches"),
                next: 0,
                queue,
            })
            .collect();
        Ok(Self { counters, ledger, handle, workers })
    }

    /// Hands a batch of `records` to the sink; `false` if the worker had no free buffer for that long.
    pub fn send(&mut self, queue: u16, records: usize, patience: Duration) -> bool {
        let worker = &mut self.workers[usize::from(queue)];
        let Some(batch) = worker.batch(records, patience) else { return false };
        self.counters.produced(batch.len() as u64);
        assert!(worker.lane.send(batch).is_ok(), "a lane as large as the pool is never full");
        true
    }

    /// So many batches to each queue in turn.
    pub fn send_all(&mut self, batches: usize, records: usize) {
        for _ in 0..batches {
            for queue in 0..self.queues() {
                assert!(self.send(queue, records, Duration::from_secs(60)), "no buffer came back for a minute");
            }
        }
    }

    pub fn queues(&self) -> u16 {
        u16::try_from(self.workers.len()).expect("few")
    }

    /// As the ledger stands now.
    pub fn report(&self) -> SinkReport {
        self.ledger.report(false).sinks[0].clone()
    }

    /// Waits for a state of the ledger.
    pub fn wait_until(&self, patience: Duration, what: &str, condition: impl Fn(&SinkReport) -> bool) {
        let deadline = Instant::now() + patience;
        while !condition(&self.report()) {
            assert!(Instant::now() < deadline, "not in {patience:?}: {what}: {}", self.report());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the workers, drains the sink, and checks what must hold whatever happened.
    pub fn finish(self, patience: Duration) -> Done {
        self.end(|handle| handle.drain(Instant::now() + patience))
    }

    /// As above, but gives up at once.
    pub fn abort(self) -> Done {
        self.end(|handle| {
            handle.abort();
            handle.drain(Instant::now());
        })
    }

    pub fn end(self, how: impl FnOnce(&SinkHandle)) -> Done {
        let Self { ledger, handle, workers, counters } = self;
        let pools: Vec<_> = workers.into_iter().map(|worker| worker.pool).collect();
        how(&handle);
        let report = ledger.report(true).sinks[0].clone();
        assert_eq!(counters.in_flight(), 0, "settled: {report}");
        assert_eq!(report.produced, report.delivered + report.rejected + report.expired, "closes: {report}");
        let result = handle.join();
        assert_eq!(ledger.report(true).sinks[0], report, "nothing is settled after the end");
        for mut pool in pools {
            let home = (0..).take_while(|_| pool.take().is_some()).count();
            assert_eq!(home, pool.limit(), "all buffers are home");
        }
        Done { report, result }
    }
}

impl Worker {
    fn batch(&mut self, records: usize, patience: Duration) -> Option<SharedBatch> {
        let deadline = Instant::now() + patience;
        let buffer = loop {
            if let Some(buffer) = self.pool.take() {
                break buffer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.pool.wait(left);
        };
        let now = Instant::now();
        let mut open = OpenBatch::new(buffer, self.queue, self.next, now);
        for _ in 0..records {
            let Some(room) = open.room() else { break };
            let text =
                format!("{{\"queue\":{},\"number\":{},\"pad\":\"{:0>24}\"", self.queue, self.next, scatter(self.next));
            let record = format!("{text:<width$}}}", width = RECORD - 1);
            room[..record.len()].copy_from_slice(record.as_bytes());
            open.commit(record.len(), Timestamp::from_nanos(self.next));
            self.next += 1;
        }
        open.close(self.pool.home(), now)
    }
}

fn scatter(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31)
}

impl Done {
    pub fn reason(&self, name: &str) -> u64 {
        self.report.reasons.get(name).copied().unwrap_or(0)
    }

    /// All that was produced was delivered.
    pub fn nothing_lost(&self) {
        assert_eq!(self.report.delivered, self.report.produced, "{}", self.report);
        assert!(self.report.delivered > 0 && self.result.is_ok(), "{:?}", self.result);
    }
}

/// Each record once, in order within its queue, and as many as the ledger says. Returns how many there are.
pub fn check_topic(done: &Done, messages: &[Message]) -> u64 {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut found = 0;
    for message in messages {
        let records: Vec<(u64, u64)> = numbers(&message.payload);
        assert_eq!(message.headers["ringtap.count"], records.len().to_string());
        assert_eq!(message.headers["ringtap.first_sequence"], records[0].1.to_string());
        assert_eq!(message.headers["ringtap.last_sequence"], records[records.len() - 1].1.to_string());
        assert_eq!(message.headers["ringtap.queue"], records[0].0.to_string());
        assert_eq!(message.headers["ringtap.sensor"], "test");
        assert_eq!(message.headers["ringtap.schema"], pipeline::SCHEMA_VERSION.to_string());
        assert_eq!(message.key, format!("test/{}", records[0].0));
        for (queue, number) in records {
            if let Some(last) = last.insert(queue, number) {
                assert!(number > last, "queue {queue}: {number} comes after {last}");
            }
            found += 1;
        }
    }
    let delivered = done.report.delivered;
    let unsure = done.reason("unacknowledged") + done.reason("drain_timeout") + done.reason("aborted");
    assert!((delivered..=delivered + unsure).contains(&found), "{found} found: {}", done.report);
    found
}

/// Queue and number of each record. The payload is one JSON array of them.
pub fn numbers(payload: &str) -> Vec<(u64, u64)> {
    let array: serde_json::Value = serde_json::from_str(payload).expect("a JSON array");
    let field = |record: &serde_json::Value, name: &str| record[name].as_u64().expect("a number");
    array.as_array().expect("a JSON array").iter().map(|r| (field(r, "queue"), field(r, "number"))).collect()
}

/// One broker for all tests that leave it as it is. It ends with the last test that uses it.
pub fn shared_broker() -> Arc<Kafka> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(kafka) = shared.upgrade() {
        return kafka;
    }
    let kafka = Arc::new(Kafka::start(testkit::kafka::KafkaOptions { sasl: true, tls: true, ..Default::default() }));
    *shared = Arc::downgrade(&kafka);
    kafka
}

/// Log lines of the sinks so far that contain `part`. Other tests' sinks log too: see [`logged_by`].
pub fn logged(part: &str) -> usize {
    logged_by("", part)
}

/// Log lines so far that contain `part` and are of the sink whose URL contains `sink`: a broker's address, say.
pub fn logged_by(sink: &str, part: &str) -> usize {
    let lines = LINES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    String::from_utf8_lossy(&lines).lines().filter(|line| line.contains(sink) && line.contains(part)).count()
}

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Tee;

impl std::io::Write for Tee {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(octets);
        eprint!("{}", String::from_utf8_lossy(octets));
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logs() {
    let level = if std::env::var_os("RINGTAP_DEBUG").is_some() { tracing::Level::DEBUG } else { tracing::Level::INFO };
    drop(tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(|| Tee).try_init());
}
