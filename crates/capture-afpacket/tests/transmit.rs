//! Frames sent by the TX ring arrive, in order and whole, and are accounted for.

mod common;

use std::time::{Duration, Instant};

use capture::{CaptureError, TxQueue, TxStats};
use capture_afpacket::{CopyTx, Tx, TxOptions};
use common::{Lab, finish, single};
use testkit::net::{VethOptions, stay_on_this_core};
use testkit::send::{FrameShape, numbered};

fn send_all(tx: &mut impl TxQueue, frames: &[Vec<u8>]) {
    let mut next = 0;
    let begin = Instant::now();
    while next < frames.len() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{next} of {}", frames.len());
        let filled = tx
            .fill(100, |slot| {
                let Some(frame) = frames.get(next) else { return 0 };
                slot[..frame.len()].copy_from_slice(frame);
                next += 1;
                frame.len()
            })
            .expect("the queue goes on");
        tx.flush().expect("the queue goes on");
        if filled == 0 {
            tx.wait(Duration::from_millis(10)).expect("the queue goes on");
        }
    }
    assert!(tx.drain(Duration::from_secs(5)).expect("the queue goes on"));
}

fn all_by(mut tx: impl TxQueue, frames: &[Vec<u8>], longest: usize) -> TxStats {
    assert_eq!(tx.max_frame(), longest + 4);
    // The kernel queues frames by the sender's core: those of one that moves overtake each other.
    stay_on_this_core();
    send_all(&mut tx, frames);
    tx.stats()
}

#[test]
fn frames_of_all_lengths_arrive_in_order_and_are_counted() {
    for (mtu, longest, copies) in [(1500, 1514, false), (9000, 9014, false), (1500, 1514, true), (9000, 9014, true)] {
        let lab = Lab::new(&VethOptions { mtu, ..VethOptions::default() });
        let queue = single(lab.open(|o| o.snaplen = 16_384));
        let lengths = [60, 61, 64, 1000, longest];
        let shape = |n: usize| FrameShape { length: lengths[n % lengths.len()], ..FrameShape::default() };
        // More than the ring has slots, several times.
        let frames: Vec<_> = (0..5000).map(|n| numbered(&shape(n), n as u64)).collect();
        let options = TxOptions { slot_size: 16_384, slots: 64, ..TxOptions::new("a0") };
        let stats = lab.a.enter(|| {
            if copies {
                all_by(CopyTx::open(&options).unwrap(), &frames, longest)
            } else {
                all_by(Tx::open(&options).unwrap(), &frames, longest)
            }
        });
        assert_eq!(stats, TxStats { filled: 5000, sent: 5000, refused: 0, in_flight: 0 });
        let harvest = finish(queue);
        harvest.assert_closed();
        assert!(harvest.frames.iter().map(|f| &f.data).eq(&frames), "{} frames", harvest.frames.len());
    }
}

#[test]
fn what_the_interface_does_not_take_is_refused_and_holds_up_nothing() {
    let lab = Lab::plain();
    let queue = single(lab.open(|_| {}));
    let good = numbered(&FrameShape::default(), 1);
    let tagged = numbered(&FrameShape { length: 1514, tag: Some((0x8100, 5)), ..FrameShape::default() }, 2);
    let frames =
        [good.clone(), vec![0; 13], numbered(&FrameShape { length: 1515, ..FrameShape::default() }, 9), tagged, good];
    let options = TxOptions::new("a0");
    let by_ring = lab.a.enter(|| all_by(Tx::open(&options).unwrap(), &frames, 1514));
    let by_copy = lab.a.enter(|| all_by(CopyTx::open(&options).unwrap(), &frames, 1514));
    assert_eq!([by_ring, by_copy], [TxStats { filled: 5, sent: 3, refused: 2, in_flight: 0 }; 2]);
    assert_eq!(finish(queue).numbers(), [1, 2, 1, 1, 2, 1]);
}

