//! Sums of flows against those of nfpcapd and softflowd, which make flows of the same packets: wherever tshark counts what they count, so do we.
//!
//! None of them has fragments, or errors of ICMP, in the flow that they belong to, as we do: conversations with such are left out. NetFlow's octets are
//! those of IP, ours and tshark's those of the frame: equal octets are those that differ by the Ethernet headers, so frames with padding or VLANs have none.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "../../pipeline/tests/common/pcaps.rs"]
mod pcaps;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use capture::LinkType;
use common::*;
use serde_json::Value;
use testkit::net::NetNs;
use testkit::random::Random;

/// Octets of an Ethernet header.
const HEADER: u64 = 14;

/// So many of the real captures, the largest ones.
const FILES: usize = 60;

/// An address and a port.
type End = (IpAddr, u16);

/// Of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    packets: u64,
    octets: u64,
}

/// The protocol and both ends, the lower one first.
type Key = (u64, End, End);

/// What the lower end sent, and what the other one did.
#[derive(Debug, Default)]
struct Conversations(BTreeMap<Key, [Sum; 2]>);

fn key(protocol: u64, from: End, to: End) -> (Key, usize) {
    if from <= to { ((protocol, from, to), 0) } else { ((protocol, to, from), 1) }
}

impl Conversations {
    fn add(&mut self, protocol: u64, from: End, to: End, packets: u64, octets: u64) {
        let (key, side) = key(protocol, from, to);
        let sum = &mut self.0.entry(key).or_default()[side];
        sum.packets += packets;
        sum.octets += octets;
    }
}

fn ours(file: &Path) -> Conversations {
    let mut all = Conversations::default();
    for report in run(&["replay", "--records", "flows", file.to_str().unwrap()]).records() {
        let protocol = match report["network"]["transport"].as_str() {
            Some("tcp") => 6,
            Some("udp") => 17,
            _ => continue,
        };
        let end = |side: &str| {
            Some((report[side]["ip"].as_str()?.parse().ok()?, report[side]["port"].as_u64()?.try_into().ok()?))
        };
        let (Some(source), Some(destination)) = (end("source"), end("destination")) else { continue };
        for (side, from, to) in [("source", source, destination), ("destination", destination, source)] {
            let of = |name| report[side][name].as_u64().unwrap_or_default();
            all.add(protocol, from, to, of("packets"), of("bytes"));
        }
    }
    all
}

/// What tshark lists of each frame: of its last headers, which are those quoted in an error of ICMP.
const FIELDS: [&str; 14] = [
    "frame.len",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "ip.flags.mf",
    "ip.frag_offset",
    "ipv6.fraghdr.ident",
    "icmp.type",
    "icmpv6.type",
];

/// Packets as its conversations say. It rounds octets there, so those are of the frames that it lists.
fn tshark(file: &Path) -> Conversations {
    let mut command = Command::new("tshark");
    command.args([
        "-n",
        "-z",
        "conv,tcp",
        "-z",
        "conv,udp",
        "-T",
        "fields",
        "-E",
        "occurrence=l",
        "-E",
        "separator=/t",
    ]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    // Of a file that is cut short it tells what there is, and fails.
    let output = command.arg("-r").arg(file).stdin(Stdio::null()).output();
    let output = output.expect("these tests need tshark; scripts/test installs it");
    let (mut all, mut quoted, mut fragments) = (Conversations::default(), BTreeSet::new(), BTreeSet::new());
    let mut protocol = 0;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(kind) = line.strip_suffix(" Conversations") {
            protocol = if kind == "TCP" { 6 } else { 17 };
        } else if let Some((one, other, back, there)) = conversation(line) {
            all.add(protocol, one, other, there, 0);
            all.add(protocol, other, one, back, 0);
        } else if let Ok(values) = <[&str; FIELDS.len()]>::try_from(line.split('\t').collect::<Vec<_>>()) {
            let [
                octets,
                v4_from,
                v4_to,
                v6_from,
                v6_to,
                tcp_from,
                tcp_to,
                udp_from,
                udp_to,
                mf,
                offset,
                v6,
                icmp,
                icmpv6,
            ] = values;
            let addresses = [format!("{v4_from}{v6_from}"), format!("{v4_to}{v6_to}")].map(|text| text.parse().ok());
            let ports = [format!("{tcp_from}{udp_from}"), format!("{tcp_to}{udp_to}")].map(|text| text.parse().ok());
            let [Some(from), Some(to)] = addresses else { continue };
            if matches!(mf, "1" | "True") || !matches!(offset, "" | "0") || !v6.is_empty() {
                fragments.extend([(from, to), (to, from)]);
            }
            let [Some(from_port), Some(to_port)] = ports else { continue };
            let (protocol, from, to) = (if tcp_from.is_empty() { 17 } else { 6 }, (from, from_port), (to, to_port));
            if icmp.is_empty() && icmpv6.is_empty() {
                all.add(protocol, from, to, 0, octets.parse().unwrap());
            } else {
                quoted.insert(key(protocol, from, to).0);
            }
        }
    }
    all.0.retain(|key, _| !quoted.contains(key) && !fragments.contains(&(key.1.0, key.2.0)));
    all
}

