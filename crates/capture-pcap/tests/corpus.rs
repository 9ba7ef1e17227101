//! Real captures, or what is made in their place: our view of each file is Wireshark's, and filters take what tcpdump takes.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use capture::LinkType;
use capture_pcap::{Filter, Libpcap};
use common::{Packet, arg, corpus, parse, read, run};

/// What a program says of one packet: (nanoseconds, length on the wire, captured octets).
type View = (i128, u64, u64);

/// `None` if tshark does not know the link type, and so reads nothing of the file.
fn tshark(path: &Path) -> Option<Vec<View>> {
    let fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len"];
    let output = Command::new("tshark").args(["-n", "-r", arg(path)]).args(fields).stdin(Stdio::null()).output();
    let output = output.expect("these tests need tshark");
    if String::from_utf8_lossy(&output.stderr).contains("unknown or unsupported") {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let views = text
        .lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let mut field = || fields.next().unwrap_or_else(|| panic!("three fields: {line:?}"));
            let (seconds, fraction) = field().split_once('.').unwrap_or(("0", "0"));
            let number = |text: &str| text.parse::<i128>().unwrap_or_else(|_| panic!("a number: {line:?}"));
            let nanos = number(seconds) * 1_000_000_000 + number(fraction);
            let mut length = || field().parse().unwrap_or_else(|_| panic!("a number: {line:?}"));
            (nanos, length(), length())
        })
        .collect();
    Some(views)
}

/// tcpdump's copy of the file, by our reader.
fn tcpdump(path: &Path) -> Vec<View> {
    parse(&run("tcpdump", &["-n", "-r", arg(path), "-w", "-"])).0.iter().map(ours).collect()
}

fn ours(packet: &Packet) -> View {
    (i128::from(packet.nanos), u64::from(packet.wire), packet.data.len() as u64)
}

/// LINKTYPE_SUNATM.
const SUNATM: u32 = 123;

/// Why our view of a packet differs from Wireshark's; `None` if there is no good reason.
fn reason(link_type: u32, ours: View, theirs: View) -> Option<&'static str> {
    if link_type == SUNATM && (ours.1, ours.2) == (theirs.1 + 4, theirs.2 + 4) {
        return Some("Wireshark counts the 4 octets before an ATM cell as none of the packet's");
    }
    if theirs.1 < theirs.2 && ours == (theirs.0, theirs.2, theirs.2) {
        return Some("more octets captured than the packet had: we give the larger length");
    }
    if ours.2 == theirs.2 && theirs.1 == i32::MAX as u64 && ours.1 > theirs.1 {
        return Some("Wireshark holds lengths in 31 bits, and loses track of such a packet's time as well");
    }
    if (ours.1, ours.2) == (theirs.1, theirs.2) && (ours.0 - theirs.0) % (1 << 32) == 0 {
        return Some("microseconds beyond a second: Wireshark multiplies them in 32 bits");
    }
    None
}