#[test]
fn frames_that_the_other_end_does_not_take_are_refused_and_hold_up_nothing_for_good() {
    let lab = Lab::plain();
    lab.b.ip("link set b0 mtu 1000");
    let queue = single(lab.open(|_| {}));
    // Those of 1400 octets the peer drops whenever they are tried.
    let frames: Vec<_> = (0..500)
        .map(|n| numbered(&FrameShape { length: if n % 5 == 3 { 1400 } else { 60 }, ..FrameShape::default() }, n))
        .collect();
    let options = TxOptions { slots: 64, ..TxOptions::new("a0") };
    let by_ring = lab.a.enter(|| all_by(Tx::open(&options).unwrap(), &frames, 1514));
    let by_copy = lab.a.enter(|| all_by(CopyTx::open(&options).unwrap(), &frames, 1514));
    assert_eq!([by_ring, by_copy], [TxStats { filled: 500, sent: 400, refused: 100, in_flight: 0 }; 2]);
    let taken: Vec<u64> = (0..500).filter(|n| n % 5 != 3).collect();
    assert_eq!(finish(queue).numbers(), [&taken[..], &taken[..]].concat());
}

#[test]
fn what_waits_for_the_link_can_be_taken_back() {
    let lab = Lab::plain();
    let queue = single(lab.open(|_| {}));
    let options = TxOptions::new("a0");
    lab.a.enter(|| is_taken_back(&lab, Tx::open(&options).unwrap(), 7));
    lab.a.enter(|| is_taken_back(&lab, CopyTx::open(&options).unwrap(), 9));
    assert_eq!(finish(queue).numbers(), [8, 10]);
}

fn is_taken_back(lab: &Lab, mut tx: impl TxQueue, number: u64) {
    let write = |number: u64| {
        let frame = numbered(&FrameShape::default(), number);
        move |slot: &mut [u8]| {
            slot[..60].copy_from_slice(&frame);
            60
        }
    };
    lab.a.ip("link set a0 down");
    assert_eq!(tx.fill(3, write(number)).expect("there is room"), 3);
    tx.flush().expect("a link that is down is no error");
    tx.take_back();
    assert_eq!(tx.stats(), TxStats { filled: 3, sent: 0, refused: 3, in_flight: 0 });
    lab.a.ip("link set a0 up");
    common::wait_for_carrier(&lab.a, "a0");
    assert_eq!(tx.fill(1, write(number + 1)).expect("there is room"), 1);
    assert!(tx.drain(Duration::from_secs(2)).expect("the queue goes on"));
    assert_eq!(tx.stats(), TxStats { filled: 4, sent: 1, refused: 3, in_flight: 0 });
}

#[test]
fn a_link_that_is_down_for_a_while_holds_the_frames() {
    let lab = Lab::plain();
    let queue = single(lab.open(|_| {}));
    let options = TxOptions::new("a0");
    lab.a.enter(|| waits_for_the_link(&lab, Tx::open(&options).unwrap(), 7));
    lab.a.enter(|| waits_for_the_link(&lab, CopyTx::open(&options).unwrap(), 8));
    assert_eq!(finish(queue).numbers(), [7, 8]);
}

fn waits_for_the_link(lab: &Lab, mut tx: impl TxQueue, number: u64) {
    lab.a.ip("link set a0 down");
    let frame = numbered(&FrameShape::default(), number);
    let write = |slot: &mut [u8]| {
        slot[..60].copy_from_slice(&frame);
        60
    };
    tx.fill(1, write).expect("there is room");
    tx.flush().expect("a link that is down is no error");
    assert!(!tx.drain(Duration::from_millis(100)).expect("a link that is down is no error"));
    assert_eq!(tx.stats().in_flight, 1);
    lab.a.ip("link set a0 up");
    common::wait_for_carrier(&lab.a, "a0");
    assert!(tx.drain(Duration::from_secs(2)).expect("the queue goes on"));
}

#[test]
fn options_and_interfaces_are_checked() {
    let lab = Lab::plain();
    lab.a.enter(|| {
        let open = |change: &dyn Fn(&mut TxOptions)| {
            let mut options = TxOptions::new("a0");
            change(&mut options);
            Tx::open(&options).err().unwrap()
        };
        assert!(open(&|o| o.slot_size = 1000).to_string().contains("power of two"));
        assert!(open(&|o| o.slots = 1).to_string().contains("32 to 65536"));
        let missing = open(&|o| o.interface = "nosuch0".into());
        assert!(matches!(missing, CaptureError::NoSuchInterface { .. }), "{missing}");
    });
}
