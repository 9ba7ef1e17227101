//! The rules of the ring, one by one, over the model: frames in several slots, held frames, forwarding, the end, and whatever goes wrong.

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capture::{CaptureDirection, Count, Direction, Readiness, RxBatch, RxQueue};
use capture_netmap::{Options, over};
use common::{opener, queue, take, whole};
use testkit::model::netmap::{Module, Shape, Slot};

fn small(port: &str, slots: u32) -> Options {
    let mut options = whole(port);
    options.slots = Some(slots);
    options
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[test]
fn head_wraps_at_every_place() {
    for slots in [16, 17, 31] {
        let module = Module::new();
        let mut queue = queue(&module, &small("vale0:1", slots));
        for n in 0..200u8 {
            let count = usize::from(n) % (slots as usize - 1) + 1;
            for i in 0..count {
                assert!(module.deliver("vale0:1", &content(60, n.wrapping_add(i as u8))), "{slots} slots, round {n}");
            }
            let frames = take(&mut queue);
            assert_eq!(frames.len(), count);
            for (i, frame) in frames.iter().enumerate() {
                assert_eq!(*frame, content(60, n.wrapping_add(i as u8)));
            }
        }
        assert_eq!(module.resets(), 0);
    }
}

#[test]
fn frames_in_several_slots_are_joined() {
    let module = Module::new();
    let mut queue = queue(&module, &whole("vale0:1"));
    let sent: Vec<Vec<u8>> = [60, 2048, 2049, 5000, 61, 9000, 20_000].iter().map(|&n| content(n, n as u8)).collect();
    for frame in &sent {
        assert!(module.deliver("vale0:1", frame));
    }
    let mut batch = queue.next_batch().unwrap().expect("there are frames");
    // All alive at once.
    let frames: Vec<_> = batch.frames().collect();
    assert_eq!(frames.len(), sent.len());
    for (frame, sent) in frames.iter().zip(&sent) {
        assert_eq!(frame.data, *sent);
        assert_eq!(frame.wire_len as usize, sent.len());
    }
}

#[test]
fn joined_frames_are_cut_to_the_snaplen_and_keep_their_length() {
    for snaplen in [1, 60, 100, 101, 150, 999, 5000] {
        let module = Module::new();
        let mut options = Options::new("vale0:1");
        options.snaplen = snaplen;
        let mut queue = queue(&module, &options);
        let sent = content(1000, 7);
        assert!(module.deliver_in_pieces("vale0:1", 0, &sent, 100));
        let mut batch = queue.next_batch().unwrap().expect("there is a frame");
        let frame = batch.frames().next().expect("there is a frame");
        assert_eq!((frame.data, frame.wire_len), (&sent[..1000.min(snaplen as usize)], 1000));
    }
}

#[test]
fn more_joined_octets_than_there_is_room_for_end_the_batch_early() {
    let module = Module::new();
    let mut queue = queue(&module, &whole("vale0:1"));
    let sent: Vec<_> = (0..9).map(|n| content(60_000, n)).collect();
    for frame in &sent {
        assert!(module.deliver("vale0:1", frame));
    }
    let mut batches = Vec::new();
    let mut frames = Vec::new();
    while let Some(mut batch) = queue.next_batch().unwrap() {
        let before = frames.len();
        frames.extend(batch.frames().map(|f| f.data.to_vec()));
        assert!(batch.frames().next().is_none());
        batches.push(frames.len() - before);
    }
    assert_eq!(frames, sent);
    assert_eq!(batches, [4, 4, 1], "256 KiB hold four of them");
    assert_eq!(queue.stats().unwrap().received, 9);
}

#[test]
fn the_start_of_a_frame_waits_for_its_end() {
    let module = Module::new();
    let mut queue = queue(&module, &whole("vale0:1"));
    module.deliver("vale0:1", &content(60, 1));
    module.deliver_in_pieces("vale0:1", 0, &content(300, 2), 100);
    // The module has shown two of the three slots so far.
    module.meddle("vale0:1", |ring| {
        if ring.tail() == 4 {
            ring.set(28, 3);
        }
    });
    assert_eq!(take(&mut queue), [content(60, 1)]);
    // What is there already wakes nobody up again.
    let begin = Instant::now();
    assert_eq!(queue.wait(Duration::from_millis(30)).unwrap(), Readiness::TimedOut);
    assert!(begin.elapsed() >= Duration::from_millis(30));
    assert_eq!(module.touch("vale0:1", 0, |ring| (ring.head(), ring.cur())), (1, 3), "held back, and seen");
    module.meddle("vale0:1", |_| {});
    assert_eq!(queue.wait(Duration::from_secs(5)).unwrap(), Readiness::Ready);
    assert_eq!(take(&mut queue), [content(300, 2)]);
    assert_eq!(queue.stats().unwrap().received, 2);
}

#[test]
fn a_frame_longer_than_the_ring_is_damaged_once() {
    let module = Module::new();
    let mut queue = queue(&module, &small("vale0:1", 16));
    let endless = |ring: &testkit::model::netmap::View<'_>| {
        for slot in 0..16 {
            ring.set_slot(slot, Slot { flags: 0x20, ..ring.slot(slot) });
        }
    };
    for _ in 0..15 {
        module.deliver("vale0:1", &content(60, 1));
    }
    module.touch("vale0:1", 0, endless);
    assert!(queue.next_batch().unwrap().is_none());
    let stats = queue.stats().unwrap();
    assert_eq!((stats.received, stats.damaged), (1, 1));
    // It goes on for three slots, and then comes a good one.
    assert!(queue.next_batch().unwrap().is_none());
    for _ in 0..3 {
        module.deliver_in_pieces("vale0:1", 0, &content(60, 1), 60);
    }
    module.touch("vale0:1", 0, |ring| {
        for slot in [15, 0] {
            ring.set_slot(slot, Slot { flags: 0x20, ..ring.slot(slot) });
        }
    });
    module.deliver("vale0:1", &content(61, 9));
    assert_eq!(take(&mut queue), [content(61, 9)]);
    let stats = queue.stats().unwrap();
    assert_eq!((stats.received, stats.damaged), (2, 1));
}

