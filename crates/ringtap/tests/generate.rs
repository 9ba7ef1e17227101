//! `ringtap gen`: what it sends is what arrives, whole, at its pace, and valid for others.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use common::*;
use serde_json::Value;

/// Runs `ringtap gen` at the station and returns its account.
fn generate(lan: &Lan, arguments: &[&str]) -> Value {
    let mut all = vec!["gen", "-i", "far0", "--summary", "json"];
    all.extend(arguments);
    let done = start(Some(&lan.station), &all).finish().expect(0);
    serde_json::from_slice(&done.stdout).unwrap()
}

/// What tshark says of the frames in a file.
fn tshark(file: &std::path::Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut arguments =
        vec!["-r", file.to_str().unwrap(), "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"];
    arguments.extend(["-o", "udp.check_checksum:TRUE", "-T", "fields"]);
    fields.iter().for_each(|field| arguments.extend(["-e", field]));
    let text = String::from_utf8(other("tshark", &arguments)).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Captures with tcpdump at the sensor while `task` sends.
fn captured(lan: &Lan, file: &std::path::Path, task: impl FnOnce()) {
    let mut judge = Command::new("tcpdump");
    judge
        .args(["-i", "tap0", "-n", "-U", "-B", "65536", "--immediate-mode", "-Z", "root", "-w"])
        .arg(file)
        .stdin(Stdio::null());
    let judge = start_command(Some(&lan.sensor), judge);
    judge.wait_for("listening on tap0");
    std::thread::sleep(std::time::Duration::from_millis(300));
    task();
    std::thread::sleep(std::time::Duration::from_millis(500));
    judge.interrupt().expect(0);
}

#[test]
fn every_frame_arrives_and_ranges_are_run_through() {
    let lan = Lan::silent();
    for backend in ["afpacket", "packet", "afxdp"] {
        let running = lan.run(&[]);
        let ranges = ["-s", "10.0.0.1:1000-10.0.0.4:1009", "-d", "10.1.0.1:53-10.1.0.2:53"];
        let mut arguments = vec!["-n", "8000", "-R", "100k", "--backend", backend, "-l", "100"];
        arguments.extend(ranges);
        let sent = generate(&lan, &arguments);
        assert_eq!((&sent["frames"], &sent["refused"], &sent["octets"]), (&8000.into(), &0.into(), &800_000.into()));
        let records = running.interrupt().expect(0).records();
        assert_eq!(records.len(), 8000);
        let mut talkers: BTreeMap<String, usize> = BTreeMap::new();
        for record in &records {
            let (source, destination) = (&record["source"], &record["destination"]);
            assert_eq!(destination["port"], 53);
            *talkers.entry(format!("{} {} {}", source["ip"], source["port"], destination["ip"])).or_default() += 1;
        }
        assert_eq!(talkers.len(), 4 * 10 * 2);
        assert!(talkers.values().all(|&times| times == 100), "each combination as often");
    }
}

#[test]
fn the_mix_is_valid_for_tshark() {
    let lan = Lan::silent();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.pcap");
    captured(&lan, &file, || {
        assert_eq!(generate(&lan, &["--profile", "mix", "-n", "840", "-R", "20k"])["frames"], 840);
    });
    let frames = tshark(
        &file,
        &["frame.protocols", "_ws.expert.severity", "ip.checksum.status", "tcp.checksum.status", "tcp.stream"],
    );
    assert_eq!(frames.len(), 840);
    let with = |protocol: &str| frames.iter().filter(|frame| frame[0].split(':').any(|p| p == protocol)).count();
    // Twenty rounds.
    assert_eq!(
        [with("arp"), with("dns"), with("tcp"), with("icmp"), with("icmpv6"), with("vlan")],
        [40, 120, 600, 40, 40, 240]
    );
    for frame in &frames {
        // 1 is good; a VLAN frame has the status of its inner packet.
        assert!(["1", ""].contains(&frame[2].as_str()) && ["1", ""].contains(&frame[3].as_str()), "{frame:?}");
        assert!(!frame[1].contains("8388608"), "an error in {frame:?}");
    }
    let mut streams: Vec<&str> =
        frames.iter().map(|frame| frame[4].as_str()).filter(|stream| !stream.is_empty()).collect();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams.len(), 60, "three connections in each round");
}

#[test]
fn a_capture_file_is_sent_as_it_is_and_at_its_own_pace() {
    let lan = Lan::silent();
    let folder = tempfile::tempdir().unwrap();
    let (source, copy) = (folder.path().join("source.pcap"), folder.path().join("copy.pcap"));
    // One frame every ten milliseconds.
    let frames: Vec<_> = (0..100).map(|n| testkit::send::numbered(&distinct(), n)).collect();
    let timed = frames.iter().cloned().enumerate().map(|(n, frame)| (n as u64 * 10_000_000, frame));
    std::fs::write(&source, pcap_file(timed)).unwrap();
    captured(&lan, &copy, || {
        let sent = generate(&lan, &["--profile", source.to_str().unwrap(), "--speed", "2", "--rounds", "2"]);
        assert_eq!(sent["frames"], 200);
        let seconds = sent["seconds"].as_f64().unwrap();
        assert!((0.95..2.0).contains(&seconds), "{seconds}: twice 0.99 s at double speed");
    });
    let hex = tshark(&copy, &["frame.len", "udp.srcport"]);
    assert_eq!(hex.len(), 200);
    let wanted: Vec<_> = tshark(&source, &["frame.len", "udp.srcport"]);
    assert_eq!(hex[..100], wanted[..]);
    assert_eq!(hex[100..], wanted[..]);
}

