//! `ringtap bench`: the whole way from the generator to the table.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::process::Command;

use common::*;
use serde_json::Value;

/// Runs a measurement and returns its JSON report.
fn bench(arguments: &[&str]) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("report.json"), folder.path().join("report.html"));
    let mut all = vec!["bench"];
    all.extend(arguments);
    all.extend(["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()]);
    let done = run(&all).expect(0);
    let page = fs::read_to_string(html).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && page.contains("Linux"), "{page}");
    (serde_json::from_slice(&fs::read(json).unwrap()).unwrap(), String::from_utf8(done.stdout).unwrap())
}

#[test]
fn frames_are_accounted_for_by_number_for_us_and_for_others() {
    let (report, table) = bench(&[
        "drop-rate",
        "--rates",
        "2000",
        "--time",
        "1s",
        "--repeats",
        "1",
        "--backend",
        "afpacket",
        "--program",
        "all",
    ]);
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["contestant"].as_str().unwrap()).collect();
    let absent = report["absent"].as_array().unwrap();
    assert_eq!(names.len() + absent.len(), 6, "who does not take part is named: {table}");
    for row in rows {
        assert_eq!(row["error"], Value::Null, "{row}");
        assert_eq!((&row["sent"], &row["runs"]), (&2000.into(), &1.into()));
        let (received, missing) = (row["received"].as_u64().unwrap(), row["missing"].as_u64().unwrap());
        assert_eq!(received + missing, 2000, "{row}");
        assert_eq!(row["doubled"], 0);
    }
    let ours = &rows[0];
    assert_eq!(
        (&ours["contestant"], &ours["missing"], &ours["dropped_said"]),
        (&"afpacket".into(), &0.into(), &0.into())
    );
    assert!(ours["latency_us"][2].as_f64().unwrap() > 0.0);
    assert!(report["environment"]["kernel"].as_str().unwrap().starts_with("Linux"));
    assert!(table.contains("afpacket") && table.contains("missing"));
}

/// Known truth through the whole harness: a program that keeps the even source ports, of which every second frame has one, and one that fails.
#[test]
fn a_program_that_keeps_half_is_measured_as_exactly_that_and_one_that_fails_is_no_loss() {
    let half = "half=tcpdump -i {iface} -s 96 -Z root -w {file} udp[0:2]&1=0";
    let fails = "fails=false {iface} {file}";
    let arguments = ["drop-rate", "--rates", "2000", "--time", "1s", "--repeats", "1", "--backend", "packet"];
    let (report, table) = bench(&[&arguments[..], &["--program", half, "--program", fails]].concat());
    let rows = report["rows"].as_array().unwrap();
    let figures = |row: &Value| ["sent", "received", "missing"].map(|name| row[name].as_u64().unwrap());
    assert_eq!((&rows[1]["contestant"], figures(&rows[1])), (&"half".into(), [2000, 1000, 1000]), "{table}");
    assert_eq!(figures(&rows[0]), [2000, 2000, 0]);
    assert!(rows[2]["error"].as_str().unwrap().contains("ended at the start"), "{table}");
}

#[test]
fn time_and_highest_rate_are_found() {
    let (report, _) = bench(&[
        "elapsed",
        "--packets",
        "1000,20000",
        "--repeats",
        "1",
        "--backend",
        "afpacket",
        "--program",
        "tcpdump",
    ]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert!(row["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{row}");
    }
    let (report, _) = bench(&["zero-loss", "--time", "300ms", "--resolution", "0.3", "--backend", "afpacket"]);
    let row = &report["rows"][0];
    assert_eq!(row["missing"], 0, "{row}");
    assert!(row["rate"].as_f64().unwrap() > 1000.0);
}

#[test]
fn two_ends_find_each_other() {
    let lan = Lan::silent();
    let receiver = start(Some(&lan.sensor), &["bench", "expect", "-i", "tap0", "--streams", "2", "--summary", "json"]);
    receiver.wait_for("receiving on tap0");
    let sender = ["gen", "-i", "far0", "--stream", "7", "-p", "2", "-n", "5001", "-R", "20k"];
    start(Some(&lan.station), &sender).finish().expect(0).says(&[]);
    let done = receiver.finish().expect(0);
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    let figures = ["sent", "received", "missing", "doubled", "reordered", "other_frames", "dropped_said"]
        .map(|name| found[name].as_u64());
    assert_eq!(figures, [Some(5001), Some(5001), Some(0), Some(0), Some(0), Some(0), Some(0)], "{found}");
}

#[test]
fn an_interrupted_measurement_leaves_nothing_behind() {
    let interfaces = || Command::new("ip").args(["-br", "link"]).output().unwrap().stdout;
    let before = interfaces();
    let running = start(
        None,
        &["bench", "drop-rate", "--rates", "1000", "--time", "60s", "--backend", "afpacket", "--program", "tcpdump"],
    );
    running.wait_for("from rtbench0");
    std::thread::sleep(std::time::Duration::from_millis(500));
    running.interrupt().expect(1).says(&["interrupted"]);
    assert_eq!(interfaces(), before);
}

#[test]
fn who_cannot_take_part_by_a_mistake_is_told() {
    run(&["bench", "drop-rate", "--program", "nosuch"]).expect(2).says(&["known are tcpdump"]);
    run(&["bench", "drop-rate", "--rates", "x"]).expect(2).says(&["frames per second"]);
    run(&["bench", "expect", "-i", "nosuch0"]).expect(2).says(&["nosuch0", "does not exist"]);
}

#[test]
fn every_stage_has_its_time_and_every_frame_is_found_in_the_file() {
    let (report, _) =
        bench(&["stages", "--rate", "5000", "--time", "400ms", "--repeats", "1", "--backend", "afpacket"]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert_eq!(
            (&row["error"], &row["sent"], &row["missing"], &row["doubled"]),
            (&Value::Null, &2000.into(), &0.into(), &0.into())
        );
        assert!(row["cpu_seconds_per_million"].as_f64().unwrap() > 0.0);
    }
    let last = &rows[4];
    assert_eq!((&last["stage"], &last["received"]), (&"+ file sink".into(), &2000.into()));
    assert!(last["latency_us"][0].as_f64().unwrap() > 1.0, "{last}");
}

/// Elsewhere it measures: see docs/benchmarks.md.
#[test]
fn a_lab_for_netmap_alone_says_that_it_needs_netmap() {
    if fs::exists("/dev/netmap").unwrap() {
        return;
    }
    run(&["bench", "drop-rate", "--lab", "vale"]).expect(2).says(&["--lab vale", "the netmap module is not loaded"]);
}
