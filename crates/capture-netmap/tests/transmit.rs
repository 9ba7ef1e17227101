//! Sending over the model: VALE ports, pipes, a NIC, the host.

mod common;

use std::time::{Duration, Instant};

use capture::TxQueue;
use capture_netmap::{Tx, TxOptions, over};
use common::{opener, queue, take, tx, whole};
use testkit::model::netmap::{Module, Shape};

fn fill(tx: &mut Tx, frames: &[Vec<u8>]) -> usize {
    let mut next = frames.iter();
    tx.fill(frames.len(), |octets| {
        let frame = next.next().expect("no more are asked for than there are");
        octets[..frame.len()].copy_from_slice(frame);
        frame.len()
    })
    .expect("the port goes on")
}

fn frames(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| vec![n as u8; 60 + n % 100]).collect()
}

#[test]
fn what_is_sent_arrives_over_many_laps() {
    let module = Module::new();
    let mut rx = queue(&module, &whole("vale0:1"));
    let mut tx = tx(&module, "vale0:2");
    assert_eq!(tx.max_frame(), 2048);
    for round in 0..50 {
        let sent = frames(100 + round);
        assert_eq!(fill(&mut tx, &sent), sent.len());
        assert_eq!(tx.stats().in_flight, sent.len() as u64);
        tx.flush().unwrap();
        assert_eq!(tx.stats().in_flight, 0);
        assert_eq!(take(&mut rx), sent);
    }
    let stats = tx.stats();
    assert_eq!((stats.filled, stats.sent, stats.refused), (6225, 6225, 0));
}

/// Also where the slots have other buffers or other frames in between, as those of a pipe do.
#[test]
fn a_frame_is_repeated_whatever_the_slots_held() {
    for (from, to) in [("vale0:2", "vale0:1"), ("netmap:x}1", "netmap:x{1")] {
        let module = Module::new();
        let mut rx = queue(&module, &whole(to));
        let mut tx = tx(&module, from);
        let mut expected = Vec::new();
        for round in 0..40u8 {
            // The first rounds have the same frame, so that slots hold it already.
            let frame = vec![round / 20; 60 + usize::from(round / 20)];
            assert_eq!(tx.repeat(300, &frame).unwrap(), 300);
            let other = vec![vec![200 + round; 70]; usize::from(round % 3)];
            assert_eq!(fill(&mut tx, &other), other.len());
            tx.flush().unwrap();
            expected.extend(vec![frame; 300]);
            expected.extend(other);
            if round % 2 == 1 {
                assert_eq!(take(&mut rx), expected, "{from}, round {round}");
                expected.clear();
            }
        }
        assert_eq!(tx.repeat(5, &[1; 2049]).unwrap(), 0, "longer than a slot");
        assert_eq!(tx.repeat(5, &[]).unwrap(), 0);
        assert_eq!(tx.stats().filled, tx.stats().sent);
    }
}

#[test]
fn a_full_pipe_makes_its_sender_wait() {
    let module = Module::new();
    let mut rx = queue(&module, &whole("netmap:x{1"));
    let mut tx = tx(&module, "netmap:x}1");
    let sent = frames(2046);
    assert_eq!(fill(&mut tx, &sent), 1023, "one slot is always kept");
    tx.flush().unwrap();
    assert_eq!(fill(&mut tx, &sent[1023..]), 1023, "the other end has taken all");
    tx.flush().unwrap();
    assert_eq!(tx.stats().in_flight, 1023, "and has no more room");
    let begin = Instant::now();
    assert!(!tx.wait(Duration::from_millis(50)).unwrap());
    assert!(begin.elapsed() >= Duration::from_millis(50));
    assert!(!tx.drain(Duration::from_millis(20)).unwrap());
    let mut seen = take(&mut rx);
    assert!(tx.wait(Duration::from_secs(5)).unwrap());
    assert!(tx.drain(Duration::from_secs(5)).unwrap());
    seen.extend(take(&mut rx));
    assert_eq!(seen, sent);
    assert_eq!(tx.stats().sent, 2046);
}

#[test]
fn a_nic_gives_its_slots_back_later() {
    let module = Module::new();
    module.port("lo", Shape { buffer_size: 65_536, host: true, ..Shape::default() });
    let mut tx = tx(&module, "lo");
    let sent = frames(10);
    assert_eq!(fill(&mut tx, &sent), 10);
    tx.flush().unwrap();
    assert_eq!((tx.stats().sent, tx.stats().in_flight), (0, 10));
    assert!(tx.drain(Duration::from_secs(5)).unwrap());
    assert_eq!((tx.stats().sent, module.wire_got("lo")), (10, sent.clone()));

    let mut host = self::tx(&module, "lo^");
    fill(&mut host, &sent);
    host.flush().unwrap();
    assert_eq!(module.host_got("lo"), sent);
}

#[test]
fn frames_are_no_longer_than_the_interface_takes() {
    let module = Module::new();
    module.port("lo", Shape { buffer_size: 65_536, ..Shape::default() });
    module.port("vale0:1", Shape { buffer_size: 512, ..Shape::default() });
    let mtu: usize = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse().unwrap();
    assert_eq!(tx(&module, "lo").max_frame(), (mtu + 18).min(65_536));
    let mut vale = tx(&module, "vale0:1");
    assert_eq!(vale.max_frame(), 512);
    assert_eq!(vale.fill(3, |octets| octets.len() + 99).unwrap(), 3, "more than there is room for is cut");
    assert_eq!(vale.fill(3, |_| 0).unwrap(), 0, "0 ends the call");
}

#[test]
fn what_cannot_send_is_refused() {
    let module = Module::new();
    let refused =
        |port: &str| over::tx(&TxOptions::new(port), opener(&module)).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(refused("vale0:1/r").contains("a monitor only watches"));
    assert!(refused("nosuch0").contains("does not exist"));
    let mut options = TxOptions::new("vale0:1");
    options.slots = Some(3);
    assert!(over::tx(&options, opener(&module)).is_err());
    let _alone = tx(&module, "vale0:1/x");
    assert!(refused("vale0:1").contains("in use"));
}

#[test]
fn a_port_that_is_taken_away_is_told() {
    let module = Module::new();
    let mut tx = tx(&module, "vale0:1");
    fill(&mut tx, &frames(1023));
    module.set_stopped("vale0:1", true);
    tx.flush().unwrap();
    assert!(!tx.wait(Duration::from_millis(5)).unwrap(), "for a moment, perhaps");
    module.remove("vale0:1");
    module.set_stopped("vale0:1", false);
    let error = tx.flush().err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("vale0:1 answers no more"), "{error}");
    assert_eq!(tx.stats().in_flight, 1023);
}