#[test]
fn held_frames_outlive_batch_and_queue() {
    let module = Module::new();
    let mut options = small("vale0:1", 16);
    options.extra_bufs = 4;
    let mut queue = queue(&module, &options);
    let mut held = Vec::new();
    for n in 0..40u8 {
        module.deliver("vale0:1", &content(100, n));
        let mut batch = queue.next_batch().unwrap().expect("there is a frame");
        let mut frames = batch.frames();
        assert_eq!(frames.next().unwrap().data, content(100, n));
        match frames.hold() {
            Some(frame) => held.push((n, frame)),
            None => assert_eq!(held.len(), 4, "only without a spare buffer"),
        }
        assert!(frames.hold().is_none(), "it is held already, or cannot be");
        if n == 20 {
            held.remove(1);
        }
    }
    assert_eq!(held.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 2, 3, 21]);
    drop(queue);
    assert!(module.closed().is_empty(), "the port stays open as long as a frame is held");
    let other = std::thread::spawn(move || {
        for (n, frame) in &held {
            assert_eq!((&**frame, frame.wire_len), (&*content(100, *n), 100));
        }
    });
    other.join().unwrap();
    let closed = module.closed();
    assert_eq!((closed.len(), closed[0].extra, closed[0].back.len(), closed[0].whole), (1, 4, 4, true), "{closed:?}");
}

#[test]
fn the_list_of_spare_buffers_is_whole_again_after_any_use() {
    let module = Module::new();
    for extra in [0, 1, 100] {
        let mut options = small("vale0:1", 32);
        options.extra_bufs = extra;
        let mut queue = queue(&module, &options);
        let mut held = Vec::new();
        for n in 0..500u32 {
            module.deliver("vale0:1", &content(100, n as u8));
            let mut batch = queue.next_batch().unwrap().expect("there is a frame");
            let mut frames = batch.frames();
            frames.next().unwrap();
            held.extend(frames.hold());
            if n % 7 == 0 && !held.is_empty() {
                held.swap_remove(n as usize % held.len());
            }
        }
        drop((held, queue));
        let closed = module.closed().pop().unwrap();
        assert_eq!((closed.extra, closed.back.len() as u32, closed.whole), (extra, extra, true));
    }
}

