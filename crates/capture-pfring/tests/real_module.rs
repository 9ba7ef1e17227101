//! The real pf_ring.ko: the suite on a veth pair, and what only the module can show. Ignored where it is not loaded; `scripts/guest-test
//! --module pf_ring.ko` runs these in a virtual machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capture::{BpfInstruction, CaptureDirection, CaptureError, Count, Direction, FilterProgram, RxBatch, RxQueue};
use capture_pfring::{Options, Queue, Sharing, open, open_zc, usable};
use testkit::conformance::{Nature, OnVeth, Settings, VethBackend, VethLab, finish, finish_all};
use testkit::net::{VethOptions, stay_on_this_core};
use testkit::send::{FrameShape, Sender, numbered};

struct Real;

impl VethBackend for Real {
    type Queue = Queue;
    const NATURE: Nature = Nature { takes_tags_out: false, keeps_tpid: false, ..Nature::FULL };

    fn open(settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
        let mut options = Options::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        // The ring's size follows from the snaplen: short frames are all that a small ring is tried with.
        options.snaplen = if settings.small_ring { 128 } else { settings.snaplen };
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        open(&options)
    }
}

testkit::conformance_tests!(OnVeth<Real>, #[ignore = "needs pf_ring.ko: scripts/guest-test"]);

fn open_with(lab: &VethLab, change: impl FnOnce(&mut Options) + Send) -> Vec<Queue> {
    lab.b.enter(|| {
        let mut options = Options::new(VethLab::INTERFACE);
        change(&mut options);
        open(&options).expect("the interface can be opened")
    })
}

#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn the_module_can_be_used() {
    usable().unwrap();
}

/// While frames come, the reader sleeps until some are lost, reads a batch, and sleeps again: what is lost is what is counted.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn a_slow_reader_counts_exactly() {
    let lab = VethLab::new(&VethOptions::default());
    let mut queue = open_with(&lab, |_| {}).pop().unwrap();
    let done = AtomicBool::new(false);
    let (mut numbers, stats) = thread::scope(|scope| {
        scope.spawn(|| {
            lab.a.enter(|| {
                // A sender that moves to another core overtakes what its old core has not received yet.
                stay_on_this_core();
                Sender::open("a0").send_numbered(&FrameShape::default(), 0, 100_000, None);
            });
            done.store(true, Ordering::Release);
        });
        let (mut numbers, mut lost) = (Vec::new(), Count::Exact(0));
        while !done.load(Ordering::Acquire) {
            // However slow the sender is: it is the loss that counts, not the time.
            thread::sleep(Duration::from_millis(20));
            let dropped = queue.stats().unwrap().ring_dropped;
            if std::mem::replace(&mut lost, dropped) == dropped {
                continue;
            }
            if let Some(mut batch) = queue.next_batch().unwrap() {
                numbers.extend(batch.frames().filter_map(|frame| testkit::send::number_of(frame.data)));
            }
        }
        let harvest = lab.b.enter(|| finish(queue));
        numbers.extend(harvest.numbers());
        (numbers, harvest.stats)
    });
    println!("slow reader: {stats:?}");
    assert_eq!(stats.received, numbers.len() as u64);
    assert_eq!(stats.offered, Count::Exact(100_000));
    assert_eq!(stats.ring_dropped, Count::Exact(100_000 - stats.received));
    assert_eq!(stats.damaged, 0);
    assert!(stats.received < 100_000, "the reader was not slow");
    let (before, in_order) = (numbers.len(), numbers.is_sorted());
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), before, "none twice");
    assert!(in_order, "in order");
}

