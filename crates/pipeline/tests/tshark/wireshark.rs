//! What Wireshark reads of frames.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use capture::LinkType;
use testkit::queues::OwnedFrame;

/// Fields that it is asked for.
const FIELDS: &[&str] = &[
    "frame.protocols",
    "frame.time_epoch",
    "frame.len",
    "frame.cap_len",
    "eth.src",
    "eth.dst",
    "sll.src.eth",
    "sll.pkttype",
    "vlan.id",
    "vlan.priority",
    "ieee8021ad.id",
    "ieee8021ad.priority",
    "ieee8021ad.svid",
    "mpls.label",
    "mpls.bottom",
    "pppoe.session_id",
    "ppp.protocol",
    "ip.version",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ip.ttl",
    "ip.id",
    "ip.len",
    "ip.flags.rb",
    "ip.flags.df",
    "ip.flags.mf",
    "ip.frag_offset",
    "ip.dsfield.dscp",
    "ip.dsfield.ecn",
    "ip.opt.type",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.plen",
    "ipv6.hlim",
    "ipv6.flow",
    "ipv6.tclass.dscp",
    "ipv6.tclass.ecn",
    "ipv6.nxt",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.fraghdr.nxt",
    "ipv6.dstopts.nxt",
    "ah.next_header",
    "mip6.proto",
    "hip.proto",
    "shim6.nxt",
    "ipv6.fraghdr.offset",
    "ipv6.fraghdr.more",
    "ipv6.fraghdr.ident",
    "arp.opcode",
    "arp.src.hw_mac",
    "arp.dst.hw_mac",
    "arp.src.proto_ipv4",
    "arp.dst.proto_ipv4",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.window_size_value",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
    "tcp.options.sack_perm",
    "tcp.options.sack_le",
    "tcp.options.sack_re",
    "tcp.options.timestamp.tsval",
    "tcp.options.timestamp.tsecr",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "udp.checksum_coverage",
    "sctp.srcport",
    "sctp.dstport",
    "sctp.verification_tag",
    "icmp.type",
    "icmp.code",
    "icmp.ident",
    "icmp.seq",
    "icmpv6.type",
    "icmpv6.code",
    "icmpv6.echo.identifier",
    "icmpv6.echo.sequence_number",
    "igmp.type",
    "igmp.maddr",
];

/// Wireshark shall look at each packet by itself, and at numbers as they are.
const PREFERENCES: &[&str] = &[
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
    "tcp.relative_sequence_numbers:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "tcp.analyze_sequence_numbers:FALSE",
];

/// One packet: the values of each field in the order in which they stand in the packet, those of inner headers too.
#[derive(Clone, Debug)]
pub(crate) struct Packet(HashMap<&'static str, String>);

impl Packet {
    /// All values.
    pub(crate) fn all(&self, field: &str) -> Vec<&str> {
        match self.0.get(field) {
            Some(values) => values.split(',').collect(),
            None => Vec::new(),
        }
    }

    /// The first value: the outermost header's.
    pub(crate) fn first(&self, field: &str) -> Option<&str> {
        self.all(field).first().copied()
    }

    /// The protocols from the outermost on.
    pub(crate) fn protocols(&self) -> Vec<&str> {
        self.0.get("frame.protocols").map(|list| list.split(':').collect()).unwrap_or_default()
    }
}

/// Writes a pcap file with nanoseconds.
pub(crate) fn write_pcap(path: &Path, link_type: LinkType, frames: &[OwnedFrame]) {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 0x0004_0000, link_type.0] {
        file.extend(u32::to_le_bytes(word));
    }
    for frame in frames {
        let seconds = frame.timestamp.seconds() as u32;
        for word in [seconds, frame.timestamp.subsec_nanos(), frame.data.len() as u32, frame.wire_len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&frame.data);
    }
    fs::write(path, file).expect("a temporary file can be written");
}

/// Reads a file by tshark; `None` if it does not know the link type.
pub(crate) fn read(path: &Path) -> Option<Vec<Packet>> {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(path).args(["-T", "fields", "-E", "occurrence=a"]);
    command.args(PREFERENCES.iter().flat_map(|preference| ["-o", preference]));
    command.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let output = command.stdin(Stdio::null()).output().expect("these tests need tshark");
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("unknown or unsupported") {
        return None;
    }
    assert!(output.status.success(), "tshark: {errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let packet = |line: &str| {
        let fields = FIELDS.iter().copied().zip(line.split('\t').map(str::to_owned));
        Packet(fields.filter(|(_, values)| !values.is_empty()).collect())
    };
    Some(text.lines().map(packet).collect())
}
