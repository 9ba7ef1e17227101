//! The interface goes away and comes back; capture goes on.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capture::{InterfaceIndex, Readiness, RxQueue};
use capture_afxdp::{Attach, Queue, Queues};
use common::{Harvest, VethLab, finish, has_program, open_on, read, single, wait_for_carrier};
use testkit::net::{Veth, VethOptions, cpu_time};
use testkit::send::{FrameShape, numbered};

const BOTH: [Attach; 2] = [Attach::Native, Attach::Generic];

/// Frames of the numbers `start..start + 1000`, of different flows.
fn thousand(lab: &VethLab, start: u64) {
    wait_for_carrier(&lab.a, "a0");
    let shape = FrameShape { flows: 100, ..FrameShape::default() };
    lab.send(&(start..start + 1000).map(|n| numbered(&shape, n)).collect::<Vec<_>>());
}

/// The queue has had time to see what happened to the interface.
fn settle() {
    thread::sleep(Duration::from_millis(700));
}

/// Threads that read queues in the background, each in the queues' namespace.
struct Readers(Arc<AtomicBool>, Vec<thread::JoinHandle<Harvest>>);

impl Readers {
    fn start(lab: &Arc<VethLab>, queues: Vec<Queue>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |mut queue: Queue| {
            let (lab, stop) = (Arc::clone(lab), Arc::clone(&stop));
            thread::spawn(move || lab.b.enter(|| read(&mut queue, &stop)))
        };
        let threads = queues.into_iter().map(start).collect();
        Self(stop, threads)
    }

    fn finish(self) -> Vec<Harvest> {
        self.0.store(true, Ordering::Release);
        self.1.into_iter().map(|t| t.join().expect("the reader does not panic")).collect()
    }
}

/// All numbers below `count` came, each once.
fn assert_all(harvests: &[Harvest], count: u64, what: &str) {
    let mut numbers: Vec<u64> = harvests.iter().flat_map(Harvest::numbers).collect();
    numbers.sort_unstable();
    let missing: Vec<u64> = (0..count).filter(|n| numbers.binary_search(n).is_err()).collect();
    let range = (missing.first(), missing.last(), missing.len());
    assert!(numbers.len() as u64 == count && missing.is_empty(), "{what}: {} came, missing {range:?}", numbers.len());
}

#[test]
fn an_interface_that_is_down_at_first_is_waited_for() {
    for attach in BOTH {
        let lab = Arc::new(VethLab::new(&VethOptions::default()));
        lab.b.ip("link set b0 down");
        let readers = Readers::start(&lab, open_on(&lab, attach, |_| {}));
        settle();
        lab.b.ip("link set b0 up");
        thousand(&lab, 0);
        lab.b.ip("link set b0 down");
        settle();
        lab.b.ip("link set b0 up");
        thousand(&lab, 1000);
        assert_all(&readers.finish(), 2000, &format!("{attach:?}"));
    }
}

#[test]
fn deleted_and_made_again_goes_on_with_a_new_program() {
    for attach in BOTH {
        for queues in [1, 2] {
            let shape = VethOptions { queues, ..VethOptions::default() };
            let lab = Arc::new(VethLab::new(&shape));
            let opened = open_on(&lab, attach, |o| o.queues = Queues::First(queues as usize));
            let readers = Readers::start(&lab, opened);
            thousand(&lab, 0);
            for round in 1..3 {
                lab.b.ip("link delete b0");
                if round == 2 {
                    settle();
                }
                Veth::pair(&lab.a, "a0", &lab.b, "b0", &shape);
                settle();
                thousand(&lab, round * 1000);
            }
            let harvests = readers.finish();
            assert_all(&harvests, 3000, &format!("{attach:?}, {queues} queues"));
            for harvest in &harvests {
                harvest.assert_closed();
                assert_eq!(harvest.interfaces.len(), 1);
            }
            assert!(!has_program(&lab.b));
        }
    }
}

#[test]
fn the_same_index_again_is_still_another_interface() {
    let lab = Arc::new(VethLab::new(&VethOptions::default()));
    let pair = || {
        lab.b.ip(&format!("link add b0 index 77 type veth peer name a0 netns {}", lab.a.path()));
        lab.b.ip("link set b0 up");
        lab.a.ip("link set a0 up");
    };
    lab.b.ip("link delete b0");
    pair();
    let readers = Readers::start(&lab, open_on(&lab, Attach::Native, |_| {}));
    thousand(&lab, 0);
    lab.b.ip("link delete b0");
    pair();
    settle();
    thousand(&lab, 1000);
    assert_all(&readers.finish(), 2000, "the same index");
}

#[test]
fn a_renamed_interface_is_followed_and_its_frames_carry_the_new_name() {
    let lab = Arc::new(VethLab::new(&VethOptions::default()));
    let readers = Readers::start(&lab, open_on(&lab, Attach::Native, |_| {}));
    thousand(&lab, 0);
    thread::sleep(Duration::from_millis(100));
    lab.b.ip("link set b0 name uplink7");
    thread::sleep(Duration::from_millis(1300));
    let shape = FrameShape::default();
    let more: Vec<_> = (1000..1100).map(|n| numbered(&shape, n)).collect();
    lab.a.enter(|| testkit::send::Sender::open("a0").send(&more));
    thread::sleep(Duration::from_millis(100));
    let harvest = readers.finish().pop().unwrap();
    harvest.assert_closed();
    assert_eq!(harvest.numbers(), (0..1100).collect::<Vec<_>>());
    let names: Vec<&str> = harvest.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["b0", "uplink7"]);
    for (i, frame) in harvest.frames.iter().enumerate() {
        assert_eq!(frame.interface, InterfaceIndex(u32::from(i >= 1000)), "frame {i}");
    }
}

#[test]
fn frames_in_the_ring_of_a_deleted_interface_are_still_delivered() {
    for attach in BOTH {
        let lab = VethLab::new(&VethOptions::default());
        let queue = single(open_on(&lab, attach, |_| {}));
        thousand(&lab, 0);
        lab.b.ip("link delete b0");
        let harvest = lab.b.enter(|| finish(queue));
        harvest.assert_closed();
        assert_eq!(harvest.numbers(), (0..1000).collect::<Vec<_>>());
    }
}

#[test]
fn no_core_is_kept_busy_while_the_interface_is_away() {
    for away in ["link set b0 down", "link delete b0"] {
        let lab = VethLab::new(&VethOptions::default());
        let mut queue = single(open_on(&lab, Attach::Native, |_| {}));
        lab.b.ip(away);
        let used = lab.b.enter(|| {
            let (begin, before) = (Instant::now(), cpu_time());
            while begin.elapsed() < Duration::from_secs(2) {
                assert!(queue.next_batch().unwrap().is_none());
                assert_eq!(queue.wait(Duration::from_millis(100)).unwrap(), Readiness::TimedOut);
            }
            cpu_time() - before
        });
        assert!(used < Duration::from_millis(60), "{away}: {used:?} of 2 s");
    }
}
