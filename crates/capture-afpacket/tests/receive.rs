//! What is on the wire is what comes out: frames, order, lengths, tags, times.

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use capture::{Count, Direction, FrameFlags, LinkType, QueueStats, VlanTag};
use common::{Lab, PcapFile, finish, open_in, ping, single};
use testkit::net::{NetNs, VethOptions};
use testkit::send::{FrameShape, Sender, numbered};

#[test]
fn frames_come_whole_in_order_and_with_their_time() {
    let lab = Lab::plain();
    let queue = single(lab.open(|_| {}));
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let shape = FrameShape { length: 100, ..FrameShape::default() };
    lab.send(&shape, 0, 50_000);
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let harvest = finish(queue);
    harvest.assert_closed();
    assert_eq!(harvest.numbers(), (0..50_000).collect::<Vec<_>>());
    for (i, frame) in harvest.frames.iter().enumerate() {
        assert_eq!(frame.data, numbered(&shape, i as u64));
        assert_eq!((frame.wire_len, frame.direction, frame.vlan), (100, Direction::Rx, None));
        assert_eq!((frame.link_type, frame.flags), (LinkType::ETHERNET, FrameFlags::NONE));
        assert!((begin..=end).contains(&frame.timestamp.as_nanos()));
    }
    assert!(harvest.frames.windows(2).all(|w| w[0].timestamp <= w[1].timestamp));
    let expected = QueueStats { offered: Count::Exact(50_000), received: 50_000, ..QueueStats::ZERO };
    assert_eq!(harvest.stats, expected);
    assert_eq!(harvest.interfaces.len(), 1);
    assert_eq!(harvest.interfaces[0].name, "b0");
}

