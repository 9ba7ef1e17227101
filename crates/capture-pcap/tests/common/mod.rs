//! What the tests share: reading a queue to its end, the corpus, and what other programs say of a file.
#![allow(dead_code)] // each test binary uses a part

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use capture::{CaptureError, Direction, FrameFlags, Readiness, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue};
use tempfile::TempDir;

/// A libpcap that is not the system's. Missing is an error: a test that passes without has tested nothing.
pub(crate) fn other_libpcap() -> PathBuf {
    let path = std::env::var_os("RINGTAP_OTHER_LIBPCAP").map(PathBuf::from);
    path.filter(|path| path.is_file()).expect(
        "RINGTAP_OTHER_LIBPCAP names a libpcap that is not the system's (scripts/test fetches one; without it: . scripts/lib.sh; \
         need_other_libpcap)",
    )
}

/// A frame that was lent, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) nanos: u64,
    pub(crate) wire: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) link_type: u32,
    pub(crate) interface: u32,
    pub(crate) direction: Direction,
    pub(crate) flags: FrameFlags,
}

/// All frames of a queue, and all errors on the way.
pub(crate) fn drain(queue: &mut FileQueue) -> (Vec<Packet>, Vec<CaptureError>) {
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    loop {
        let known = queue.interfaces().len();
        match queue.next_batch() {
            Ok(Some(mut batch)) => {
                let before = packets.len();
                for frame in batch.frames() {
                    assert!((frame.interface.0 as usize) < known, "an interface that the reader could not know");
                    assert!(frame.data.len() <= frame.wire_len as usize);
                    packets.push(Packet {
                        nanos: frame.timestamp.as_nanos(),
                        wire: frame.wire_len,
                        data: frame.data.to_vec(),
                        link_type: frame.link_type.0,
                        interface: frame.interface.0,
                        direction: frame.direction,
                        flags: frame.flags,
                    });
                }
                assert!(packets.len() > before, "a batch without frames");
                continue;
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        if queue.wait(Duration::from_secs(5)).expect("waiting has no errors of its own") == Readiness::Ended {
            break;
        }
    }
    let stats = queue.stats().expect("a file always answers");
    assert_eq!((stats.received, stats.offered.exact()), (packets.len() as u64, Some(packets.len() as u64)));
    (packets, errors)
}

pub(crate) fn read(path: &Path) -> (Vec<Packet>, Vec<CaptureError>) {
    drain(&mut FileQueue::open([path], FileOptions::default()).expect("the file exists"))
}

/// From memory.
pub(crate) fn parse(octets: &[u8]) -> (Vec<Packet>, Vec<CaptureError>) {
    drain(&mut FileQueue::from_reader("memory", Box::new(std::io::Cursor::new(octets.to_vec()))))
}

/// All frames of a file that must be whole.
pub(crate) fn whole(octets: &[u8]) -> Vec<Packet> {
    let (packets, errors) = parse(octets);
    assert!(errors.is_empty(), "{errors:?}");
    packets
}

/// Runs a program that must be there; what it wrote to its standard output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("these tests need {program}: {error}"));
    // tcpdump and tshark fail on a damaged file after what they could read of it, which is what is wanted of them.
    output.stdout
}

pub(crate) fn run_text(program: &str, arguments: &[&str]) -> String {
    String::from_utf8_lossy(&run(program, arguments)).into_owned()
}

/// As a program's argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// Captures to compare on: all files of the folder that RINGTAP_PCAPS names, or else files that are made here.
pub(crate) struct Corpus {
    pub(crate) files: Vec<PathBuf>,
    _made: Option<TempDir>,
}

pub(crate) fn corpus() -> Corpus {
    let (folder, made) = match std::env::var_os("RINGTAP_PCAPS") {
        Some(folder) => (PathBuf::from(folder), None),
        None => {
            let made = TempDir::new().expect("a folder");
            make(made.path());
            (made.path().to_owned(), Some(made))
        }
    };
    let mut files = Vec::new();
    find(&folder, &mut files);
    files.sort();
    assert!(
        files.len() >= 8,
        "{} (RINGTAP_PCAPS) holds {} captures: that tests nothing",
        folder.display(),
        files.len()
    );
    Corpus { files, _made: made }
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("RINGTAP_PCAPS: {} cannot be read: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|e| e == "pcap" || e == "pcapng") {
            files.push(path);
        }
    }
}

