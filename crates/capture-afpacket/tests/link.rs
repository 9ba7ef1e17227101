//! The interface goes away and comes back; capture goes on.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use capture::{Count, InterfaceIndex, Readiness, RxBatch, RxQueue};
use common::{Harvest, Lab, Readers, read, single, wait_for_carrier};
use testkit::net::{NetNs, Veth, VethOptions, cpu_time};
use testkit::send::FrameShape;

/// Frames of the numbers `start..start + 1000`, with different flows.
fn thousand(lab: &Lab, start: u64) {
    wait_for_carrier(&lab.a, "a0");
    lab.send(&FrameShape { flows: 100, ..FrameShape::default() }, start, 1000);
}

/// The queue has had time to see what happened to the interface.
fn settle() {
    thread::sleep(Duration::from_millis(700));
}

fn sorted_numbers(harvests: &[Harvest]) -> Vec<u64> {
    let mut numbers: Vec<u64> = harvests.iter().flat_map(Harvest::numbers).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn down_and_up_again_goes_on_with_the_same_queues() {
    for queues in [1, 3] {
        let lab = Arc::new(Lab::plain());
        let readers = Readers::start(&lab, lab.open(|o| o.queues = queues));
        for round in 0..3 {
            thousand(&lab, round * 1000);
            lab.b.ip("link set b0 down");
            if round > 0 {
                settle();
            }
            lab.b.ip("link set b0 up");
        }
        thousand(&lab, 3000);
        let harvests = readers.finish();
        assert_eq!(sorted_numbers(&harvests), (0..4000).collect::<Vec<_>>());
        for harvest in &harvests {
            harvest.assert_closed();
            assert_eq!(harvest.interfaces.len(), 1);
        }
    }
}

#[test]
fn an_interface_that_is_down_at_first_is_waited_for() {
    let lab = Arc::new(Lab::plain());
    lab.b.ip("link set b0 down");
    let readers = Readers::start(&lab, lab.open(|_| {}));
    settle();
    lab.b.ip("link set b0 up");
    thousand(&lab, 0);
    let harvests = readers.finish();
    assert_eq!(sorted_numbers(&harvests), (0..1000).collect::<Vec<_>>());
}

#[test]
fn deleted_and_made_again_goes_on_with_new_sockets_in_one_new_group() {
    for queues in [1, 4] {
        let lab = Arc::new(Lab::plain());
        let readers = Readers::start(&lab, lab.open(|o| o.queues = queues));
        thousand(&lab, 0);
        for round in 1..3 {
            lab.b.ip("link delete b0");
            if round == 2 {
                settle();
            }
            Veth::pair(&lab.a, "a0", &lab.b, "b0", &VethOptions::default());
            settle();
            thousand(&lab, round * 1000);
        }
        let harvests = readers.finish();
        // Two groups would give every frame twice.
        assert_eq!(sorted_numbers(&harvests), (0..3000).collect::<Vec<_>>(), "{queues} queues");
        for harvest in &harvests {
            harvest.assert_closed();
            assert_eq!(harvest.interfaces.len(), 1);
        }
        assert_eq!(harvests[0].stats.nic_dropped, Count::Exact(0));
    }
}

/// The old ring is empty, and a second one of its size may be more than the machine has.
#[test]
fn the_ring_of_a_deleted_interface_is_given_back_before_there_is_another() {
    // A size that no other test of this process has.
    let rings = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let size = |line: &str| {
            let (start, end) = line.split_once(' ')?.0.split_once('-')?;
            Some(u64::from_str_radix(end, 16).ok()? - u64::from_str_radix(start, 16).ok()?)
        };
        maps.lines().filter(|line| size(line) == Some(65_536 * 37)).count()
    };
    let lab = Arc::new(Lab::plain());
    let queues = lab.open(|o| (o.block_size, o.block_count) = (65_536, Some(37)));
    let readers = Readers::start(&lab, queues);
    thousand(&lab, 0);
    assert_eq!(rings(), 1);
    lab.b.ip("link delete b0");
    settle();
    assert_eq!(rings(), 0);
    Veth::pair(&lab.a, "a0", &lab.b, "b0", &VethOptions::default());
    settle();
    assert_eq!(rings(), 1);
    thousand(&lab, 1000);
    assert_eq!(sorted_numbers(&readers.finish()), (0..2000).collect::<Vec<_>>());
}

