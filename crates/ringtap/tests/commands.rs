//! The commands beside `run` and `replay`: list, check, completions, man, help; and the log.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use common::*;
use testkit::net::Tun;

#[test]
fn list_names_interfaces_and_mechanisms() {
    let lan = Lan::with_addresses();
    let _tun = Tun::new(&lan.sensor, "tun0", Tun::NONE);
    let done = start(Some(&lan.sensor), &["list"]).finish().expect(0);
    let text = done.text();
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(line("tap0").contains("up") && line("tap0").contains("veth") && line("tap0").contains("1500"), "{text}");
    assert!(line("lo").contains("loopback"), "{text}");
    let (_, captured) = text.split_once("captured by\n").unwrap();
    let by = |name: &str| {
        let line = captured.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {text}")).trim()
    };
    // Which others there are depends on the machine.
    for usable in ["afpacket", "afxdp", "packet", "pcap"] {
        assert!(by("tap0").split([',', ';']).any(|name| name.trim() == usable), "{text}");
    }
    assert!(
        by("tun0").contains("afxdp") && by("tun0").contains(": its frames have no Ethernet header; use afpacket"),
        "{text}"
    );
    assert!(line("afpacket").contains("usable") && !line("afpacket").contains("not"), "{text}");
    assert!(line("filters").contains("libpcap"), "{text}");
}

#[test]
fn check_tries_everything_and_changes_nothing() {
    let lan = Lan::silent();
    let dir = tempfile::tempdir().unwrap();
    let records = dir.path().join("records.ndjson");
    let logs = dir.path().join("logs");
    let check = |arguments: &[&str]| {
        let mut all = vec!["check", "-i", "tap0", "--log-dir", logs.to_str().unwrap()];
        all.extend(arguments);
        start(Some(&lan.sensor), &all).finish()
    };
    let good = check(&["--filter", "tcp", "--to", &file_url(&records)]).expect(0);
    for line in ["configuration: ", "filter: tcp", "interface tap0: ", "sink file://"] {
        assert!(good.text().lines().any(|found| found.starts_with(&format!("ok      {line}"))), "{}", good.text());
    }
    let bad = check(&["--filter", "tcp prot", "--to", "kafka://127.0.0.1:1/t"]).expect(2).says(&["2 of the checks"]);
    for line in ["FAILED  filter", "FAILED  sink kafka://127.0.0.1:1/t", "ok      interface tap0"] {
        assert!(bad.text().contains(line), "{}", bad.text());
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "neither log nor records");
    fs::write(&records, "precious\n").unwrap();
    check(&["--to", &file_url(&records)]).expect(0);
    assert_eq!(fs::read_to_string(&records).unwrap(), "precious\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Others on the machine see it, and it is in the kernel's log.
#[test]
fn check_does_not_make_the_interface_promiscuous() {
    let lan = Lan::silent();
    let mut monitor = Command::new("ip");
    monitor.args(["-d", "monitor", "link"]).stdin(Stdio::null());
    let monitor = start_command(Some(&lan.sensor), monitor);
    std::thread::sleep(std::time::Duration::from_millis(300));
    start(Some(&lan.sensor), &["check", "-i", "tap0", "--to", "null:"]).finish().expect(0);
    lan.sensor.ip("link set tap0 mtu 1400"); // the monitor is awake
    monitor.wait_until("the change of the MTU", || monitor.stdout_octets() > 0);
    std::thread::sleep(std::time::Duration::from_millis(100));
    monitor.signal("TERM");
    let text = monitor.finish().text();
    assert!(text.contains("mtu 1400") && !text.contains("promiscuity 1"), "{text}");
}

#[test]
fn completions_are_what_shells_read() {
    for (shell, program) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let done = run(&["completions", shell]).expect(0);
        assert!(done.text().contains("drain-timeout"), "{shell}");
        for words in [["hash", "rollover"], ["in", "promisc"]] {
            assert!(words.iter().all(|word| done.text().contains(word)), "{shell}: {words:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("completions");
        fs::write(&path, done.text()).unwrap();
        other(program, &["-n", path.to_str().unwrap()]);
    }
}

/// What a command writes to a pipe whose reader leaves at once: no panic, no complaint.
#[test]
fn a_reader_that_leaves_is_no_failure() {
    for command in ["completions bash", "man", "list", "--help", "run --help"] {
        let script = format!("set -o pipefail; {} {command} | true", env!("CARGO_BIN_EXE_ringtap"));
        for _ in 0..5 {
            let output = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && complaint.is_empty(), "{command}: {} {complaint}", output.status);
        }
    }
}

/// Standard error may be closed: what goes to the sinks is right all the same.
#[test]
fn nobody_has_to_read_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pcap");
    fs::write(&path, pcap_file((0..100).map(|n| (n, testkit::send::numbered(&distinct(), n))))).unwrap();
    let script = format!("{} replay {} 2> >(true)", env!("CARGO_BIN_EXE_ringtap"), path.display());
    let done = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", done.status);
    assert_each_once(&records(&done.stdout), 100);
}

#[test]
fn the_manual_page_is_right_and_has_every_option() {
    let page = run(&["man"]).expect(0).text();
    let mut man = Command::new("man")
        .args(["--warnings", "-E", "UTF-8", "-l", "-"])
        .env("MANWIDTH", "100")
        .env("MANROFFOPT", "-ww")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs man ({error}); scripts/test installs it"));
    man.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = man.wait_with_output().unwrap();
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.is_empty(), "{warnings}");
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" "); // lines are filled
    for word in [
        "RINGTAP RUN",
        "RINGTAP REPLAY",
        "drain-timeout",
        "--rate",
        "librdkafka",
        "EXIT STATUS 0 done",
        "/etc/ringtap/ringtap.toml",
        "What doctor --fix changed",
    ] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
}

