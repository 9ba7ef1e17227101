//! Our flows say what tshark's conversations say, of every real capture.
//!
//! Compared is what tshark finds in the outermost packet of each frame: who with whom, how many packets and octets each way, and for TCP the
//! round trip of the handshake and what was sent again. `REASONS` has what differs, and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use capture::{Readiness, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue};
use pipeline::dissect::Layers;
use pipeline::flow::{Ends, Flow, Packet, Reason, Side, Table, Timeouts};

/// Never: one flow for each pair of ends, as tshark has it.
const NEVER: Timeouts = Timeouts {
    active: Duration::MAX,
    tcp: Duration::MAX,
    tcp_opening: Duration::MAX,
    tcp_closing: Duration::MAX,
    udp: Duration::MAX,
    other: Duration::MAX,
};

/// Of one direction of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    packets: u64,
    octets: u64,
}

/// `protocol source port destination port`, of one direction.
type Sums = BTreeMap<String, Sum>;

#[derive(Debug, Default)]
struct View {
    sums: Sums,
    /// Of each TCP conversation, in order of its first packet: `initiator responder`, and the handshake's round trip in nanoseconds.
    round_trips: BTreeMap<String, Vec<u64>>,
    /// Of each direction: sent again, late, twice.
    again: BTreeMap<String, [u64; 3]>,
}

fn end(ends: Ends, address: [u8; 16], port: u16) -> String {
    match ends {
        Ends::Ipv4 => {
            let [a, b, c, d, ..] = address;
            format!("{a}.{b}.{c}.{d} {port}")
        }
        Ends::Ipv6 => format!("{} {port}", std::net::Ipv6Addr::from(address)),
        Ends::Link => String::from("-"),
    }
}

fn ours(path: &Path) -> View {
    let mut queue = FileQueue::open([path], FileOptions::default()).expect("a file of the folder");
    let (mut table, mut layers, mut view) = (Table::new(64 << 20, &NEVER), Layers::default(), View::default());
    let mut add = |flow: &Flow, _: Reason| {
        let key = flow.key();
        if key.ends() == Ends::Link {
            return;
        }
        let named = [Side::Low, Side::High].map(|side| end(key.ends(), key.end(side).address, key.end(side).port));
        for side in [Side::Low, Side::High] {
            let name = format!("{} {} {}", key.protocol(), named[side as usize], named[side.other() as usize]);
            let delta = flow.delta(side);
            if delta.packets == 0 {
                continue;
            }
            let sum = view.sums.entry(name.clone()).or_default();
            sum.packets += delta.packets;
            sum.octets += delta.octets;
            let anomalies = flow.anomalies(side);
            let again = view.again.entry(name).or_default();
            again[0] += u64::from(anomalies.retransmitted);
            again[1] += u64::from(anomalies.out_of_order);
            again[2] += u64::from(anomalies.duplicate);
        }
        if let (Some(there), Some(back)) = (flow.times().responder_rtt, flow.times().initiator_rtt) {
            let from = flow.initiator();
            let name = format!("{} {}", named[from as usize], named[from.other() as usize]);
            view.round_trips.entry(name).or_default().push(there + back);
        }
    };
    loop {
        if let Ok(Some(mut batch)) = queue.next_batch() {
            for frame in batch.frames() {
                let packet = Packet::of(&frame, &layers.headers(&frame));
                let hash = table.prepare(&packet.key);
                table.update(&packet, hash, &mut add);
            }
            continue;
        }
        if let Ok(Readiness::Ended) = queue.wait(Duration::ZERO) {
            break;
        }
    }
    table.end(&mut add);
    view
}

const FIELDS: [&str; 17] = [
    "frame.len",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "tcp.stream",
    "tcp.analysis.initial_rtt",
    "tcp.analysis.retransmission",
    "tcp.analysis.out_of_order",
    "tcp.analysis.spurious_retransmission",
    "tcp.analysis.fast_retransmission",
    "frame.protocols",
];