/// Frames of many protocols in several formats.
fn make(folder: &Path) {
    let script = r#"
import sys, random
from scapy.all import *
random.seed(7)
folder = sys.argv[1]
def frames(n):
    out = []
    for i in range(n):
        net = random.choice([IP(src="10.0.0.1", dst="10.0.0.%d" % (i % 250 + 1), ttl=i % 255 + 1), IPv6(src="fe80::1", dst="2001:db8::%x" % i)])
        up = random.choice([TCP(sport=80, dport=1024 + i, flags=random.choice("SAFPR")), UDP(sport=53, dport=1024 + i),
            ICMP() if isinstance(net, IP) else ICMPv6EchoRequest()])
        tag = random.choice([None, Dot1Q(vlan=5), Dot1Q(vlan=7)])
        base = Ether(src="00:00:5e:00:53:01", dst=random.choice(["00:00:5e:00:53:02", "ff:ff:ff:ff:ff:ff"]))
        packet = base / tag / net / up if tag else base / net / up
        packet = packet / Raw(bytes(random.randrange(256) for _ in range(random.choice([0, 1, 2, 3, 100, 1400]))))
        packet.time = 1700000000 + i * 0.001234
        out.append(packet)
    out.append(Ether() / ARP(pdst="10.0.0.9"))
    return out
wrpcap(folder + "/a.pcap", frames(300))
wrpcap(folder + "/b.pcap", frames(50), endianness=">")
wrpcap(folder + "/c.pcap", frames(50), nano=True)
wrpcap(folder + "/raw.pcap", [IP() / TCP(), IP() / UDP()], linktype=101)
wrpcapng(folder + "/d.pcapng", frames(100))
"#;
    // Debian's scapy is Debian's python's, which need not be the first one.
    let made = ["/usr/bin/python3", "python3"].iter().any(|python| {
        Command::new(python).args(["-c", script, arg(folder)]).status().is_ok_and(|status| status.success())
    });
    assert!(made, "without RINGTAP_PCAPS these tests need python3-scapy (its complaint is above)");
    let path = |name: &str| arg(&folder.join(name)).to_owned();
    run("editcap", &["-F", "pcapng", "-s", "60", &path("a.pcap"), &path("cut.pcapng")]);
    run("editcap", &["-F", "nsecpcap", &path("d.pcapng"), &path("e.pcap")]);
    run("editcap", &["-F", "modpcap", &path("a.pcap"), &path("modified.pcap")]);
    run("mergecap", &["-w", &path("merged.pcapng"), &path("a.pcap"), &path("raw.pcap")]);
    run("tcpdump", &["-r", &path("a.pcap"), "-w", &path("tcpdump.pcap"), "-s", "80"]);
}

/// A little-endian pcap file of these records: (seconds, fraction, captured octets, length on the wire).
pub(crate) fn pcap(magic: u32, network: u32, records: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(magic.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(262_144_u32.to_le_bytes());
    file.extend(network.to_le_bytes());
    for (seconds, fraction, data, wire) in records {
        for word in [*seconds, *fraction, data.len() as u32, *wire] {
            file.extend(word.to_le_bytes());
        }
        if magic == 0xa1b2_cd34 {
            file.extend([0; 8]);
        }
        file.extend(*data);
    }
    file
}

/// A writer of pcapng blocks in either byte order, right or wrong as the test wants.
pub(crate) struct Blocks {
    pub(crate) file: Vec<u8>,
    pub(crate) big: bool,
}

impl Blocks {
    pub(crate) fn new(big: bool) -> Self {
        let mut blocks = Self { file: Vec::new(), big };
        blocks.section(big);
        blocks
    }

    pub(crate) fn section(&mut self, big: bool) {
        self.big = big;
        let body = [self.word(0x1a2b_3c4d), self.half2(1, 0), [0xff; 4], [0xff; 4]].concat();
        self.block(0x0a0d_0d0a, &body);
    }

    pub(crate) fn word(&self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(crate) fn half2(&self, first: u16, second: u16) -> [u8; 4] {
        let order = |value: u16| if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        let (first, second) = (order(first), order(second));
        [first[0], first[1], second[0], second[1]]
    }

    pub(crate) fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = body.len().next_multiple_of(4) - body.len();
        let total = (12 + body.len() + padding) as u32;
        let parts = [&self.word(kind)[..], &self.word(total), body, &[0; 3][..padding], &self.word(total)].concat();
        self.file.extend(parts);
    }

    pub(crate) fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let padding = value.len().next_multiple_of(4) - value.len();
        [&self.half2(code, value.len() as u16)[..], value, &[0; 3][..padding]].concat()
    }

    pub(crate) fn interface(&mut self, link_type: u16, snaplen: u32, options: &[u8]) {
        let body = [&self.half2(link_type, 0)[..], &self.word(snaplen), options].concat();
        self.block(1, &body);
    }

    pub(crate) fn enhanced(&mut self, interface: u32, ticks: u64, data: &[u8], wire: u32, options: &[u8]) {
        let words = [interface, (ticks >> 32) as u32, ticks as u32, data.len() as u32, wire];
        let mut body: Vec<u8> = words.iter().flat_map(|&w| self.word(w)).collect();
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(options);
        self.block(6, &body);
    }
}