#[test]
fn joined_and_cut_frames_and_holding() {
    let module = Module::new();
    let mut options = Options::new("vale0:1");
    (options.snaplen, options.extra_bufs) = (80, 8);
    let mut queue = queue(&module, &options);
    module.deliver_in_pieces("vale0:1", 0, &content(300, 1), 100);
    module.deliver("vale0:1", &content(300, 2));
    let mut batch = queue.next_batch().unwrap().expect("there are frames");
    let mut frames = batch.frames();
    assert!(frames.hold().is_none(), "there was no frame yet");
    frames.next().unwrap();
    assert!(frames.hold().is_none(), "in several slots");
    frames.next().unwrap();
    let held = frames.hold().expect("there are spare buffers");
    assert_eq!((&*held, held.wire_len), (&content(300, 2)[..80], 300));
    assert!(frames.next().is_none() && frames.hold().is_none());
}

/// At every place of the ring, since the cursor is moved by others at its end.
#[test]
fn an_iterator_goes_on_where_a_leaked_one_stopped() {
    for before in 0..16 {
        let module = Module::new();
        let mut options = small("vale0:1", 16);
        options.extra_bufs = 2;
        let mut queue = queue(&module, &options);
        (0..before).for_each(|n| assert!(module.deliver("vale0:1", &content(60, n))));
        assert_eq!(take(&mut queue).len(), usize::from(before));
        for n in 0..6 {
            module.deliver("vale0:1", &content(61 + usize::from(n), n));
        }
        let mut batch = queue.next_batch().unwrap().expect("there are frames");
        let mut frames = batch.frames();
        let mut seen: Vec<usize> = frames.by_ref().take(3).map(|frame| frame.data.len()).collect();
        let held = frames.hold().expect("there are spare buffers");
        std::mem::forget(frames);
        assert_eq!(held.len(), 63);
        let mut frames = batch.frames();
        assert!(frames.hold().is_none(), "held already, or another iterator's");
        seen.extend(frames.by_ref().take(2).map(|frame| frame.wire_len as usize));
        std::mem::forget(frames);
        assert_eq!(seen, [61, 62, 63, 64, 65]);
        drop(batch);
        assert_eq!(queue.stats().unwrap().received, u64::from(before) + 6, "one was not looked at");
    }
}

#[test]
fn of_a_damaged_frame_nothing_can_be_held() {
    let module = Module::new();
    let mut options = Options::new("vale0:1");
    options.extra_bufs = 2;
    let mut queue = queue(&module, &options);
    module.deliver("vale0:1", &content(60, 0));
    module.deliver_in_pieces("vale0:1", 0, &content(150, 1), 100);
    // As a module that lies has it: at the next sync.
    module.meddle("vale0:1", |ring| ring.set_slot(1, Slot { buffer: 0, ..ring.slot(1) }));
    let mut batch = queue.next_batch().unwrap().expect("there are frames");
    let mut frames = batch.frames();
    assert_eq!(frames.next().map(|frame| frame.wire_len), Some(60));
    assert!(frames.next().is_none() && frames.hold().is_none());
    drop(batch);
    let stats = queue.stats().unwrap();
    assert_eq!((stats.received, stats.damaged), (2, 1));
}

#[test]
fn forwarded_frames_go_to_the_host() {
    let module = Module::new();
    module.port("lo", Shape { host: true, ..Shape::default() });
    for forward in [true, false] {
        let mut options = Options::new("lo");
        (options.direction, options.forward_to_host) = (CaptureDirection::In, forward);
        let mut queue = queue(&module, &options);
        for n in 0..10 {
            module.deliver("lo", &content(60, n));
        }
        module.deliver_in_pieces("lo", 0, &content(300, 99), 100);
        module.deliver("lo", &content(60, 10));
        assert_eq!(take(&mut queue).len(), 12);
        assert!(queue.next_batch().unwrap().is_none());
        let expected: Vec<_> = (0..=10).map(|n| content(60, n)).collect();
        assert_eq!(module.host_got("lo"), if forward { expected } else { vec![] });
    }
}

