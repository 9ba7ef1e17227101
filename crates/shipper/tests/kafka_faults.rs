//! A broker that dies, freezes, fills up, or is not there yet.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use common::{Harness, check_topic, logged_by};
use testkit::kafka::{Kafka, KafkaOptions};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn killed_and_restarted_under_load_then_frozen_and_thawed() {
    let mut kafka = Kafka::start(KafkaOptions::default());
    kafka.create_topic("load", 3, &[]);
    let address = kafka.address();
    let logged = |part| logged_by(&address, part);
    let mut harness = Harness::with(&format!("kafka://{address}/load"), 4, 16, 64 * 1024);
    harness.send_all(50, 100);
    harness.wait_until(MINUTE, "some delivered", |report| report.delivered > 0);
    kafka.kill9();
    let memory = resident();
    fill(&mut harness, Duration::from_secs(2));
    assert!(resident() < memory + (64 << 20), "memory is bounded by the pools");
    kafka.restart();
    harness.send_all(50, 100);
    harness.wait_until(MINUTE, "all delivered", |report| report.in_flight == 0);
    assert!(logged("no broker can be reached") >= 1 && logged("delivering again after") >= 1);

    kafka.freeze();
    fill(&mut harness, Duration::from_millis(10_500));
    kafka.thaw();
    assert!(logged("nothing was acknowledged for 10 s") >= 1);
    harness.send_all(50, 100);
    let done = harness.finish(MINUTE);
    done.nothing_lost();
    check_topic(&done, &kafka.consume_all("load"));
}

/// Hands over what the pools hold, and tries so for a while.
fn fill(harness: &mut Harness, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for queue in 0..harness.queues() {
            harness.send(queue, 100, Duration::from_millis(50));
        }
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn absent_at_start_then_started_and_gone_at_the_end() {
    let mut kafka = Kafka::start(KafkaOptions::default());
    kafka.create_topic("late", 1, &[]);
    kafka.kill9();
    let mut harness = Harness::new(&format!("kafka://{}/late", kafka.address()));
    harness.send_all(10, 100);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(harness.report().in_flight, 2000);
    kafka.restart();
    harness.wait_until(MINUTE, "all delivered", |report| report.in_flight == 0);
    kafka.kill9();
    harness.send_all(10, 100);
    let begun = Instant::now();
    let done = harness.finish(Duration::from_millis(500));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!((done.report.delivered, done.reason("drain_timeout")), (2000, 2000), "{}", done.report);
    kafka.restart();
    check_topic(&done, &kafka.consume_all("late"));
}

/// As the guide says, with three seconds for its five minutes.
#[test]
fn away_for_longer_than_records_have_ends_those_by_name_and_delivers_the_others() {
    let mut kafka = Kafka::start(KafkaOptions::default());
    kafka.create_topic("away", 2, &[]);
    let address = kafka.address();
    let mut harness = Harness::new(&format!("kafka://{address}/away?message.timeout.ms=3000"));
    harness.send_all(5, 100);
    harness.wait_until(MINUTE, "delivered", |report| report.delivered == 1000);
    kafka.kill9();
    harness.send_all(5, 100);
    harness.wait_until(MINUTE, "given up", |report| report.in_flight == 0);
    let away = harness.report();
    assert_eq!((away.delivered, away.expired, away.rejected), (1000, 1000, 0), "{away}");
    let reasons: Vec<_> = away.reasons.iter().filter(|(_, n)| **n > 0).map(|(name, _)| name.to_string()).collect();
    assert!(reasons.iter().all(|name| name == "timed_out" || name == "unacknowledged"), "{away}");
    assert_eq!(logged_by(&address, "no broker can be reached"), 1);
    assert!(logged_by(&address, "records are lost") >= 1);
    assert!(harness.handle.is_alive(), "it is tried again");
    kafka.restart();
    harness.send_all(5, 100);
    let done = harness.finish(MINUTE);
    assert_eq!(done.report.delivered, 2000, "{}", done.report);
    assert!(logged_by(&address, "delivering again after") >= 1);
    check_topic(&done, &kafka.consume_all("away"));
}

/// A fatal alert of TLS.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

#[test]
fn a_broker_that_fails_in_the_tls_handshake_is_no_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.read(&mut [0; 64 * 1024]));
            drop(stream.write_all(&INTERNAL_ERROR));
        }
    });
    let url = format!("kafka://{address}/t?security.protocol=ssl&message.timeout.ms=2000");
    let mut harness = Harness::new(&url);
    harness.send_all(2, 10);
    let done = harness.finish(MINUTE);
    assert_eq!(done.reason("timed_out"), 40, "{}", done.report);
    assert_eq!(logged_by(&address.to_string(), "does not let us in"), 0);
}

#[test]
fn a_full_disk_at_the_broker_ends_in_named_losses() {
    let mut kafka = Kafka::start(KafkaOptions {
        log_dir_size: Some("40m".to_owned()),
        properties: [("log.segment.bytes", "1048576"), ("log.index.size.max.bytes", "4096")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        ..KafkaOptions::default()
    });
    kafka.create_topic("full", 1, &[]);
    kafka.tmpfs().unwrap().fill(4 << 20);
    let url = format!("kafka://{}/full?compression.type=none&message.timeout.ms=4000", kafka.address());
    let mut harness = Harness::with(&url, 1, 32, 256 * 1024);
    fill_with(&mut harness, 40, 600);
    let done = harness.finish(Duration::from_secs(20));
    let lost = done.report.expired + done.report.rejected;
    assert!(done.report.delivered > 0 && lost > 0, "{}", done.report);
    assert_eq!(done.reason("drain_timeout"), 0, "they time out by themselves: {}", done.report);
    assert!(logged_by(&kafka.address(), "records are lost") >= 1);
    // It ended itself, since it had no other disk.
    kafka.kill9();
    kafka.tmpfs().unwrap().relieve();
    kafka.restart();
    check_topic(&done, &kafka.consume_all("full"));
}

fn fill_with(harness: &mut Harness, batches: usize, records: usize) {
    for _ in 0..batches {
        assert!(harness.send(0, records, MINUTE));
    }
}
