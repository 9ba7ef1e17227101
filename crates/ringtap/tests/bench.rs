//! `ringtap bench`: the whole way from the generator to the table.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::*;
use serde_json::Value;
use testkit::Tmpfs;
use testkit::net::NetNs;

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
    assert!(ours["options"].as_str().unwrap().contains("block_size"), "{ours}");
    assert!(ours["largest_burst"].as_u64().unwrap() >= 1 && !ours["behind_seconds"].is_null(), "{ours}");
    let environment = &report["environment"];
    assert!(environment["kernel"].as_str().unwrap().starts_with("Linux"));
    assert!(environment["clock_source"].is_string() && environment["mitigations"].is_object(), "{environment}");
    assert!(environment["versions"]["tcpdump"].as_str().unwrap().contains("tcpdump"), "{environment}");
    assert!(table.contains("afpacket") && table.contains("missing"));
}

/// Known truth through the whole harness: a program that keeps the even source ports, of which every second frame has one, and one that fails.
#[test]
fn a_program_that_keeps_half_is_measured_as_exactly_that_and_one_that_fails_is_no_loss() {
    let half = "half=tcpdump -i {iface} -s 96 -Z root -w {file} udp[0:2]&1=0";
    let fails = "fails=false {iface} {file}";
    // Too few octets for the numbers: that is no loss, either.
    let cut = "cut=tcpdump -i {iface} -s 30 -Z root -w {file}";
    let arguments = ["drop-rate", "--rates", "2000", "--time", "1s", "--repeats", "1", "--backend", "packet"];
    let (report, table) = bench(&[&arguments[..], &["--program", half, "--program", fails, "--program", cut]].concat());
    let rows = report["rows"].as_array().unwrap();
    let figures = |row: &Value| ["sent", "received", "missing"].map(|name| row[name].as_u64().unwrap());
    assert_eq!((&rows[1]["contestant"], figures(&rows[1])), (&"half".into(), [2000, 1000, 1000]), "{table}");
    assert_eq!(figures(&rows[0]), [2000, 2000, 0]);
    assert!(rows[2]["error"].as_str().unwrap().contains("ended at the start"), "{table}");
    assert!(rows[3]["error"].as_str().unwrap().contains("2000 frames came, and none has a number"), "{table}");
    assert!(rows[3]["missing"].is_null(), "{table}");
}

#[test]
fn a_libpcap_that_is_named_is_the_one_that_is_measured() {
    let arguments =
        ["drop-rate", "--rates", "2000", "--time", "1s", "--repeats", "1", "--backend", "pcap", "--libpcap"];
    let other = std::env::var("RINGTAP_OTHER_LIBPCAP").expect("scripts/test fetches another libpcap and names it");
    let (report, _) = bench(&[&arguments[..], &[&other]].concat());
    assert_eq!((&report["rows"][0]["received"], &report["rows"][0]["missing"]), (&2000.into(), &0.into()), "{report}");
    let wrong = [&["bench"], &arguments[..], &["/no/such/libpcap.so"]].concat();
    assert!(run(&wrong).stderr.contains("/no/such/libpcap.so cannot be used as libpcap"));
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
fn who_ends_early_was_not_fast() {
    let folder = tempfile::tempdir().unwrap();
    let real = String::from_utf8(other("sh", &["-c", "command -v tcpdump"])).unwrap();
    let early = script(folder.path(), &format!("exec {} \"$@\" -c 10", real.trim()));
    fs::rename(early, folder.path().join("tcpdump")).unwrap();
    let json = folder.path().join("report.json");
    let mut command = ringtap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    command.args(["bench", "elapsed", "--packets", "1000", "--repeats", "1", "--backend", "packet", "--program"]);
    command.args(["tcpdump", "--json", json.to_str().unwrap()]).stdin(Stdio::null()).env("PATH", path);
    start_command(None, command).finish().expect(0);
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let row = &report["rows"][1];
    assert_eq!((&row["seconds"], &row["error"]), (&Value::Null, &"it ended after 10 frames of 1000".into()), "{row}");
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

/// Processes that were started with this in their environment, as children inherit it.
fn marked(marker: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|octet| *octet == 0).any(|variable| variable == format!("MARKER={marker}").as_bytes())
    };
    all.filter(is).collect()
}

/// Network namespaces of these processes, as the kernel numbers them.
fn namespaces(processes: &[u32]) -> BTreeSet<PathBuf> {
    processes.iter().filter_map(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok()).collect()
}

