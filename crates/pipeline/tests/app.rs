//! What we find in payloads is what tshark finds, frame by frame: in all real captures, or in what scapy makes.
//!
//! [`REASONS`] has what differs, and why. What tshark calls malformed or sent again is not compared: it does not read it.

#[path = "common/pcaps.rs"]
mod pcaps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pipeline::app::{Apps, Finding, Payload, Protocols};
use pipeline::dissect::Layers;
use pipeline::flow::{Packet, Table, Timeouts};
use sha2::{Digest, Sha256};

/// Files of which something differs, and why.
const REASONS: [(&str, &str); 11] = [
    (
        "fuzz-",
        "damaged on purpose: lengths beyond the frame, names that cannot be, which tshark shows as far as it gets",
    ),
    ("anydesk.pcapng", "TLS on port 80, where tshark looks for HTTP only"),
    ("http_on_sip_port.pcap", "HTTP on port 5060, where tshark looks for SIP only"),
    ("imaps.pcap", "the handshake was not captured, and tshark takes the ClientHello for the middle of something"),
    ("heuristic_tcp_ack_payload.pcap", "segments without a conversation before them, most of them sent again"),
    ("haproxy.pcap", "the ClientHello stands behind a header of the PROXY protocol, which is not read"),
    ("google_ssl.pcap", "a ClientHello of SSL 2, which is not read"),
    ("443-opvn.pcap", "TLS in the packets of OpenVPN, which is not read"),
    ("dns_fragmented.pcap", "first fragments, of which tshark reads no DNS unless it has all"),
    ("dns-tunnel-iodine.pcap", "names of octets that are written in digits, too long for us"),
    ("badpackets.pcap", "no DNS on its port: tshark shows a header of it, and that nothing in it fits"),
];

/// By the number of the frame: what was found, in words.
type View = BTreeMap<u64, BTreeSet<String>>;

/// `None` if there are links that we do not read.
fn ours(path: &Path) -> Option<View> {
    let (table, mut layers, mut view) = (Table::new(0, &Timeouts::default()), Layers::default(), View::default());
    let mut apps = Apps::new(Protocols { dns: true, tls: true, http: true }, 1 << 20);
    let (mut number, mut all_read) = (0, true);
    let opened = pcaps::each_frame(path, |frame| {
        number += 1;
        all_read &= pcaps::READ.contains(&frame.link_type);
        let headers = layers.headers(frame);
        let packet = Packet::of(frame, &headers);
        let payload = Payload::of(frame, &headers);
        apps.look(0, &packet, table.prepare(&packet.key), payload);
        let found = apps.found().iter().map(|(_, finding)| words(finding));
        view.entry(number).or_default().extend(found);
        apps.forget();
    });
    assert!(opened, "{}", path.display());
    if !all_read {
        return None;
    }
    view.retain(|_, found| !found.is_empty());
    Some(view)
}

fn words(finding: &Finding) -> String {
    match finding {
        Finding::Dns(dns) => {
            let name = plain(&undigits(dns.name.as_str()));
            let answers = dns.answers > 0;
            let kind = if dns.name.as_str().is_empty() { String::new() } else { dns.kind.to_string() };
            let code = dns.response.filter(|_| answers).map(|code| code.to_string()).unwrap_or_default();
            let octets = dns.request_octets + dns.response_octets;
            format!("dns {name} {kind} {answers} {code} {octets}")
        }
        Finding::Tls(tls) => format!("tls {} {} {}", tls.server_name.as_str(), tls.alpn.as_str(), tls.ja4.as_str()),
        Finding::Http(http) => {
            format!("http {} {} {}", http.method.as_str(), http.target.as_str(), http.host.as_str())
        }
    }
}

/// Without what is not printable: tshark shows it as UTF-8, or not at all.
fn plain(name: &str) -> String {
    let mut plain: String = name.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    while plain.contains("??") {
        plain = plain.replace("??", "?");
    }
    plain
}

/// `a\\228` with some other character for the octet, if that is not printable.
fn undigits(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..3).and_then(|digits| digits.parse::<u8>().ok());
        let Some(octet) = digits else {
            whole.push('\\');
            whole.push_str(part);
            continue;
        };
        let rest = &part[3..];
        whole.push(if matches!(octet, b' '..=b'~') { char::from(octet) } else { '\u{fffd}' });
        whole.push_str(rest);
    }
    whole
}

