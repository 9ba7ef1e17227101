//! Flow records as their user gets them: Community IDs, sums that equal the ledger whenever the sensor is told to stop, and a flood of flows.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "../../pipeline/tests/common/pcaps.rs"]
mod pcaps;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::*;
use serde_json::Value;
use testkit::random::Random;
use testkit::send::{FrameShape, numbered};

/// The wheel of PyPI's package `communityid`.
const COMMUNITYID: &str = "RINGTAP_COMMUNITYID";

fn number(record: &Value, group: &str, name: &str) -> u64 {
    record[group][name].as_u64().unwrap_or_else(|| panic!("{group}.{name} in {record}"))
}

#[test]
fn community_ids_are_those_of_the_reference_implementation() {
    let wheel = std::env::var(COMMUNITYID).unwrap_or_else(|_| panic!("{COMMUNITYID} is not set: run scripts/test"));
    let folder = tempfile::tempdir().unwrap();
    // What nobody reads fails the run; a small file may be one.
    let (mut files, real) = (vec![pcaps::made(folder.path())], pcaps::real().unwrap_or_default());
    files.extend(real.into_iter().filter(|file| file.metadata().is_ok_and(|found| found.len() >= 2_000)));
    let mut records = Vec::new();
    for file in &files {
        records.extend(run(&["replay", "--records", "flows", file.to_str().unwrap()]).stdout);
    }
    let mut python = Command::new(PYTHON);
    python.args(["-c", include_str!("communityid.py"), &wheel]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().expect("these tests need python3");
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&records));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && writer.join().unwrap().is_ok(), "communityid failed");
    let text = String::from_utf8(output.stdout).unwrap();
    let (wrong, seen) = text.trim_end().rsplit_once("seen ").unwrap();
    assert!(wrong.is_empty(), "{wrong}");
    let seen: BTreeMap<String, u64> = serde_json::from_str(seen).unwrap();
    for protocol in ["1", "6", "17", "58", "132", "47"] {
        assert!(seen.contains_key(protocol), "protocol {protocol} was not among them: {seen:?}");
    }
}

/// Sends from the station, 50,000 frames a second, until `task` is done.
fn trickle<T>(lan: &Lan, task: impl FnOnce() -> T) -> T {
    let mut next = 0;
    lan.while_sending(task, move |sender| {
        sender.send_numbered(&distinct(), next, 500, Some(50_000));
        next += 500;
    })
}

#[test]
fn whenever_it_is_told_to_stop_the_reports_say_what_the_ledger_says() {
    let mut random = Random::new(std::process::id().into());
    // A table for all flows, and one that is too small for them.
    for (mode, memory) in [("flows", "64MiB"), ("flows", "1MiB"), ("both", "64MiB"), ("both", "1MiB")] {
        for round in 0..3 {
            let lan = Lan::silent();
            let wait = Duration::from_millis(random.below(900) as u64);
            let what = format!("{mode}, {memory}, round {round}, after {wait:?}");
            let running =
                lan.run(&["--records", mode, "--flow-memory", memory, "--flow-active", "1s", "--queues", "2"]);
            let done = trickle(&lan, || {
                thread::sleep(wait);
                running.signal("TERM");
                running.finish().expect(0)
            });
            let (ledger, records) = (done.ledger(), done.records());
            assert_sequences(&records);
            let (reports, packets): (Vec<_>, Vec<_>) =
                records.iter().partition(|record| record["event"]["dataset"] == "ringtap.flow");
            let sum = |name| reports.iter().map(|report| number(report, "network", name)).sum::<u64>();
            let processed = ledger.frames("processed");
            assert_eq!(ledger.frames("abandoned"), 0, "{what}: the ring is read to its end");
            assert_eq!(sum("packets"), processed, "{what}: {}", ledger.0);
            assert_eq!(sum("bytes"), 60 * processed, "{what}: {}", ledger.0);
            assert_eq!(number(&ledger.0, "flows", "reported"), processed, "{what}: {}", ledger.0);
            assert_eq!(number(&ledger.0, "flows", "reports"), reports.len() as u64, "{what}: {}", ledger.0);
            assert_eq!(packets.len() as u64, if mode == "both" { processed } else { 0 }, "{what}: {}", ledger.0);
            assert_eq!(ledger.delivered("stdout:"), records.len() as u64, "{what}: {}", ledger.0);
        }
    }
}