/// A program that does this.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("script");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Starts a measurement whose processes, namespaces and temporary files can be found.
fn start_marked(marker: &str, folder: &Path, arguments: &[&str]) -> Running {
    let mut command = ringtap();
    command.arg("bench").args(arguments).stdin(Stdio::null()).env("MARKER", marker).env("TMPDIR", folder);
    start_command(None, command)
}

fn all_namespaces() -> BTreeSet<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    namespaces(&all.collect::<Vec<u32>>())
}

#[test]
fn an_interrupted_measurement_prints_what_is_done_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let json = tempfile::NamedTempFile::new().unwrap();
    let marker = format!("interrupted-{}", std::process::id());
    let arguments = ["drop-rate", "--rates", "1000", "--time", "1s", "--repeats", "50", "--backend", "afpacket"];
    let more = ["--program", "tcpdump", "--json", json.path().to_str().unwrap()];
    let running = start_marked(&marker, folder.path(), &[&arguments[..], &more].concat());
    running.wait_for("run 1 of 50: tcpdump");
    running.wait_for("run 2 of 50: afpacket");
    // A process that was just forked is still in ours.
    let inside = || namespaces(&marked(&marker)).into_iter().find(|found| *found != own_namespace());
    running.wait_until("a second tcpdump", || inside().is_some());
    let inside = inside();
    let done = running.interrupt().expect(1).says(&["interrupted"]);
    assert!(done.text().contains("afpacket") && done.text().contains("tcpdump"), "{}", done.text());
    let report: Value = serde_json::from_slice(&fs::read(json.path()).unwrap()).unwrap();
    for row in report["rows"].as_array().unwrap() {
        assert_eq!((&row["sent"], &row["missing"], &row["interrupted"]), (&1000.into(), &0.into(), &false.into()));
    }
    assert_eq!(marked(&marker), [0; 0]);
    assert!(inside.is_none_or(|inside| !all_namespaces().contains(&inside)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn own_namespace() -> PathBuf {
    fs::read_link("/proc/self/ns/net").unwrap()
}

#[test]
fn a_measurement_that_is_killed_leaves_no_program_and_no_namespace() {
    let folder = tempfile::tempdir().unwrap();
    // One that nothing ends: tcpdump and others end with the interface, which goes with our namespace. tshark has a child that captures.
    let stays = format!("stays={} {{iface}} {{file}}", script(folder.path(), "exec sleep 1000").display());
    for (program, processes) in [(stays.as_str(), 2), ("tshark", 3)] {
        let marker = format!("killed-{processes}-{}", std::process::id());
        let arguments = ["drop-rate", "--rates", "1000", "--time", "1s", "--repeats", "50", "--backend", "packet"];
        let running = start_marked(&marker, folder.path(), &[&arguments[..], &["--program", program]].concat());
        running.wait_for("run 1 of 50: packet");
        // In ours, and in that of the receiver: where a process that was just forked is not yet.
        let there = || marked(&marker).len() >= processes && namespaces(&marked(&marker)).len() == 2;
        running.wait_until("the program", there);
        let inside = namespaces(&marked(&marker));
        running.signal("KILL");
        running.wait_until("the end of the program", || marked(&marker).is_empty());
        running
            .wait_until("the end of the namespace", || all_namespaces().intersection(&inside).eq([&own_namespace()]));
        assert_eq!(running.finish().code, None);
    }
}

#[test]
fn a_run_that_failed_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("sometimes");
    let text =
        "#!/bin/sh\necho >> $3\n[ $(($(wc -l < $3) % 2)) = 0 ] || exit 7\nexec tcpdump -n -i $1 -s 96 -Z root -w $2\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let program = format!("sometimes={} {{iface}} {{file}} {}", script.display(), folder.path().join("n").display());
    let arguments = ["drop-rate", "--rates", "1000", "--time", "500ms", "--repeats", "3", "--backend", "packet"];
    let (report, table) = bench(&[&arguments[..], &["--program", &program]].concat());
    let row = &report["rows"][1];
    let figures = ["runs", "failed", "sent", "missing"].map(|name| row[name].as_u64());
    assert_eq!(figures, [Some(1), Some(2), Some(500), Some(0)], "{row}");
    assert!(row["error"].as_str().unwrap().contains("ended at the start"), "{row}");
    assert!(table.contains("2 of 3 runs failed, the first: it ended at the start"), "{table}");
    assert!(row["packets"].is_null() && row["seconds"].is_null() && row["stage_ns"].is_null(), "{row}");
}

#[test]
fn a_link_that_goes_down_is_no_loss_of_the_rate() {
    let namespace = NetNs::new();
    namespace.ip("link add va up type veth peer name vb");
    namespace.ip("link set vb up");
    let json = tempfile::NamedTempFile::new().unwrap();
    let arguments = ["bench", "drop-rate", "-i", "va", "--send", "vb", "--backend", "afpacket", "--rates", "1000"];
    let more = ["--time", "2s", "--repeats", "2", "--json", json.path().to_str().unwrap()];
    let running = start(Some(&namespace), &[&arguments[..], &more].concat());
    running.wait_for("from vb");
    // The run has begun when frames come: the second column of /proc/net/dev.
    let frames = |line: &str| line.trim().strip_prefix("va:")?.split_whitespace().nth(1)?.parse().ok();
    let received = || -> u64 {
        let text = namespace.enter(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        text.lines().find_map(frames).unwrap()
    };
    running.wait_until("frames", || received() > 100);
    namespace.ip("link set vb down");
    namespace.ip("link set vb up");
    let done = running.finish().expect(0);
    let report: Value = serde_json::from_slice(&fs::read(json.path()).unwrap()).unwrap();
    let row = &report["rows"][0];
    let figures = ["runs", "failed", "sent", "missing"].map(|name| row[name].as_u64());
    assert_eq!(figures, [Some(1), Some(1), Some(2000), Some(0)], "{row}");
    assert!(row["error"].as_str().unwrap().contains("the link of v"), "{row}");
    assert!(done.text().contains("1 of 2 runs failed, the first: the link of v"), "{}", done.text());
}

#[test]
fn who_cannot_take_part_by_a_mistake_is_told() {
    run(&["bench", "drop-rate", "--program", "nosuch"]).expect(2).says(&["known are tcpdump"]);
    run(&["bench", "drop-rate", "--rates", "x"]).expect(2).says(&["frames per second"]);
    run(&["bench", "drop-rate", "--json", "/no/such/report.json"]).expect(2).says(&["/no/such/report.json"]);
    run(&["bench", "stages", "--to", "null:"]).expect(2).says(&["nothing can be found again there"]);
    run(&["bench", "stages", "--to", "kafka://127.0.0.1:9/x"]).expect(2).says(&["no broker answered"]);
    run(&["bench", "expect", "-i", "nosuch0"]).expect(2).says(&["nosuch0", "does not exist"]);
}

#[test]
fn every_stage_has_its_time_and_every_frame_is_found_in_the_file() {
    let arguments = ["stages", "--rate", "5000", "--time", "400ms", "--repeats", "2", "--backend", "afpacket"];
    let (report, table) = bench(&arguments);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert_eq!(
            (&row["error"], &row["sent"], &row["missing"], &row["runs"]),
            (&Value::Null, &2000.into(), &0.into(), &2.into())
        );
        assert!(row["cpu_seconds_per_million"].as_f64().unwrap() > 0.0);
        // A figure, or none for a reason; never a negative one.
        assert_eq!(row["stage_ns"].is_null(), row["below_noise"] == true, "{row}");
        assert!(row["stage_ns"].as_f64().is_none_or(|ns| ns > 0.0), "{row}");
    }
    let last = &rows[4];
    assert_eq!(
        (&last["stage"], &last["received"], &last["doubled"]),
        (&"+ file sink".into(), &2000.into(), &0.into()),
        "{table}"
    );
    assert!(last["latency_us"][0].as_f64().unwrap() > 1.0, "{last}");
}

#[test]
fn a_full_disk_is_no_fast_sink() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(folder.path(), "1m");
    let file = folder.path().join("records.ndjson");
    let arguments = ["stages", "--rate", "20k", "--time", "400ms", "--repeats", "1", "--backend", "afpacket"];
    let (report, _) = bench(&[&arguments[..], &["--to", &file_url(&file)]].concat());
    let row = &report["rows"][4];
    assert_eq!((&row["runs"], &row["failed"], &row["received"]), (&0.into(), &1.into(), &Value::Null), "{row}");
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("records.ndjson lost") && error.contains("write_failed"), "{error}");
    assert!(!file.exists());
    drop(disk);
}

