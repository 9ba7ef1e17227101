//! Our flows say what tshark's conversations say, of real captures, or of what tcpdump-like programs make of our own traffic.
//!
//! Compared is what tshark finds in each frame, and in the tunnels there: who with whom, how many packets each way and (outside of tunnels) octets,
//! and for TCP the round trip of the handshake and what was sent again. [`REASONS`] has what differs, and why.

#[path = "common/never.rs"]
mod never;
#[path = "common/pcaps.rs"]
mod pcaps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use never::NEVER;
use pipeline::dissect::{Headers, Layers};
use pipeline::flow::{Ahead, Ends, Extra, Report, Side, Table, Unpack};

/// Files of which something differs, and why.
const REASONS: [(&str, Differs, &str); 9] = [
    ("fuzz-", Differs::All, "damaged on purpose: lengths beyond the frame, which tshark believes or not"),
    ("bgp-as-path-oobr.pcap", Differs::All, "the same"),
    ("capwap", Differs::All, "tshark opens CAPWAP, a tunnel that we do not"),
    ("ajp.pcap", Differs::All, "the same with Cisco's FabricPath, of which tshark guesses some frames to be"),
    ("geneve.pcap", Differs::Tcp, "each direction has a VNI of its own, so they are two conversations for us"),
    ("bigtcp-", Differs::All, "jumbograms (RFC 2675), of which tshark reads no ports"),
    (
        "heuristic_tcp_ack_payload.pcap",
        Differs::Tcp,
        "SYNs that come again after the SYN/ACK: tshark measures from the last one, we keep what the answer told; what comes late or again is \
         then told apart by another round trip",
    ),
    ("kerberos-login.pcap", Differs::Tcp, "each frame was captured twice: the same"),
    ("made.pcap", Differs::Tcp, "the same segment in several VLANs and tunnels: one conversation for tshark"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Differs {
    /// Nothing is compared.
    All,
    /// Sums are, what TCP tells is not.
    Tcp,
}

/// Smaller captures hold some packets that somebody's parser stumbled over: another test's business, unless there are tunnels, fragments or errors
/// of ICMP in them.
const SMALLEST: u64 = 20_000;

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
    /// There are tunnels, fragments or errors of ICMP.
    is_special: bool,
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
    let (mut table, mut unpack, mut layers) =
        // One flow for each pair of ends, as tshark has it.
        (Table::new(64 << 20, &NEVER), Unpack::new(8, Arc::default()), Layers::default());
    let (mut view, mut special) = (View::default(), false);
    let mut add = |report: &Report<'_>| {
        let flow = report.flow;
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
            let carried = report.extra.and_then(Extra::carrier).is_some();
            sum.octets += if carried { 0 } else { delta.octets };
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
    let (mut all_read, mut ahead) = (true, Ahead::new());
    let opened = pcaps::each_frame(path, |frame| {
        all_read &= pcaps::READ.contains(&frame.link_type);
        let headers = layers.headers(frame);
        special |= matches!(headers, Headers::Read(layers) if layers.found.fragment);
        ahead.clear();
        unpack.packets(frame, &headers, &mut ahead, |packet, _, _| {
            special |= packet.tunnel.is_some() || packet.error.is_some();
            let hash = table.prepare(&packet.key);
            table.update(packet, hash, &mut add);
        });
    });
    assert!(opened, "{}", path.display());
    if !all_read {
        return None;
    }
    table.end(&mut add);
    view.is_special = special;
    view.round_trips.sort_unstable();
    Some(view)
}

/// Those up to `HEADERS` stand once for each header of their kind in a frame.
const FIELDS: [&str; 22] = [
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ip.id",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "ipv6.fraghdr.ident",
    "ipv6.fraghdr.offset",
    "tcp.stream",
    "tcp.analysis.initial_rtt",
    "tcp.analysis.retransmission",
    "tcp.analysis.out_of_order",
    "tcp.analysis.spurious_retransmission",
    "tcp.analysis.fast_retransmission",
    "tcp.flags",
    "frame.len",
    "frame.protocols",
];
const HEADERS: usize = 13;

/// One frame as tshark shows it: the values of each field that are not used up yet.
struct Shown<'t> {
    values: Vec<std::vec::IntoIter<&'t str>>,
}

impl<'t> Shown<'t> {
    fn of(line: &'t str) -> Self {
        let values: Vec<_> = line.split('\t').map(|values| values.split(',').collect::<Vec<_>>().into_iter()).collect();
        assert_eq!(values.len(), FIELDS.len(), "{line}");
        Self { values }
    }

    fn next(&mut self, field: &str) -> &'t str {
        let at = FIELDS.iter().position(|name| *name == field).expect("a field that is asked for");
        self.values[at].next().unwrap_or_default()
    }
}

/// A packet: the ends as [`end`] names them, and the protocol.
#[derive(Clone, Debug, Default)]
struct Seen {
    addresses: [String; 2],
    ports: [String; 2],
    protocol: u8,
    /// What all fragments have in common, and where this one is, if it is one.
    fragment: Option<(String, bool)>,
}

