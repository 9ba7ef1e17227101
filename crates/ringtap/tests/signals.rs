//! How a run ends: by a first signal, by a second one, by the drain timeout, in the middle of a flood.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use testkit::send::FrameShape;

/// A broker's URL where nobody listens.
fn dead_broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("kafka://{}/packets", listener.local_addr().unwrap())
}

/// Sends flat out from the station until `task` is done, however it ends.
fn flooded<T>(lan: &Lan, shape: &FrameShape, task: impl FnOnce() -> T) -> T {
    lan.while_sending(task, |sender| {
        sender.send_numbered(shape, 0, 10_000, None);
    })
}

#[test]
fn int_term_and_hup_deliver_what_was_captured() {
    for (signal, says) in [("INT", "SIGINT"), ("TERM", "SIGTERM"), ("HUP", "SIGHUP")] {
        let lan = Lan::silent();
        // A batch that is neither full nor old when the signal comes.
        let running = lan.run(&["--batch-age", "60s"]);
        lan.send(&distinct(), 1000);
        thread::sleep(Duration::from_millis(100));
        running.signal(signal);
        let done = running.finish().expect(0).says(&[says]);
        assert_each_once(&done.records(), 1000);
        assert_eq!(done.ledger().delivered("stdout:"), 1000);
    }
}

#[test]
fn a_second_signal_stops_at_once_and_says_what_is_lost() {
    let lan = Lan::silent();
    let broker = dead_broker();
    let running = lan.run(&["--to", &broker, "--to", "stdout:", "--drain-timeout", "50s"]);
    lan.send(&distinct(), 1000);
    thread::sleep(Duration::from_millis(500));
    running.signal("INT");
    running.wait_for("once more to stop at once");
    thread::sleep(Duration::from_millis(500));
    running.signal("INT");
    let begin = Instant::now();
    let done = running.finish().expect(1);
    assert!(begin.elapsed() < Duration::from_secs(10), "at once: {:?}", begin.elapsed());
    let done = done.says(&["stopped by a second signal"]);
    let ledger = done.ledger();
    assert_eq!(ledger.sink("kafka://")["expired"], 1000);
    assert_eq!(ledger.sink("kafka://")["reasons"]["aborted"], 1000);
    assert_eq!(ledger.delivered("stdout:"), 1000, "the other sink has them all");
    assert_each_once(&done.records(), 1000);
}

#[test]
fn the_first_signal_does_not_end_a_drain_that_has_begun_without_one() {
    let lan = Lan::silent();
    let broker = dead_broker();
    let running = lan.run(&["--to", &broker, "--duration", "1s", "--drain-timeout", "4s"]);
    lan.send(&distinct(), 100);
    thread::sleep(Duration::from_millis(2_000));
    running.signal("TERM");
    let begin = Instant::now();
    let done = running.finish().expect(1).says(&["once more to stop at once", "100 records were not delivered"]);
    assert!(begin.elapsed() > Duration::from_millis(1_500), "{:?}", begin.elapsed());
    assert_eq!(done.ledger().sink("kafka://")["reasons"]["drain_timeout"], 100);
}

#[test]
fn usr1_prints_the_account_and_capture_goes_on() {
    let lan = Lan::silent();
    let running = lan.run(&["--to", "null:"]);
    lan.send(&distinct(), 100);
    thread::sleep(Duration::from_millis(1_500));
    running.signal("USR1");
    running.wait_for("received 100 = filtered 0 + processed 100");
    lan.send(&distinct(), 100);
    let done = running.interrupt().expect(0);
    assert_eq!(done.ledger().delivered("null:"), 200);
}

#[test]
fn a_limit_on_file_sizes_is_an_error_of_the_sink_and_not_the_end() {
    let lan = Lan::silent();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.ndjson");
    let mut command = std::process::Command::new("prlimit");
    command.args([
        "--fsize=262144",
        "--",
        env!("CARGO_BIN_EXE_ringtap"),
        "run",
        "-i",
        "tap0",
        "--records",
        "packets",
        "--summary",
        "json",
        "--to",
    ]);
    command.arg(format!("file://{}", file.display()));
    let running = start_command(Some(&lan.sensor), command);
    running.wait_for("capturing on tap0 ");
    lan.send(&distinct(), 1_000);
    thread::sleep(Duration::from_millis(500));
    running.signal("INT");
    let done = running.finish().expect(1);
    let ledger = done.ledger();
    let (delivered, on_disk) = (ledger.delivered("file://"), fs::read_to_string(&file).unwrap().lines().count());
    assert_eq!(delivered, on_disk as u64);
    assert!(delivered < 1_000, "{delivered}");
}

