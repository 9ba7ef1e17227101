//! Files and standard output.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Harness, RECORD, logged};
use shipper::{SinkConfig, SinkError, probe};
use testkit::Tmpfs;

const MINUTE: Duration = Duration::from_secs(60);

fn url(path: &Path, query: &str) -> String {
    format!("file://{}{query}", path.display())
}

/// Numbers of the records in a file, queue by queue; each line is one.
fn numbers(text: &str, queue: u64) -> Vec<u64> {
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a record"));
    records.filter(|r| r["queue"] == queue).map(|r| r["number"].as_u64().unwrap()).collect()
}

/// All files of a folder in the order of their names; that being written comes last.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| (!path.to_string_lossy().contains('-'), path.clone()));
    files
}

#[test]
fn a_file_has_a_record_per_line_and_the_earlier_run_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.ndjson");
    for run in 0..3 {
        let mut harness = Harness::new(&url(&path, ""));
        harness.send_all(5 + run, 100);
        harness.finish(MINUTE).nothing_lost();
        let text = fs::read_to_string(&path).unwrap();
        for queue in 0..2 {
            assert_eq!(numbers(&text, queue), (0..(5 + run as u64) * 100).collect::<Vec<_>>());
        }
    }
    let names: Vec<_> = files(folder.path()).iter().map(|f| f.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["records-000001.ndjson", "records-000002.ndjson", "records.ndjson"]);
    let first = fs::read_to_string(folder.path().join("records-000001.ndjson")).unwrap();
    assert_eq!(numbers(&first, 0).len(), 500);
}

#[test]
fn files_are_rotated_between_batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.ndjson");
    let mut harness = Harness::with(&url(&path, "?rotate=1MiB"), 1, 4, 256 * 1024);
    harness.send_all(22, 600);
    harness.finish(MINUTE).nothing_lost();
    let files = files(folder.path());
    assert_eq!(files.len(), 5, "{files:?}");
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert_eq!(numbers(&text, 0), (0..13_200).collect::<Vec<_>>());
}

#[test]
fn compressed_files_are_whole_after_every_batch_and_others_can_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.ndjson");
    let mut harness = Harness::with(&url(&path, "?zstd=3&rotate=1MiB"), 1, 4, 256 * 1024);
    harness.send_all(10, 600);
    harness.wait_until(MINUTE, "written", |report| report.in_flight == 0);
    let path = folder.path().join("r.ndjson.zst");
    // Not closed yet: what a crash would leave.
    let out = Command::new("zstd").args(["-dc"]).arg(&path).output().expect("zstd(1) is there");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(numbers(&String::from_utf8(out.stdout).unwrap(), 0), (0..6000).collect::<Vec<_>>());
    assert!(fs::metadata(&path).unwrap().len() < 6000 * RECORD as u64 / 4);
    harness.finish(MINUTE).nothing_lost();
}

#[test]
fn a_full_disk_costs_whole_batches_only_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(folder.path(), "4m");
    disk.fill(1 << 20);
    let path = folder.path().join("r.ndjson");
    let mut harness = Harness::with(&url(&path, ""), 1, 4, 256 * 1024);
    harness.send_all(20, 300);
    harness.wait_until(MINUTE, "settled", |report| report.in_flight == 0);
    let full = harness.report();
    assert!(full.delivered > 0 && full.reasons["write_failed"] > 0, "{full}");
    assert_eq!(logged("No space left on device"), 1, "one line");
    disk.relieve();
    harness.send_all(3, 300);
    let done = harness.finish(MINUTE);
    assert_eq!(done.report.delivered, full.delivered + 900);
    assert_eq!(logged("writing again"), 1);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with("}\n"));
    let found = numbers(&text, 0);
    assert_eq!(found.len() as u64, done.report.delivered, "no half batch");
    assert!(found.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_file_that_is_moved_away_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("r.ndjson"), folder.path().join("moved"));
    let mut harness = Harness::with(&url(&path, ""), 1, 4, 64 * 1024);
    harness.send_all(1, 10);
    harness.wait_until(MINUTE, "written", |report| report.delivered == 10);
    fs::rename(&path, &moved).unwrap();
    harness.send_all(1, 10);
    harness.finish(MINUTE).nothing_lost();
    let text = fs::read_to_string(&moved).unwrap() + &fs::read_to_string(&path).unwrap();
    assert_eq!(numbers(&text, 0), (0..20).collect::<Vec<_>>());
}