/// `192.0.2.1:1234 <-> 192.0.2.2:80  4 520 bytes  5 400 bytes ...`: packets of the right one, then those of the left one.
fn conversation(line: &str) -> Option<(End, End, u64, u64)> {
    let (one, rest) = line.split_once(" <-> ")?;
    let end = |text: &str| {
        let (address, port) = text.trim().rsplit_once(':')?;
        Some((address.parse().ok()?, port.parse().ok()?))
    };
    let rest: Vec<_> = rest.split_whitespace().collect();
    Some((end(one)?, end(rest.first()?)?, rest.get(1)?.parse().ok()?, rest.get(4)?.parse().ok()?))
}

/// What nfdump reads out of a folder.
fn nfdump(folder: &Path) -> Conversations {
    let text = String::from_utf8(other("nfdump", &["-R", folder.to_str().unwrap(), "-o", "json"])).unwrap();
    let mut all = Conversations::default();
    // It says so in words if there is none.
    let Ok(flows) = serde_json::from_str::<Vec<Value>>(&text) else {
        assert!(text.contains("No matching flows") || text.trim().is_empty(), "{text}");
        return all;
    };
    for flow in flows {
        let end = |side: &str| {
            let address = flow[format!("{side}4_addr")].as_str().or(flow[format!("{side}6_addr")].as_str())?;
            Some((address.parse().ok()?, flow[format!("{side}_port")].as_u64()?.try_into().ok()?))
        };
        let (Some(protocol), Some(from), Some(to)) = (flow["proto"].as_u64(), end("src"), end("dst")) else { continue };
        let of = |name: &str| flow[name].as_u64().unwrap_or_default();
        all.add(protocol, from, to, of("in_packets"), of("in_bytes"));
        all.add(protocol, to, from, of("out_packets"), of("out_bytes"));
    }
    all
}

fn nfpcapd(file: &Path, _: &NetNs) -> Conversations {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("nfpcapd");
    command.args(["-e", "3600,3600", "-w"]).arg(folder.path()).arg("-r").arg(file);
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("these tests need nfpcapd; scripts/test installs it");
    // What it does not read it has no flows of.
    if output.status.success() { nfdump(folder.path()) } else { Conversations::default() }
}

/// NetFlow version 9, by way of nfcapd, over the loopback interface of a namespace.
fn softflowd(file: &Path, network: &NetNs) -> Conversations {
    let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut command = Command::new("nfcapd");
    command.args(["-b", "127.0.0.1", "-p", "9995", "-B", "8000000", "-t", "3600", "-w"]).arg(folder.path());
    let collector = start_command(Some(network), command);
    collector.wait_for("Startup nfcapd");
    let (file, own) = (file.to_str().unwrap(), own.path().join("pid"));
    let options = ["-d", "-v", "9", "-n", "127.0.0.1:9995", "-m", "1000000", "-t", "maxlife=0", "-c", "none"];
    network.run("softflowd", &[&options[..], &["-p", own.to_str().unwrap(), "-r", file]].concat());
    collector.wait_until("all datagrams are read", || {
        let socket = network.run("ss", &["-Hlnu", "sport = :9995"]).stdout;
        String::from_utf8(socket).unwrap().split_whitespace().nth(1) == Some("0")
    });
    collector.signal("TERM");
    collector.finish().expect(0).says(&["Sequence Errors: 0"]);
    nfdump(folder.path())
}

/// A program's flows of a file; it may talk within the namespace.
type Program = fn(&Path, &NetNs) -> Conversations;

const PROGRAMS: [(&str, Program); 2] = [("nfpcapd", nfpcapd), ("softflowd", softflowd)];

/// Conversations of which tshark and another program say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Agreed {
    packets: usize,
    octets: usize,
    /// All of tshark's that are compared.
    of: usize,
}

/// Where tshark and each program agree, and where we do not agree with both.
fn compare(file: &Path, network: &NetNs) -> ([Agreed; 2], Vec<String>) {
    let (ours, tshark, mut wrong) = (ours(file), tshark(file), Vec::new());
    let agreed = PROGRAMS.map(|(name, program)| {
        let theirs = program(file, network);
        let mut agreed = Agreed { of: tshark.0.len(), ..Agreed::default() };
        for (key, known) in &tshark.0 {
            let Some(seen) = theirs.0.get(key) else { continue };
            let ours = ours.0.get(key).copied().unwrap_or_default();
            let mut say = |what| {
                wrong.push(format!(
                    "{}: {what} of {key:?}: ours {ours:?}, tshark's {known:?}, {name}'s {seen:?}",
                    file.display()
                ));
            };
            if known.map(|sum| sum.packets) != seen.map(|sum| sum.packets) {
                continue;
            }
            agreed.packets += 1;
            if known.map(|sum| sum.packets) != ours.map(|sum| sum.packets) {
                say("packets");
            }
            if known.map(|sum| sum.octets) != seen.map(|sum| sum.octets + HEADER * sum.packets) {
                continue;
            }
            agreed.octets += 1;
            if known.map(|sum| sum.octets) != ours.map(|sum| sum.octets) {
                say("octets");
            }
        }
        agreed
    });
    (agreed, wrong)
}

