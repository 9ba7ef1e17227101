//! Our flows say what tshark's conversations say, of the larger real captures, or of what tcpdump-like programs make of our own traffic.
//!
//! Compared is what tshark finds in the outermost packet of each frame: who with whom, how many packets and octets each way, and for TCP the
//! round trip of the handshake and what was sent again. [`REASONS`] has what differs, and why.

#[path = "common/pcaps.rs"]
mod pcaps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use capture::{LinkType, Readiness, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue};
use pipeline::dissect::Layers;
use pipeline::flow::{Ends, Flow, Packet, Reason, Side, Table, Timeouts};

/// Files of which something differs, and why.
const REASONS: [(&str, Differs, &str); 5] = [
    ("fuzz-", Differs::All, "damaged on purpose: lengths beyond the frame, which tshark believes or not"),
    ("bgp-as-path-oobr.pcap", Differs::All, "the same"),
    ("bigtcp-", Differs::All, "jumbograms (RFC 2675), of which tshark reads no ports"),
    (
        "heuristic_tcp_ack_payload.pcap",
        Differs::Tcp,
        "SYNs that come again after the SYN/ACK: tshark measures from the last one, we keep what the answer told; what comes late or again is \
         then told apart by another round trip",
    ),
    ("kerberos-login.pcap", Differs::Tcp, "each frame was captured twice: the same"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Differs {
    /// Nothing is compared.
    All,
    /// Sums are, what TCP tells is not.
    Tcp,
}

/// Smaller captures hold some packets that somebody's parser stumbled over: another test's business.
const SMALLEST: u64 = 20_000;

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
    /// Of each TCP conversation that began and was answered: the handshake's round trip, nanoseconds.
    round_trips: Vec<u64>,
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

/// `None` if there are links that we do not read.
fn ours(path: &Path) -> Option<View> {
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
            view.round_trips.push(there + back);
        }
    };
    loop {
        if let Ok(Some(mut batch)) = queue.next_batch() {
            for frame in batch.frames() {
                if !READ.contains(&frame.link_type) {
                    return None;
                }
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
    view.round_trips.sort_unstable();
    Some(view)
}

/// Links whose IP packets we find.
const READ: [LinkType; 6] =
    [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL, LinkType::LINUX_SLL2, LinkType::NULL, LinkType::PPP];

const FIELDS: [&str; 18] = [
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
    "tcp.flags",
];

fn theirs(path: &Path) -> View {
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
    let mut resets: BTreeSet<String> = BTreeSet::new();
    for line in text.lines() {
        let values: Vec<_> = line.split('\t').collect();
        let [length, v4_source, v4_destination, _, v6_source, v6_destination, ..] = values[..] else {
            panic!("{line}")
        };
        let mut names = values[16].split(':').skip_while(|name| !matches!(*name, "ip" | "ipv6"));
        let outer = names.next();
        // Of the outermost packet: what comes behind another IP header, in a tunnel or quoted by ICMP, is another one's.
        let transport =
            names.take_while(|name| !matches!(*name, "ip" | "ipv6")).find(|name| matches!(*name, "tcp" | "udp"));
        let (source, destination) = match outer {
            Some("ip") => (v4_source, v4_destination),
            Some("ipv6") => (v6_source, v6_destination),
            _ => continue,
        };
        let (protocol, ports) = match transport {
            Some("tcp") => (6, (values[6], values[7])),
            Some(_) => (17, (values[8], values[9])),
            None => continue,
        };
        let name = format!("{protocol} {source} {} {destination} {}", ports.0, ports.1);
        let sum = view.sums.entry(name.clone()).or_default();
        sum.packets += 1;
        sum.octets += length.parse::<u64>().expect("a length");
        if protocol == 6 {
            let flags = u16::from_str_radix(values[17].trim_start_matches("0x"), 16).unwrap_or_default();
            let again = view.again.entry(name).or_default();
            let there = |at: usize| u64::from(!values[at].is_empty());
            again[0] += there(12).max(there(15)) - there(14).min(there(12));
            again[1] += there(13);
            again[2] += there(14);
            // tshark takes a reset, too, for the end of the handshake.
            resets.extend((flags & 4 != 0).then(|| values[10].to_owned()));
            if let Ok(seconds) = values[11].parse::<f64>()
                && !streams.contains_key(values[10])
                && !resets.contains(values[10])
            {
                streams.insert(values[10].to_owned(), (seconds * 1e9).round() as u64);
            }
        }
    }
    view.round_trips.extend(streams.into_values());
    view.round_trips.sort_unstable();
    view
}

fn differences(file: &Path) -> Vec<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let reason = REASONS.iter().find(|(start, ..)| name.starts_with(start)).map(|(_, differs, _)| *differs);
    if reason == Some(Differs::All) {
        return vec![];
    }
    let Some(ours) = ours(file) else { return vec![] };
    let theirs = theirs(file);
    let mut wrong = vec![];
    for key in ours.sums.keys().chain(theirs.sums.keys()).collect::<BTreeSet<_>>() {
        // What is neither TCP nor UDP has no conversation there.
        if !key.starts_with("6 ") && !key.starts_with("17 ") {
            continue;
        }
        let of = |view: &View| view.sums.get(key).copied();
        // A segment or datagram that is cut before its ports has none for us, and no conversation for tshark.
        if of(&ours) != of(&theirs) && !key.contains(" 0 ") {
            wrong.push(format!("{name}: {key}: ours {:?}, theirs {:?}", of(&ours), of(&theirs)));
        }
    }
    if reason == Some(Differs::Tcp) {
        return wrong;
    }
    if ours.round_trips != theirs.round_trips {
        wrong.push(format!("{name}: round trips: ours {:?}, theirs {:?}", ours.round_trips, theirs.round_trips));
    }
    for (key, theirs) in &theirs.again {
        let ours = ours.again.get(key).copied().unwrap_or_default();
        if ours != *theirs {
            wrong.push(format!("{name}: {key}: sent again, late, twice: ours {ours:?}, theirs {theirs:?}"));
        }
    }
    wrong
}

#[test]
fn flows_are_tshark_s_conversations() {
    let made = tempfile::tempdir().expect("a temporary folder");
    let files = match pcaps::real() {
        Some(mut files) => {
            files.retain(|file| file.metadata().is_ok_and(|found| found.len() >= SMALLEST));
            assert!(!files.is_empty(), "RINGTAP_PCAPS names a folder without larger captures");
            files
        }
        None => vec![pcaps::made(made.path())],
    };
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    wrong.lock().expect("no thread panicked").extend(differences(file));
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panicked");
    assert!(wrong.is_empty(), "{} differences without a reason:\n{}", wrong.len(), wrong.join("\n"));
}
