//! Frames sent by the TX ring arrive, in order and whole, and are accounted for.

mod common;

use std::time::{Duration, Instant};

use capture::{CaptureError, TxQueue, TxStats};
use capture_afpacket::{Tx, TxOptions};
use common::{Lab, finish, single};
use testkit::net::VethOptions;
use testkit::send::{FrameShape, numbered};

fn send_all(tx: &mut Tx, frames: &[Vec<u8>]) {
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

#[test]
fn frames_of_all_lengths_arrive_in_order_and_are_counted() {
    for (mtu, longest) in [(1500, 1514), (9000, 9014)] {
        let lab = Lab::new(&VethOptions { mtu, ..VethOptions::default() });
        let queue = single(lab.open(|o| o.snaplen = 16_384));
        let lengths = [60, 61, 64, 1000, longest];
        let shape = |n: usize| FrameShape { length: lengths[n % lengths.len()], ..FrameShape::default() };
        // More than the ring has slots, several times.
        let frames: Vec<_> = (0..5000).map(|n| numbered(&shape(n), n as u64)).collect();
        let stats = lab.a.enter(|| {
            let mut tx = Tx::open(&TxOptions { slot_size: 16_384, slots: 64, ..TxOptions::new("a0") }).unwrap();
            assert_eq!(tx.max_frame(), longest + 4);
            send_all(&mut tx, &frames);
            tx.stats()
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
    let stats = lab.a.enter(|| {
        let mut tx = Tx::open(&TxOptions::new("a0")).unwrap();
        send_all(&mut tx, &frames);
        tx.stats()
    });
    assert_eq!(stats, TxStats { filled: 5, sent: 3, refused: 2, in_flight: 0 });
    assert_eq!(finish(queue).numbers(), [1, 2, 1]);
}

#[test]
fn a_link_that_is_down_for_a_while_holds_the_frames() {
    let lab = Lab::plain();
    let queue = single(lab.open(|_| {}));
    lab.a.enter(|| {
        let mut tx = Tx::open(&TxOptions::new("a0")).unwrap();
        lab.a.ip("link set a0 down");
        let frame = numbered(&FrameShape::default(), 7);
        tx.fill(1, |slot| {
            slot[..60].copy_from_slice(&frame);
            60
        })
        .unwrap();
        tx.flush().unwrap();
        assert!(!tx.drain(Duration::from_millis(100)).unwrap());
        assert_eq!(tx.stats().in_flight, 1);
        lab.a.ip("link set a0 up");
        common::wait_for_carrier(&lab.a, "a0");
        assert!(tx.drain(Duration::from_secs(2)).unwrap());
    });
    assert_eq!(finish(queue).numbers(), [7]);
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