const FIELDS: [&str; 27] = [
    "frame.number",
    "frame.protocols",
    "_ws.malformed",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "dns.flags.response",
    "dns.flags.rcode",
    "dns.qry.name",
    "dns.qry.type",
    "dns.count.queries",
    "tls.handshake.type",
    "tls.handshake.extensions_server_name",
    "tls.handshake.extensions_alpn_str",
    "tls.handshake.version",
    "tls.handshake.extensions.supported_version",
    "tls.handshake.ciphersuite",
    "tls.handshake.extension.type",
    "tls.handshake.sig_hash_alg",
    "http.request.method",
    "http.request.uri",
    "http.host",
    "dns.length",
    "http.request.version",
    "tcp.analysis.retransmission",
    "tcp.srcport",
    "tcp.dstport",
];

/// Frames that tshark does not read, and what it finds in the others.
fn theirs(path: &Path) -> (BTreeSet<u64>, View) {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-E", "occurrence=a", "-E", "separator=/t", "-E", "aggregator=|"]);
    // Each request by its first segment, as we read it; ClientHellos as a whole.
    for (option, value) in [
        ("ip.defragment", "FALSE"),
        ("ipv6.defragment", "FALSE"),
        ("http.desegment_headers", "FALSE"),
        ("http.desegment_body", "FALSE"),
        ("dns.desegment_dns_messages", "FALSE"),
        ("tcp.desegment_tcp_streams", "TRUE"),
    ] {
        command.args(["-o", &format!("{option}:{value}")]);
    }
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.arg("-r").arg(path).stdin(Stdio::null()).output().expect("these tests need tshark");
    let (mut malformed, mut view) = (BTreeSet::new(), View::default());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let values: Vec<_> = line.split('\t').collect();
        assert_eq!(values.len(), FIELDS.len(), "{line}");
        let all = |field: &str| -> Vec<&str> {
            let at = FIELDS.iter().position(|name| *name == field).expect("one of the fields");
            values[at].split('|').filter(|value| !value.is_empty()).collect()
        };
        let one = |field: &str| all(field).first().copied().unwrap_or_default();
        let number: u64 = one("frame.number").parse().expect("a number");
        if !all("_ws.malformed").is_empty() || !all("tcp.analysis.retransmission").is_empty() {
            malformed.insert(number);
            continue;
        }
        // Of the outermost packet: what comes behind another IP header, in a tunnel or quoted by ICMP, is another one's.
        let protocols: Vec<_> = one("frame.protocols").split(':').collect();
        if protocols.iter().filter(|name| matches!(**name, "ip" | "ipv6")).count() != 1 {
            continue;
        }
        let mut found = BTreeSet::new();
        found.extend(dns(&protocols, &one));
        if all("tls.handshake.type").contains(&"1") && protocols.contains(&"tcp") {
            found.extend(tls(&all));
        }
        if !one("http.request.method").is_empty()
            && protocols.contains(&"tcp")
            && one("http.request.version").starts_with("HTTP/1.")
        {
            let host = one("http.host");
            let target = one("http.request.uri");
            let host = if host.is_empty() && one("http.request.method") == "CONNECT" { target } else { host };
            let bare = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|c| c.is_ascii_digit()));
            let host = bare.map_or(host, |(host, _)| host);
            // Ours is cut.
            let target: String = target.chars().take(255).collect();
            found.insert(format!("http {} {target} {host}", one("http.request.method")));
        }
        if !found.is_empty() {
            view.insert(number, found);
        }
    }
    (malformed, view)
}

fn dns<'l>(protocols: &[&str], one: &impl Fn(&str) -> &'l str) -> Option<String> {
    let udp = protocols.contains(&"udp");
    let ports = if udp { [one("udp.srcport"), one("udp.dstport")] } else { [one("tcp.srcport"), one("tcp.dstport")] };
    if !ports.iter().any(|port| matches!(*port, "53" | "5353" | "5355"))
        || !protocols.iter().any(|name| matches!(*name, "dns" | "mdns" | "llmnr"))
    {
        return None;
    }
    let answers = one("dns.flags.response") == "1" || one("dns.flags.response") == "True";
    let none = one("dns.count.queries") == "0";
    if none && !answers {
        return None;
    }
    let name = match one("dns.qry.name") {
        _ if none => "",
        "<Root>" => ".",
        name => name,
    };
    let kind = if none { "" } else { one("dns.qry.type") };
    let code = if answers { one("dns.flags.rcode") } else { "" };
    let octets = |field: &str| one(field).parse::<u64>().unwrap_or_default();
    let octets = if udp { octets("udp.length").saturating_sub(8) } else { octets("dns.length") };
    let name = plain(&undigits(name));
    Some(format!("dns {name} {kind} {answers} {code} {octets}"))
}

fn number(text: &str) -> u16 {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).expect("a number"),
        None => text.parse().expect("a number"),
    }
}

