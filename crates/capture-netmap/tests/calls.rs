//! The exact system calls, against numbers that stand in no code: those of net/netmap.h as it was read and tried.

mod common;

use std::sync::Arc;
use std::time::Duration;

use capture::{CaptureDirection, RxBatch, RxQueue, TxQueue};
use capture_netmap::{Options, TxOptions, over};
use common::{Call, Log};
use testkit::model::netmap::{Module, Shape};

const NIOCCTRL: u32 = 0xc058_6997;
const TXSYNC: u32 = 0x6994;
const RXSYNC: u32 = 0x6995;

fn calls(log: &Log) -> Vec<Call> {
    std::mem::take(&mut *log.lock().expect("nobody panics while it is locked"))
}

/// `struct nmreq_header` with its address field left out, as the model does not get one.
fn header(request: u16, name: &str) -> Vec<u8> {
    let mut octets = vec![0; 88];
    octets[0..2].copy_from_slice(&14u16.to_ne_bytes());
    octets[2..4].copy_from_slice(&request.to_ne_bytes());
    octets[8..8 + name.len()].copy_from_slice(name.as_bytes());
    octets
}

/// `struct nmreq_register`.
fn register(slots: u32, memory: u16, ring: u16, mode: u32, extra: u32, flags: u64) -> Vec<u8> {
    let mut octets = vec![0; 56];
    octets[16..20].copy_from_slice(&slots.to_ne_bytes());
    octets[20..24].copy_from_slice(&slots.to_ne_bytes());
    octets[32..34].copy_from_slice(&memory.to_ne_bytes());
    octets[34..36].copy_from_slice(&ring.to_ne_bytes());
    octets[36..40].copy_from_slice(&mode.to_ne_bytes());
    octets[40..44].copy_from_slice(&extra.to_ne_bytes());
    octets[48..56].copy_from_slice(&flags.to_ne_bytes());
    octets
}

fn registration(name: &str, body: Vec<u8>) -> Call {
    Call::Control(NIOCCTRL, header(1, name), body)
}

#[test]
fn each_kind_of_port_is_registered_as_it_should_be() {
    let module = Module::new();
    let log = Log::default();
    for name in ["lo", "lo2"] {
        module.port(name, Shape { rings: 2, host: true, ..Shape::default() });
    }
    let _watched = common::queue(&module, &Options::new("vale0:1"));
    let mut held = Vec::new();
    let mut opened = |port: &str, change: fn(&mut Options)| {
        let mut options = Options::new(port);
        options.direction = CaptureDirection::In;
        change(&mut options);
        held.push(over::open(&options, common::noting(&module, &log)).unwrap_or_else(|e| panic!("{port}: {e}")));
        calls(&log)
    };
    // ONE_NIC 4, ONE_SW 8; RX_RINGS_ONLY 0x2000, EXCLUSIVE 0x800, MONITOR_RX 0x200, MONITOR_TX 0x100, NO_TX_POLL 0x20000.
    assert_eq!(
        opened("lo", |o| o.queues = 2),
        [registration("lo", register(0, 0, 0, 4, 0, 0x2000)), registration("lo", register(0, 0, 1, 4, 0, 0x2000))]
    );
    assert_eq!(opened("netmap:lo-1", |_| {}), [registration("lo", register(0, 0, 1, 4, 0, 0x2000))]);
    assert_eq!(
        opened("netmap:lo^", |o| o.direction = CaptureDirection::Out),
        [registration("lo", register(0, 0, 0, 8, 0, 0x2000))]
    );
    assert_eq!(
        opened("vale1:x/x@7", |o| (o.slots, o.extra_bufs) = (Some(64), 9)),
        [registration("vale1:x", register(64, 7, 0, 4, 9, 0x2800))]
    );
    assert_eq!(opened("netmap:p{1", |o| o.exclusive = true), [registration("p{1", register(0, 0, 0, 4, 0, 0x2800))]);
    assert_eq!(opened("p}1", |_| {}), [registration("p}1", register(0, 0, 0, 4, 0, 0x2000))]);
    assert_eq!(opened("vale0:1/r", |_| {}), [registration("vale0:1", register(0, 0, 0, 4, 0, 0x2_0200))]);
    assert_eq!(
        opened("vale0:1/rt", |o| o.direction = CaptureDirection::Promisc),
        [registration("vale0:1", register(0, 0, 0, 4, 0, 0x2_0300))]
    );
    assert_eq!(
        opened("vale0:1/tz", |o| o.direction = CaptureDirection::Out),
        [registration("vale0:1", register(0, 0, 0, 4, 0, 0x2_0500))]
    );
}