#[test]
fn host_rings_and_monitors_say_the_direction() {
    let module = Module::new();
    module.port("lo", Shape { host: true, ..Shape::default() });
    let mut host = queue(&module, &whole("lo^"));
    module.host_sends("lo", &content(60, 3));
    let mut batch = host.next_batch().unwrap().expect("there is a frame");
    assert_eq!(batch.frames().next().map(|f| f.direction), Some(Direction::Tx));
    drop(batch);

    let refused = common::open(&module, &whole("vale0:1/r")).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(refused.contains("netmap has no port") || refused.contains("another program"), "{refused}");
    let _watched = queue(&module, &whole("vale0:1"));
    let mut monitor = queue(&module, &whole("vale0:1/rt"));
    let mut tx = common::tx(&module, "vale0:1");
    module.deliver("vale0:1", &content(60, 4));
    capture::TxQueue::fill(&mut tx, 1, |octets| {
        octets[..61].copy_from_slice(&content(61, 5));
        61
    })
    .unwrap();
    capture::TxQueue::flush(&mut tx).unwrap();
    let mut batch = monitor.next_batch().unwrap().expect("there are frames");
    let seen: Vec<_> = batch.frames().map(|f| (f.direction, f.data.len())).collect();
    assert_eq!(seen, [(Direction::Rx, 60), (Direction::Tx, 61)]);
}

#[test]
fn times_are_those_of_the_sync_or_of_the_clock() {
    let module = Module::new();
    module.port("vale0:1", Shape { stamps: false, ..Shape::default() });
    let mut queue = queue(&module, &whole("vale0:1"));
    assert_eq!(module.touch("vale0:1", 0, |ring| ring.flags() & 2), 2, "NR_TIMESTAMP");
    let time = |queue: &mut capture_netmap::Queue| {
        module.deliver("vale0:1", &content(60, 1));
        let mut batch = queue.next_batch().unwrap().expect("there is a frame");
        batch.frames().next().unwrap().timestamp.as_nanos()
    };
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let begin = now();
    assert!((begin..begin + 1_000_000_000).contains(&time(&mut queue)), "the clock");
    module.touch("vale0:1", 0, |ring| ring.set_time(1_700_000_000, 123_456));
    assert_eq!(time(&mut queue), 1_700_000_000_123_456_000);
    for (seconds, microseconds) in [(-1, 0), (5, 1_000_000), (5, -1), (i64::MAX, 999_999)] {
        module.touch("vale0:1", 0, |ring| ring.set_time(seconds, microseconds));
        let time = time(&mut queue);
        assert!(time > begin, "{seconds} {microseconds}: {time}");
    }
}

#[test]
fn losses_are_known_where_a_nic_counts_them_and_nowhere_else() {
    let module = Module::new();
    module.port("lo", Shape { rings: 2, host: true, ..Shape::default() });
    let mut options = Options::new("lo");
    (options.direction, options.queues) = (CaptureDirection::In, 2);
    let mut queues = common::open(&module, &options).unwrap();
    for queue in &mut queues {
        let stats = queue.stats().unwrap();
        assert_eq!(
            (stats.nic_dropped, stats.ring_dropped, stats.offered),
            (Count::Exact(0), Count::Unknown, Count::Unknown)
        );
    }
    for port in ["lo^", "vale0:1", "x{1"] {
        let stats = queue(&module, &whole(port)).stats().unwrap();
        assert_eq!((stats.nic_dropped, stats.ring_dropped), (Count::Unknown, Count::Unknown), "{port}");
    }
}

#[test]
fn a_ring_that_was_set_back_gives_no_frame_twice() {
    let module = Module::new();
    let mut queue = queue(&module, &small("vale0:1", 16));
    for n in 0..5 {
        module.deliver("vale0:1", &content(60, n));
    }
    assert_eq!(take(&mut queue).len(), 5);
    for n in 5..9 {
        module.deliver("vale0:1", &content(60, n));
    }
    let mut batch = queue.next_batch().unwrap().expect("there are frames");
    assert_eq!(batch.frames().count(), 4);
    drop(batch);
    // The module knows of slots 0 to 4 as given back; our head is 9. Somebody writes over it.
    module.touch("vale0:1", 0, |ring| ring.set(20, 77));
    module.deliver("vale0:1", &content(60, 9));
    assert_eq!(take(&mut queue), [content(60, 9)], "and none of those from before");
    assert_eq!(module.resets(), 1);
    module.deliver("vale0:1", &content(60, 10));
    assert_eq!(take(&mut queue), [content(60, 10)]);
    assert_eq!((queue.stats().unwrap().received, module.resets()), (11, 1));
}

