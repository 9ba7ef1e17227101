//! Frames sent by AF_XDP arrive, in order and whole, and are accounted for. Received by AF_PACKET.

use std::time::{Duration, Instant};

use capture::{CaptureError, TxQueue, TxStats};
use capture_afxdp::{Mode, Tx, TxOptions};
use testkit::conformance::{VethLab, finish, wait_for_carrier};
use testkit::net::VethOptions;
use testkit::send::{FrameShape, numbered};

fn receiver(lab: &VethLab) -> capture_afpacket::Queue {
    let mut options = capture_afpacket::Options::new(VethLab::INTERFACE);
    options.snaplen = 16_384;
    let mut queues = lab.b.enter(|| capture_afpacket::open(&options).expect("the interface can be opened"));
    queues.pop().expect("there is one")
}

fn options(change: impl FnOnce(&mut TxOptions)) -> TxOptions {
    let mut options = TxOptions::new("a0");
    change(&mut options);
    options
}

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
    for (mtu, longest, frame_size) in [(1500, 1514, 2048), (3500, 3514, 4096)] {
        let lab = VethLab::new(&VethOptions { mtu, ..VethOptions::default() });
        let queue = receiver(&lab);
        let lengths = [60, 61, 64, 1000, longest];
        let shape = |n: usize| FrameShape { length: lengths[n % lengths.len()], ..FrameShape::default() };
        // More than there are chunks, several times.
        let frames: Vec<_> = (0..5000).map(|n| numbered(&shape(n), n as u64)).collect();
        let stats = lab.a.enter(|| {
            let mut tx = Tx::open(&options(|o| (o.frame_size, o.frame_count) = (frame_size, 128))).unwrap();
            assert_eq!(tx.max_frame(), longest + 4);
            send_all(&mut tx, &frames);
            tx.stats()
        });
        assert_eq!(stats, TxStats { filled: 5000, sent: 5000, refused: 0, in_flight: 0 });
        let harvest = lab.b.enter(|| finish(queue));
        harvest.assert_closed();
        assert!(harvest.frames.iter().map(|f| &f.data).eq(&frames), "{} frames", harvest.frames.len());
    }
}

#[test]
fn what_the_interface_does_not_take_is_refused_and_holds_up_nothing() {
    let lab = VethLab::new(&VethOptions::default());
    let queue = receiver(&lab);
    let good = numbered(&FrameShape::default(), 1);
    let tagged = numbered(&FrameShape { length: 1514, tag: Some((0x8100, 5)), ..FrameShape::default() }, 2);
    let frames =
        [good.clone(), vec![0; 13], numbered(&FrameShape { length: 1515, ..FrameShape::default() }, 9), tagged, good];
    let stats = lab.a.enter(|| {
        let mut tx = Tx::open(&options(|_| {})).unwrap();
        send_all(&mut tx, &frames);
        tx.stats()
    });
    assert_eq!(stats, TxStats { filled: 5, sent: 3, refused: 2, in_flight: 0 });
    assert_eq!(lab.b.enter(|| finish(queue)).numbers(), [1, 2, 1]);
}

#[test]
fn an_interface_that_is_down_for_a_while_holds_the_frames() {
    let lab = VethLab::new(&VethOptions::default());
    let queue = receiver(&lab);
    lab.a.enter(|| {
        let mut tx = Tx::open(&options(|_| {})).unwrap();
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
        wait_for_carrier(&lab.a, "a0");
        assert!(tx.drain(Duration::from_secs(2)).unwrap());
        assert_eq!(tx.stats(), TxStats { filled: 1, sent: 1, refused: 0, in_flight: 0 });
    });
    assert_eq!(lab.b.enter(|| finish(queue)).numbers(), [7]);
}

/// The kernel drops what is sent without a carrier, and lets it come back as if it had been sent.
#[test]
fn what_is_sent_without_a_carrier_is_refused_and_not_sent() {
    let lab = VethLab::new(&VethOptions::default());
    let stats = lab.a.enter(|| {
        let mut tx = Tx::open(&options(|_| {})).unwrap();
        lab.b.ip("link set b0 down");
        let frames: Vec<_> = (0..100).map(|n| numbered(&FrameShape::default(), n)).collect();
        send_all(&mut tx, &frames);
        tx.stats()
    });
    assert_eq!(stats, TxStats { filled: 100, sent: 0, refused: 100, in_flight: 0 });
}

#[test]
fn options_and_interfaces_are_checked() {
    let lab = VethLab::new(&VethOptions::default());
    lab.a.enter(|| {
        let refused = |change: fn(&mut TxOptions)| Tx::open(&options(change)).err().unwrap();
        assert!(refused(|o| o.frame_size = 1000).to_string().contains("2048 or 4096"));
        assert!(refused(|o| o.frame_count = 1).to_string().contains("power of two from 64"));
        assert!(refused(|o| o.mode = Mode::ZeroCopy).to_string().contains("without a copy"));
        let queue = refused(|o| o.queue = 7).to_string();
        assert!(queue.contains("a send queue of a0"), "{queue}");
        let missing = refused(|o| o.interface = "nosuch0".into());
        assert!(matches!(missing, CaptureError::NoSuchInterface { .. }), "{missing}");
        let _first = Tx::open(&options(|_| {})).unwrap();
        let second = refused(|_| {}).to_string();
        assert!(second.contains("queue 0 of a0 has an AF_XDP socket already"), "{second}");
    });
}