#[test]
fn rings_are_asked_for_without_registering_anything() {
    let (module, log) = (Module::new(), Log::default());
    module.port("lo", Shape { rings: 4, ..Shape::default() });
    assert_eq!(over::rings("netmap:lo", common::noting(&module, &log)).unwrap(), 4);
    assert_eq!(calls(&log), [Call::Control(NIOCCTRL, header(2, "lo"), vec![0; 32])]);
    assert_eq!(over::rings("netmap:lo-3", common::noting(&module, &log)).unwrap(), 1);
    assert_eq!(calls(&log), []);
    over::usable(common::noting(&module, &log)).unwrap();
    assert_eq!(calls(&log), [Call::Control(NIOCCTRL, header(2, ""), vec![0; 32])]);
}

#[test]
fn a_batch_costs_one_call_and_a_frame_none() {
    let (module, log) = (Module::new(), Log::default());
    let mut queue = over::open(&Options::new("vale0:1"), common::noting(&module, &log)).unwrap().pop().unwrap();
    calls(&log);
    for lap in 0..20 {
        for _ in 0..500 {
            assert!(module.deliver("vale0:1", &[lap; 60]), "the slots of the last lap were given back");
        }
        let mut batch = queue.next_batch().unwrap().expect("there are frames");
        assert_eq!(batch.frames().count(), 500);
        drop(batch);
        assert_eq!(calls(&log), [Call::Sync(RXSYNC)]);
        assert!(queue.next_batch().unwrap().is_none());
        assert_eq!(
            calls(&log),
            [Call::Sync(RXSYNC)],
            "what is empty is asked once, and the slots are given back by it"
        );
    }
    queue.wait(Duration::from_millis(1)).unwrap();
    assert_eq!(calls(&log).first(), Some(&Call::Poll(1)), "POLLIN");
    module.deliver("vale0:1", &[1; 60]);
    queue.stop().unwrap();
    assert_eq!(calls(&log), [Call::Sync(RXSYNC)]);
    assert!(queue.next_batch().unwrap().is_some() && queue.next_batch().unwrap().is_none());
    queue.stop().unwrap();
    queue.stats().unwrap();
    assert_eq!(calls(&log), [], "a stopped ring is left alone");
}

/// The module is never left without slots while what it filled is read.
#[test]
fn a_full_ring_is_lent_and_given_back_by_halves() {
    let (module, log) = (Module::new(), Log::default());
    let mut options = Options::new("vale0:1");
    options.slots = Some(64);
    let mut queue = over::open(&options, common::noting(&module, &log)).unwrap().pop().unwrap();
    let filled = || (0..100).filter(|_| module.deliver("vale0:1", &[7; 60])).count();
    assert_eq!(filled(), 63);
    queue.wait(Duration::from_secs(1)).unwrap();
    calls(&log);
    assert_eq!(queue.next_batch().unwrap().expect("a full ring").frames().count(), 32);
    assert_eq!((calls(&log), filled()), (vec![], 0));
    assert_eq!(queue.next_batch().unwrap().expect("the rest").frames().count(), 31);
    assert_eq!((calls(&log), filled()), (vec![Call::Sync(RXSYNC)], 32), "the first half was given back");
    assert_eq!(queue.next_batch().unwrap().expect("what came meanwhile").frames().count(), 32);
    assert_eq!((calls(&log), filled()), (vec![Call::Sync(RXSYNC)], 31));
}

#[test]
fn sending_costs_one_call_a_flush() {
    let (module, log) = (Module::new(), Log::default());
    let mut options = TxOptions::new("vale0:2/x");
    options.slots = Some(64);
    let mut tx = over::tx(&options, common::noting(&module, &log)).unwrap();
    assert_eq!(calls(&log), [registration("vale0:2", register(64, 0, 0, 4, 0, 0x4800))], "TX_RINGS_ONLY 0x4000");
    assert_eq!(tx.fill(1000, |octets| octets.len().min(60)).unwrap(), 63);
    assert_eq!(calls(&log), []);
    tx.flush().unwrap();
    assert_eq!(calls(&log), [Call::Sync(TXSYNC)]);
    let log_of_wait = Arc::clone(&log);
    assert!(tx.wait(Duration::from_millis(10)).unwrap());
    assert_eq!(calls(&log_of_wait), [], "there is room");
}
