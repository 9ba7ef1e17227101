//! What is wrong before the work begins: exit code 2, and a reason that says what to do. Nothing is left half done.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::*;

/// Arguments of `run`, and what standard error must say.
type Case<'a> = (&'a [&'a str], &'a [&'a str]);

#[test]
fn wrong_arguments_are_named_with_what_is_allowed() {
    let cases: [Case<'_>; 18] = [
        (&["-i", "nosuch0"], &["\"nosuch0\" does not exist", "ringtap list"]),
        (&["-i", "this-name-is-too-long"], &["this-name-is-too-long"]),
        (&["-i", "lo", "-i", "lo"], &["\"lo\" is named twice"]),
        (&["-i", "lo", "-f", "tcp prot 80"], &["tcp prot 80", "syntax error"]),
        (&["-i", "lo", "-f", "host no.such.host.invalid"], &["no.such.host.invalid"]),
        (&["-i", "lo", "--queues", "0"], &["1 to 256"]),
        (&["-i", "lo", "--queues", "many"], &["not a whole number", "1 to 256"]),
        (&["-i", "lo", "--batch-size", "2MB"], &["--batch-size", "is allowed"]),
        (&["-i", "lo", "--block-size", "5000"], &["5000", "power of two"]),
        (&["-i", "lo", "--duration", "10"], &["10", "is not a time such as"]),
        (&["-i", "lo", "--direction", "up"], &["[possible values: in, out, promisc]"]),
        (&["-i", "lo", "--to", "ftp://host/x"], &["ftp://host/x", "kafka://host:9092/topic"]),
        (&["-i", "lo", "--to", "null:", "--to", "null:"], &["null: is named twice"]),
        (
            &["-i", "lo", "--to", "file:///tmp/r", "--to", "file:///tmp/r?rotate=1MiB"],
            &["file:///tmp/r is named twice"],
        ),
        (&["-i", "lo", "--to", "kafka://h/t", "--to", "kafka://h/t?acks=1"], &["kafka://h:9092/t is named twice"]),
        (&["-i", "lo", "--to", "kafka://127.0.0.1:9/t", "-X", "no.such.option=1"], &["no.such.option"]),
        (&["-i", "lo", "-X", "novalue"], &["KEY=VALUE"]),
        (&["-i", "lo", "--sensor", "a b"], &["not a sensor's name"]),
    ];
    for (arguments, says) in cases {
        let arguments: Vec<_> = ["run"].iter().chain(arguments).collect();
        let done = run(&arguments).expect(2).says(says);
        assert!(done.stdout.is_empty() && !done.stderr.contains("panicked"), "{}", done.stderr);
    }
}

#[test]
fn no_mistake_shows_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringtap.toml");
    fs::write(&file, "[kafka.librdkafka]\n\"sasl.password\" = \"s3cret\n").unwrap();
    let config = file.to_str().unwrap();
    for arguments in [
        ["--to", "kafka://user:s3cret@h/bad topic"],
        ["--to", "kafka:user:s3cret@host/t"],
        ["--to", "kafka://h/bad topic?sasl.password=s3cret"],
        ["--to", "kafka://h/t?sasl.pasword=s3cret"],
        ["-X", "sasl.password:s3cret"],
        ["--config", config],
    ] {
        let done = run(&[&["run", "-i", "lo"][..], &arguments].concat()).expect(2);
        assert!(!done.stderr.contains("s3cret"), "{}", done.stderr);
    }
}

#[test]
fn a_libpcap_that_is_not_there_is_named_when_it_is_needed() {
    let lost = ["run", "-i", "lo", "--libpcap", "/nonexistent/libpcap.so", "-f", "tcp"];
    run(&lost).expect(2).says(&["/nonexistent/libpcap.so"]);
}

#[test]
fn files_that_cannot_be_written_or_read_are_named() {
    for (url, says) in [
        ("file:///nonexistent/dir/records.ndjson", "/nonexistent/dir"),
        ("file:///proc/records.ndjson", "/proc"),
        ("file:///etc", "/etc"),
    ] {
        run(&["run", "-i", "lo", "--to", url]).expect(2).says(&[says]);
    }
    run(&["run", "-i", "lo", "--config", "/nonexistent.toml"]).expect(2).says(&["/nonexistent.toml"]);
    run(&["replay", "/nonexistent.pcap"]).expect(2).says(&["/nonexistent.pcap"]);
    run(&["run", "-i", "lo", "--log-dir", "/proc/log"]).expect(2).says(&["/proc/log", "--log-dir"]);
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringtap.toml");
    let mistakes: [(&str, &[&str]); 3] = [
        ("[capture]\ninterfaces = [\"lo\"]\nqueus = 2\n", &["line 3", "queus", "queues"]),
        ("[output]\nbatch-size = \"5GB\"\n", &["line 2", "batch-size", "out of range"]),
        ("[capture]\nbackend = \"magic\"\n", &["line 2", "magic", "afpacket"]),
    ];
    for (text, says) in mistakes {
        fs::write(&file, text).unwrap();
        run(&["run", "--config", file.to_str().unwrap()]).expect(2).says(&["ringtap.toml"]).says(says);
        run(&["check", "--config", file.to_str().unwrap()]).expect(2).says(says);
    }
}

/// The binary where others may execute it, and as somebody without privileges.
fn unprivileged(arguments: &[&str]) -> Done {
    let dir = tempfile::Builder::new().prefix("ringtap-nobody-").tempdir_in("/tmp").unwrap();
    let other = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), other).unwrap();
    let program = dir.path().join("ringtap");
    fs::copy(env!("CARGO_BIN_EXE_ringtap"), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]).arg(program).args(arguments);
    command.stdin(Stdio::null());
    start_command(None, command).finish()
}

