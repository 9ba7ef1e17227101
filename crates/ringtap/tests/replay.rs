//! `ringtap replay`: files that other programs made, damaged ones, large ones.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::*;
use tempfile::TempDir;

/// Starts at a moment that needs all digits: 2026-01-02T03:04:05.123456789Z.
const START: u64 = 1_767_323_045_123_456_789;
/// Octets of one record in `pcap_file`: its header and a shortest numbered frame.
const PACKET: usize = 16 + 60;

/// `count` numbered frames, a millisecond and a nanosecond apart.
fn numbered_pcap(count: u64) -> Vec<u8> {
    pcap_file((0..count).map(|n| (START + n * 1_000_001, testkit::send::numbered(&distinct(), n))))
}

/// Files of one capture in every form, made by editcap, gzip and zstd out of `count` packets.
fn every_form(dir: &TempDir, count: u64) -> Vec<PathBuf> {
    let at = |name: &str| dir.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    fs::write(at("nano.pcap"), numbered_pcap(count)).unwrap();
    let source = text(&at("nano.pcap"));
    other("editcap", &["-F", "pcapng", &source, &text(&at("a.pcapng"))]);
    other("gzip", &["-k", &source]);
    other("zstd", &["-q", &source]);
    other("gzip", &["-k", &text(&at("a.pcapng"))]);
    ["nano.pcap", "a.pcapng", "nano.pcap.gz", "nano.pcap.zst", "a.pcapng.gz"].map(at).into()
}

#[test]
fn every_form_of_a_file_gives_the_same_records() {
    let dir = tempfile::tempdir().unwrap();
    for path in every_form(&dir, 5_000) {
        let done = run(&["replay", path.to_str().unwrap()]).expect(0);
        let records = done.records();
        assert_each_once(&records, 5_000);
        assert_sequences(&records);
        assert_eq!(records[0]["@timestamp"], "2026-01-02T03:04:05.123456789Z", "{}", path.display());
        assert_eq!(records[4_999]["@timestamp"], "2026-01-02T03:04:10.122461788Z");
        assert_eq!(done.ledger().frames("offered"), 5_000);
    }
}

#[test]
fn standard_input_and_several_files() {
    let dir = tempfile::tempdir().unwrap();
    let files = every_form(&dir, 1_000);
    for path in &files {
        let mut command = ringtap();
        command.args(["replay", "-", "--summary", "json"]).stdin(File::open(path).unwrap());
        let done = start_command(None, command).finish().expect(0);
        assert_each_once(&done.records(), 1_000);
    }
    let mut arguments = vec!["replay"];
    arguments.extend(files.iter().map(|path| path.to_str().unwrap()));
    let done = run(&arguments).expect(0);
    let records = done.records();
    assert_sequences(&records);
    assert_eq!(records.len(), 5_000);
    records.chunks(1_000).for_each(|part| assert_each_once(part, 1_000));
    let limited = run(&["replay", arguments[1], "--count", "77"]).expect(0);
    assert_each_once(&limited.records(), 77);
    limited.ledger();
}

#[test]
fn counts_are_those_of_capinfos() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let script = "import sys\nfrom scapy.all import *\ne = Ether(src='02:00:00:00:00:02', dst='02:00:00:00:00:01')\n\
        wrpcap(sys.argv[1], [e/IP()/TCP(dport=n) for n in range(701)] + [e/IPv6()/UDP()/DNS()] * 50 + [e/ARP()] * 9)";
    other(PYTHON, &["-c", script, &at("scapy.pcap")]);
    let lan = Lan::with_addresses();
    let mut tcpdump = Command::new("tcpdump");
    let written = at("tcpdump.pcap");
    tcpdump
        .args(["-i", "tap0", "-U", "-Z", "root", "--time-stamp-precision=nano", "-w", &written])
        .stdin(Stdio::null());
    let tcpdump = start_command(Some(&lan.sensor), tcpdump);
    tcpdump.wait_for("listening on");
    lan.sensor.run("ping", &["-q", "-c", "30", "-i", "0.01", "192.0.2.2"]);
    tcpdump.interrupt().expect(0);
    other("mergecap", &["-w", &at("merged.pcapng"), &at("scapy.pcap"), &at("tcpdump.pcap")]);
    for name in ["scapy.pcap", "tcpdump.pcap", "merged.pcapng"] {
        let told = String::from_utf8(other("capinfos", &["-T", "-r", "-c", "-M", &at(name)])).unwrap();
        let packets: usize = told.trim().rsplit('\t').next().unwrap().parse().unwrap();
        let done = run(&["replay", &at(name)]).expect(0);
        assert_eq!(done.records().len(), packets, "{name}");
        done.ledger();
    }
}