/// The thesis's load: hping3 itself is the judge.
#[test]
fn the_preset_is_what_hping3_sends() {
    let lan = Lan::with_addresses();
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours.pcap"), folder.path().join("theirs.pcap"));
    captured(&lan, &ours, || {
        generate(&lan, &["--profile", "hping3", "-n", "5", "-s", "192.0.2.2", "-d", "192.0.2.1"]);
    });
    captured(&lan, &theirs, || {
        let mut hping3 = Command::new("hping3");
        hping3
            .args(["--rawip", "-q", "-c", "5", "-d", "100", "-i", "u1000", "192.0.2.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It ends with 1, for nobody answers.
        lan.station.spawn(hping3).wait().unwrap();
    });
    let shape = |file: &std::path::Path| {
        let frames = tshark(file, &["frame.len", "ip.len", "ip.proto", "ip.ttl", "ip.dst", "ip.src"]);
        let mut load: Vec<_> = frames.into_iter().filter(|frame| frame[5] == "192.0.2.2").collect();
        load.sort();
        load
    };
    assert_eq!(shape(&ours).len(), 5);
    assert_eq!(shape(&ours), shape(&theirs));
}

/// The function rx of pkt-gen, by every mechanism of this machine.
#[test]
fn frames_are_counted_at_the_other_end() {
    let lan = Lan::silent();
    for backend in ["afpacket", "afxdp", "packet", "pcap"] {
        let arguments =
            ["gen", "-f", "rx", "-i", "tap0", "-n", "5000", "--backend", backend, "--summary", "json", "-c", "1"];
        let receiver = start(Some(&lan.sensor), &arguments);
        receiver.wait_for("receiving on tap0");
        assert_eq!(generate(&lan, &["-n", "5000", "-R", "50k"])["frames"], 5000);
        let told: Value = serde_json::from_slice(&receiver.finish().expect(0).stdout).unwrap();
        assert_eq!(
            (&told["frames"], &told["octets"], &told["dropped"]),
            (&5000.into(), &300_000.into(), &0.into()),
            "{backend}"
        );
        assert!(told["frames_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{told}");
    }
    // Nothing comes: until the time is over.
    let arguments = ["gen", "-f", "rx", "-i", "tap0", "--duration", "200ms"];
    let told = start(Some(&lan.sensor), &arguments).finish().expect(0).stdout;
    assert_eq!(String::from_utf8(told).unwrap(), "received 0 frames (0 octets); dropped, as the mechanism says: 0\n");
}

#[test]
fn threads_stay_on_the_cores_that_are_named() {
    let lan = Lan::silent();
    let mut cores: Vec<String> = Vec::new();
    for arguments in [&["-a", "1"][..], &["-c", "1", "-p", "2"], &[]] {
        let mut all = vec!["gen", "-i", "far0", "-R", "10"];
        all.extend(arguments);
        let running = start(Some(&lan.station), &all);
        running.wait_for("frames,");
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
        let status = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
        let allowed = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:").map(str::to_owned));
            line.unwrap().trim().to_owned()
        };
        cores.push(status.map(allowed).filter(|cores| !cores.contains('-')).collect::<Vec<_>>().join(" "));
        running.interrupt().expect(0);
    }
    assert_eq!(cores, ["1", "0 0", ""]);
}

#[test]
fn defaults_fit_what_is_sent() {
    let lan = Lan::silent();
    // 62 octets of headers, and 18 of the stamp.
    assert_eq!(generate(&lan, &["-n", "1", "-s", "2001:db8::1", "--stream", "1"])["octets"], 80);
    assert_eq!(generate(&lan, &["-n", "3", "-d", "0.0.0.0-255.255.255.255"])["octets"], 180);
}

#[test]
fn what_cannot_be_sent_is_said_with_what_would_be_right() {
    let lan = Lan::silent();
    let refuse = |arguments: &[&str], texts: &[&str]| {
        let mut all = vec!["gen", "-i", "far0"];
        all.extend(arguments);
        start(Some(&lan.station), &all).finish().expect(2).says(texts);
    };
    refuse(&["-l", "41", "-n", "1"], &["too short", "at least 42"]);
    refuse(&["-l", "59", "--stream", "1", "-n", "1"], &["too short", "at least 60"]);
    refuse(&["--profile", "/no/such/file"], &["neither uniform"]);
    refuse(&["-s", "10.0.0.9-10.0.0.1"], &["IP[:PORT]"]);
    refuse(&["-R", "fast"], &["frames per second"]);
    refuse(&["--backend", "pcap"], &["is for receiving", "afpacket, afxdp, netmap or packet"]);
    // What would have no effect.
    refuse(&["--profile", "imix", "-l", "100"], &["-l: has no effect", "uniform"]);
    refuse(&["--profile", "mix", "--vlan", "7"], &["--vlan: has no effect", "uniform and imix"]);
    refuse(&["--profile", "/no/such/file", "-d", "10.0.0.1"], &["-d: has no effect", "hping3"]);
    refuse(&["--rounds", "2"], &["--rounds: has no effect", "capture files"]);
    refuse(&["-f", "rx", "-R", "10"], &["-R: has no effect", "-f tx"]);
    refuse(&["-f", "rx", "--stream", "1"], &["--stream: has no effect", "bench expect"]);
    refuse(&["-f", "ping"], &["tx", "rx"]);
    start(Some(&lan.station), &["gen", "-i", "nosuch0"]).finish().expect(2).says(&["nosuch0", "does not exist"]);
    lan.station.ip("link set far0 down");
    refuse(&["-n", "1", "-w", "0"], &["far0 is down", "ip link set far0 up"]);
}