#[test]
fn without_the_privilege_one_line_says_how_to_get_it() {
    for arguments in [&["run", "-i", "lo"][..], &["run", "-i", "lo", "--filter", "tcp"]] {
        let done = unprivileged(arguments).expect(2).says(&["CAP_NET_RAW", "sudo setcap cap_net_raw+ep /tmp/"]);
        assert_eq!(done.stderr.trim_end().lines().count(), 1, "{}", done.stderr);
    }
    let listed = unprivileged(&["list"]).expect(0);
    assert!(listed.text().contains("not usable: "), "{}", listed.text());
    unprivileged(&["check", "-i", "lo", "--to", "null:"]).expect(2);
}

#[test]
fn a_sink_that_does_not_answer_is_an_error_only_if_it_is_required() {
    let lan = Lan::silent();
    let dead = "kafka://127.0.0.1:1/packets";
    let required = ["run", "-i", "tap0", "--to", dead, "--require-sinks"];
    let done = start(Some(&lan.sensor), &required).finish().expect(2);
    let done = done.says(&[dead, "does not answer", "--require-sinks"]);
    assert!(!done.stderr.contains("capturing on"), "nothing is captured before: {}", done.stderr);

    let running = lan.run(&["--to", dead, "--to", "stdout:", "--drain-timeout", "100ms"]);
    lan.send(&distinct(), 100);
    running.wait_for("it is tried again");
    assert!(running.stderr().contains(" WARN "), "{}", running.stderr());
    let done = running.interrupt().expect(1);
    assert_each_once(&done.records(), 100);
}

#[test]
fn a_disk_that_is_full_loses_by_name_and_the_other_sink_has_all() {
    let lan = Lan::silent();
    let dir = tempfile::tempdir().unwrap();
    let small = testkit::Tmpfs::mount(dir.path(), "64k");
    let running = lan.run(&["--to", &file_url(&dir.path().join("records.ndjson")), "--to", "stdout:"]);
    lan.send(&distinct(), 5_000);
    let done = running.interrupt().expect(1).says(&["records are lost", "No space left on device"]);
    drop(small);
    let ledger = done.ledger();
    assert_eq!(ledger.delivered("stdout:"), 5_000);
    let file = ledger.sink("file://");
    assert_eq!(file["reasons"]["write_failed"], file["rejected"]);
    assert_eq!(file["delivered"].as_u64().unwrap() + file["rejected"].as_u64().unwrap(), 5_000);
}

#[test]
fn an_interface_that_goes_away_is_waited_for() {
    let lan = Lan::silent();
    let running = lan.run(&[]);
    lan.send(&distinct(), 100);
    std::thread::sleep(std::time::Duration::from_millis(100));
    lan.sensor.ip("link del tap0");
    running.wait_for(" WARN ");
    assert!(running.stderr().contains("tap0"), "{}", running.stderr());
    lan.cable("tap0", "far0", &testkit::net::VethOptions::default());
    // The queue looks for it several times a second.
    std::thread::sleep(std::time::Duration::from_secs(2));
    lan.send(&distinct(), 200);
    let done = running.interrupt().expect(0);
    let records = done.records();
    assert_each_once(&records[..100], 100);
    assert_each_once(&records[100..], 200);
    assert_sequences(&records);
    done.ledger();
}

/// Before anything is allocated: the kernel would give it, and take it from everybody else.
#[test]
fn rings_larger_than_half_of_the_memory_are_refused() {
    let lan = Lan::silent();
    let arguments = ["run", "-i", "tap0", "--queues", "256", "--block-count", "15000"];
    let done = start(Some(&lan.sensor), &arguments).finish().expect(2);
    done.says(&["memory of all rings = 960000 MiB", "lower queues, block-count or block-size"]);
}

#[test]
fn a_wrong_filter_of_a_file_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringtap.toml");
    fs::write(&file, "[filter]\n\nfilters = [\"tcp prot 80\"]\n").unwrap();
    let file = file.to_str().unwrap();
    let place = format!("{file}, line 3: ");
    run(&["run", "-i", "lo", "--config", file]).expect(2).says(&[&place, "tcp prot 80", "column 5"]);
    fs::write(dir.path().join("a.pcap"), pcap_file([])).unwrap();
    let capture = dir.path().join("a.pcap");
    run(&["replay", capture.to_str().unwrap(), "--config", file]).expect(2).says(&[&place, "column 5"]);
    run(&["run", "-i", "lo", "--config", file, "-f", "ip ip"]).expect(2).says(&["--filter: ", "ip ip"]);
}

#[test]
fn a_negative_number_is_no_flag_and_filters_are_checked_one_by_one() {
    let done = run(&["run", "-i", "lo", "--queues", "-1"]).expect(2);
    done.says(&["\"-1\" is not a whole number", "1 to 256"]);
    // Between the brackets of the whole they would be right.
    let done = run(&["run", "-i", "lo", "-f", "tcp) or (udp", "-f", "tcp"]).expect(2);
    done.says(&["--filter: cannot filter on lo", "\")\" (column 4)"]);
}
