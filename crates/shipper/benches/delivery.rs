//! Delivery alone: batches made beforehand, lent to librdkafka by the sink or copied by librdkafka's own producer.
//!
//! `cargo xtask bench kafka-delivery` runs it and compares; one JSON object a line comes out. It stands here because this is
//! the crate that knows rdkafka.
#![allow(clippy::unwrap_used, reason = "a bench may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capture::{Interface, LinkType};
use pipeline::batch::{OpenBatch, SharedBatch};
use pipeline::dissect::Layers;
use pipeline::ledger::Ledger;
use pipeline::pool::Pool;
use pipeline::record::{Encoder, Observer};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use shipper::{SinkConfig, Workers, start};
use testkit::frames;
use testkit::kafka::{Kafka, KafkaOptions};
use testkit::net::process_cpu_time;

/// Batches prepared: several times those under way, which are far more than any cache holds.
const BATCHES: usize = 96;
/// Batches that nobody has acknowledged yet, at most.
const UNDER_WAY: usize = 32;
const BATCH_SIZE: usize = 900_000;
const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs benches too, without this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let number = |name: &str, default| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (rounds, time) = (number("--rounds", 3), Duration::from_secs(number("--seconds", 7)));
    let batches = batches();
    // Nobody reads the topic; without these the disk would fill.
    let properties = [("log.retention.check.interval.ms", "1000"), ("log.initial.task.delay.ms", "1000")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let broker = Kafka::start(KafkaOptions { properties: properties.into(), ..KafkaOptions::default() });
    let retention =
        [("retention.bytes", "536870912"), ("segment.bytes", "134217728"), ("file.delete.delay.ms", "1000")];
    broker.create_topic("delivery", 1, &retention);
    // A cold broker compiles.
    for _ in 0..2 {
        lent(&broker, "lz4", &batches, time);
        copied(&broker, "lz4", &batches, time);
    }
    for round in 0..rounds {
        for codec in ["none", "lz4", "zstd"] {
            for at in [round, round + 1] {
                let (how, run) = match at % 2 {
                    0 => ("lent", lent(&broker, codec, &batches, time)),
                    _ => ("copied", copied(&broker, codec, &batches, time)),
                };
                let line = serde_json::json!({
                    "codec": codec, "how": how, "octets": run.octets, "seconds": run.wall.as_secs_f64(),
                    "cpu": run.cpu.as_secs_f64(),
                });
                println!("{line}");
            }
        }
    }
}

/// JSON arrays of the records of frames made by chance.
fn batches() -> Vec<SharedBatch> {
    let observer = Observer { name: "sensor1".to_owned(), hostname: "sensor1".to_owned(), run: 77 };
    let mut encoder = Encoder::new(observer, 0);
    encoder.set_interfaces(&[Interface { name: "eth0".to_owned(), link_type: LinkType::ETHERNET }]);
    let mut pool = Pool::new(BATCHES, BATCH_SIZE);
    let (mut layers, now) = (Layers::default(), Instant::now());
    (0..BATCHES as u64)
        .map(|seed| {
            let mut open = OpenBatch::new(pool.take().unwrap(), 0, encoder.next_sequence(), now);
            // More than fit.
            for frame in frames::mix(seed, BATCH_SIZE / 400) {
                let Some(room) = open.room() else { break };
                let frame = frame.lend();
                let length = encoder.begin(room, &frame).write(&frame, &layers.headers(&frame));
                open.commit(length, frame.timestamp);
            }
            open.close(pool.home(), now).unwrap()
        })
        .collect()
}

struct Run {
    octets: u64,
    wall: Duration,
    /// Of the whole process: librdkafka's threads too.
    cpu: Duration,
}