#[test]
fn damage_costs_what_is_behind_it_in_that_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let whole = numbered_pcap(300);
    fs::write(at("whole.pcap"), &whole).unwrap();
    let mut damaged = whole.clone();
    let place = 24 + 200 * PACKET;
    damaged[place + 8..place + 12].fill(0xff); // the captured length
    fs::write(at("damaged.pcap"), &damaged).unwrap();
    fs::write(at("cut.pcap"), &whole[..24 + 100 * PACKET + 30]).unwrap();
    fs::write(at("text.pcap"), "this is no capture at all").unwrap();
    let files = ["whole.pcap", "damaged.pcap", "cut.pcap", "text.pcap", "whole.pcap"].map(at);
    let mut arguments = vec!["replay"];
    arguments.extend(files.iter().map(String::as_str));
    let done = run(&arguments).expect(1);
    let records = done.records();
    assert_eq!(records.len(), 300 + 200 + 100 + 300);
    assert_sequences(&records);
    assert_eq!(done.ledger().frames("processed"), 900);
    let done = done.says(&[&format!("at offset {place}"), &format!("at offset {}", 24 + 100 * PACKET)]);
    done.says(&["damaged.pcap", "cut.pcap", "text.pcap"]);
}

#[test]
fn a_file_that_is_not_there_is_found_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("here.pcap");
    fs::write(&here, numbered_pcap(10)).unwrap();
    let done = run(&["replay", here.to_str().unwrap(), "/nonexistent.pcap"]).expect(2).says(&["/nonexistent.pcap"]);
    assert!(done.stdout.is_empty());
    run(&["replay", dir.path().to_str().unwrap()]).expect(2);
    // Of files that exist and may not be read this is one that root may not read either.
    let forbidden = "/proc/sys/vm/compact_memory";
    let done = run(&["replay", here.to_str().unwrap(), forbidden]).expect(2).says(&[forbidden, "ermission denied"]);
    assert!(done.stdout.is_empty());
}

#[test]
fn filters_turn_away_and_the_ledger_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pcap");
    fs::write(&path, numbered_pcap(1_000)).unwrap();
    let path = path.to_str().unwrap();
    let done = run(&["replay", path, "--filter", "udp src portrange 10100-10199", "-f", "host 192.0.2.2"]).expect(0);
    assert_eq!(by_port(&done.records()).into_keys().collect::<Vec<_>>(), (10_100..10_200).collect::<Vec<_>>());
    let ledger = done.ledger();
    assert_eq!((ledger.frames("received"), ledger.frames("filtered"), ledger.frames("processed")), (1_000, 900, 100));
    run(&["replay", path, "--filter", "tcp prot 1"]).expect(2).says(&["tcp prot 1"]);
}

#[test]
fn the_original_pace_and_a_pace_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pcap");
    fs::write(&path, numbered_pcap(1_501)).unwrap(); // 1.5 s long
    let path = path.to_str().unwrap();
    for (arguments, at_least) in [(["--rate", "original"], 1.5), (["--rate", "1000"], 1.45), (["--rate", "max"], 0.0)] {
        let done = run(&["replay", path, arguments[0], arguments[1], "--to", "null:"]).expect(0);
        let took = done.elapsed;
        assert!((at_least..at_least + 8.0).contains(&took.as_secs_f64()), "{arguments:?}: {took:?}");
        assert_eq!(done.ledger().delivered("null:"), 1_501);
    }
}

#[test]
fn a_large_file_takes_no_more_memory_than_a_small_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.pcap");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    file.write_all(&pcap_file([])).unwrap();
    let mut frame = testkit::send::numbered(&distinct(), 0);
    frame.resize(1_500, 0);
    let packet = pcap_file([(START, frame)]).split_off(24);
    let count = 500_000_000 / packet.len();
    (0..count).for_each(|_| file.write_all(&packet).unwrap());
    drop(file);

    let (done, peak) = replay_and_measure(&path);
    let done = done.expect(0);
    let (took, ledger) = (done.elapsed, done.ledger());
    println!("500 MB in {took:?}, at most {peak} KiB of memory");
    assert_eq!(ledger.delivered("null:"), count as u64);
    assert!(peak > 0 && peak < 64 << 10, "{peak} KiB");
    assert!(took < Duration::from_secs(60));
}

/// A replay to its end, and the most memory that it took, KiB.
fn replay_and_measure(path: &Path) -> (Done, u64) {
    let running = start(None, &["replay", path.to_str().unwrap(), "--to", "null:"]);
    let status = format!("/proc/{}/status", running.id());
    let mut peak = 0;
    running.wait_until("the end", || {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(kib) = field("VmHWM:").and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok()) {
            peak = peak.max(kib);
        }
        field("VmHWM:").is_none() // gone, or a zombie without memory
    });
    (running.finish(), peak)
}