/// What `ringtap bench expect` found, as JSON; `send` sends what `gen` is told.
fn expected(arguments: &[&str], send: impl FnOnce(&Running, &dyn Fn(&[&str]))) -> Done {
    let lan = Lan::silent();
    let all = [&["bench", "expect", "-i", "tap0", "--summary", "json"], arguments].concat();
    let receiver = start(Some(&lan.sensor), &all);
    receiver.wait_for("receiving on tap0");
    send(&receiver, &|arguments| {
        let all = [&["gen", "-i", "far0", "-R", "20k"], arguments].concat();
        start(Some(&lan.station), &all).finish().expect(0);
    });
    receiver.finish()
}

fn outcome(done: &Done) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.stderr))
}

#[test]
fn an_end_that_frames_contradict_is_not_believed() {
    // As somebody else's end would come: of the same stream, and too small.
    let done = expected(&["--streams", "2"], |_, send| {
        send(&["--stream", "7", "-n", "10"]);
        send(&["--stream", "7", "-n", "1000"]);
        send(&["--stream", "8", "-n", "5"]);
    });
    let found = outcome(&done.expect(0));
    let figures = ["sent", "received", "missing", "doubled"].map(|name| found[name].as_u64());
    assert_eq!(figures, [Some(1005), Some(1005), Some(0), Some(10)], "{found}");
    let notes = found["notes"].to_string();
    assert!(notes.contains("an end of stream 7 that says 10 frames is not believed, for frame 999 came"), "{notes}");
    assert!(notes.contains("10 frames came again"), "{notes}");
    assert!(found["rate"].as_f64().unwrap() > 0.0 && found["cpu_seconds_per_million"].as_f64().unwrap() > 0.0);
}

