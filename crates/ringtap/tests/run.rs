//! `ringtap run` on real interfaces: every frame that another program sends has its record, once, in every sink.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use serde_json::Value;
use testkit::net::{Tun, VethOptions};
use testkit::send::FrameShape;

#[test]
fn every_numbered_frame_is_once_in_every_sink() {
    let lan = Lan::silent();
    let dir = tempfile::tempdir().unwrap();
    let (plain, packed) = (dir.path().join("a.ndjson"), dir.path().join("b.ndjson.zst"));
    let to_packed = format!("{}?zstd=true", file_url(&packed));
    let sinks = ["--to", &file_url(&plain), "--to", "stdout:", "--to", &to_packed, "--to", "null:"];
    let running = lan.run(&sinks);
    lan.send(&distinct(), 40_000);
    let done = running.interrupt().expect(0);
    let ledger = done.ledger();
    assert_eq!(ledger.frames("processed"), 40_000);
    for sink in ["file://", "stdout:", "null:", &file_url(&packed)] {
        assert_eq!(ledger.delivered(sink), 40_000, "{sink}");
    }
    assert_eq!(ledger.0["sinks"].as_array().map(Vec::len), Some(4));
    let records = records_of_file(&plain);
    assert_each_once(&records, 40_000);
    assert_sequences(&records);
    assert_eq!(done.records(), records, "stdout: has what file: has");
    let unpacked = common::records(&other("zstd", &["-dc", packed.to_str().unwrap()]));
    assert_eq!(unpacked, records, "the compressed file has what the plain one has");
    let first = &records[0];
    assert_eq!(first["observer"]["ingress"]["interface"]["name"], "tap0");
    assert_eq!(first["ringtap"]["frame"]["direction"], "rx");
    assert_eq!(first["network"]["bytes"], 60);
}

#[test]
fn two_queues_lose_and_double_nothing() {
    let lan = Lan::silent();
    let running = lan.run(&["--queues", "2", "--fanout", "hash"]);
    lan.send(&distinct(), 50_000);
    let done = running.interrupt().expect(0);
    let ledger = done.ledger();
    let records = done.records();
    assert_each_once(&records, 50_000);
    assert_sequences(&records);
    let queues = ledger.0["queues"].as_array().unwrap();
    let shares: Vec<_> = queues.iter().map(|queue| queue["frames"]["processed"].as_u64().unwrap()).collect();
    assert!(shares.len() == 2 && shares.iter().all(|&n| n > 10_000), "{shares:?}");
}

#[test]
fn filters_are_exact() {
    let lan = Lan::silent();
    let running = lan.run(&["--filter", "udp port 10003", "--filter", "src host 192.0.2.1"]);
    let shape = FrameShape { flows: 10, ..FrameShape::default() };
    lan.send(&shape, 10_000);
    let done = running.interrupt().expect(0);
    let records = done.records();
    assert_eq!(by_port(&records), [(10_003, 1000)].into());
    // In the kernel: what is turned away is not offered.
    assert_eq!(done.ledger().frames("offered"), 1000);
}

/// libpcap captures "cooked" there, and its program would look behind a header that the socket does not show.
#[test]
fn filters_are_exact_on_interfaces_without_a_link_layer() {
    for hardware_type in [Tun::NONE, Tun::PPP, Tun::RAWIP] {
        let lan = Lan::silent();
        let mut tun = Tun::new(&lan.sensor, "tun0", hardware_type);
        lan.sensor.ip("link set tun0 up");
        let filters: [&[&str]; 3] = [&[], &["--filter", "udp src port 10003"], &["--filter", "tcp"]];
        let running = filters.map(|filter| lan.run_on(&["tun0"], filter));
        let shape = FrameShape { flows: 10, ..FrameShape::default() };
        (0..10).for_each(|n| tun.inject(&testkit::send::numbered(&shape, n)[14..]));
        let counts = running.map(|running| running.interrupt().expect(0).records().len());
        assert_eq!(counts, [10, 1, 0], "ARPHRD {hardware_type}");
    }
}

/// What the kernel takes out of a frame is seen too, as on an interface that was up.
#[test]
fn an_interface_that_is_down_is_waited_for_also_with_a_filter() {
    let lan = Lan::silent();
    lan.sensor.ip("link set tap0 down");
    let running = lan.run(&["--filter", "vlan 7"]);
    lan.sensor.ip("link set lo down");
    let poorer = lan.run(&["--filter", "udp src port 10003"]);
    poorer.wait_for("so is lo");
    lan.sensor.ip("link set tap0 up");
    wait_for_carrier(&lan.station, "far0");
    thread::sleep(Duration::from_millis(500)); // the queues look at an interface that is down five times a second
    lan.send(&FrameShape { tag: Some((0x8100, 7)), ..distinct() }, 100);
    lan.send(&FrameShape { flows: 10, ..FrameShape::default() }, 100);
    let records = running.interrupt().expect(0).records();
    assert_eq!(records.len(), 100);
    assert!(records.iter().all(|record| record["network"]["vlan"]["id"] == "7"));
    assert_eq!(by_port(&poorer.interrupt().expect(0).records()), [(10_003, 11)].into(), "one of the tagged");
}