#[test]
fn the_same_index_again_is_still_another_interface() {
    let lab = Arc::new(Lab::plain());
    let pair = || {
        lab.b.ip(&format!("link add b0 index 77 type veth peer name a0 netns {}", lab.a.path()));
        lab.b.ip("link set b0 up");
        lab.a.ip("link set a0 up");
    };
    lab.b.ip("link delete b0");
    pair();
    let readers = Readers::start(&lab, lab.open(|o| o.queues = 3));
    thousand(&lab, 0);
    lab.b.ip("link delete b0");
    pair();
    settle();
    thousand(&lab, 1000);
    let harvests = readers.finish();
    assert_eq!(sorted_numbers(&harvests), (0..2000).collect::<Vec<_>>());
}

#[test]
fn a_renamed_interface_is_followed_and_its_frames_carry_the_new_name() {
    let lab = Arc::new(Lab::plain());
    let readers = Readers::start(&lab, lab.open(|_| {}));
    thousand(&lab, 0);
    thread::sleep(Duration::from_millis(100));
    lab.b.ip("link set b0 down");
    lab.b.ip("link set b0 name uplink7");
    lab.b.ip("link set uplink7 up");
    thread::sleep(Duration::from_millis(1300));
    thousand(&lab, 1000);
    thread::sleep(Duration::from_millis(100));
    // Deleted: one that is made again goes by the configured name.
    lab.b.ip("link delete uplink7");
    Veth::pair(&lab.a, "a0", &lab.b, "b0", &VethOptions::default());
    settle();
    thousand(&lab, 2000);
    let harvest = readers.finish().pop().unwrap();
    harvest.assert_closed();
    assert_eq!(harvest.numbers(), (0..3000).collect::<Vec<_>>());
    let names: Vec<&str> = harvest.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["b0", "uplink7"]);
    for (i, frame) in harvest.frames.iter().enumerate() {
        assert_eq!(frame.interface, InterfaceIndex(u32::from((1000..2000).contains(&i))), "frame {i}");
    }
}

#[test]
fn a_batch_refers_only_to_names_that_were_known_when_it_was_asked_for() {
    let lab = Lab::plain();
    let mut queue = single(lab.open(|o| o.block_size = 65_536)); // a thousand frames are several batches
    let (mut frames, mut last) = (0, InterfaceIndex(0));
    for start in [0, 1000] {
        // The queue looks at the name in `next_batch`: a second has gone by, and there is something to read.
        thread::sleep(Duration::from_millis(1100));
        thousand(&lab, start);
        thread::sleep(Duration::from_millis(100));
        loop {
            let known = queue.interfaces().len();
            let Some(mut batch) = queue.next_batch().unwrap() else { break };
            for frame in batch.frames() {
                assert!((frame.interface.0 as usize) < known, "{:?} of {known}", frame.interface);
                (frames, last) = (frames + 1, frame.interface);
            }
        }
        for step in ["link set b0 down", "link set b0 name uplink7", "link set uplink7 up"] {
            if start == 0 {
                lab.b.ip(step);
            }
        }
    }
    assert_eq!((frames, queue.interfaces().len(), last), (2000, 2, InterfaceIndex(1)));
}

#[test]
fn frames_in_the_ring_of_a_deleted_interface_are_still_delivered() {
    let lab = Lab::plain();
    let mut queue = single(lab.open(|_| {}));
    thousand(&lab, 0);
    lab.b.ip("link delete b0");
    let harvest = lab.b.enter(|| {
        queue.stop().unwrap();
        read(&mut queue, &AtomicBool::new(true))
    });
    harvest.assert_closed();
    assert_eq!(harvest.numbers(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn no_core_is_kept_busy_while_the_interface_is_away() {
    for away in ["link set b0 down", "link delete b0"] {
        let lab = Lab::plain();
        let mut queue = single(lab.open(|_| {}));
        lab.b.ip(away);
        let used = lab.b.enter(|| {
            let (begin, before) = (Instant::now(), cpu_time());
            while begin.elapsed() < Duration::from_secs(2) {
                assert!(queue.next_batch().unwrap().is_none());
                assert_eq!(queue.wait(Duration::from_millis(100)).unwrap(), Readiness::TimedOut);
            }
            cpu_time() - before
        });
        assert!(used < Duration::from_millis(40), "{away}: {used:?} of 2 s");
    }
}

#[test]
fn a_queue_can_be_opened_for_a_namespace_and_dropped_with_it() {
    for _ in 0..20 {
        let namespace = NetNs::new();
        drop(common::open_in(&namespace, "lo", |o| o.queues = 4));
    }
}