#[test]
fn only_streams_that_are_named_count_and_several_runs_give_medians() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let arguments = ["--stream", "7", "--repeats", "2", "--json", json.to_str().unwrap()];
    let done = expected(&arguments, |receiver, send| {
        send(&["--stream", "9", "-n", "50"]);
        send(&["--stream", "7", "-n", "1000"]);
        receiver.wait_for("run 2 of 2");
        send(&["--stream", "7", "-n", "3000"]);
    });
    let found = outcome(&done.expect(0));
    let figures = ["runs", "sent", "received", "missing", "doubled"].map(|name| found[name].as_u64());
    assert_eq!(figures, [Some(2), Some(2000), Some(2000), Some(0), Some(0)], "{found}");
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!((&report["measure"], &report["rows"][0]["sent"]), (&"expect".into(), &2000.into()));
    assert!(report["environment"]["sender"].is_null(), "{report}");
}

#[test]
fn nothing_received_is_a_failure_with_a_reason() {
    expected(&["--time", "300ms"], |_, _| {}).expect(1);
    let done = expected(&["--stream", "7", "--time", "2s"], |_, send| send(&["--stream", "9", "-n", "100"]));
    let done = done.expect(1);
    let found = outcome(&done);
    assert!(found["received"].is_null() && found["missing"].is_null(), "{found}");
    let error = found["error"].as_str().unwrap();
    assert!(
        error.contains("nothing was received: 103 frames came, none of them of a stream that is waited for"),
        "{error}"
    );
}

#[test]
fn a_link_that_goes_down_between_two_machines_is_told() {
    let lan = Lan::silent();
    let receiver = start(Some(&lan.sensor), &["bench", "expect", "-i", "tap0"]);
    receiver.wait_for("receiving on tap0");
    lan.station.ip("link set far0 down");
    lan.station.ip("link set far0 up");
    wait_for_carrier(&lan.station, "far0");
    start(Some(&lan.station), &["gen", "-i", "far0", "--stream", "1", "-n", "100"]).finish().expect(0);
    let done = receiver.finish().expect(1);
    assert!(done.text().contains("the link of tap0 went down"), "{}", done.text());
}

/// Where netmap is, it measures: docs/benchmarks.md.
#[test]
fn a_lab_for_netmap_alone_needs_netmap_and_says_so() {
    let arguments = ["bench", "drop-rate", "--lab", "vale", "--rates", "1000", "--time", "500ms", "--repeats", "1"];
    if fs::exists("/dev/netmap").unwrap() {
        run(&arguments).expect(0).says(&["netmap"]);
    } else {
        run(&arguments).expect(2).says(&["--lab vale", "the netmap module is not loaded"]);
    }
}