#[test]
fn vlan_tags_are_in_the_records_and_can_be_filtered() {
    let lan = Lan::silent();
    let everything = lan.run(&[]);
    let one_id = lan.run(&["--filter", "vlan 7"]);
    for (tpid, tci) in [(0x8100, 7), (0x8100, 8), (0x88a8, 0x6007)] {
        lan.send(&FrameShape { tag: Some((tpid, tci)), ..distinct() }, 100);
    }
    lan.send(&distinct(), 100);
    let done = everything.interrupt().expect(0);
    let ids = done.records();
    let count = |id: Value| ids.iter().filter(|record| record["network"]["vlan"]["id"] == id).count();
    assert_eq!((count("7".into()), count("8".into()), count(Value::Null)), (200, 100, 100));
    assert!(ids.iter().all(|record| record["destination"]["port"] == 9), "the tag hides nothing");
    let filtered = one_id.interrupt().expect(0).records();
    assert_eq!(filtered.len(), 200);
    assert!(filtered.iter().all(|record| record["network"]["vlan"]["id"] == "7"));
}

#[test]
fn a_count_is_exact_over_all_queues() {
    let lan = Lan::silent();
    let running = lan.run(&["--queues", "4", "--count", "1234"]);
    lan.send(&distinct(), 20_000);
    let done = running.finish().expect(0);
    assert_eq!(done.records().len(), 1234);
    assert_eq!(done.ledger().frames("processed"), 1234);
    assert!(by_port(&done.records()).values().all(|&n| n == 1));
}

#[test]
fn a_duration_ends_the_run() {
    let lan = Lan::silent();
    let running = lan.run(&["--duration", "1500ms"]);
    lan.send(&distinct(), 500);
    let done = running.finish().expect(0);
    assert!((1.5..10.0).contains(&done.elapsed.as_secs_f64()), "{:?}", done.elapsed);
    assert_each_once(&done.records(), 500);
}

#[test]
fn several_interfaces_are_captured_at_once() {
    let lan = Lan::silent();
    lan.cable("tap1", "far1", &VethOptions::default());
    let running = lan.run_on(&["tap0", "tap1"], &[]);
    lan.send(&distinct(), 300);
    lan.station.enter(|| testkit::send::Sender::open("far1").send_numbered(&distinct(), 0, 700, None));
    let done = running.interrupt().expect(0);
    done.ledger();
    let records = done.records();
    assert_sequences(&records);
    for (name, count) in [("tap0", 300), ("tap1", 700)] {
        let ours = |record: &&Value| record["observer"]["ingress"]["interface"]["name"] == name;
        assert_each_once(&records.iter().filter(ours).cloned().collect::<Vec<_>>(), count);
    }
}

#[test]
fn ids_of_two_runs_differ() {
    let lan = Lan::silent();
    let running = [lan.run(&[]), lan.run(&[])];
    lan.send(&distinct(), 100);
    let [a, b] = running.map(|running| running.interrupt().expect(0).records());
    let ids: BTreeSet<_> = a.iter().chain(&b).map(|record| record["event"]["id"].to_string()).collect();
    assert_eq!(ids.len(), 200);
}

#[test]
fn the_configuration_file_says_what_flags_can_say() {
    let lan = Lan::silent();
    let dir = tempfile::tempdir().unwrap();
    let (file, records) = (dir.path().join("ringtap.toml"), dir.path().join("records.ndjson"));
    let text = format!(
        "[capture]\ninterfaces = [\"tap0\"]\ndirection = \"in\"\n[filter]\nfilters = [\"udp port 10001\"]\n\
         [output]\nto = [\"{}\"]\nrecords = \"packets\"\nsensor = \"probe-7\"\n[ledger]\nsummary = \"text\"\n",
        file_url(&records)
    );
    std::fs::write(&file, text).unwrap();
    // The flag wins over the file.
    let running = start(Some(&lan.sensor), &["run", "--config", file.to_str().unwrap(), "-f", "udp port 10002"]);
    running.wait_for("capturing on tap0 ");
    lan.send(&FrameShape { flows: 5, ..FrameShape::default() }, 500);
    running.interrupt().expect(0).ledger();
    let records = records_of_file(&records);
    assert_eq!(by_port(&records), [(10_002, 100)].into());
    assert!(records.iter().all(|record| record["observer"]["name"] == "probe-7"));
}

#[test]
fn the_live_view_shows_packets_and_is_no_sink() {
    let lan = Lan::silent();
    let running = lan.run(&["--show", "--to", "null:"]);
    lan.send_at(&distinct(), 4_000, Some(2_000));
    let done = running.interrupt().expect(0).says(&["packets/s", "192.0.2.1:10000 > 192.0.2.2:9 udp", "udp 100 %"]);
    assert_eq!(done.ledger().0["sinks"].as_array().unwrap().len(), 1);
    assert!(done.stdout.is_empty());
}

#[test]
fn the_live_view_of_flows_says_how_many_packets_they_have() {
    let lan = Lan::silent();
    let running = lan.run(&["--show", "--to", "null:", "--records", "flows", "--flow-active", "1s"]);
    lan.send_at(&FrameShape::default(), 4_000, Some(1_000));
    running.interrupt().expect(0).says(&["flow 192.0.2.1:10000 > 192.0.2.2:9 udp", " packets ", "udp 100 %"]);
}

/// Printed, not judged: what a user waits for.
#[test]
fn the_time_from_start_to_the_first_record() {
    let lan = Lan::silent();
    let begin = Instant::now();
    let running = lan.run(&["--batch-age", "10ms"]);
    let ready = begin.elapsed();
    let sender = thread::spawn(move || {
        lan.send_at(&distinct(), 2_000, Some(1_000));
        lan
    });
    running.wait_until("a record", || running.stdout_octets() > 0);
    println!("start to capture: {ready:?}; start to first record: {:?}", begin.elapsed());
    let _lan = sender.join().unwrap();
    thread::sleep(Duration::from_millis(50));
    running.interrupt().expect(0).ledger();
}