/// What the comparison of some files gave.
#[derive(Debug, Default)]
struct Findings {
    packets: usize,
    by_tcpdump: Vec<String>,
    with_reason: Vec<(&'static str, String)>,
    wrong: Vec<String>,
}

fn compare(path: &Path, findings: &mut Findings) {
    let (read, errors) = read(path);
    let theirs = tshark(path).unwrap_or_else(|| {
        findings.by_tcpdump.push(path.display().to_string());
        tcpdump(path)
    });
    findings.packets += read.len();
    if read.len() != theirs.len() {
        let (ours, theirs) = (read.len(), theirs.len());
        findings.wrong.push(format!("{}: {ours} packets, tshark has {theirs} ({errors:?})", path.display()));
        return;
    }
    for (number, (packet, &theirs)) in read.iter().zip(&theirs).enumerate() {
        let ours = ours(packet);
        let text = || format!("{} packet {}: {ours:?}, tshark {theirs:?}", path.display(), number + 1);
        match reason(packet.link_type, ours, theirs) {
            _ if ours == theirs => {}
            Some(reason) => findings.with_reason.push((reason, text())),
            None => findings.wrong.push(text()),
        }
    }
}

#[test]
fn packets_are_what_wireshark_sees() {
    let corpus = corpus();
    // A start of tshark takes longer than all the rest: two at a time.
    let halves = std::thread::scope(|scope| {
        let half = |first| {
            let files = corpus.files.iter().skip(first).step_by(2);
            scope.spawn(move || {
                let mut findings = Findings::default();
                files.for_each(|path| compare(path, &mut findings));
                findings
            })
        };
        [half(0), half(1)].map(|thread| thread.join().expect("no panic"))
    });
    for half in &halves {
        println!("{half:#?}");
        assert!(half.wrong.is_empty(), "{}", half.wrong.join("\n"));
        assert!(half.packets > 20);
        // Reasons are for exceptions.
        assert!(half.with_reason.len() <= 10 && half.by_tcpdump.len() <= 20);
    }
}

/// The link types by capinfos' own field, which has Wireshark's names: those that we know must agree.
#[test]
fn link_types_are_what_tcpdump_sees() {
    let corpus = corpus();
    let mut compared = 0;
    for path in &corpus.files {
        let output = Command::new("tcpdump").args(["-nn", "-r", arg(path), "-c", "1"]).stdin(Stdio::null()).output();
        let text = String::from_utf8_lossy(&output.expect("these tests need tcpdump").stderr).into_owned();
        let name = text.lines().find_map(|line| {
            let (_, rest) = line.split_once("link-type ")?;
            rest.split([' ', ',']).next().map(str::to_owned)
        });
        let (Some(name), Some(packet)) = (name, read(path).0.into_iter().next()) else { continue };
        let number = match name.as_str() {
            "NULL" => 0,
            "EN10MB" => 1,
            "IEEE802" => 6,
            "SLIP" => 8,
            "PPP" => 9,
            "FDDI" => 10,
            "PPP_SERIAL" => 50,
            "PPP_ETHER" => 51,
            "RAW" => 101,
            "C_HDLC" => 104,
            "IEEE802_11" => 105,
            "FRELAY" => 107,
            "LOOP" => 108,
            "LINUX_SLL" => 113,
            "IEEE802_11_RADIO" => 127,
            "IPV4" => 228,
            "IPV6" => 229,
            "LINUX_SLL2" => 276,
            _ => continue,
        };
        assert_eq!(packet.link_type, number, "{}: tcpdump says {name}", path.display());
        compared += 1;
    }
    assert!(compared > corpus.files.len() / 2, "{compared} of {}", corpus.files.len());
}

#[test]
fn filters_take_what_tcpdump_takes() {
    let corpus = corpus();
    let libpcap = Libpcap::load(None).expect("libpcap is installed where tests run");
    let expressions = [
        "tcp",
        "udp port 53",
        "not ip",
        "ip6",
        "vlan",
        "vlan 5 and ip",
        "host 10.0.0.1 or host fe80::1",
        "net 10.0.0.0/8",
        "tcp[tcpflags] & tcp-syn != 0",
        "portrange 1-1023",
        "greater 200",
        "ip6 protochain 17",
        "ether multicast",
        "ip[6:2] & 0x1fff != 0 or arp",
        "icmp or icmp6",
        "mpls or pppoes",
    ];
    let (mut compared, mut taken) = (0, 0);
    // Each is a start of tcpdump: a sample of the files for each expression, another one each time.
    for (at, expression) in expressions.iter().enumerate() {
        let step = corpus.files.len().div_ceil(40);
        for path in corpus.files.iter().skip(at % step).step_by(step) {
            let (packets, _) = read(path);
            let Some(first) = packets.first() else { continue };
            // Some expressions make no sense for a link type. tcpdump cuts packets at the file's snaplen, we do not, and it reads one link type a file.
            let Ok(program) = libpcap.compile(&[expression], LinkType(first.link_type), 0) else { continue };
            if packets.iter().any(|p| p.link_type != first.link_type) {
                continue;
            }
            let filter = Filter::new(&program).expect("libpcap's programs for files run in user space");
            let output = Command::new("tcpdump")
                .args(["-n", "-r", arg(path), "-w", "-", expression])
                .stdin(Stdio::null())
                .output();
            let (theirs, _) = parse(&output.expect("these tests need tcpdump").stdout);
            let snaplen = snaplen(path);
            let ours: Vec<_> =
                packets.iter().filter(|p| filter.matches(&p.data[..p.data.len().min(snaplen)], p.wire)).collect();
            assert_eq!(ours.len(), theirs.len(), "{expression} on {}", path.display());
            let same = ours.iter().zip(&theirs).all(|(a, b)| a.data.starts_with(&b.data));
            assert!(same, "{expression} on {}: others", path.display());
            compared += 1;
            taken += ours.len();
        }
    }
    println!("{compared} comparisons, {taken} packets taken");
    assert!(compared > 50 && taken > 100, "{compared} comparisons, {taken} packets");
}

/// What a pcap file gives as its snaplen; libpcap cuts packets there.
fn snaplen(path: &Path) -> usize {
    let file = std::fs::read(path).expect("the file is there");
    let word: [u8; 4] = file.get(16..20).and_then(|w| w.try_into().ok()).unwrap_or([0; 4]);
    let snaplen = match file.first() {
        Some(0xd4 | 0x4d) => u32::from_le_bytes(word),
        Some(0xa1) => u32::from_be_bytes(word),
        _ => 0,
    };
    if snaplen == 0 { usize::MAX } else { snaplen as usize }
}