#[test]
fn told_twice_to_stop_it_still_accounts_for_every_packet() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = format!("kafka://{}/flows", dead.local_addr().unwrap());
    drop(dead);
    let lan = Lan::silent();
    // Few buffers, so that the reports of the end wait for room until the second signal.
    let running = lan.run(&["--records", "flows", "--to", &broker, "--pool-memory", "4MiB", "--drain-timeout", "50s"]);
    let done = trickle(&lan, || {
        thread::sleep(Duration::from_secs(2));
        running.signal("TERM");
        running.wait_for("once more to stop at once");
        thread::sleep(Duration::from_millis(300));
        running.signal("TERM");
        running.finish().expect(1)
    });
    let ledger = done.ledger();
    let of = |name| number(&ledger.0, "flows", name);
    assert_eq!(of("reported") + of("cut_off"), ledger.frames("processed"), "{}", ledger.0);
    assert_eq!(of("unreported"), 0, "{}", ledger.0);
    assert_eq!(ledger.delivered("kafka://"), 0);
}

/// Packets of each of [`MANY`] flows.
const EACH: u64 = 4;
const MANY: u64 = 20_000;

/// The reports of the end are several times as long as all buffers together, and of two sinks one gives none back.
#[test]
fn reports_that_find_no_room_are_cut_off_and_the_others_hold_all_other_packets() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = format!("kafka://{}/flows", dead.local_addr().unwrap());
    drop(dead);
    for (timeout, says, reason) in
        [("50s", "stopped by a second signal", "aborted"), ("1s", "the drain timeout of 1s is over", "drain_timeout")]
    {
        let lan = Lan::silent();
        let sinks = ["--to", &broker, "--to", "stdout:", "--pool-memory", "4MiB", "--drain-timeout", timeout];
        let running = lan.run(&[&["--records", "flows"], &sinks[..]].concat());
        lan.send_at(&FrameShape { flows: MANY as u16, ..distinct() }, EACH * MANY, Some(50_000));
        running.signal("TERM");
        if reason == "aborted" {
            running.wait_for("once more to stop at once");
            thread::sleep(Duration::from_secs(1));
            running.signal("TERM");
        }
        let done = running.finish().expect(1).says(&[says]);
        let (ledger, records) = (done.ledger(), done.records());
        let of = |name| number(&ledger.0, "flows", name);
        let (frames, reports, cut_off) = (&ledger.0["frames"], of("reports"), of("cut_off"));
        assert_eq!((&frames["processed"], &frames["abandoned"]), (&(EACH * MANY).into(), &0.into()), "{}", ledger.0);
        // Every flow has so many packets, so that each of the three numbers tells the others.
        assert!(reports > 0 && cut_off > 0, "{}", ledger.0);
        assert_eq!((of("reported"), cut_off), (EACH * reports, EACH * (MANY - reports)), "{}", ledger.0);
        assert_eq!((of("live"), of("unreported")), (0, 0), "{}", ledger.0);
        let (kafka, stdout) = (ledger.sink("kafka://"), ledger.sink("stdout:"));
        for sink in [kafka, stdout] {
            let [produced, delivered, expired] = ["produced", "delivered", "expired"].map(|name| sink[name].as_u64());
            assert_eq!(produced, Some(reports), "{sink}");
            assert_eq!(delivered.zip(expired).map(|(delivered, expired)| delivered + expired), produced, "{sink}");
        }
        assert_eq!((&kafka["expired"], &kafka["reasons"][reason]), (&reports.into(), &reports.into()), "{kafka}");
        assert_eq!(stdout["delivered"], records.len(), "{stdout}");
        assert!(records.iter().all(|report| number(report, "network", "packets") == EACH), "{}", ledger.0);
    }
}

