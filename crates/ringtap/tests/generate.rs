//! `ringtap gen`: what it sends is what arrives, whole, at its pace, and valid for others.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use common::*;
use serde_json::Value;
use testkit::net::{NetNs, Veth, VethOptions};

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
    let one = generate(&lan, &["-n", "1", "-s", "2001:db8::1", "--stream", "1"]);
    assert_eq!((&one["octets"], &one["bits_per_second"]), (&80.into(), &Value::Null));
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
    refuse(&["-l", "41", "-n", "1"], &["too short", "the headers take at least 42"]);
    refuse(&["-l", "59", "--stream", "1", "-n", "1"], &["too short", "at least 60"]);
    refuse(&["--profile", "/no/such/file"], &["neither uniform"]);
    refuse(&["-s", "10.0.0.9-10.0.0.1"], &["IP[:PORT]"]);
    refuse(&["-R", "fast"], &["frames per second"]);
    refuse(&["-R", "0.0001"], &["0.0001", "from 0.001"]);
    refuse(&["-n", "1.5"], &["1.5", "a whole number, as in 1000, 20k or 1.389M"]);
    // Before anything is sent, by the interface's MTU.
    refuse(
        &["-l", "1515"],
        &["1515 octets are too long", "takes 1514 by its MTU of 1500", "-l 1514, or ip link set far0 mtu 1501"],
    );
    refuse(&["-l", "1519", "--vlan", "7"], &["1515 octets beside their VLAN tag", "-l 1518"]);
    refuse(&["-l", "2500", "--backend", "afxdp"], &["takes 1514"]);
    refuse(&["--backend", "pcap"], &["is for receiving", "afpacket, afxdp, netmap or packet"]);
    // What would have no effect.
    refuse(&["--profile", "imix", "-l", "100"], &["-l: has no effect", "uniform"]);
    refuse(&["--profile", "mix", "--vlan", "7"], &["--vlan: has no effect", "uniform and imix"]);
    refuse(&["--profile", "/no/such/file", "-d", "10.0.0.1"], &["-d: has no effect", "hping3"]);
    refuse(&["--rounds", "2"], &["--rounds: has no effect", "capture files"]);
    refuse(&["-f", "rx", "-l", "100"], &["-l: has no effect", "it is for -f tx"]);
    refuse(&["-f", "rx", "-p", "2", "--backend", "packet"], &["queues = 2: a socket without a ring"]);
    refuse(&["-f", "rx", "-R", "10"], &["-R: has no effect", "-f tx"]);
    refuse(&["-f", "rx", "--stream", "1"], &["--stream: has no effect", "bench expect"]);
    refuse(&["-f", "ping"], &["tx", "rx"]);
    start(Some(&lan.station), &["gen", "-i", "nosuch0"]).finish().expect(2).says(&["nosuch0", "does not exist"]);
    lan.station.ip("link set far0 down");
    refuse(&["-n", "1", "-w", "0"], &["far0 is down", "ip link set far0 up"]);
}

/// What `ringtap gen` at the station says at its end, beside its account.
fn ended(done: Done, code: i32, texts: &[&str]) -> Value {
    let done = done.expect(code).says(texts);
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.stderr))
}

