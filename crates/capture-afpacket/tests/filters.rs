//! Exactly the frames that were asked for, from the first on.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use capture::{BpfInstruction, CaptureDirection, CaptureError, Direction, FilterProgram};
use capture_afpacket::{Options, open};
use common::{Lab, SetOnDrop, compile, finish, finish_all, open_in, ping, single};
use testkit::net::{NetNs, VethOptions};
use testkit::send::{FrameShape, Sender};

#[test]
fn an_expression_takes_exactly_its_frames_and_the_snaplen_holds() {
    let lab = Lab::plain();
    for (direction, snaplen) in
        [(CaptureDirection::Promisc, 54), (CaptureDirection::In, 54), (CaptureDirection::In, 100)]
    {
        let queue = single(lab.open(|o| {
            o.filter = Some(compile("udp src portrange 10002-10004 and not ip6"));
            o.direction = direction;
            o.snaplen = snaplen;
        }));
        lab.send(&FrameShape { flows: 10, ..FrameShape::default() }, 0, 1000);
        let harvest = finish(queue);
        harvest.assert_closed();
        let wanted: Vec<u64> = (0..1000).filter(|n| (2..=4).contains(&(n % 10))).collect();
        assert_eq!(harvest.numbers(), wanted);
        assert!(harvest.frames.iter().all(|f| f.data.len() == 60.min(snaplen as usize) && f.wire_len == 60));
    }
}

#[test]
fn a_program_that_returns_its_accumulator_runs_in_the_kernel() {
    let lab = Lab::plain();
    let step = |code, k| BpfInstruction { code, jt: 0, jf: 0, k };
    // A = frame length; return A.
    let filter = FilterProgram::new(vec![step(0x80, 0), step(0x16, 0)]).unwrap();
    let queue = single(lab.open(|o| {
        o.filter = Some(filter);
        o.snaplen = 70;
        o.direction = CaptureDirection::In;
    }));
    for length in [60, 70, 80] {
        lab.send(&FrameShape { length, ..FrameShape::default() }, 0, 1);
    }
    let harvest = finish(queue);
    assert_eq!(harvest.frames.iter().map(|f| f.data.len()).collect::<Vec<_>>(), [60, 70, 70]);
}

#[test]
fn a_program_that_the_kernel_refuses_is_an_error() {
    let lab = Lab::plain();
    let endless = BpfInstruction { code: 0x05, jt: 0, jf: 0, k: u32::MAX };
    lab.b.enter(|| {
        let mut options = Options::new("b0");
        options.filter = Some(FilterProgram::new(vec![endless]).unwrap());
        let error = open(&options).err().unwrap();
        assert!(error.to_string().starts_with("attaching the filter"), "{error}");
        // The longest that fits, and one instruction more than that.
        let accept = BpfInstruction { code: 0x06, jt: 0, jf: 0, k: 60 };
        options.filter = Some(FilterProgram::new(vec![accept; 4092]).unwrap());
        options.direction = CaptureDirection::Out;
        assert!(open(&options).is_ok());
        options.filter = Some(FilterProgram::new(vec![accept; 4093]).unwrap());
        assert!(matches!(open(&options), Err(CaptureError::BadOption { option: "filter", .. })));
    });
}