/// A SYN of a flow that no other SYN has.
fn syn(number: u32) -> Vec<u8> {
    let mut frame = numbered(&FrameShape::default(), 0);
    frame[23] = 6;
    frame[26..30].copy_from_slice(&(0x0a00_0000 + number).to_be_bytes());
    frame[34..38].copy_from_slice(&[4, 0, 0, 80]);
    frame[38..42].copy_from_slice(&number.to_be_bytes());
    frame[42..60].copy_from_slice(&[0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    frame
}

const FLOOD: u32 = 300_000;
/// One in so many packets of the flood is of a conversation that goes on, twice a second.
const TALKS: u32 = 5_000;
const NANOS: u64 = 100_000;

#[test]
fn a_flood_of_flows_stays_in_its_memory_and_evicts_the_longest_silent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flood.pcap");
    let flood = (0..FLOOD).map(|n| {
        let frame = if n % TALKS == 0 { numbered(&FrameShape::default(), 0) } else { syn(n) };
        (1_795_000_000_000_000_000 + u64::from(n) * NANOS, frame)
    });
    fs::write(&file, pcap_file(flood)).unwrap();
    let replay = |memory: &str| {
        let options = ["--records", "flows", "--flow-memory", memory, "--pool-memory", "4MiB"];
        let running = start(None, &[&["replay"], &options[..], &[file.to_str().unwrap()]].concat());
        let mut most = 0;
        // Until it has ended, whose status has no such line.
        while let Some(memory) = running.greatest_memory() {
            most = most.max(memory);
            thread::sleep(Duration::from_millis(2));
        }
        (most, running.finish().expect(0))
    };
    let (base, _) = replay("1MiB");
    // So many that the index is as full as it gets: less of it for each flow there cannot be.
    let memory = 12_120 << 10;
    let (most, done) = replay("12120KiB");
    // How many buffers are in use at once is a matter of how fast the reports are read: one run may take all of them where the other took one.
    let pool = 4 << 20;
    assert!(most <= base + memory + pool, "{most} octets, and {base} with a table of 1 MiB");

    let (ledger, reports) = (done.ledger(), done.records());
    let of = |name| number(&ledger.0, "flows", name);
    assert_eq!((of("reported"), of("unreported"), of("cut_off")), (FLOOD.into(), 0, 0));
    assert_eq!(ledger.delivered("stdout:"), reports.len() as u64);
    assert_eq!(reports.iter().map(|report| number(report, "network", "packets")).sum::<u64>(), u64::from(FLOOD));
    let evicted: Vec<_> = reports.iter().filter(|report| report["ringtap"]["flow"]["reason"] == "evicted").collect();
    assert_eq!(evicted.len() as u64, of("evicted"));
    let flows = u64::from(FLOOD - FLOOD / TALKS) + 1;
    // As many as have room stay until the end, all others leave early: no more than 256 octets each, and no fewer flows than that.
    assert!((flows - of("evicted")) * 256 >= memory, "{} of {flows} evicted", of("evicted"));
    // By the second: whoever leaves was silent for at least as long as those who leave later.
    let second = |report: &Value| report["event"]["end"].as_str().unwrap()[..19].to_owned();
    assert!(evicted.is_sorted_by_key(|report| second(report)), "the longest silent goes first");
    // Who goes on talking stays, however old: 60 packets in 30 seconds, during which all others were replaced many times.
    let talking: Vec<_> = reports.iter().filter(|report| report["network"]["transport"] == "udp").collect();
    assert_eq!(talking.len(), 1);
    assert_eq!(number(talking[0], "network", "packets"), u64::from(FLOOD / TALKS));
    assert_eq!(talking[0]["ringtap"]["flow"]["reason"], "end");
}
