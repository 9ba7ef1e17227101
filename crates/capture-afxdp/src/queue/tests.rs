//! What the kernel's counters mean, and what XDP sees of tags and offloads: measured, since the documentation does not say. Needs root.

use netdev::Device;
use testkit::conformance::{VethLab, finish};
use testkit::net::VethOptions;
use testkit::send::{FrameShape, numbered};

use super::*;
use crate::options::{Attach, Options};
use crate::sys::{bpf, socket};

/// Frames of `length` octets come to a queue of 64 chunks of 2048 octets that nobody reads.
fn flood(attach: Attach, length: usize, count: u64) -> (libc::xdp_statistics, u64) {
    let mtu = 9000;
    let lab = VethLab::new(&VethOptions { mtu, ..VethOptions::default() });
    let mut options = Options::new(VethLab::INTERFACE);
    (options.attach, options.frame_count, options.frame_size) = (attach, 64, 2048);
    let mut queue = lab.b.enter(|| crate::open(&options).unwrap().pop().unwrap());
    let shape = FrameShape { length, ..FrameShape::default() };
    lab.send(&(0..count).map(|n| numbered(&shape, n)).collect::<Vec<_>>());
    let pending = queue.port.as_ref().unwrap().memory.pending();
    queue.stop().unwrap();
    (queue.port.as_ref().unwrap().socket.statistics().unwrap(), pending)
}

#[test]
fn a_frame_without_a_chunk_counts_once_as_dropped_and_once_as_an_empty_fill_ring() {
    for attach in [Attach::Native, Attach::Generic] {
        let (stats, pending) = flood(attach, 60, 200);
        assert_eq!((pending, stats.rx_dropped, stats.rx_ring_full), (64, 136, 0), "{attach:?}");
        assert_eq!(stats.rx_fill_ring_empty_descs, 136, "the same frames: not to be added");
        assert_eq!(stats.rx_invalid_descs, 0);
    }
}

#[test]
fn a_frame_of_several_buffers_counts_once_too() {
    for attach in [Attach::Native, Attach::Generic] {
        // Five chunks each, of 1792 octets: twelve fit, and then four chunks are left.
        let (stats, pending) = flood(attach, 8000, 100);
        assert_eq!((pending, stats.rx_dropped, stats.rx_ring_full), (12, 88, 0), "{attach:?}");
    }
}

/// A tag that travels beside the frame, as NICs with rx-vlan-offload tell it. veth hands a frame over so if it may (tx-vlan-offload of the other end).
#[test]
fn a_tag_beside_the_frame_is_lost_and_one_inside_is_not() {
    for attach in [Attach::Native, Attach::Generic] {
        for offload in ["on", "off"] {
            let lab = VethLab::new(&VethOptions::default());
            lab.a.run("ethtool", &["-K", "a0", "txvlan", offload]);
            let _tags = lab.a.enter(|| bpf::push_tags(Device::find("a0").unwrap().index).unwrap());
            let mut options = Options::new(VethLab::INTERFACE);
            options.attach = attach;
            let queue = lab.b.enter(|| crate::open(&options).unwrap().pop().unwrap());
            let shape = FrameShape { length: 80, ..FrameShape::default() };
            lab.send(&[numbered(&shape, 3)]);
            let harvest = lab.b.enter(|| finish(queue));
            let tag = (offload == "off").then_some((0x8100, 100));
            let frames: Vec<_> = harvest.frames.iter().map(|f| (&f.data, f.vlan)).collect();
            let expected = numbered(&FrameShape { tag, ..shape }, 3);
            assert_eq!(frames, [(&expected, None)], "{attach:?}, offload {offload}");
        }
    }
}

/// With all offloads on, as veth is if nobody turns them off: the driver mode makes the other end cut by itself; in the stack frames come as they
/// are sent.
#[test]
fn offloads_of_the_other_end_show_in_generic_mode_only() {
    for attach in [Attach::Native, Attach::Generic] {
        let addresses = Some(([10, 77, 0, 1].into(), [10, 77, 0, 2].into()));
        let lab = VethLab::new(&VethOptions { addresses, ..VethOptions::default() });
        for (namespace, name) in [(&lab.a, "a0"), (&lab.b, "b0")] {
            let on = ["-K", name, "tx", "on", "gso", "on", "tso", "on", "tx-udp-segmentation", "on", "gro", "on"];
            namespace.run("ethtool", &on);
        }
        lab.a.ip("neigh replace 10.77.0.2 lladdr 02:00:00:00:00:02 dev a0");
        let mut options = Options::new(VethLab::INTERFACE);
        (options.attach, options.snaplen) = (attach, 65_535);
        let queue = lab.b.enter(|| crate::open(&options).unwrap().pop().unwrap());
        lab.a.enter(|| socket::send_segments("10.77.0.2:9".parse().unwrap(), &[7; 5000], 1000).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let harvest = lab.b.enter(|| finish(queue));
        let lengths: Vec<_> =
            harvest.frames.iter().filter(|f| f.data.get(23) == Some(&17)).map(|f| f.wire_len).collect();
        let expected = if attach == Attach::Native { vec![1042; 5] } else { vec![5042] };
        assert_eq!(lengths, expected, "{attach:?}");
        assert_eq!(harvest.stats.super_frames, u64::from(attach == Attach::Generic));
        let merged = harvest.frames.iter().filter(|f| f.flags.contains(FrameFlags::SUPER_FRAME)).count();
        assert_eq!(merged as u64, harvest.stats.super_frames);
    }
}

/// Nothing comes any more, and the kernel tells nobody why: it has to be asked.
#[test]
fn a_program_that_somebody_takes_off_is_put_on_again() {
    let lab = VethLab::new(&VethOptions::default());
    let mut queue = lab.b.enter(|| crate::open(&Options::new(VethLab::INTERFACE)).unwrap().pop().unwrap());
    let shape = FrameShape::default();
    let receive = |queue: &mut Queue, from: u64| {
        lab.send(&(from..from + 10).map(|n| numbered(&shape, n)).collect::<Vec<_>>());
        lab.b.enter(|| {
            let mut received = 0;
            while received < 10 && queue.wait(Duration::from_secs(5)).unwrap() == Readiness::Ready {
                received += queue.next_batch().unwrap().map_or(0, |mut batch| batch.frames().count());
            }
            assert_eq!(received, 10);
        });
    };
    receive(&mut queue, 0);
    let attachment = |queue: &Queue| queue.port.as_ref().map(|port| Arc::clone(&port.attachment));
    let first = attachment(&queue).unwrap();
    first.take_off();
    let begin = Instant::now();
    while attachment(&queue).is_none_or(|now| Arc::ptr_eq(&now, &first)) {
        assert!(begin.elapsed() < Duration::from_secs(20), "it was not put on again");
        let _ = lab.b.enter(|| queue.wait(Duration::from_millis(100)).unwrap());
    }
    receive(&mut queue, 10);
}