/// What logrotate's `create` does, and what happens to the old file afterwards is not ours to know.
#[test]
fn a_file_that_is_replaced_is_left_and_its_replacement_is_written() {
    for query in ["", "?zstd=true"] {
        let folder = tempfile::tempdir().unwrap();
        let name = if query.is_empty() { "r.ndjson" } else { "r.ndjson.zst" };
        let (path, moved) = (folder.path().join(name), folder.path().join("moved"));
        let text = |path: &Path| {
            let octets = fs::read(path).unwrap();
            String::from_utf8(if query.is_empty() { octets } else { unpacked(path) }).unwrap()
        };
        let mut harness = Harness::with(&url(&path, query), 1, 4, 64 * 1024);
        harness.send_all(1, 10);
        harness.wait_until(MINUTE, "written", |report| report.delivered == 10);
        fs::rename(&path, &moved).unwrap();
        fs::write(&path, "").unwrap();
        let before = text(&moved);
        fs::remove_file(&moved).unwrap();
        harness.send_all(2, 10);
        harness.wait_until(MINUTE, "written", |report| report.delivered == 30);
        // Again: what is there already stays.
        fs::rename(&path, &moved).unwrap();
        fs::copy(&moved, &path).unwrap();
        harness.send_all(1, 10);
        harness.finish(MINUTE).nothing_lost();
        assert_eq!(numbers(&before, 0), (0..10).collect::<Vec<_>>());
        assert_eq!(numbers(&text(&moved), 0), (10..30).collect::<Vec<_>>());
        assert_eq!(numbers(&text(&path), 0), (10..40).collect::<Vec<_>>());
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "nothing else was moved aside");
    }
}

fn unpacked(path: &Path) -> Vec<u8> {
    Command::new("zstd").args(["-dc"]).arg(path).output().expect("zstd(1) is there").stdout
}

/// Moving the link aside would leave the records where nobody looks for them; in /dev it would break the machine.
#[test]
fn a_link_that_is_there_at_the_start_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (link, disk) = (folder.path().join("r.ndjson"), folder.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    std::os::unix::fs::symlink("disk/r.ndjson", &link).unwrap();
    for _ in 0..2 {
        let mut harness = Harness::with(&url(&link, ""), 1, 4, 64 * 1024);
        harness.send_all(1, 10);
        harness.finish(MINUTE).nothing_lost();
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    for name in ["r.ndjson", "r-000001.ndjson"] {
        assert_eq!(numbers(&fs::read_to_string(disk.join(name)).unwrap(), 0), (0..10).collect::<Vec<_>>());
    }
}

/// A replacement that is no file is not written through: it is moved aside, as at the start.
#[test]
fn a_link_in_the_place_of_the_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (folder.path().join("r.ndjson"), folder.path().join("elsewhere"));
    fs::write(&elsewhere, "precious\n").unwrap();
    let mut harness = Harness::with(&url(&path, ""), 1, 4, 64 * 1024);
    harness.send_all(1, 10);
    harness.wait_until(MINUTE, "written", |report| report.delivered == 10);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    harness.send_all(1, 10);
    harness.finish(MINUTE).nothing_lost();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious\n");
    assert_eq!(numbers(&fs::read_to_string(&path).unwrap(), 0), (10..20).collect::<Vec<_>>());
    assert!(fs::symlink_metadata(folder.path().join("r-000001.ndjson")).unwrap().is_symlink());
}

#[test]
fn where_nothing_can_be_written_it_is_said_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    let error = |path: &Path| {
        let probed = probe(&SinkConfig::parse(&url(path, "")).unwrap(), MINUTE).unwrap_err().to_string();
        let started = Harness::try_with(&url(path, ""), 1, 1, 1).err().expect("refused").to_string();
        (probed, started)
    };
    let (probed, started) = error(&inner.join("r.ndjson"));
    assert!(probed.contains("make this directory first"), "{probed}");
    assert_eq!(probed, started);
    assert!(!inner.exists(), "nothing was made");
    let (probed, _) = error(folder.path());
    assert!(probed.contains("not a directory"), "{probed}");

    // Root may write everywhere but on a file system that is read only.
    fs::create_dir(&inner).unwrap();
    let _disk = Tmpfs::mount(&inner, "1m");
    let read_only = Command::new("mount").args(["-o", "remount,ro"]).arg(&inner).status().unwrap();
    assert!(read_only.success());
    let (probed, started) = error(&inner.join("r.ndjson"));
    assert!(probed.contains("Read-only") && started.contains("Read-only"), "{probed} {started}");
}

#[test]
fn without_permission_it_is_said_at_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let said = child("child_without_permission", &url(&folder.path().join("r.ndjson"), ""), Stdio::piped())
        .wait_with_output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.matches("Permission denied").count() == 2, "{text}");
}

