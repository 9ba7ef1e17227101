//! Several queues on one interface: every frame once.

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use capture::{CaptureDirection, Direction};
use capture_afpacket::FanoutMode;
use common::{Harvest, Lab, Readers};
use testkit::net::{VethOptions, stay_on_this_core};
use testkit::send::{FrameShape, Sender};

const COUNT: u64 = 200_000;

fn run(mode: FanoutMode) -> Vec<Harvest> {
    let lab = Arc::new(Lab::new(&VethOptions { queues: 4, ..VethOptions::default() }));
    let queues = lab.open(|o| {
        o.queues = 4;
        o.fanout = mode;
    });
    assert_eq!(queues.len(), 4);
    let readers = Readers::start(&lab, queues);
    lab.a.enter(|| {
        // A frame is received on the core that sent it. A sender that moves overtakes what its old core has not received yet, and the order
        // is lost before there is a queue; unless each core has its own.
        if mode != FanoutMode::Cpu {
            stay_on_this_core();
        }
        Sender::open("a0").send_numbered(&FrameShape { flows: 1000, ..FrameShape::default() }, 0, COUNT, None);
    });
    let harvests = readers.finish();
    let mut numbers: Vec<u64> = harvests.iter().flat_map(Harvest::numbers).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "{mode:?}: lost or doubled");
    for harvest in &harvests {
        harvest.assert_closed();
        assert!(harvest.numbers().is_sorted(), "the order within a queue");
    }
    harvests
}

#[test]
fn by_hash_every_flow_stays_in_its_queue() {
    let harvests = run(FanoutMode::Hash);
    let mut home = HashMap::new();
    for (queue, harvest) in harvests.iter().enumerate() {
        assert!(harvest.frames.len() as u64 > COUNT / 10, "queue {queue}: {}", harvest.frames.len());
        for frame in &harvest.frames {
            assert_eq!(*home.entry(frame.data[34..36].to_vec()).or_insert(queue), queue);
        }
    }
    assert_eq!(home.len(), 1000);
}

#[test]
fn by_core_nothing_is_lost_or_doubled() {
    run(FanoutMode::Cpu);
}

#[test]
fn by_nic_queue_nothing_is_lost_or_doubled() {
    run(FanoutMode::QueueMapping);
}

#[test]
fn by_rollover_nothing_is_lost_or_doubled() {
    run(FanoutMode::Rollover);
}

#[test]
fn directions_are_exact_in_a_group() {
    let addresses = Some(("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()));
    let lab = Arc::new(Lab::new(&VethOptions { addresses, ..VethOptions::default() }));
    for (direction, seen) in [(CaptureDirection::In, Direction::Rx), (CaptureDirection::Out, Direction::Tx)] {
        let queues = lab.open(|o| {
            o.queues = 2;
            o.direction = direction;
        });
        common::ping(&lab.a, "192.0.2.2");
        let harvests = common::finish_all(queues);
        let all: Vec<_> = harvests.iter().flat_map(|h| &h.frames).collect();
        assert!(all.iter().all(|f| f.direction == seen));
        assert_eq!(all.iter().filter(|f| f.data[12..14] == [8, 0]).count(), 3);
    }
}

#[test]
fn two_groups_on_one_interface_do_not_meet() {
    let lab = Arc::new(Lab::plain());
    let queues: Vec<_> = [(); 2].iter().flat_map(|()| lab.open(|o| o.queues = 2)).collect();
    lab.send(&FrameShape { flows: 100, ..FrameShape::default() }, 0, 1000);
    let harvests = common::finish_all(queues);
    for group in harvests.chunks(2) {
        assert_eq!(group.iter().map(|h| h.frames.len()).sum::<usize>(), 1000);
    }
}
