//! Batches lent to librdkafka come back exactly once: after a failed produce, a full queue, a purge, at the end.
//!
//! Needs no broker, so that it runs under AddressSanitizer, with librdkafka's C code instrumented too:
//! `CFLAGS=-fsanitize=address LDFLAGS=-fsanitize=address RUSTFLAGS=-Zsanitizer=address OPENSSL_NO_VENDOR=1
//! LSAN_OPTIONS=suppressions=$PWD/crates/shipper/tests/lsan.supp
//! cargo +nightly test -p shipper --test sys_nocopy --target x86_64-unknown-linux-gnu`
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::time::{Duration, Instant};

use common::Harness;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

const MINUTE: Duration = Duration::from_secs(60);
/// Nobody listens there.
const NOBODY: &str = "kafka://127.0.0.1:1/t";

fn mock() -> (MockCluster<'static, DefaultProducerContext>, String) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 4, 1).unwrap();
    let url = format!("kafka://{}/t", cluster.bootstrap_servers());
    (cluster, url)
}

#[test]
fn nothing_is_lost_track_of_when_nobody_answers() {
    let mut harness = Harness::new(NOBODY);
    harness.send_all(32, 100);
    assert!(!harness.send(0, 100, Duration::from_millis(300)), "the pool bounds what is under way");
    let begun = Instant::now();
    let done = harness.finish(Duration::from_millis(200));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(done.reason("drain_timeout"), 6400);
}

#[test]
fn time_runs_out_by_itself() {
    let mut harness = Harness::new(&format!("{NOBODY}?message.timeout.ms=300"));
    // More than librdkafka is given at once: what waits in the lanes has no more time than what it has.
    harness.send_all(30, 10);
    let begun = Instant::now();
    let done = harness.finish(MINUTE);
    assert_eq!(done.reason("timed_out"), 600);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_full_queue_keeps_batches_in_order_until_there_is_room() {
    let (_cluster, url) = mock();
    let mut harness = Harness::with(&format!("{url}?queue.buffering.max.messages=2"), 4, 16, 64 * 1024);
    harness.send_all(50, 20);
    harness.finish(MINUTE).nothing_lost();
    let mut harness = Harness::with(&format!("{NOBODY}?queue.buffering.max.messages=2"), 2, 16, 64 * 1024);
    harness.send_all(16, 20);
    assert_eq!(harness.finish(Duration::from_millis(200)).reason("drain_timeout"), 640);
}

#[test]
fn a_produce_that_fails_gives_the_batch_back() {
    let mut harness = Harness::new(&format!("{NOBODY}?message.max.bytes=10000"));
    for _ in 0..100 {
        assert!(harness.send(0, 100, MINUTE));
    }
    harness.wait_until(MINUTE, "rejected", |report| report.rejected == 10_000);
    let done = harness.finish(MINUTE);
    assert_eq!(done.reason("too_large"), 10_000);
}

#[test]
fn a_purge_takes_back_what_is_in_flight() {
    for codec in ["none", "lz4"] {
        let (cluster, url) = mock();
        let mut harness = Harness::with(&format!("{url}?compression.type={codec}"), 4, 32, 256 * 1024);
        harness.send_all(4, 100);
        harness.wait_until(MINUTE, "some delivered", |report| report.delivered > 0);
        cluster.broker_round_trip_time(1, Duration::from_secs(20)).unwrap();
        harness.send_all(20, 600);
        std::thread::sleep(Duration::from_millis(200));
        let done = harness.abort();
        assert!(done.reason("aborted") > 0, "{}", done.report);
    }
}

#[test]
fn an_abort_while_workers_go_on_gives_up_what_they_still_bring() {
    let mut harness = Harness::new(NOBODY);
    harness.send_all(10, 10);
    harness.handle.abort();
    harness.send_all(100, 10);
    assert!(!harness.handle.is_alive());
    let done = harness.finish(MINUTE);
    assert_eq!(done.reason("aborted"), 2200);
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let (_cluster, url) = mock();
    for n in 0..20 {
        let mut harness = Harness::with(&url, 2, 8, 64 * 1024);
        harness.send_all(n, 50);
        if n % 2 == 0 {
            harness.abort()
        } else {
            harness.finish(MINUTE)
        };
    }
}

#[test]
fn an_option_that_does_not_exist_is_said_at_start() {
    let error = Harness::try_with(&format!("{NOBODY}?no.such=1"), 1, 1, 1).err().expect("refused").to_string();
    assert!(error.contains("no.such") && error.contains("No such configuration property"), "{error}");
    let error = Harness::try_with(&format!("{NOBODY}?acks=1"), 1, 1, 1).err().expect("refused").to_string();
    assert!(error.contains("acks"), "{error}");
}
