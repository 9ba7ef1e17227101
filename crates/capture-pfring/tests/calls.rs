//! What is asked of the module: numbers, octets, order.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use capture::{BpfInstruction, CaptureDirection, CaptureError, FilterProgram, RxQueue};
use capture_pfring::{Options, Sharing, usable_with};
use common::{Call, Model, Module, Settings, open, open_one};
use testkit::send::{FrameShape, numbered};

fn set(option: i32, value: &[u8]) -> Call {
    Call::Set(option, value.to_vec())
}

/// `sockaddr_ll`: family 27, ETH_P_ALL in host order, interface 7.
const BIND: [u8; 20] = [27, 0, 3, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// 4096 slots of 48 + 256 + 2 octets, in words, and the two pages: whole pages, and one more.
const RING: usize = ((8192 + 4096 * 312) / 4096 + 1) * 4096;

#[test]
fn a_queue_is_opened_in_this_order() {
    let model = Model::default();
    let queue = open_one(&model, |_| {});
    let expected = vec![
        // Whether there is the module.
        Call::Socket,
        Call::Close,
        Call::Socket,
        set(107, &[0, 1, 0, 0]),
        set(127, &[1]),
        Call::Bind(BIND.to_vec()),
        set(111, &[0, 0, 0, 0]),
        set(126, &[2, 0, 0, 0]),
        set(117, &[128, 0]),
        Call::Map(4096),
        Call::Map(RING),
        Call::Get(179, 4),
        set(106, &[1]),
    ];
    assert_eq!(model.0.calls(), expected);
    drop(queue);
    assert_eq!(model.0.calls(), [Call::Close]);
}

#[test]
fn each_option_is_passed_on_as_the_module_reads_it() {
    let calls = |change: fn(&mut Options)| {
        let model = Model::default();
        drop(open_one(&model, change));
        model.0.calls()
    };
    assert!(calls(|o| o.snaplen = 1500).contains(&set(107, &[0xdc, 5, 0, 0])));
    assert!(calls(|o| o.snaplen = 1).contains(&set(107, &[64, 0, 0, 0])), "never less than the module may write");
    assert!(calls(|o| o.direction = CaptureDirection::In).contains(&set(111, &[1, 0, 0, 0])));
    assert!(calls(|o| o.direction = CaptureDirection::Out).contains(&set(111, &[2, 0, 0, 0])));
    assert!(calls(|o| o.watermark = 0x123).contains(&set(117, &[0x23, 1])));
}

#[test]
fn filters_are_attached_before_the_socket_is_bound() {
    let filter = FilterProgram::new(vec![BpfInstruction { code: 6, jt: 0, jf: 0, k: 0 }]).unwrap();
    let model = Model::default();
    let mut queue = open_one(&model, |o| o.filter = Some(filter));
    let calls = model.0.calls();
    let place = |wanted: fn(&Call) -> bool| calls.iter().position(wanted).unwrap();
    assert!(place(|c| matches!(c, Call::Attach(p) if p.len() == 2)) < place(|c| matches!(c, Call::Bind(_))));
    // A program of one instruction the module would have ignored.
    model.0.receive(&numbered(&FrameShape::default(), 1));
    assert_eq!(common::drain(&mut queue).len(), 0);
    assert_eq!(queue.stats().unwrap().offered, capture::Count::Exact(0));
}

#[test]
fn frames_for_others_are_not_taken_with_direction_in() {
    let model = Model::default();
    let mut queue = open_one(&model, |o| o.direction = CaptureDirection::In);
    model.0.receive(&numbered(&FrameShape::default(), 1));
    model.0.receive(&numbered(&FrameShape { to: [6, 0, 0, 0, 0, 1], ..FrameShape::default() }, 2));
    assert_eq!(common::drain(&mut queue).len(), 1);
}

#[test]
fn several_queues_share_by_a_cluster_or_by_channels() {
    let model = Model::default();
    let queues = open(&model, |o| (o.queues, o.cluster_id) = (2, Some(0x0102))).unwrap();
    let calls = model.0.calls();
    assert!(calls.contains(&Call::Get(174, 1)));
    let joins = |queue| set(99, &[2, 1, queue, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let end = [joins(0), joins(1), set(106, &[1]), set(106, &[1])];
    assert!(calls.ends_with(&end), "all join before the first is activated: {calls:?}");
    drop(queues);

    let model = Model(Module::new(Settings { channels: 4, ..Settings::default() }));
    let mut queues = open(&model, |o| o.queues = 2).unwrap();
    let shape = FrameShape { flows: 50, ..FrameShape::default() };
    (0..100).for_each(|number| model.0.receive(&numbered(&shape, number)));
    let shares: Vec<usize> = queues.iter_mut().map(|queue| common::drain(queue).len()).collect();
    assert_eq!(shares, [50, 50], "each channel in one queue");
    let calls = model.0.calls();
    assert!(calls.contains(&set(108, &[0x55; 8])) && calls.contains(&set(108, &[0xaa; 8])), "{calls:?}");
    drop(queues);
    drop(open(&model, |o| (o.queues, o.sharing) = (2, Sharing::Cluster)).unwrap());
    assert!(model.0.calls().iter().any(|call| matches!(call, Call::Set(99, _))));
    let error = open(&model, |o| (o.queues, o.sharing) = (5, Sharing::Channels)).err().unwrap().to_string();
    assert!(error.contains("queues = 5: at most 4, the RX channels of pf0"), "{error}");
}

#[test]
fn a_cluster_that_is_taken_is_named_or_passed_over() {
    let model = Model(Module::new(Settings { taken: vec![9], ..Settings::default() }));
    let error = open(&model, |o| (o.queues, o.cluster_id) = (2, Some(9))).err().unwrap().to_string();
    assert!(error.starts_with("cluster_id = 9: a number that no other program uses"), "{error}");
    let queues = open(&model, |o| o.queues = 2).unwrap();
    let joins: Vec<_> = model.0.calls().into_iter().filter(|call| matches!(call, Call::Set(99, _))).collect();
    let Call::Set(99, value) = joins.last().unwrap() else { unreachable!() };
    // The number that was found free is taken in its turn.
    model.0.change(|s| s.taken = vec![u16::from_ne_bytes([value[0], value[1]]) + 1]);
    let _ = model.0.calls();
    let more = open(&model, |o| o.queues = 2).unwrap();
    assert!(model.0.calls().iter().filter(|call| matches!(call, Call::Set(99, _))).count() > 2, "tried again");
    drop((queues, more));
}

#[test]
fn a_stop_shuts_the_ring_down_and_is_made_once() {
    let model = Model::default();
    let mut queue = open_one(&model, |_| {});
    let _ = model.0.calls();
    queue.stop().unwrap();
    queue.stop().unwrap();
    assert_eq!(model.0.calls(), [set(124, &[1])]);
    queue.wait(Duration::from_secs(9)).unwrap();
    model.0.receive(&numbered(&FrameShape::default(), 1));
    assert_eq!(common::drain(&mut queue).len(), 0, "no poll activated it again");
}

#[test]
fn fewer_frames_than_the_watermark_are_looked_at_after_a_while() {
    let model = Model::default();
    let mut queue = open_one(&model, |o| (o.watermark, o.poll_duration) = (100, Duration::from_millis(30)));
    let sender = model.clone();
    let begin = std::time::Instant::now();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        sender.0.receive(&numbered(&FrameShape::default(), 1));
    });
    assert_eq!(queue.wait(Duration::from_secs(5)).unwrap(), capture::Readiness::Ready);
    assert!((Duration::from_millis(25)..Duration::from_secs(2)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    thread.join().unwrap();
}

#[test]
fn what_the_process_reads_is_written_once_a_batch() {
    let model = Model::default();
    let mut queue = open_one(&model, |_| {});
    let memory = model.0.memory();
    for number in 0..10 {
        model.0.receive(&numbered(&FrameShape::default(), number));
    }
    let published = || [512, 513].map(|word: usize| memory[word].load(Ordering::Acquire));
    let mut batch = queue.next_batch().unwrap().unwrap();
    assert_eq!(capture::RxBatch::frames(&mut batch).count(), 10);
    assert_eq!(published(), [0, 0]);
    drop(batch);
    assert_eq!(published(), [10, 10 * 112]);
    assert_eq!(memory[3].load(Ordering::Acquire), 10 * 112, "all is read");
}

#[test]
fn what_is_missing_is_said() {
    let error = |settings: Settings| open(&Model(Module::new(settings)), |_| {}).err().unwrap();
    let text = error(Settings { loaded: false, ..Settings::default() }).to_string();
    assert!(text.starts_with("pf_ring.ko is not loaded: modprobe pf_ring"), "{text}");
    let refused = error(Settings { allowed: false, ..Settings::default() });
    assert!(matches!(refused, CaptureError::Permission { capability: "CAP_NET_RAW", .. }), "{refused}");
    let text = error(Settings { up: false, ..Settings::default() }).to_string();
    assert!(text.starts_with("pf0 is down") && text.ends_with("ip link set pf0 up"), "{text}");
    let text = error(Settings { version: 19, module: 0x0007_0800, ..Settings::default() }).to_string();
    assert!(text.contains("wrong ring version: pf_ring.ko 7.8.0 has 19, this program knows 21"), "{text}");
    let quick = Settings { parameters: [("quick_mode", 1)].into(), ..Settings::default() };
    assert!(error(quick).to_string().contains("quick_mode=1"));
}

/// On the kernel of this machine, which has the module in scripts/guest-test only.
#[test]
fn a_machine_without_the_module_is_told_so() {
    match capture_pfring::usable() {
        Ok(()) => assert!(std::path::Path::new("/proc/net/pf_ring").exists()),
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.starts_with("pf_ring.ko is not loaded: modprobe pf_ring") || text.contains("CAP_NET_RAW"),
                "{text}"
            );
        }
    }
}

#[test]
fn usable_looks_at_the_version_and_binds_nothing() {
    let model = Model::default();
    usable_with(&model).unwrap();
    assert!(!model.0.calls().iter().any(|call| matches!(call, Call::Bind(_))));
    model.0.change(|s| s.version = 22);
    let text = usable_with(&model).unwrap_err().to_string();
    assert!(text.contains("has 22, this program knows 21"), "{text}");
}