const RUN: [&str; 28] = [
    "-i",
    "--interface",
    "--backend",
    "--queues",
    "--direction",
    "--snaplen",
    "--block-size",
    "--block-count",
    "--block-timeout",
    "--fanout",
    "--no-pinning",
    "--filter",
    "--libpcap",
    "--to",
    "--records",
    "--batch-size",
    "--batch-age",
    "--pool-memory",
    "--drain-timeout",
    "--require-sinks",
    "--sensor",
    "-X",
    "--ledger-interval",
    "--summary",
    "--duration",
    "--count",
    "--show",
    "--config",
];

#[test]
fn help_names_every_option() {
    let top = run(&["--help"]).expect(0).text();
    for word in
        ["run", "replay", "list", "doctor", "check", "completions", "man", "--log-level", "--log-dir", "Exit codes"]
    {
        assert!(top.contains(word), "{word}:\n{top}");
    }
    let help = run(&["run", "--help"]).expect(0).text();
    let page = run(&["man"]).expect(0).text().replace("\\-", "-");
    for option in RUN {
        assert!(help.contains(option), "{option} in run --help");
        assert!(page.contains(option), "{option} in the manual page");
    }
    let replay = run(&["replay", "--help"]).expect(0).text();
    for option in ["--rate", "--count", "--filter", "--to", "--config", "FILE"] {
        assert!(replay.contains(option), "{option} in replay --help");
    }
    assert!(run(&["--version"]).expect(0).text().starts_with("ringtap 0."));
    run::<&str>(&[]).expect(2);
}

#[test]
fn the_log_goes_to_a_file_for_services() {
    let lan = Lan::silent();
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("new/logs");
    let log_dir = ["--log-dir", logs.to_str().unwrap(), "--ledger-interval", "200ms"];
    let running = lan.run(&log_dir);
    lan.send(&distinct(), 100);
    running.wait_for("received 100 = filtered 0 + processed 100");
    running.interrupt().expect(0);
    let log = fs::read_to_string(logs.join("ringtap.log")).unwrap();
    for text in ["capturing on tap0 with 1 queue(s)", "processed 100", "SIGINT", " INFO "] {
        assert!(log.contains(text), "{text}:\n{log}");
    }
    assert!(!log.contains('\u{1b}'), "no colours in a file");
    let quiet = lan.sensor.enter(|| {
        let mut command = ringtap();
        command.args(["run", "-i", "tap0", "--duration", "100ms", "--log-level", "error"]).output().unwrap()
    });
    assert!(!String::from_utf8_lossy(&quiet.stderr).contains(" INFO "));
}