/// Frames for this machine, for all, for another machine, and frames sent.
#[test]
fn directions_are_exact_also_if_somebody_else_makes_the_interface_promiscuous() {
    let lab = Lab::plain();
    let own = netdev::interfaces::list;
    let mac = lab.b.enter(|| own().unwrap().into_iter().find(|i| i.name == "b0").unwrap().mac.unwrap());
    let promiscuous = single(lab.open(|_| {}));
    let open_for = |direction| single(lab.open(|o| o.direction = direction));
    let (incoming, outgoing) = (open_for(CaptureDirection::In), open_for(CaptureDirection::Out));
    let send = |to, start| lab.send(&FrameShape { to, ..FrameShape::default() }, start, 10);
    send(mac, 0);
    send([0xff; 6], 10);
    send([2, 0, 0, 0, 0, 0x99], 20);
    send([0x01, 0, 0x5e, 0, 0, 1], 30);
    lab.b.enter(|| Sender::open("b0").send_numbered(&FrameShape::default(), 40, 10, None));
    let [promiscuous, incoming, outgoing] = [promiscuous, incoming, outgoing].map(finish);
    assert_eq!(promiscuous.numbers(), (0..50).collect::<Vec<_>>());
    assert_eq!(incoming.numbers(), (0..20).chain(30..40).collect::<Vec<_>>());
    assert_eq!(outgoing.numbers(), (40..50).collect::<Vec<_>>());
    assert!(outgoing.frames.iter().all(|f| f.direction == Direction::Tx));
    assert!(incoming.frames.iter().all(|f| f.direction == Direction::Rx));
    assert_eq!(promiscuous.frames.iter().filter(|f| f.direction == Direction::Tx).count(), 10);
    for harvest in [promiscuous, incoming, outgoing] {
        harvest.assert_closed();
    }
}

#[test]
fn promiscuous_mode_ends_with_the_queue() {
    let lab = Lab::plain();
    let shown = || String::from_utf8(lab.b.run("ip", &["-d", "link", "show", "b0"]).stdout).unwrap();
    let queue = single(lab.open(|o| o.direction = CaptureDirection::In));
    assert!(shown().contains("promiscuity 0"));
    drop(queue);
    let queue = single(lab.open(|_| {}));
    assert!(shown().contains("promiscuity 1"));
    drop(queue);
    assert!(shown().contains("promiscuity 0"));
}

#[test]
fn a_frame_on_loopback_is_seen_once() {
    let namespace = NetNs::new();
    for (direction, seen) in [
        (CaptureDirection::Promisc, Direction::Rx),
        (CaptureDirection::In, Direction::Rx),
        (CaptureDirection::Out, Direction::Tx),
    ] {
        let queue = single(open_in(&namespace, "lo", |o| o.direction = direction));
        ping(&namespace, "127.0.0.1");
        let harvest = finish(queue);
        harvest.assert_closed();
        assert_eq!(harvest.frames.len(), 6, "three requests, three replies");
        assert!(harvest.frames.iter().all(|f| f.direction == seen));
    }
}

/// Every second time with four queues: then a frame could also come twice.
#[test]
fn fifty_openings_under_traffic_let_no_unwanted_and_no_doubled_frame_through() {
    let lab = Lab::new(&VethOptions::default());
    let stop = AtomicBool::new(false);
    let filter = compile("udp src port 10003");
    thread::scope(|scope| {
        scope.spawn(|| {
            let shape = FrameShape { flows: 10, ..FrameShape::default() };
            lab.a.enter(|| {
                let sender = Sender::open("a0");
                let mut next = 0;
                while !stop.load(Ordering::Acquire) {
                    sender.send_numbered(&shape, next, 1000, Some(100_000));
                    next += 1000;
                }
            });
        });
        let stopping = SetOnDrop(&stop);
        let mut total = 0;
        for round in 0..50 {
            let queues = lab.open(|o| {
                o.filter = Some(filter.clone());
                o.queues = if round % 2 == 0 { 1 } else { 4 };
                o.block_count = Some(16);
            });
            thread::sleep(std::time::Duration::from_millis(10));
            let mut numbers = Vec::new();
            for harvest in finish_all(queues) {
                harvest.assert_closed();
                numbers.extend(harvest.numbers());
            }
            numbers.sort_unstable();
            assert!(numbers.iter().all(|n| n % 10 == 3), "an unfiltered frame in round {round}");
            assert!(numbers.windows(2).all(|w| w[0] + 10 == w[1]), "a gap or a double in round {round}");
            total += numbers.len();
        }
        drop(stopping);
        assert!(total > 1000, "{total}");
    });
}