fn theirs(path: &Path) -> Option<View> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-E", "occurrence=f", "-E", "separator=/t"]);
    // Each frame as it is.
    for off in ["ip.defragment", "ipv6.defragment", "tcp.desegment_tcp_streams", "udp.process_info"] {
        command.args(["-o", &format!("{off}:FALSE")]);
    }
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.arg("-r").arg(path).stdin(Stdio::null()).output().expect("these tests need tshark");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut view = View::default();
    let mut streams: BTreeMap<String, u64> = BTreeMap::new();
    for line in text.lines() {
        let values: Vec<_> = line.split('\t').collect();
        let [length, v4_source, v4_destination, _, v6_source, v6_destination, ..] = values[..] else { return None };
        let outer = values[16].split(':').find(|name| matches!(*name, "ip" | "ipv6"));
        let (source, destination) = match outer {
            Some("ip") => (v4_source, v4_destination),
            Some("ipv6") => (v6_source, v6_destination),
            _ => continue,
        };
        let (protocol, ports) = match (values[6], values[8]) {
            ("", "") => continue,
            (port, "") => (6, (port, values[7])),
            (_, port) => (17, (port, values[9])),
        };
        let name = format!("{protocol} {source} {} {destination} {}", ports.0, ports.1);
        let sum = view.sums.entry(name.clone()).or_default();
        sum.packets += 1;
        sum.octets += length.parse::<u64>().expect("a length");
        if protocol == 6 {
            let again = view.again.entry(name).or_default();
            let there = |at: usize| u64::from(!values[at].is_empty());
            again[0] += there(12).max(there(15)) - there(14).min(there(12));
            again[1] += there(13);
            again[2] += there(14);
            if let Ok(seconds) = values[11].parse::<f64>()
                && !streams.contains_key(values[10])
            {
                streams.insert(values[10].to_owned(), (seconds * 1e9).round() as u64);
            }
        }
    }
    for (_, time) in streams {
        view.round_trips.entry(String::new()).or_default().push(time);
    }
    Some(view)
}

fn captures(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of captures") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            captures(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "pcap" || ext == "pcapng" || ext == "cap") {
            files.push(path);
        }
    }
}

#[test]
fn explore() {
    let folder = std::env::var_os("RINGTAP_PCAPS").expect("set");
    let mut files = Vec::new();
    captures(Path::new(&folder), &mut files);
    files.sort();
    let (mut same, mut differ, mut rtts, mut rtt_bad) = (0, 0, 0, 0);
    let (mut again_same, mut again_bad, mut again_some) = (0, 0, 0);
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let Some(theirs) = theirs(file) else { continue };
        let ours = ours(file);
        for (key, sum) in &theirs.sums {
            let mine = ours.sums.get(key).copied().unwrap_or_default();
            if mine == *sum {
                same += 1;
            } else {
                differ += 1;
                println!("SUM {name} {key}: ours {mine:?} theirs {sum:?}");
            }
        }
        let mut a: Vec<_> = ours.round_trips.values().flatten().copied().collect();
        let mut b: Vec<_> = theirs.round_trips.values().flatten().copied().collect();
        a.sort();
        b.sort();
        if a == b {
            rtts += a.len();
        } else {
            rtt_bad += 1;
            println!("RTT {name}: ours {} theirs {}", a.len(), b.len());
            for x in &a {
                if !b.contains(x) {
                    println!("   ours only {x}");
                }
            }
            for x in &b {
                if !a.contains(x) {
                    println!("   theirs only {x}");
                }
            }
        }
        for (key, again) in &theirs.again {
            let mine = ours.again.get(key).copied().unwrap_or_default();
            if mine == *again {
                again_same += 1;
                again_some += usize::from(*again != [0; 3]);
            } else {
                again_bad += 1;
                println!("AGAIN {name} {key}: ours {mine:?} theirs {again:?}");
            }
        }
    }
    println!(
        "{} files, {same} directions the same, {differ} differ; rtts {rtts} same, files with other {rtt_bad}; again {again_same} ({again_some} not zero), {again_bad} differ",
        files.len()
    );
}