/// Runs as nobody: see above.
#[test]
fn child_without_permission() {
    let Some(url) = std::env::var("RINGTAP_CHILD").ok() else { return };
    let nobody = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "--regid=65534"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_as_nobody", "--nocapture"])
        .env_remove("RINGTAP_CHILD")
        .env("RINGTAP_NOBODY", url)
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&nobody.stdout));
}

/// Part of the above.
#[test]
fn child_as_nobody() {
    let Some(url) = std::env::var("RINGTAP_NOBODY").ok() else { return };
    println!("{}", probe(&SinkConfig::parse(&url).unwrap(), MINUTE).unwrap_err());
    println!("{}", Harness::try_with(&url, 1, 1, 1).err().unwrap());
}

#[test]
fn dev_null_and_pipes_are_written_as_they_are() {
    let mut harness = Harness::new("file:///dev/null?rotate=1MiB");
    harness.send_all(30, 150);
    harness.finish(MINUTE).nothing_lost();
    assert!(fs::metadata("/dev/null").is_ok_and(|m| !m.is_file()));
}

/// This test program again, with one test of it and a sink that is its own standard output.
fn child(test: &str, value: &str, stdout: Stdio) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("RINGTAP_CHILD", value)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Writes to standard output and says on standard error how it went.
#[test]
fn child_writes_to_stdout() {
    let Ok(patience) = std::env::var("RINGTAP_CHILD") else { return };
    let mut harness = Harness::new("stdout:");
    for n in 0..1000_u16 {
        if !harness.handle.is_alive() || !harness.send(n % 2, 100, Duration::from_millis(1500)) {
            break;
        }
    }
    let begun = Instant::now();
    let done = harness.finish(Duration::from_millis(patience.parse().unwrap()));
    let gone = done.result.as_ref().is_err_and(|error| matches!(**error, SinkError::ReaderGone));
    eprintln!("\nDONE {} gone={gone} ms={}", done.report, begun.elapsed().as_millis());
    // The test harness would go on to write to that standard output.
    std::process::exit(0);
}

/// Writes to standard output, a file on a disk that is full for a while, until some are lost; then the disk has room again.
#[test]
fn child_writes_to_a_full_disk() {
    let Ok(ballast) = std::env::var("RINGTAP_BALLAST") else { return };
    let mut harness = Harness::with("stdout:", 1, 4, 64 * 1024);
    while harness.report().rejected == 0 {
        harness.send_all(1, 100);
    }
    harness.wait_until(MINUTE, "settled", |report| report.in_flight == 0);
    fs::remove_file(ballast).unwrap();
    harness.send_all(3, 100);
    let done = harness.finish(MINUTE);
    eprintln!("\nDONE {} lost={}", done.report, done.reason("write_failed"));
    std::process::exit(0);
}

#[test]
fn standard_output_to_a_full_disk_has_whole_lines_and_as_many_as_were_delivered() {
    for append in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Tmpfs::mount(folder.path(), "2m");
        disk.fill(1 << 20);
        let path = folder.path().join("out");
        let file = fs::OpenOptions::new().create(true).write(true).append(append).open(&path).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_to_a_full_disk", "--nocapture", "--quiet"])
            .env("RINGTAP_BALLAST", folder.path().join("ballast"))
            .stdout(file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = said(child);
        let text = fs::read_to_string(&path).unwrap();
        let records: String =
            text.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
        let found = numbers(&records, 0);
        assert!(said.contains(&format!("delivered {} ", found.len())), "{} found: {said}", found.len());
        assert!(found.is_sorted_by(|a, b| a < b) && !said.contains("lost=0"), "{said}");
        assert!(!text.contains('\0') && text.ends_with("}\n"), "cut back, and nothing skipped");
    }
}

fn said(mut child: std::process::Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    text.lines().find(|line| line.starts_with("DONE")).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn standard_output_has_a_record_per_line() {
    let mut child = child("child_writes_to_stdout", "60000", Stdio::piped());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let records: String = text.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    for queue in 0..2 {
        assert_eq!(numbers(&records, queue), (0..50_000).collect::<Vec<_>>());
    }
    let said = said(child);
    assert!(said.contains("delivered 100000 ") && said.contains("gone=false"), "{said}");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let mut child = child("child_writes_to_stdout", "60000", Stdio::piped());
    let mut some = [0; 100_000];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let said = said(child);
    assert!(said.contains("write_failed") && said.contains("gone=true"), "{said}");
}

#[test]
fn a_reader_that_does_not_read_cannot_hold_up_the_end() {
    let child = child("child_writes_to_stdout", "300", Stdio::piped());
    let said = said(child);
    assert!(said.contains("drain_timeout") && said.contains("gone=false"), "{said}");
    let ms: u64 = said.rsplit_once("ms=").unwrap().1.parse().unwrap();
    assert!(ms < 1500, "{said}");
}