/// Two sockets of a cluster, and two of an interface with two RX queues: each flow is with one of them, both directions of it.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn flows_stay_together() {
    for (sharing, queues) in [(Sharing::Cluster, 1), (Sharing::Channels, 2)] {
        let lab = VethLab::new(&VethOptions { queues, ..VethOptions::default() });
        let opened = open_with(&lab, |o| (o.queues, o.sharing) = (2, sharing));
        let shape = FrameShape { flows: 50, ..FrameShape::default() };
        lab.send(&(0..1000).map(|n| numbered(&shape, n)).collect::<Vec<_>>());
        let harvests = lab.b.enter(|| finish_all(opened));
        let flows: Vec<Vec<u64>> = harvests
            .iter()
            .map(|harvest| {
                let mut flows: Vec<u64> = harvest.numbers().iter().map(|n| n % 50).collect();
                flows.sort_unstable();
                flows.dedup();
                flows
            })
            .collect();
        println!("{sharing:?}: flows {} + {}", flows[0].len(), flows[1].len());
        assert_eq!(harvests.iter().map(|harvest| harvest.frames.len()).sum::<usize>(), 1000);
        assert_eq!(flows[0].len() + flows[1].len(), 50, "{sharing:?}: no flow in both");
        assert!(sharing == Sharing::Channels || !flows.iter().any(Vec::is_empty), "{flows:?}");
    }
}

/// A cluster's number that another socket uses, in another namespace, is refused, and found out when a free one is looked for.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn clusters_are_the_machines() {
    let (one, two) = (VethLab::new(&VethOptions::default()), VethLab::new(&VethOptions::default()));
    let mine = open_with(&one, |o| (o.queues, o.cluster_id) = (2, Some(77)));
    let error = two.b.enter(|| {
        let mut options = Options::new(VethLab::INTERFACE);
        (options.queues, options.cluster_id) = (2, Some(77));
        open(&options).err()
    });
    println!("{error:?}");
    assert!(matches!(&error, Some(CaptureError::BadOption { option: "cluster_id", .. })), "{error:?}");
    drop((mine, open_with(&two, |o| o.queues = 2)));
}

/// An interface that is down is refused with what to do; one that is deleted and made again is captured on.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn an_interface_may_be_down_deleted_and_made_again() {
    tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).init();
    for queues in [1, 2] {
        let lab = VethLab::new(&VethOptions::default());
        lab.b.ip("link set b0 down");
        let error = lab.b.enter(|| open(&Options::new("b0")).err()).unwrap().to_string();
        assert!(error.contains("b0 is down") && error.contains("ip link set b0 up"), "{error}");
        lab.b.ip("link set b0 up");
        let mut opened = open_with(&lab, |o| o.queues = queues);
        let send = |start| {
            let shape = FrameShape { flows: 50, ..FrameShape::default() };
            lab.send(&(start..start + 50).map(|n| numbered(&shape, n)).collect::<Vec<_>>());
        };
        testkit::conformance::wait_for_carrier(&lab.a, "a0");
        send(0);
        let mut numbers = Vec::new();
        let mut read = |opened: &mut Vec<Queue>, time: Duration| {
            lab.b.enter(|| {
                let begin = Instant::now();
                while begin.elapsed() < time {
                    for queue in &mut *opened {
                        queue.wait(Duration::from_millis(20)).unwrap();
                        while let Some(mut batch) = queue.next_batch().unwrap() {
                            numbers.extend(batch.frames().filter_map(|f| testkit::send::number_of(f.data)));
                        }
                    }
                }
            });
        };
        read(&mut opened, Duration::from_millis(300));
        lab.b.ip("link delete b0");
        read(&mut opened, Duration::from_millis(1500));
        testkit::net::Veth::pair(&lab.a, "a0", &lab.b, "b0", &VethOptions::default());
        testkit::conformance::wait_for_carrier(&lab.a, "a0");
        read(&mut opened, Duration::from_millis(1500));
        send(50);
        for harvest in lab.b.enter(|| finish_all(opened)) {
            assert_eq!(harvest.stats.offered, Count::Exact(harvest.stats.received) + harvest.stats.ring_dropped);
            numbers.extend(harvest.numbers());
        }
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..100), "{queues} queues: {} frames", numbers.len());
    }
}

