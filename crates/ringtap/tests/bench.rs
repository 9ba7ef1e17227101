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

/// Runs a measurement of all that is asked for, and returns its JSON report and its table.
fn bench(arguments: &[&str]) -> (Value, String) {
    let (report, done) = bench_to(0, arguments);
    (report, done.text())
}

/// The same for one that ends with this code.
fn bench_to(code: i32, arguments: &[&str]) -> (Value, Done) {
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("report.json"), folder.path().join("report.html"));
    let mut all = vec!["bench"];
    all.extend(arguments);
    all.extend(["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()]);
    let done = run(&all).expect(code);
    let page = fs::read_to_string(html).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && page.contains("Linux"), "{page}");
    (serde_json::from_slice(&fs::read(json).unwrap()).unwrap(), done)
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
    let programs = ["--program", half, "--program", fails, "--program", cut];
    let (report, done) = bench_to(1, &[&arguments[..], &programs].concat());
    let table = done.text();
    let rows = report["rows"].as_array().unwrap();
    let figures = |row: &Value| ["sent", "received", "missing"].map(|name| row[name].as_u64().unwrap());
    assert_eq!((&rows[1]["contestant"], figures(&rows[1])), (&"half".into(), [2000, 1000, 1000]), "{table}");
    assert_eq!(figures(&rows[0]), [2000, 2000, 0]);
    assert!(rows[2]["error"].as_str().unwrap().contains("ended at the start"), "{table}");
    assert!(rows[3]["error"].as_str().unwrap().contains("2,000 frames came, and none has a number"), "{table}");
    assert!(rows[3]["missing"].is_null(), "{table}");
    let last = done.stderr.lines().last().unwrap();
    let named = ["ringtap: not measured: fails at 2000/s: it ended at the start", "; cut at 2000/s: 2,000 frames came"];
    assert!(named.iter().all(|named| last.contains(named)) && !last.contains("half"), "{last}");
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

/// The loader alone would look everywhere but here.
#[test]
fn a_libpcap_without_a_slash_is_the_one_of_this_folder_or_else_the_loaders() {
    let folder = tempfile::tempdir().unwrap();
    let other = std::env::var("RINGTAP_OTHER_LIBPCAP").expect("scripts/test fetches another libpcap and names it");
    fs::copy(other, folder.path().join("mine.so")).unwrap();
    let here = folder.path().canonicalize().unwrap().join("mine.so");
    let measure = |libpcap: &str| {
        let mut command = ringtap();
        command.args([
            "bench",
            "drop-rate",
            "--rates",
            "1000",
            "--time",
            "300ms",
            "--repeats",
            "1",
            "--backend",
            "pcap",
        ]);
        command.args(["--json", "-", "--libpcap", libpcap]).current_dir(folder.path()).stdin(Stdio::null());
        start_command(None, command).finish()
    };
    let done = measure("mine.so").expect(0).says(&[&format!("mine.so is here, and is taken: {}", here.display())]);
    let options = done.json()["rows"][0]["options"].to_string();
    assert!(options.contains(here.to_str().unwrap()), "{options}");
    let options = measure("libpcap.so.0.8").expect(0).json()["rows"][0]["options"].to_string();
    assert!(options.contains("\\\"libpcap.so.0.8\\\""), "{options}");
    measure("no-such.so").expect(2).says(&["no-such.so cannot be used as libpcap"]);
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
    start_command(None, command)
        .finish()
        .expect(1)
        .says(&["not measured: tcpdump with 1,000 frames: it ended after 10"]);
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let row = &report["rows"][1];
    assert_eq!((&row["seconds"], &row["error"]), (&Value::Null, &"it ended after 10 frames of 1000".into()), "{row}");
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
fn what_a_killed_measurement_left_is_removed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let arguments = ["drop-rate", "--rates", "1000", "--time", "500ms", "--backend", "packet", "--json"];
    let more = [json.to_str().unwrap(), "--program", "tcpdump", "--repeats"];
    let names = || -> BTreeSet<String> {
        let entries = fs::read_dir(folder.path()).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    let running = start_marked("left", folder.path(), &[&arguments[..], &more, &["50"]].concat());
    let own = [format!("ringtap-bench-{}-", running.id()), format!(".ringtap-bench-{}-", running.id())];
    running
        .wait_until("its temporary files", || own.iter().all(|own| names().iter().any(|name| name.starts_with(own))));
    // Of a process that is there, and of nobody.
    let others = ["ringtap-bench-1-abc", "ringtap-bench-notes"].map(str::to_owned);
    others.iter().for_each(|name| fs::write(folder.path().join(name), "x").unwrap());
    running.signal("KILL");
    assert_eq!(running.finish().code, None);
    let left = names();
    assert!(own.iter().all(|own| left.iter().any(|name| name.starts_with(own))), "{left:?}");
    let again = start_marked("again", folder.path(), &[&arguments[..], &more, &["1"]].concat());
    again.finish().expect(0).says(&["which a measurement that was killed has left"]);
    let now = names();
    assert_eq!(now, others.into_iter().chain(["report.json".to_owned()]).collect(), "{left:?}");
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

/// All that was asked for is there or named; that most of it was lost is a result.
#[test]
fn the_exit_code_says_whether_all_was_measured_and_not_what_was_lost() {
    let arguments = ["bench", "drop-rate", "--rates", "1000", "--time", "300ms", "--repeats", "1", "--program"];
    let none = "none=tcpdump -i {iface} -s 96 -Z root -w {file} udp[0:2]=1";
    let done = run(&[&arguments[..], &[none, "--backend", "packet"]].concat()).expect(0);
    assert!(done.text().contains("none") && done.text().contains("100"), "{}", done.text());
    let absent = "absent=no-such-program {iface} {file}";
    let done = run(&[&arguments[..], &[absent, "--backend", "packet"]].concat()).expect(1);
    done.says(&["ringtap: not measured: absent: no-such-program is not installed"]);
}

#[test]
fn json_goes_to_standard_output_alone_and_little_does_not_look_like_nothing() {
    let arguments = ["bench", "drop-rate", "--rates", "0.8", "--time", "3s", "--repeats", "1", "--backend", "packet"];
    let done = run(&[&arguments[..], &["--json", "-"]].concat()).expect(0);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let row = &report["rows"][0];
    assert_eq!((&row["sent"], &row["missing"]), (&2.into(), &0.into()), "{row}");
    let rate = row["rate"].as_f64().unwrap();
    assert!(rate > 0.0 && rate < 1.0, "{row}");
    let table = done.stderr.lines().find(|line| line.starts_with("packet  ")).unwrap();
    let shown: f64 = table.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((shown - rate).abs() < 0.001, "{table}: {rate}");
    assert!(done.stderr.contains("packet at 0.8/s: sent 2") || done.stderr.contains("packet at 0."), "{}", done.stderr);
    run(&["bench", "drop-rate", "--json", "-", "--html", "-"]).expect(2).says(&["name the same file"]);
}

#[test]
fn every_stage_has_its_time_and_every_frame_is_found_in_the_file() {
    let arguments = ["stages", "--rate", "5000", "--time", "400ms", "--repeats", "2", "--backend", "afpacket"];
    let (report, table) = bench(&arguments);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        assert_eq!(
            (&row["error"], &row["sent"], &row["missing"], &row["runs"]),
            (&Value::Null, &2000.into(), &0.into(), &2.into())
        );
        assert!(row["cpu_seconds_per_million"].as_f64().unwrap() > 0.0);
        assert_eq!(row["dropped_said"], 0, "{row}");
        // A figure, or none for a reason; never a negative one.
        assert_eq!(row["stage_ns"].is_null(), row["below_noise"] == true, "{row}");
        assert!(row["stage_ns"].as_f64().is_none_or(|ns| ns > 0.0), "{row}");
    }
    let last = &rows[5];
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
    let (report, done) = bench_to(1, &[&arguments[..], &["--to", &file_url(&file)]].concat());
    done.says(&["not measured: afpacket, + file sink: file:"]);
    let row = &report["rows"][5];
    assert_eq!((&row["runs"], &row["failed"], &row["received"]), (&0.into(), &1.into(), &Value::Null), "{row}");
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("records.ndjson lost") && error.contains("write_failed"), "{error}");
    assert!(!file.exists());
    drop(disk);
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