/// A packet of one conversation; no frame is so short that it would be padded.
fn frame(protocol: u8, v6: bool, from: (u8, u16), to: (u8, u16), flags: u8, payload: usize) -> Vec<u8> {
    let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    let header = if protocol == 6 { 20 } else { 8 };
    let length = u16::try_from(header + payload).unwrap();
    if protocol == 6 {
        segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        segment.extend([length.to_be_bytes(), [0; 2]].concat());
    }
    segment.resize(length.into(), b'x');
    let mut frame = vec![2, 0, 0, 0, 0, to.0, 2, 0, 0, 0, 0, from.0];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([protocol, 64]);
        for end in [from.0, to.0] {
            frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, end]);
        }
    } else {
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((length + 20).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, from.0, 192, 0, 2, to.0]);
    }
    frame.extend(segment);
    frame
}

/// Conversations of each kind in [`made`].
const EACH: u16 = 50;
const KINDS: usize = 4;

/// TCP and UDP over IPv4 and IPv6, each conversation a quarter of an hour long: with pauses above and below every timeout of ours.
fn made(folder: &Path) -> PathBuf {
    let mut random = Random::new(5);
    let mut packets = Vec::new();
    for (kind, (protocol, v6)) in [(6, false), (6, true), (17, false), (17, true)].into_iter().enumerate() {
        for n in 0..EACH {
            let (client, server) = ((1 + random.below(9) as u8, 30_000 + n), (101 + random.below(9) as u8, 4_000));
            let (mut time, count) = (random.below(1_000) as u64, 10 + random.below(30));
            for nth in 0..count {
                let back = nth > 0 && random.below(2) == 0;
                let (from, to) = if back { (server, client) } else { (client, server) };
                // A connection begins; it is still there at the end.
                let flags = if nth == 0 { 2 } else { 0x10 };
                let payload = if nth == 0 && protocol == 6 { 6 } else { 18 + random.below(1_200) };
                packets.push((time, kind, frame(protocol, v6, from, to, flags, payload)));
                time += [1, 50, 2_000, 70_000][random.below(4)];
            }
        }
    }
    packets.sort_by_key(|&(time, kind, _)| (time, kind));
    let file = folder.join("made.pcap");
    let start = 1_795_000_000_000;
    fs::write(&file, pcap_file(packets.into_iter().map(|(time, _, frame)| ((start + time) * 1_000_000, frame))))
        .unwrap();
    file
}

#[test]
fn of_plain_conversations_all_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (agreed, wrong) = compare(&made(folder.path()), &NetNs::new());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = KINDS * usize::from(EACH);
    assert_eq!(agreed, [Agreed { packets: all, octets: all, of: all }; 2]);
}

fn is_ethernet(file: &Path) -> bool {
    let (mut frames, mut ethernet) = (0_u64, 0_u64);
    pcaps::each_frame(file, |frame| {
        frames += 1;
        ethernet += u64::from(frame.link_type == LinkType::ETHERNET);
    });
    frames > 0 && frames == ethernet
}

#[test]
fn of_real_captures_we_say_what_tshark_and_another_program_say() {
    // Without real ones, what scapy makes of many kinds, hardly any of them plain.
    let folder = tempfile::tempdir().unwrap();
    let real = pcaps::real();
    let (files, least) = match real {
        Some(mut files) => {
            let damaged = |file: &Path| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("fuzz"));
            files.retain(|file| !damaged(file) && is_ethernet(file));
            files.sort_by_key(|file| std::cmp::Reverse(file.metadata().map_or(0, |found| found.len())));
            files.truncate(FILES);
            (files, (300, 200))
        }
        None => (vec![pcaps::made(folder.path())], (1, 1)),
    };
    let (next, found) = (AtomicUsize::new(0), Mutex::new(([Agreed::default(); 2], Vec::new())));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let network = NetNs::new();
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (agreed, wrong) = compare(file, &network);
                    let mut found = found.lock().unwrap();
                    for (sum, agreed) in found.0.iter_mut().zip(agreed) {
                        sum.packets += agreed.packets;
                        sum.octets += agreed.octets;
                        sum.of += agreed.of;
                    }
                    found.1.extend(wrong);
                }
            });
        }
    });
    let (agreed, wrong) = found.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {agreed:?}:\n{}", wrong.len(), wrong.join("\n"));
    for (agreed, (name, _)) in agreed.iter().zip(PROGRAMS) {
        println!("{name} and tshark: {agreed:?}");
        // So that nothing is not compared in silence.
        assert!(agreed.packets >= least.0 && agreed.octets >= least.1, "{name}: {agreed:?}");
    }
}
