//! What other programs send - ping, scapy, tcpreplay, iperf3 - as the records have it; tcpdump and tshark are the judges.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::*;
use serde_json::Value;

fn count(records: &[Value], wanted: impl Fn(&Value) -> bool) -> usize {
    records.iter().filter(|record| wanted(record)).count()
}

#[test]
fn ping_is_seen_in_both_directions_and_each_can_be_chosen() {
    let lan = Lan::with_addresses();
    let [both, inward, outward] =
        ["promisc", "in", "out"].map(|direction| lan.run(&["--filter", "icmp", "--direction", direction]));
    let ping = ["-q", "-c", "20", "-i", "0.01", "-s", "100", "192.0.2.2"];
    lan.sensor.run("ping", &ping);
    let [both, inward, outward] = [both, inward, outward].map(|running| {
        let done = running.interrupt().expect(0);
        done.ledger();
        done.records()
    });
    assert_eq!((both.len(), inward.len(), outward.len()), (40, 20, 20));
    let tx = |record: &Value| record["ringtap"]["frame"]["direction"] == "tx";
    assert_eq!((count(&both, tx), count(&inward, tx), count(&outward, tx)), (20, 0, 20));
    for record in &outward {
        assert_eq!(record["source"]["ip"], "192.0.2.1");
        assert_eq!(record["network"]["bytes"], 14 + 20 + 8 + 100);
        assert_eq!(record["ringtap"]["icmp"]["type"], 8);
    }
    assert!(inward.iter().all(|record| record["source"]["ip"] == "192.0.2.2"));
}

#[test]
fn a_tcp_transfer_is_counted_as_tcpdump_counts_it() {
    let lan = Lan::with_addresses();
    let dir = tempfile::tempdir().unwrap();
    let pcap = dir.path().join("judge.pcap");
    let mut judge = Command::new("tcpdump");
    judge
        .args(["-i", "tap0", "-n", "-U", "-B", "65536", "-s", "128", "--immediate-mode", "-Z", "root", "-w"])
        .arg(&pcap);
    judge.arg("tcp").stdin(Stdio::null());
    let judge = start_command(Some(&lan.sensor), judge);
    judge.wait_for("listening on tap0");
    let records = dir.path().join("records.ndjson");
    let running = lan.run(&["--queues", "2", "--filter", "tcp", "--to", &file_url(&records)]);
    let mut server = Command::new("iperf3");
    server.args(["-s", "-1", "-B", "192.0.2.1"]);
    let server = start_command(Some(&lan.sensor), server);
    server.wait_until("the server", || !lan.sensor.run("ss", &["-Hltn", "sport = :5201"]).stdout.is_empty());
    lan.station.run("iperf3", &["-c", "192.0.2.1", "-n", "20M", "-P", "3", "-b", "300M"]);
    server.finish().expect(0);
    thread::sleep(Duration::from_millis(300));
    judge.interrupt().expect(0).says(&["0 packets dropped by kernel"]);
    let ledger = running.interrupt().expect(0).ledger();
    assert_eq!(ledger.frames("ring_dropped"), 0);

    let fields = ["-T", "fields", "-e", "tcp.srcport", "-e", "tcp.dstport", "-e", "tcp.seq_raw", "-e", "frame.len"];
    let mut arguments = vec!["-n", "-r", pcap.to_str().unwrap(), "-o", "tcp.analyze_sequence_numbers:FALSE"];
    arguments.extend(fields);
    let text = String::from_utf8(other("tshark", &arguments)).unwrap();
    let mut theirs: Vec<Vec<u64>> =
        text.lines().map(|line| line.split('\t').map(|field| field.parse().unwrap()).collect()).collect();
    let records = records_of_file(&records);
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number: {value}"));
    let mut ours: Vec<Vec<u64>> = records
        .iter()
        .map(|record| {
            let (tcp, bytes) = (&record["ringtap"]["tcp"], &record["network"]["bytes"]);
            [&record["source"]["port"], &record["destination"]["port"], &tcp["seq"], bytes].map(number).into()
        })
        .collect();
    theirs.sort_unstable();
    ours.sort_unstable();
    assert!(ours.len() > 10_000, "{}", ours.len());
    assert_eq!(ours.len(), theirs.len());
    assert!(ours == theirs, "ports, sequence numbers or lengths differ");
}