/// JA4 of what tshark read, by other code than ours.
fn tls<'l>(all: &impl Fn(&str) -> Vec<&'l str>) -> Option<String> {
    // Of several messages in one frame it cannot be told what is whose.
    if all("tls.handshake.type").len() != 1 {
        return None;
    }
    let grease = |value: &u16| value & 0x0f0f != 0x0a0a || value >> 8 != value & 0xff;
    let numbers = |field: &str| all(field).into_iter().map(number).filter(grease).collect::<Vec<u16>>();
    let (mut ciphers, mut extensions) = (numbers("tls.handshake.ciphersuite"), numbers("tls.handshake.extension.type"));
    let mut versions = numbers("tls.handshake.extensions.supported_version");
    versions.sort_unstable();
    let version = versions.last().copied().or(numbers("tls.handshake.version").first().copied())?;
    let version = match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        _ => "00",
    };
    let protocols = all("tls.handshake.extensions_alpn_str");
    let ends = protocols.first().map_or("00".to_owned(), |first| {
        let letters: Vec<char> = first.chars().collect();
        [letters[0], letters[letters.len() - 1]].iter().collect()
    });
    let named = if extensions.contains(&0) { "d" } else { "i" };
    let start = format!("t{version}{named}{:02}{:02}{ends}", ciphers.len().min(99), extensions.len().min(99));
    ciphers.sort_unstable();
    extensions.retain(|kind| ![0, 16].contains(kind));
    extensions.sort_unstable();
    let hex = |list: &[u16]| list.iter().map(|n| format!("{n:04x}")).collect::<Vec<_>>().join(",");
    let hash = |text: String| {
        let digest: String = Sha256::digest(text).iter().map(|octet| format!("{octet:02x}")).collect();
        digest[..12].to_owned()
    };
    let zeros = || "0".repeat(12);
    let ciphers = if ciphers.is_empty() { zeros() } else { hash(hex(&ciphers)) };
    let algorithms = hex(&numbers("tls.handshake.sig_hash_alg"));
    let hashed = if algorithms.is_empty() { hex(&extensions) } else { format!("{}_{algorithms}", hex(&extensions)) };
    // tshark has the algorithms of delegated credentials and for certificates under the same name.
    let mixed = extensions.iter().any(|kind| matches!(kind, 34 | 50));
    let extensions = if extensions.is_empty() { zeros() } else { hash(hashed) };
    let extensions = if mixed { "*".to_owned() } else { extensions };
    let name = all("tls.handshake.extensions_server_name").first().copied().unwrap_or_default();
    Some(format!("tls {name} {} {start}_{ciphers}_{extensions}", protocols.join(",")))
}

fn differences(file: &Path) -> (usize, Vec<String>) {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if REASONS.iter().any(|(start, _)| name.starts_with(start)) {
        return (0, vec![]);
    }
    let Some(ours) = ours(file) else { return (0, vec![]) };
    let (malformed, theirs) = theirs(file);
    let mut wrong = vec![];
    let mut equal = 0;
    for frame in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        if malformed.contains(frame) {
            continue;
        }
        let (one, other) = (ours.get(frame), theirs.get(frame));
        if one == other || both(one, other).is_some_and(|mut pairs| pairs.all(|(one, other)| fits(one, other))) {
            equal += 1;
        } else {
            wrong.push(format!("{name} frame {frame}:\n  ours   {one:?}\n  theirs {other:?}"));
        }
    }
    (equal, wrong)
}

fn both<'v>(
    one: Option<&'v BTreeSet<String>>,
    other: Option<&'v BTreeSet<String>>,
) -> Option<impl Iterator<Item = (&'v String, &'v String)>> {
    let (one, other) = (one?, other?);
    (one.len() == other.len()).then(|| one.iter().zip(other))
}

/// Equal as far as theirs goes.
fn fits(ours: &str, theirs: &str) -> bool {
    theirs.strip_suffix('*').is_some_and(|start| ours.starts_with(start)) || ours == theirs
}

#[test]
fn payloads_say_what_tshark_reads_in_them() {
    let made = tempfile::tempdir().expect("a temporary folder");
    let files = pcaps::real().unwrap_or_else(|| vec![pcaps::made(made.path())]);
    let (next, wrong, equal) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (same, differ) = differences(file);
                    equal.fetch_add(same, Ordering::Relaxed);
                    wrong.lock().expect("no thread panicked").extend(differ);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panicked");
    let equal = equal.into_inner();
    assert!(equal > 0, "nothing was compared");
    println!("{equal} frames say the same");
    assert!(wrong.is_empty(), "{} differences without a reason:\n{}", wrong.len(), wrong.join("\n"));
}