/// The other end of the cable has the number of this one, in its namespace: then the module forgets a capture when another one ends.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn a_capture_goes_on_when_another_one_ends() {
    let lab = VethLab::new(&VethOptions::default());
    let mut one = open_with(&lab, |_| {}).pop().unwrap();
    drop(open_with(&lab, |_| {}));
    let begin = Instant::now();
    lab.b.enter(|| {
        while begin.elapsed() < Duration::from_millis(1500) {
            one.wait(Duration::from_millis(100)).unwrap();
        }
    });
    lab.send(&[numbered(&FrameShape::default(), 1)]);
    assert_eq!(lab.b.enter(|| finish(one)).numbers(), [1]);
}

/// The module runs filters with the kernel's extensions: a tag that was taken out is found, and the frame comes with it.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn filters_find_tags_that_the_kernel_takes_out() {
    let code = |code, jt, jf, k| BpfInstruction { code, jt, jf, k };
    // SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT
    let tagged = vec![code(0x30, 0, 0, 0xffff_f030), code(0x15, 0, 1, 1), code(6, 0, 0, 1), code(6, 0, 0, 0)];
    let lab = VethLab::new(&VethOptions::default());
    let queue = open_with(&lab, |o| o.filter = FilterProgram::new(tagged).ok()).pop().unwrap();
    let shape = FrameShape { tag: Some((0x8100, 0x2007)), ..FrameShape::default() };
    let sent = [numbered(&shape, 1), numbered(&FrameShape::default(), 2), numbered(&shape, 3)];
    lab.send(&sent);
    let harvest = lab.b.enter(|| finish(queue));
    harvest.assert_closed();
    assert_eq!(harvest.numbers(), [1, 3]);
    assert_eq!(harvest.frames[0].data, sent[0], "whole, though the program returned 1");
}

/// Both directions in one queue, each told.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn sent_frames_are_told_from_received_ones_in_a_cluster() {
    let lab = VethLab::new(&VethOptions::default());
    let opened = open_with(&lab, |o| (o.queues, o.direction) = (2, CaptureDirection::Promisc));
    lab.send(&[numbered(&FrameShape::default(), 1)]);
    lab.send_out(&[numbered(&FrameShape::default(), 2)]);
    let harvests = lab.b.enter(|| finish_all(opened));
    let mut seen: Vec<_> = harvests
        .iter()
        .flat_map(|harvest| harvest.frames.iter().map(|f| (testkit::send::number_of(&f.data), f.direction)))
        .collect();
    seen.sort_by_key(|(number, _)| *number);
    assert_eq!(seen, [(Some(1), Direction::Rx), (Some(2), Direction::Tx)]);
}

/// The real libpfring without a ZC driver: which piece is missing.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn zc_says_what_is_missing() {
    let lab = VethLab::new(&VethOptions::default());
    let error = lab.b.enter(|| open_zc(&Options::new("zc:b0@0")).err()).unwrap().to_string();
    println!("zc: {error}");
    let pieces = ["huge pages", "libpfring, which was not found", "no ZC", "driver"];
    assert!(pieces.iter().any(|piece| error.contains(piece)), "{error}");
}

/// The module takes a socket that is closed off the counts of all interfaces (see `be_counted`): frames go on within a second or so, and what
/// came before is said to be unknown.
#[test]
#[ignore = "needs pf_ring.ko: scripts/guest-test"]
fn another_capture_that_ends_costs_no_more_than_a_second_and_is_told() {
    let lab = VethLab::new(&VethOptions::default());
    let mut queue = open_with(&lab, |_| {}).pop().expect("there is one");
    drop(open_with(&lab, |_| {}));
    lab.b.enter(|| {
        let begin = Instant::now();
        let mut seen = 0;
        for number in 0.. {
            lab.a.enter(|| Sender::open("a0").send(&[numbered(&FrameShape::default(), number)]));
            queue.wait(Duration::from_millis(100)).expect("the queue waits");
            while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
                seen += batch.frames().count();
            }
            let forgotten = queue.stats().expect("counters").offered == Count::Unknown;
            if forgotten && seen > 0 && number > 30 {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{seen} frames, forgotten: {forgotten}");
        }
    });
}