#[test]
fn the_drain_timeout_bounds_the_end() {
    let lan = Lan::silent();
    let broker = dead_broker();
    let running = lan.run(&["--to", &broker, "--drain-timeout", "1s"]);
    lan.send(&distinct(), 1000);
    thread::sleep(Duration::from_millis(400));
    running.signal("TERM");
    let begin = Instant::now();
    let done = running.finish().expect(1).says(&["1000 records were not delivered", "the drain timeout of 1s is over"]);
    assert!((0.9..8.0).contains(&begin.elapsed().as_secs_f64()), "{:?}", begin.elapsed());
    assert_eq!(done.ledger().sink("kafka://")["reasons"]["drain_timeout"], 1000);
}

#[test]
fn the_drain_timeout_ends_workers_that_wait_for_a_dead_sink() {
    let lan = Lan::silent();
    let broker = dead_broker();
    let running =
        lan.run(&["--to", &broker, "--drain-timeout", "500ms", "--pool-memory", "4MiB", "--block-count", "16"]);
    flooded(&lan, &distinct(), || {
        thread::sleep(Duration::from_secs(2)); // the pool is full, then the ring
        running.signal("INT");
        let done = running.finish().expect(1);
        let ledger = done.ledger();
        assert!(ledger.frames("ring_dropped") > 0, "the ring was too small on purpose");
        assert!(ledger.frames("abandoned") > 0);
        assert!(ledger.0["stalled"]["times"].as_u64() > Some(0));
        assert_eq!(ledger.delivered("kafka://"), 0);
    });
}

#[test]
fn a_flood_that_a_filter_turns_away_does_not_keep_the_signal_from_its_work() {
    let lan = Lan::silent();
    let running = lan.run(&["--queues", "2", "--filter", "udp port 10001 and not (len > 900 or vlan 5)"]);
    let shape = FrameShape { flows: 1000, ..FrameShape::default() };
    let done = flooded(&lan, &shape, || {
        thread::sleep(Duration::from_secs(1));
        running.signal("INT");
        let begin = Instant::now();
        let done = running.finish().expect(0);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        done
    });
    done.ledger();
    let ports = by_port(&done.records());
    assert_eq!(ports.keys().collect::<Vec<_>>(), [&10_001]);
}

#[test]
fn a_flood_that_becomes_records_ends_with_a_ledger_that_closes() {
    let lan = Lan::silent();
    let running = lan.run(&["--queues", "2", "--to", "null:"]);
    let done = flooded(&lan, &distinct(), || {
        thread::sleep(Duration::from_secs(1));
        running.signal("TERM");
        running.finish().expect(0)
    });
    let ledger = done.ledger();
    assert!(ledger.frames("processed") > 10_000, "{}", ledger.0);
    assert_eq!(ledger.frames("abandoned"), 0, "the ring is read to its end");
    assert_eq!(ledger.delivered("null:"), ledger.frames("processed"));
}

#[test]
fn a_replay_ends_by_a_signal_as_a_run_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("slow.pcap");
    fs::write(&file, pcap_file((0..1000).map(|n| (n * 100_000_000, testkit::send::numbered(&distinct(), n))))).unwrap();
    let running = start(None, &["replay", file.to_str().unwrap(), "--rate", "original"]);
    thread::sleep(Duration::from_millis(700));
    running.signal("INT");
    let done = running.finish().expect(0);
    let records = done.records();
    assert!((1..=40).contains(&records.len()), "{} records", records.len());
    assert_each_once(&records, records.len() as u64);
    assert_eq!(done.ledger().frames("processed"), records.len() as u64);
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_run_quietly() {
    let lan = Lan::silent();
    let mut command = std::process::Command::new("sh");
    let script = format!("{} run -i tap0 --summary json | head -n 3", env!("CARGO_BIN_EXE_ringtap"));
    command.args(["-c", &script]).stdin(std::process::Stdio::null());
    let pipe = start_command(Some(&lan.sensor), command);
    pipe.wait_for("capturing on tap0 ");
    let done = flooded(&lan, &distinct(), || pipe.finish().expect(0));
    assert_eq!(done.records().len(), 3);
    assert!(!done.stderr.contains("ERROR") && !done.stderr.contains("panic"), "{}", done.stderr);
}