const SCAPY: &str = r#"
import sys
from scapy.all import *
conf.verb = 0
e = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
frames = [
    e / IP(src="198.51.100.1", dst="198.51.100.2", ttl=7, tos=0xb8, id=4660) / TCP(sport=1234, dport=443, flags="SA", seq=99, ack=100, options=[("MSS", 1460)]),
    e / Dot1Q(vlan=5, prio=3) / Dot1Q(vlan=6) / IP(src="198.51.100.1", dst="198.51.100.2") / UDP(sport=53, dport=5353) / b"abc",
    e / IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=9, fl=77) / ICMPv6EchoRequest(id=1, seq=2),
    e / IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2),
    Ether(src="02:00:00:00:00:02", dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc="198.51.100.1", pdst="198.51.100.2"),
    e / IP(src="198.51.100.3", dst="198.51.100.4", proto=132) / SCTP(sport=10, dport=20),
    e / IP(src="198.51.100.3", dst="198.51.100.4", ihl=3, len=10) / b"broken",
    Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01", type=0x88cc) / b"lldp",
]
sendp(frames, iface="far0")
"#;

#[test]
fn what_scapy_makes_is_what_the_records_say() {
    let lan = Lan::silent();
    let running = lan.run(&[]);
    lan.station.run(PYTHON, &["-c", SCAPY]);
    let done = running.interrupt().expect(0);
    let ledger = done.ledger();
    assert_eq!((ledger.frames("processed"), ledger.frames("undecodable")), (8, 1));
    let records = done.records();
    let [tcp, vlan, icmp6, hop, arp, sctp, broken, lldp] = &records[..] else { panic!("{} records", records.len()) };
    let all = [
        (tcp, "/source/ip", "198.51.100.1".into()),
        (tcp, "/source/mac", "02-00-00-00-00-02".into()),
        (tcp, "/destination/port", 443.into()),
        (tcp, "/network/transport", "tcp".into()),
        (tcp, "/ringtap/ip/ttl", 7.into()),
        (tcp, "/ringtap/ip/dscp", 46.into()),
        (tcp, "/ringtap/ip/id", 4660.into()),
        (tcp, "/ringtap/tcp/seq", 99.into()),
        (tcp, "/ringtap/tcp/ack", 100.into()),
        (vlan, "/network/vlan/id", "5".into()),
        (vlan, "/network/inner/vlan/id", "6".into()),
        (vlan, "/source/port", 53.into()),
        (icmp6, "/network/type", "ipv6".into()),
        (icmp6, "/network/iana_number", "58".into()),
        (icmp6, "/ringtap/ipv6/hop_limit", 9.into()),
        (hop, "/destination/port", 2.into()),
        (arp, "/network/type", "arp".into()),
        (arp, "/destination/ip", "198.51.100.2".into()),
        (sctp, "/network/transport", "sctp".into()),
        (sctp, "/destination/port", 20.into()),
        (lldp, "/ringtap/ethernet/type", "0x88cc".into()),
    ];
    for (record, pointer, value) in all {
        let found: Option<&Value> = record.pointer(pointer);
        let value: Value = value;
        assert_eq!(found, Some(&value), "{pointer} of {record}");
    }
    assert!(broken["ringtap"]["problem"].is_string(), "{broken}");
}

#[test]
fn what_tcpreplay_sends_is_captured_frame_by_frame() {
    let lan = Lan::silent();
    let dir = tempfile::tempdir().unwrap();
    let pcap = dir.path().join("mixed.pcap");
    let pcap = pcap.to_str().unwrap();
    let script = "import sys\nfrom scapy.all import *\ne = Ether(src='02:00:00:00:00:02', dst='02:00:00:00:00:01')\n\
        wrpcap(sys.argv[1], [e/IP(src='198.51.100.1', dst='198.51.100.2', id=n)/UDP(sport=1000+n%5, dport=n)/(b'x'*(n%1400))\
        for n in range(3000)])";
    other(PYTHON, &["-c", script, pcap]);
    let running = lan.run(&[]);
    lan.station.run("tcpreplay", &["-q", "-i", "far0", "--pps", "20000", pcap]);
    let done = running.interrupt().expect(0);
    done.ledger();
    let live = done.records();
    let file = run(&["replay", pcap]).expect(0).records();
    assert_eq!((live.len(), file.len()), (3000, 3000));
    for (n, (live, file)) in live.iter().zip(&file).enumerate() {
        for pointer in ["/network", "/source", "/destination", "/ringtap/ip", "/ringtap/udp", "/ringtap/frame/wire_len"]
        {
            assert_eq!(live.pointer(pointer), file.pointer(pointer), "{pointer} of frame {n}");
        }
        assert_eq!(live["destination"]["port"], n);
    }
}