/// Through a switch that learns: two cables into a bridge.
#[test]
fn the_mix_goes_through_a_bridge_whole() {
    let (station, switch, sensor) = (NetNs::new(), NetNs::new(), NetNs::new());
    let options = VethOptions::default();
    Veth::pair(&station, "far0", &switch, "p0", &options);
    Veth::pair(&switch, "p1", &sensor, "tap0", &options);
    switch.enter(|| {
        for family in ["iptables", "ip6tables"] {
            // Where the bridge asks netfilter it trims frames to their packets; there is no such file where it does not.
            let _ = std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{family}"), "0");
        }
    });
    switch.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0");
    for port in ["p0", "p1"] {
        switch.ip(&format!("link set {port} master br0"));
    }
    switch.ip("link set br0 up");
    wait_for_carrier(&switch, "br0");
    let link = String::from_utf8(sensor.run("ip", &["-o", "link", "show", "tap0"]).stdout).unwrap();
    let peer = link.split_ascii_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    for destination in [&[][..], &["-D", peer]] {
        // One run teaches the bridge, and the next one is sent by what it has learnt.
        let expect = ["bench", "expect", "-i", "tap0", "--streams", "1", "--repeats", "2", "--summary", "json"];
        let receiver = start(Some(&sensor), &[&expect[..], &["--time", "20s"]].concat());
        receiver.wait_for("receiving on tap0");
        for run in 0..2 {
            let send = ["gen", "-i", "far0", "--profile", "mix", "--stream", "1", "-n", "840", "-R", "20k"];
            let done = start(Some(&station), &[&send[..], destination].concat()).finish().expect(0);
            done.says(&["23 of 42 frames", "behind the packet"]);
            if run == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2500)); // two runs, by what `expect` says
            }
        }
        let found: Value = serde_json::from_slice(&receiver.finish().expect(0).stdout).unwrap();
        let figures = ["runs", "sent", "received", "missing", "doubled"].map(|name| found[name].as_u64());
        assert_eq!(figures, [Some(2), Some(840), Some(840), Some(0), Some(0)], "-D {destination:?}: {found}");
    }
    let learnt = String::from_utf8(switch.run("bridge", &["fdb", "show", "br", "br0", "dynamic"]).stdout).unwrap();
    let behind_the_sender = |mac: &str| learnt.lines().any(|line| line.starts_with(mac) && line.contains("dev p0"));
    assert!(!behind_the_sender(peer), "{learnt}");
}

#[test]
fn a_link_that_goes_down_is_told_and_waited_for() {
    let lan = Lan::silent();
    for (backend, end, word) in [
        ("packet", "far0", "the interface is down"),
        ("afpacket", "tap0", "no carrier"),
        ("afxdp", "far0", "the interface is down"),
    ] {
        let namespace = if end == "far0" { &lan.station } else { &lan.sensor };
        let before = lan.sensor.received("tap0");
        let arguments = ["gen", "-i", "far0", "-n", "2k", "-R", "1k", "--backend", backend, "--summary", "json"];
        let sender = start(Some(&lan.station), &arguments);
        sender.wait_for("frames,");
        namespace.ip(&format!("link set {end} down"));
        sender.wait_for(word);
        sender.wait_for("sending goes on when it is up again");
        std::thread::sleep(std::time::Duration::from_secs(1));
        namespace.ip(&format!("link set {end} up"));
        sender.wait_for("the link is up again");
        let done = sender.finish();
        // AF_XDP drops what it was given at the very moment.
        let code = done.code.unwrap();
        let told = ended(done, code, &[]);
        let number = |name: &str| told[name].as_f64().unwrap();
        assert!(number("link_down_seconds") > 0.5, "{told}");
        assert!(number("seconds") >= 1.999 + number("link_down_seconds"), "the schedule waited: {told}");
        let mean = (number("frames") - 1.0) / number("seconds");
        assert!((number("frames_per_second") / mean - 1.0).abs() < 0.001, "{told}");
        assert_eq!(number("frames") + number("refused"), 2000.0, "{told}");
        assert_eq!(code, i32::from(number("refused") > 0.0), "{told}");
        let arrived = lan.sensor.received("tap0") - before;
        assert_eq!(arrived as f64, number("frames"), "{backend}: {told}");
    }
    // A limit of time goes on meanwhile.
    let arguments = ["gen", "-i", "far0", "--duration", "3s", "-R", "1k"];
    let sender = start(Some(&lan.station), &arguments);
    sender.wait_for("frames,");
    lan.station.ip("link set far0 down");
    let done = sender.finish();
    assert!(done.text().contains("; the link was down for "), "{}", done.text());
}