/// By the sink: its thread, lanes and ledger.
fn lent(broker: &Kafka, codec: &str, batches: &[SharedBatch], time: Duration) -> Run {
    let url = format!("kafka://{}/delivery?compression.type={codec}", broker.address());
    let config = SinkConfig::parse(&url).unwrap();
    let ledger = Ledger::new();
    let counters = ledger.add_sink(&config.to_string());
    let workers = Workers { sensor: "sensor1".to_owned(), count: 1, buffers: UNDER_WAY };
    let (lanes, handle) = start(&config, &workers, Arc::clone(&counters)).unwrap();
    let mut lane = lanes.into_iter().next().unwrap().unwrap();
    let most = batches.iter().map(|batch| batch.len()).max().unwrap() * (UNDER_WAY - 1);
    let (begin, before, mut octets) = (Instant::now(), process_cpu_time(), 0);
    for batch in batches.iter().cycle() {
        while counters.in_flight() > most as u64 {
            thread::sleep(Duration::from_millis(1));
        }
        if begin.elapsed() > time {
            break;
        }
        octets += batch.as_json_array().len() as u64;
        counters.produced(batch.len() as u64);
        lane.send(batch.clone()).unwrap();
    }
    drop(lane);
    handle.drain(Instant::now() + MINUTE);
    let run = Run { octets, wall: begin.elapsed(), cpu: process_cpu_time() - before };
    let report = ledger.report(true).sinks[0].clone();
    assert_eq!(report.delivered, report.produced, "{report}");
    handle.join().unwrap();
    run
}

/// What has a report.
#[derive(Default)]
struct Reports {
    settled: AtomicUsize,
    failed: AtomicUsize,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            eprintln!("not delivered: {error}: {message:?}");
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.settled.fetch_add(1, Ordering::Relaxed);
    }
}

/// By librdkafka's own producer: the same messages, options (`kafka/options.rs`) and bound.
fn copied(broker: &Kafka, codec: &str, batches: &[SharedBatch], time: Duration) -> Run {
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("bootstrap.servers", broker.address().as_str()),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("max.in.flight.requests.per.connection", "5"),
        ("compression.type", codec),
        ("partitioner", "murmur2_random"),
        ("linger.ms", "0"),
        ("batch.num.messages", "1"),
        ("message.max.bytes", "67108864"),
        ("queue.buffering.max.kbytes", "2147483647"),
    ] {
        config.set(key, value);
    }
    let producer: BaseProducer<Reports> = config.create_with_context(Reports::default()).unwrap();
    let reports = Arc::clone(producer.context());
    let (begin, before, mut octets, mut sent) = (Instant::now(), process_cpu_time(), 0, 0);
    for batch in batches.iter().cycle() {
        // One event a call. It spins below a millisecond, so waiting is done elsewhere.
        loop {
            let known = reports.settled.load(Ordering::Relaxed);
            producer.poll(Duration::ZERO);
            if known != reports.settled.load(Ordering::Relaxed) {
                continue;
            }
            if sent - known < UNDER_WAY {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        if begin.elapsed() > time {
            break;
        }
        let payload = batch.as_json_array();
        let meta = batch.meta();
        let headers = [
            ("ringtap.sensor", "sensor1".to_owned()),
            ("ringtap.queue", "0".to_owned()),
            ("ringtap.first_sequence", meta.first_sequence.to_string()),
            ("ringtap.last_sequence", meta.last_sequence.to_string()),
            ("ringtap.count", batch.len().to_string()),
            ("ringtap.schema", pipeline::SCHEMA_VERSION.to_string()),
        ];
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value.as_str()) }));
        let record = BaseRecord::to("delivery").key("sensor1/0").payload(payload).headers(headers);
        match producer.send(record) {
            Ok(()) => sent += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => continue,
            Err((error, _)) => panic!("{error}"),
        }
        octets += payload.len() as u64;
    }
    let deadline = Instant::now() + MINUTE;
    while reports.settled.load(Ordering::Relaxed) < sent && Instant::now() < deadline {
        producer.poll(Duration::ZERO);
        thread::sleep(Duration::from_micros(200));
    }
    let run = Run { octets, wall: begin.elapsed(), cpu: process_cpu_time() - before };
    assert_eq!(reports.settled.load(Ordering::Relaxed), sent);
    assert_eq!(reports.failed.load(Ordering::Relaxed), 0);
    run
}