#[test]
fn a_driver_that_has_reset_its_rings_is_followed() {
    let module = Module::new();
    let mut queue = queue(&module, &small("vale0:1", 16));
    for n in 0..6 {
        module.deliver("vale0:1", &content(60, n));
    }
    assert_eq!(take(&mut queue).len(), 6);
    // All is as at the start, and our head, 6, is none of the module's slots.
    module.meddle("vale0:1", |ring| {
        for offset in [20, 24, 28] {
            ring.set(offset, 0);
        }
    });
    assert!(queue.next_batch().unwrap().is_none());
    assert_eq!(module.touch("vale0:1", 0, |ring| (ring.head(), ring.cur())), (0, 0), "where the module says");
}

#[test]
fn a_port_that_stands_still_for_a_moment_is_waited_for() {
    let module = Module::new();
    let mut queue = queue(&module, &whole("vale0:1"));
    module.set_stopped("vale0:1", true);
    let begin = Instant::now();
    assert!(queue.next_batch().unwrap().is_none());
    assert_eq!(queue.wait(Duration::from_millis(200)).unwrap(), Readiness::TimedOut);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    module.set_stopped("vale0:1", false);
    module.deliver("vale0:1", &content(60, 1));
    assert_eq!(queue.wait(Duration::from_secs(5)).unwrap(), Readiness::Ready);
    assert_eq!(take(&mut queue).len(), 1);
}

#[test]
fn a_port_that_stands_still_for_good_is_gone() {
    let module = Module::new();
    let mut queue = queue(&module, &whole("vale0:1"));
    module.set_stopped("vale0:1", true);
    let begin = Instant::now();
    let error = loop {
        match queue.wait(Duration::from_millis(500)) {
            Ok(readiness) => assert_eq!(readiness, Readiness::TimedOut),
            Err(error) => break error.to_string(),
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
    };
    assert!(error.contains("port vale0:1 answers no more") && error.contains("POLLERR"), "{error}");
    assert!(begin.elapsed() > Duration::from_secs(2));
    queue.stop().unwrap();
    assert_eq!(queue.wait(Duration::ZERO).unwrap(), Readiness::Ended);
    queue.stats().unwrap();
}

#[test]
fn a_driver_that_was_unloaded_is_told() {
    let module = Module::new();
    module.port("lo", Shape::default());
    let mut options = Options::new("lo");
    options.direction = CaptureDirection::In;
    let mut queue = queue(&module, &options);
    module.remove("lo");
    let error = queue.next_batch().err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("netmap:lo answers no more") && error.contains("driver was unloaded"), "{error}");
    queue.stats().unwrap();
}

#[test]
fn refusals_say_what_to_do() {
    let module = Module::new();
    module.port("lo", Shape { rings: 4, ..Shape::default() });
    let error = |options: &Options| common::open(&module, options).err().map(|e| e.to_string()).unwrap_or_default();
    let mut on_lo = Options::new("lo");
    on_lo.direction = CaptureDirection::In;
    assert!(error(&on_lo).contains("4: netmap:lo has so many receive rings"), "{}", error(&on_lo));
    for (errno, words) in [
        (libc::EBUSY, "is in use"),
        (libc::ENXIO, "\"lo\" does not exist"),
        (libc::ENOMEM, "no memory left"),
        (libc::EINVAL, "dmesg"),
        (libc::EOPNOTSUPP, "the driver of lo does not do it"),
        (libc::EIO, "registering netmap port netmap:lo"),
    ] {
        module.refuse(errno);
        assert!(error(&on_lo).contains(words), "{errno}: {}", error(&on_lo));
    }
    assert!(error(&Options::new("vale0:1-3")).contains("no ring 3"));
    module.speak(11..=13);
    assert!(
        error(&on_lo)
            .contains("ringtap speaks version 14 of netmap's API, and the module that is loaded speaks 11 to 13")
    );
    module.speak(16..=16);
    assert!(error(&on_lo).contains("speaks 16:"), "{}", error(&on_lo));
    module.speak(99..=99);
    assert!(error(&on_lo).contains("older than 11 or newer than 20"));
    assert!(over::usable(opener(&module)).is_err());
    for (errno, words) in
        [(libc::ENOENT, "sudo modprobe netmap"), (libc::EACCES, "run as root"), (libc::EMFILE, "/dev/netmap")]
    {
        let error =
            over::usable(|| Err(std::io::Error::from_raw_os_error(errno))).expect_err("there is none").to_string();
        assert!(error.contains(words), "{error}");
    }
}