impl Seen {
    fn name(&self) -> String {
        let [source, destination] = &self.addresses;
        let [from, to] = &self.ports;
        format!("{} {source} {from} {destination} {to}", self.protocol)
    }

    fn back(self) -> Self {
        let Self { addresses: [a, b], ports: [c, d], .. } = self;
        Self { addresses: [b, a], ports: [d, c], ..self }
    }
}

/// The packets of a frame from the outermost to the innermost; one that is quoted is the answer to itself.
fn packets(shown: &mut Shown<'_>, protocols: &str, first: &mut BTreeMap<String, Seen>) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut quoted = false;
    for name in protocols.split(':') {
        let fields = match name {
            "ip" => ["ip.src", "ip.dst"],
            "ipv6" => ["ipv6.src", "ipv6.dst"],
            "tcp" | "udp" => {
                let Some(packet) = seen.last_mut().filter(|packet| packet.protocol == 0) else { continue };
                packet.protocol = if name == "tcp" { 6 } else { 17 };
                let fields = [".srcport", ".dstport"];
                packet.ports = fields.map(|field| shown.next(&format!("{name}{field}")).to_owned());
                continue;
            }
            "icmp" | "icmpv6" => {
                quoted = true;
                continue;
            }
            // Behind an authentication header we look in IPv6 only.
            "ah" => {
                if let Some(packet) = seen.last_mut().filter(|packet| !packet.addresses[0].contains(':')) {
                    packet.protocol = 51;
                }
                continue;
            }
            "ipv6.fraghdr" => {
                let Some(packet) = seen.last_mut() else { continue };
                let [ident, offset] = ["ipv6.fraghdr.ident", "ipv6.fraghdr.offset"].map(|field| shown.next(field));
                packet.fragment = Some((format!("{:?} {ident}", packet.addresses), offset == "0"));
                continue;
            }
            _ => continue,
        };
        let mut packet = Seen { addresses: fields.map(|field| shown.next(field).to_owned()), ..Seen::default() };
        if name == "ip" {
            let [protocol, id, offset] = ["ip.proto", "ip.id", "ip.frag_offset"].map(|field| shown.next(field));
            packet.fragment = Some((format!("{:?} {protocol} {id}", packet.addresses), offset == "0"));
        }
        match (quoted, seen.last()) {
            (true, Some(_)) => *seen.last_mut().expect("there is one") = packet,
            _ => seen.push(packet),
        }
    }
    for packet in &mut seen {
        match packet.fragment.clone() {
            Some((name, true)) => _ = first.insert(name, packet.clone()),
            Some((name, false)) => *packet = first.get(&name).cloned().unwrap_or_default(),
            None => {}
        }
    }
    if quoted && let Some(last) = seen.pop() {
        seen.push(last.back());
    }
    seen
}

fn theirs(path: &Path) -> View {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-E", "separator=/t"]);
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
    let mut first = BTreeMap::new();
    for line in text.lines() {
        let mut shown = Shown::of(line);
        let protocols = shown.next("frame.protocols");
        let length: u64 = shown.next("frame.len").parse().expect("a length");
        let packets = packets(&mut shown, protocols, &mut first);
        // A frame within a frame, under labels, is in a tunnel too.
        let mut links = protocols.split(':').take_while(|name| !matches!(*name, "ip" | "ipv6"));
        let carried = links.position(|name| name.starts_with("pweth")).is_some();
        for (depth, packet) in packets.iter().enumerate().filter(|(_, packet)| !packet.ports[0].is_empty()) {
            let sum = view.sums.entry(packet.name()).or_default();
            sum.packets += 1;
            sum.octets += if depth == 0 && !carried { length } else { 0 };
        }
        let quoted = protocols.split(':').any(|name| matches!(name, "icmp" | "icmpv6"));
        let mut segments = packets.iter().filter(|packet| packet.protocol == 6);
        let (Some(packet), None, false) = (segments.next(), segments.next(), quoted) else { continue };
        let values: Vec<_> = FIELDS[HEADERS..].iter().map(|field| shown.next(field)).collect();
        let [stream, round_trip, sent_again, late, twice, fast, flags, ..] = values[..] else { panic!("{line}") };
        let flags = u16::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or_default();
        let again = view.again.entry(packet.name()).or_default();
        let there = |value: &str| u64::from(!value.is_empty());
        again[0] += there(sent_again).max(there(fast)) - there(twice).min(there(sent_again));
        again[1] += there(late);
        again[2] += there(twice);
        // tshark takes a reset, too, for the end of the handshake.
        resets.extend((flags & 4 != 0).then(|| stream.to_owned()));
        if let Ok(seconds) = round_trip.parse::<f64>()
            && !streams.contains_key(stream)
            && !resets.contains(stream)
        {
            streams.insert(stream.to_owned(), (seconds * 1e9).round() as u64);
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
    let is_small = file.metadata().is_ok_and(|found| found.len() < SMALLEST);
    if is_small && !ours.is_special {
        return vec![];
    }
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
    let mut files = pcaps::real().unwrap_or_default();
    files.extend([pcaps::made(made.path()), pcaps::tunnels(made.path())]);
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
