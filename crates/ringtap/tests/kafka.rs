//! From the wire to a real broker, and back by kcat.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use common::*;
use serde_json::Value;
use testkit::kafka::{Kafka, KafkaOptions};

#[test]
fn what_is_in_the_topic_is_what_is_in_the_file() {
    let kafka = Kafka::start(KafkaOptions::default());
    kafka.create_topic("packets", 2, &[]);
    let lan = Lan::silent();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records.ndjson");
    let to_kafka = format!("kafka://{}/packets", kafka.address());
    bring_inside(&lan, &kafka.address());
    let running = lan.run(&["--to", &to_kafka, "--to", &file_url(&file), "--sensor", "s1"]);
    lan.send(&distinct(), 20_000);
    let done = running.interrupt().expect(0);
    let ledger = done.ledger();
    assert_eq!((ledger.delivered("kafka://"), ledger.delivered("file://")), (20_000, 20_000));
    let mut records: Vec<Value> = Vec::new();
    for message in kafka.consume_all("packets") {
        assert!(message.key.starts_with("s1/"), "{}", message.key);
        assert!(message.payload.len() < 1_000_000);
        let array: Vec<Value> = serde_json::from_str(&message.payload).expect("a message is one JSON array");
        records.extend(array);
    }
    assert_each_once(&records, 20_000);
    assert_eq!(records, records_of_file(&file));
}

/// `bench stages`: from the generator to the topic and back.
#[test]
fn every_frame_of_a_measurement_is_found_again_in_the_topic() {
    let kafka = Kafka::start(KafkaOptions::default());
    kafka.create_topic("measured", 3, &[]);
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let to = format!("kafka://{}/measured", kafka.address());
    let arguments = ["bench", "stages", "--rate", "5000", "--time", "400ms", "--repeats", "2", "--backend", "afpacket"];
    let more = ["--to", to.as_str(), "--json", json.to_str().unwrap()];
    run(&[&arguments[..], &more].concat()).expect(0);
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let row =
        report["rows"].as_array().unwrap().iter().find(|row| row["stage"] == "+ Kafka").expect("Kafka was measured");
    let figures = ["runs", "failed", "sent", "received", "missing", "doubled"].map(|name| row[name].as_u64());
    assert_eq!(figures, [2, 0, 2000, 2000, 0, 0].map(Some), "{row}");
    let latency: Vec<f64> = row["latency_us"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    assert!(latency.len() == 5 && latency.is_sorted() && latency[0] > 1.0, "{row}");
    let nowhere = format!("{to}-not-there");
    run(&[&arguments[..], &["--to", &nowhere]].concat()).expect(2).says(&["there is no topic"]);
}

/// The broker listens on the machine's loopback interface; makes it answer on the sensor's under the same address. A socket
/// stays in the namespace where it was made.
fn bring_inside(lan: &Lan, address: &str) {
    let listener = lan.sensor.enter(|| TcpListener::bind(address)).expect("the port is free in a new namespace");
    let address = address.to_owned();
    thread::spawn(move || {
        for inside in listener.incoming().map_while(Result::ok) {
            let Ok(outside) = TcpStream::connect(&address) else { return };
            for (mut from, mut to) in [(&inside, &outside), (&outside, &inside)].map(|(a, b)| (clone(a), clone(b))) {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to); // ends with either side
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("there are file descriptors left")
}