#[test]
fn frames_of_other_programs_are_found() {
    let addresses = Some(("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()));
    let lab = Lab::new(&VethOptions { addresses, ..VethOptions::default() });
    let count = |queue, wanted: &dyn Fn(&[u8]) -> bool| {
        let harvest = finish(queue);
        harvest.assert_closed();
        harvest.frames.iter().filter(|f| wanted(&f.data)).count()
    };
    let icmp =
        |kind: u8| move |f: &[u8]| f.get(12..14) == Some(&[8, 0]) && f.get(23) == Some(&1) && f.get(34) == Some(&kind);
    let udp_to = |port: u16| move |f: &[u8]| f.get(23) == Some(&17) && f.get(36..38) == Some(&port.to_be_bytes()[..]);

    let queue = single(lab.open(|_| {}));
    ping(&lab.a, "192.0.2.2");
    let harvest = finish(queue);
    let echoes =
        |kind, direction| harvest.frames.iter().filter(|f| icmp(kind)(&f.data) && f.direction == direction).count();
    assert_eq!([echoes(8, Direction::Rx), echoes(0, Direction::Tx), echoes(8, Direction::Tx)], [3, 3, 0]);

    let queue = single(lab.open(|_| {}));
    let frames: Vec<_> = (0..200).map(|i| numbered(&FrameShape::default(), i)).collect();
    let file = PcapFile::new("replay", &frames);
    lab.a.run("tcpreplay", &["-q", "--topspeed", "-i", "a0", file.path()]);
    let harvest = finish(queue);
    assert_eq!(harvest.frames.iter().map(|f| f.data.clone()).collect::<Vec<_>>(), frames);

    let queue = single(lab.open(|_| {}));
    let script = "from scapy.all import *\n\
                  sendp(Ether(dst='ff:ff:ff:ff:ff:ff')/IP(src='192.0.2.1',dst='192.0.2.2')/UDP(sport=1,dport=7001)/'x', iface='a0', count=20, verbose=0)";
    // Debian's own, for which python3-scapy is.
    lab.a.run("/usr/bin/python3", &["-c", script]);
    assert_eq!(count(queue, &udp_to(7001)), 20);

    let queue = single(lab.open(|_| {}));
    lab.a.run(
        "mausezahn",
        &["a0", "-q", "-c", "50", "-A", "192.0.2.1", "-B", "192.0.2.2", "-b", "bcast", "-t", "udp", "dp=7002"],
    );
    assert_eq!(count(queue, &udp_to(7002)), 50);
}

#[test]
fn the_snaplen_cuts_and_the_wire_length_stays() {
    let lab = Lab::plain();
    for (snaplen, length) in [(1, 60), (60, 60), (96, 1514), (256, 300), (256, 200), (65_535, 1514)] {
        let queue = single(lab.open(|o| o.snaplen = snaplen));
        let shape = FrameShape { length, ..FrameShape::default() };
        lab.send(&shape, 7, 1);
        let harvest = finish(queue);
        let whole = numbered(&shape, 7);
        assert_eq!(harvest.frames[0].data, whole[..length.min(snaplen as usize)]);
        assert_eq!(harvest.frames[0].wire_len as usize, length);
    }
}

#[test]
fn jumbo_frames_come_whole_and_are_not_taken_for_merged_ones() {
    let lab = Lab::new(&VethOptions { mtu: 9000, ..VethOptions::default() });
    let queue = single(lab.open(|o| o.snaplen = 16_384));
    let shape = FrameShape { length: 9014, ..FrameShape::default() };
    lab.send(&shape, 0, 1000);
    let harvest = finish(queue);
    harvest.assert_closed();
    assert_eq!(harvest.numbers(), (0..1000).collect::<Vec<_>>());
    assert_eq!(harvest.frames[999].data, numbered(&shape, 999));
    assert_eq!(harvest.stats.super_frames, 0);
}

/// A received frame's outer tag is taken out by `skb_vlan_untag` before taps see it, and `tp_len` does not count it;
/// a frame that is sent raw keeps its tag in the octets.
#[test]
fn vlan_tags_are_restored_on_receipt_and_left_in_place_on_transmission() {
    let lab = Lab::plain();
    for (tpid, tci) in [(0x8100, 0x6064), (0x8100, 0), (0x88a8, 0x0fff)] {
        let received = single(lab.open(|_| {}));
        let sent = single(open_in(&lab.a, "a0", |_| {}));
        let shape = FrameShape { tag: Some((tpid, tci)), length: 80, ..FrameShape::default() };
        lab.send(&shape, 3, 10);
        let (received, sent) = (finish(received), finish(sent));
        for (i, (rx, tx)) in received.frames.iter().zip(&sent.frames).enumerate() {
            let number = 3 + i as u64;
            assert_eq!((rx.vlan, rx.wire_len, rx.direction), (Some(VlanTag { tpid, tci }), 80, Direction::Rx));
            assert_eq!(rx.data, numbered(&FrameShape { tag: None, ..shape.clone() }, number));
            assert_eq!((tx.vlan, tx.wire_len, tx.direction), (None, 84, Direction::Tx));
            assert_eq!(tx.data, numbered(&shape, number));
        }
        assert_eq!((received.frames.len(), sent.frames.len()), (10, 10));
    }
}

#[test]
fn the_outer_of_two_tags_is_restored_and_the_inner_stays() {
    let lab = Lab::plain();
    let queue = single(lab.open(|_| {}));
    let inner = FrameShape { tag: Some((0x8100, 5)), ..FrameShape::default() };
    let tagged_once = numbered(&inner, 1);
    let mut tagged_twice = tagged_once.clone();
    tagged_twice.splice(12..12, [0x88, 0xa8, 0x00, 0x64]);
    lab.a.enter(|| Sender::open("a0").send(&[tagged_twice]));
    let harvest = finish(queue);
    assert_eq!(harvest.frames[0].vlan, Some(VlanTag { tpid: 0x88a8, tci: 100 }));
    assert_eq!(harvest.frames[0].data, tagged_once);
    assert_eq!(harvest.frames[0].wire_len as usize, tagged_once.len());
}

#[test]
fn segments_that_are_not_yet_split_are_recognised() {
    let addresses = Some(("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()));
    let lab = Lab::new(&VethOptions { addresses, ..VethOptions::default() });
    lab.a.run("ethtool", &["-K", "a0", "tx", "on", "sg", "on", "gso", "on", "tso", "on"]);
    let queue = single(lab.open(|_| {}));
    let mut command = std::process::Command::new("iperf3");
    command.args(["-s", "-1"]).stdout(std::process::Stdio::null());
    let mut server = lab.b.spawn(command);
    std::thread::sleep(std::time::Duration::from_millis(500));
    lab.a.run("iperf3", &["-c", "192.0.2.2", "-n", "5M"]);
    assert!(server.wait().unwrap().success());
    let harvest = finish(queue);
    harvest.assert_closed();
    let flagged = harvest.frames.iter().filter(|f| f.flags.contains(FrameFlags::SUPER_FRAME)).count() as u64;
    let long = harvest.frames.iter().filter(|f| f.wire_len > 1514).count() as u64;
    assert!(long > 10, "{long}");
    assert!(flagged >= long, "{flagged} of {long}");
    assert_eq!(harvest.stats.super_frames, flagged);
}

#[test]
fn a_tunnel_interface_gives_bare_ip() {
    let namespace = NetNs::new();
    namespace.ip("tuntap add dev t0 mode tun");
    namespace.ip("link set t0 up");
    let queue = single(open_in(&namespace, "t0", |_| {}));
    let harvest = finish(queue);
    assert_eq!(harvest.interfaces[0].link_type, LinkType::RAW);
}