#[test]
fn frames_that_the_other_end_refuses_are_counted_and_hold_up_nothing() {
    let lan = Lan::silent();
    lan.sensor.ip("link set tap0 mtu 1000");
    for backend in ["packet", "afpacket", "afxdp"] {
        let before = lan.sensor.received("tap0");
        let arguments = ["gen", "-i", "far0", "--profile", "imix", "-n", "1200", "-R", "5k", "--backend", backend];
        let sender = start(Some(&lan.station), &[&arguments[..], &["--summary", "json"]].concat());
        let told = ended(sender.finish(), 1, &["100 frames were not taken by the interface"]);
        let figures = ["frames", "refused", "unknown", "octets"].map(|name| told[name].as_u64());
        assert_eq!(figures, [Some(1100), Some(100), Some(0), None], "{backend}: {told}");
        assert_eq!(lan.sensor.received("tap0") - before, 1100);
    }
    let arguments = ["gen", "-i", "far0", "-l", "1400", "-n", "100", "--summary", "json"];
    let told = ended(start(Some(&lan.station), &arguments).finish(), 1, &[]);
    assert_eq!((&told["frames"], &told["refused"], &told["octets"]), (&0.into(), &100.into(), &0.into()));
}

#[test]
fn what_was_counted_is_told_when_the_interface_is_deleted() {
    for backend in ["packet", "afpacket", "afxdp"] {
        let lan = Lan::silent();
        let arguments = ["gen", "-i", "far0", "-R", "1k", "--backend", backend, "--summary", "json"];
        let sender = start(Some(&lan.station), &arguments);
        sender.wait_for("frames,");
        lan.station.ip("link del far0");
        let told = ended(sender.finish(), 1, &["ringtap: far0 was deleted"]);
        assert_eq!(told["interrupted"], "far0 was deleted");
        assert!(told["frames"].as_u64().unwrap() > 0, "{told}");
    }
    for backend in ["afpacket", "packet", "pcap", "afxdp"] {
        let lan = Lan::silent();
        let arguments = ["gen", "-f", "rx", "-i", "tap0", "--backend", backend, "--summary", "json"];
        let receiver = start(Some(&lan.sensor), &arguments);
        receiver.wait_for("receiving on tap0");
        generate(&lan, &["-n", "1k", "-R", "10k"]);
        receiver.wait_for("1000 frames");
        lan.sensor.ip("link del tap0");
        let told = ended(receiver.finish(), 1, &["ringtap: tap0 was deleted"]);
        assert_eq!((&told["frames"], &told["octets"]), (&1000.into(), &60_000.into()), "{backend}");
        assert_eq!(told["interrupted"], "tap0 was deleted");
    }
    let lan = Lan::silent();
    let sender = start(Some(&lan.station), &["gen", "-i", "far0", "-R", "1k"]);
    sender.wait_for("frames,");
    lan.station.ip("link del far0");
    assert!(sender.finish().expect(1).text().contains("; interrupted: far0 was deleted\n"));
}

#[test]
fn slow_rates_are_told_with_their_digits() {
    let lan = Lan::silent();
    let done = start(Some(&lan.station), &["gen", "-i", "far0", "-R", "0.8", "-n", "3"]).finish().expect(0);
    let text = done.text();
    assert!(text.starts_with("sent 3 frames (180 octets) in "), "{text}");
    assert!(text.contains(": 0.") && text.contains(" bit/s; wanted 0.8 (") && !text.contains(" 0 bit/s"), "{text}");
    assert!(!done.stderr.contains(", 0/s"), "{}", done.stderr);
    let done = start(Some(&lan.station), &["gen", "-i", "far0", "-n", "1"]).finish().expect(0);
    assert!(done.text().starts_with("sent 1 frame (60 octets) in "), "{}", done.text());
    assert!(!done.text().contains("/s"), "one frame has no rate: {}", done.text());
}
