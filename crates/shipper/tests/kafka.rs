//! A healthy broker: what arrives, what is refused, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{Harness, check_topic, logged, shared_broker};
use shipper::{SinkConfig, SinkError, probe};
use testkit::kafka::Kafka;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn every_record_arrives_once_and_in_order() {
    let kafka = shared_broker();
    for (compression, partitions) in [("none", 1), ("lz4", 3), ("zstd", 3), ("gzip", 1)] {
        let topic = format!("calm-{compression}");
        kafka.create_topic(&topic, partitions, &[]);
        let mut harness = Harness::with(
            &format!("kafka://{}/{topic}?compression.type={compression}", kafka.address()),
            4,
            16,
            64 * 1024,
        );
        harness.send_all(60, 100);
        let done = harness.finish(MINUTE);
        done.nothing_lost();
        assert_eq!(check_topic(&done, &kafka.consume_all(&topic)), 4 * 60 * 100);
        assert_eq!(done.report.batches, 240);
    }
}

#[test]
fn a_message_of_900_kilobytes_is_no_matter_whatever_it_compresses_to() {
    let kafka = shared_broker();
    kafka.create_topic("large", 2, &[]);
    let mut harness = Harness::with(&format!("kafka://{}/large?compression.type=none", kafka.address()), 2, 8, 900_000);
    harness.send_all(20, 10_000);
    let done = harness.finish(MINUTE);
    done.nothing_lost();
    check_topic(&done, &kafka.consume_all("large"));
}

#[test]
fn a_message_that_is_too_large_is_rejected_and_the_others_arrive() {
    let kafka = shared_broker();
    kafka.create_topic("small", 1, &[("max.message.bytes", "20000")]);
    let mut harness =
        Harness::with(&format!("kafka://{}/small?compression.type=none", kafka.address()), 1, 8, 64 * 1024);
    for n in 0..30 {
        assert!(harness.send(0, if n % 3 == 0 { 100 } else { 10 }, MINUTE));
    }
    let done = harness.finish(MINUTE);
    assert_eq!((done.reason("too_large"), done.report.delivered), (1000, 200), "{}", done.report);
    check_topic(&done, &kafka.consume_all("small"));
    assert_eq!(logged("small\" records="), 1, "one line for ten messages");
}

#[test]
fn a_missing_topic_is_said_at_once_and_its_records_end_by_that_name() {
    let kafka = shared_broker();
    let url = format!("kafka://{}/nowhere?topic.metadata.propagation.max.ms=1000", kafka.address());
    let mut harness = Harness::new(&url);
    harness.send_all(3, 10);
    let begun = Instant::now();
    while logged("there is no topic \"nowhere\"") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "not said");
        std::thread::sleep(Duration::from_millis(20));
    }
    harness.wait_until(MINUTE, "rejected", |report| report.rejected == 60);
    let done = harness.finish(MINUTE);
    assert_eq!(done.reason("unknown_topic"), 60);
}

#[test]
fn a_topic_that_is_made_later_receives_what_waited() {
    let kafka = shared_broker();
    let mut harness = Harness::new(&format!("kafka://{}/later", kafka.address()));
    harness.send_all(3, 10);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(harness.report().in_flight, 60);
    kafka.create_topic("later", 1, &[]);
    let done = harness.finish(MINUTE);
    done.nothing_lost();
    check_topic(&done, &kafka.consume_all("later"));
    assert!(!kafka.topics().contains(&"nothing".to_owned()));
}