/// What a file says of its interfaces does not decide over the memory.
#[test]
fn many_sections_and_interfaces_take_no_more_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sections.pcapng");
    let block = |kind: u32, body: &[u8]| {
        let total = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &total, body, &total].concat()
    };
    let section = block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), &[0xff; 8]].concat());
    let interface = |name: &str| {
        let option = [&2_u16.to_le_bytes()[..], &(name.len() as u16).to_le_bytes(), name.as_bytes()].concat();
        block(1, &[&1_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &option].concat())
    };
    let packet = block(6, &[[0_u32, 0, 7, 4, 4].map(u32::to_le_bytes).concat(), b"data".to_vec()].concat());
    let mut file = BufWriter::new(File::create(&path).unwrap());
    // Names as long as one option allows, each another; then what a million concatenated files look like.
    file.write_all(&section).unwrap();
    (0..2_000).for_each(|n| file.write_all(&interface(&format!("{n:065532}"))).unwrap());
    (0..14_000).for_each(|n| file.write_all(&interface(&format!("if{n:062}"))).unwrap());
    let one = [section, interface("eth0"), interface("eth1"), packet].concat();
    (0..1_000_000).for_each(|_| file.write_all(&one).unwrap());
    drop(file);
    let (done, peak) = replay_and_measure(&path);
    let done = done.expect(0);
    println!("a million sections in {:?}, at most {peak} KiB of memory", done.elapsed);
    assert_eq!(done.ledger().delivered("null:"), 1_000_000);
    assert!(peak > 0 && peak < 64 << 10, "{peak} KiB");
}

#[test]
fn payloads_are_read_if_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.pcap").to_str().unwrap().to_owned();
    let script = "import sys\nfrom scapy.all import *\n\
        e = Ether(src='02:00:00:00:00:02', dst='02:00:00:00:00:01')\n\
        q = DNS(id=7, rd=1, qd=DNSQR(qname='www.example.com', qtype='AAAA'))\n\
        a = DNS(id=7, qr=1, rcode=3, qd=DNSQR(qname='www.example.com', qtype='AAAA'))\n\
        g = Raw(b'GET /x HTTP/1.1\\r\\nHost: web.example:8080\\r\\n\\r\\n')\n\
        ps = [e/IP(src='192.0.2.1', dst='192.0.2.53')/UDP(sport=4000, dport=53)/q,\n\
              e/IP(src='192.0.2.53', dst='192.0.2.1')/UDP(sport=53, dport=4000)/a,\n\
              e/Dot1Q(vlan=5)/IP(src='192.0.2.1', dst='192.0.2.80')/TCP(sport=4001, dport=8080, flags='PA')/g,\n\
              e/IP(src='192.0.2.1', dst='192.0.2.123')/UDP(sport=123, dport=123)/NTP(),\n\
              e/IP(src='192.0.2.123', dst='192.0.2.1')/UDP(sport=123, dport=123)/NTP(mode=4)]\n\
        for n, p in enumerate(ps): p.time = 1000 + n / 8\n\
        wrpcap(sys.argv[1], ps)";
    other(PYTHON, &["-c", script, &file]);
    let done = run(&["replay", &file, "--records", "flows", "--app", "dns,http"]).expect(0);
    let records = done.records();
    let to = |address: &str| records.iter().find(|record| record["destination"]["ip"] == address).unwrap();
    let (dns, web, time) = (to("192.0.2.53"), to("192.0.2.80"), to("192.0.2.123"));
    assert_eq!(dns["dns"]["question"], serde_json::json!({"name": "www.example.com", "type": "AAAA"}));
    assert_eq!((&dns["dns"]["response_code"], &dns["ringtap"]["dns"]["questions"]), (&"NXDOMAIN".into(), &1.into()));
    assert_eq!(dns["ringtap"]["dns"]["response_time"], 125_000_000);
    assert_eq!((&web["url"]["domain"], &web["url"]["original"]), (&"web.example".into(), &"/x".into()));
    assert_eq!(web["network"]["vlan"]["id"], "5");
    assert_eq!(time["ringtap"]["flow"]["response_time"], 125_000_000, "NTP's answer");
    assert_eq!(done.ledger().frames("processed"), 5);
    done.says(&["\"found\":3"]);
    // Nothing of it without the flag; and records of packets have none.
    let plain = run(&["replay", &file, "--records", "flows"]).expect(0);
    assert!(plain.records().iter().all(|record| record["dns"].is_null() && record["url"].is_null()));
    let config = dir.path().join("ringtap.toml").to_str().unwrap().to_owned();
    fs::write(&config, "[output]\nrecords = \"flows\"\n[flows]\napp = [\"dns\"]\n").unwrap();
    let some = run(&["replay", &file, "--config", &config]).expect(0);
    assert!(some.records().iter().any(|record| record["dns"]["question"]["name"] == "www.example.com"));
    assert!(some.records().iter().all(|record| record["url"].is_null()));
    run(&["replay", &file, "--app", "dns"]).expect(2).says(&["--records flows"]);
    run(&["replay", &file, "--records", "flows", "--app", "dns,smtp"]).expect(2).says(&["smtp", "http"]);
}