#[test]
fn credentials_that_are_right_by_each_mechanism_and_wrong_ones() {
    let kafka = shared_broker();
    kafka.create_topic("secret", 1, &[]);
    let ca = format!("&ssl.ca.location={}", kafka.certificate().display());
    let (user, password) = (Kafka::USER, Kafka::PASSWORD);
    let mut expected = 0;
    for (address, protocol, mechanism, more) in [
        (kafka.sasl_address(), "SASL_PLAINTEXT", "PLAIN", ""),
        (kafka.sasl_address(), "SASL_PLAINTEXT", "SCRAM-SHA-512", ""),
        (kafka.tls_address(), "SASL_SSL", "SCRAM-SHA-512", ca.as_str()),
    ] {
        let options = format!("security.protocol={protocol}&sasl.mechanisms={mechanism}{more}");
        let url = format!("kafka://{user}:{password}@{address}/secret?{options}");
        let found = probe(&SinkConfig::parse(&url).unwrap(), Duration::from_secs(10)).unwrap().to_string();
        assert!(found.ends_with("topic \"secret\" with 1 partition") && !found.contains(password), "{found}");
        let mut harness = Harness::new(&url);
        harness.send_all(2, 10);
        harness.finish(MINUTE).nothing_lost();
        expected += 2;

        let wrong = format!("kafka://{user}:wrong@{address}/secret?{options}&message.timeout.ms=2000");
        let error = probe(&SinkConfig::parse(&wrong).unwrap(), Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.contains("does not let us in") && !error.contains("wrong@"), "{error}");
        let mut harness = Harness::new(&wrong);
        harness.send_all(2, 10);
        let done = harness.finish(MINUTE);
        assert_eq!(done.reason("not_authorized"), 40, "{}", done.report);
    }
    assert_eq!(kafka.consume_all("secret").len(), expected * 2, "nothing came in by the wrong password");
    // Other lines of the log come from other tests; each of the three clients said it once.
    assert_eq!(logged("the broker does not let us in"), 3);
}

#[test]
fn a_probe_says_what_is_there_and_makes_nothing() {
    let kafka = shared_broker();
    kafka.create_topic("probed", 5, &[]);
    let ask = |url: &str| probe(&SinkConfig::parse(url).unwrap(), Duration::from_secs(3));
    let found = ask(&format!("kafka://{}/probed", kafka.address())).unwrap();
    assert_eq!(found.found, "1 broker, topic \"probed\" with 5 partitions");
    let error = ask(&format!("kafka://{}/absent", kafka.address())).unwrap_err().to_string();
    assert!(error.contains("there is no topic \"absent\": create it"), "{error}");
    assert!(!kafka.topics().contains(&"absent".to_owned()));
    let error = ask("kafka://127.0.0.1:1/probed").unwrap_err().to_string();
    assert!(error.contains("no broker answered") && error.contains("refused"), "{error}");
    let error = ask(&format!("kafka://{}/probed?no.such.option=1", kafka.address())).unwrap_err();
    assert!(matches!(&error, SinkError::KafkaOption { key, .. } if key == "no.such.option"), "{error}");
    assert!(error.to_string().contains("No such configuration property"), "{error}");
}

#[test]
fn an_abort_with_messages_in_flight_accounts_for_all_of_them() {
    let kafka = shared_broker();
    kafka.create_topic("aborted", 2, &[]);
    let mut harness = Harness::with(&format!("kafka://{}/aborted", kafka.address()), 2, 64, 64 * 1024);
    harness.send_all(100, 150);
    let done = harness.abort();
    check_topic(&done, &kafka.consume_all("aborted"));
}

#[test]
fn a_sink_that_waits_uses_no_cpu() {
    let kafka = shared_broker();
    kafka.create_topic("idle", 1, &[]);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_waits", "--nocapture"])
        .env("RINGTAP_CHILD", format!("kafka://{}/idle", kafka.address()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Part of the above: in a process where no other test's sink has a thread of the same name.
#[test]
fn child_that_waits() {
    let Ok(url) = std::env::var("RINGTAP_CHILD") else { return };
    let mut harness = Harness::new(&url);
    harness.send_all(1, 10);
    harness.wait_until(MINUTE, "delivered", |report| report.delivered == 20);
    let before = thread_cpu("rt-sink-kafka");
    std::thread::sleep(Duration::from_secs(3));
    let used = thread_cpu("rt-sink-kafka") - before;
    assert!(used <= 3, "{used} ticks of 10 ms in 3 s");
    harness.finish(MINUTE).nothing_lost();
}

/// CPU time of the one thread of that name, in ticks.
fn thread_cpu(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.map(|task| std::fs::read_to_string(task.path().join("stat")).unwrap_or_default());
    let ours: Vec<String> =
        stats.filter_map(|stat| stat.split_once(&format!("({name})")).map(|(_, rest)| rest.to_owned())).collect();
    assert_eq!(ours.len(), 1, "threads named {name}");
    let fields: Vec<u64> = ours[0].split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    fields[11] + fields[12]
}
