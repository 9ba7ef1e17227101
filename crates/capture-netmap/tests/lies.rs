//! A module that lies, and another process that writes into the shared memory: no panic, nothing read outside of the mapping (a page that
//! may not be touched is on both sides of it), everything counted.

mod common;

use std::time::Duration;

use capture::{CaptureDirection, Readiness, RxBatch, RxQueue, TxQueue};
use capture_netmap::{Options, Queue};
use common::{open, queue, take, whole};
use proptest::prelude::*;
use testkit::model::netmap::{Module, Shape, Slot, View};
use testkit::random::Random;

const PORT: &str = "vale0:1";

/// What is written over a ring, and what of it is told.
type Lie = (fn(&View<'_>), &'static str);

fn small(slots: u32) -> Options {
    let mut options = whole(PORT);
    (options.slots, options.extra_bufs) = (Some(slots), 4);
    options
}

/// Slot 0 of a ring with one good frame before and one behind.
fn between_good_frames(spoil: impl Fn(&View<'_>, Slot)) -> (Vec<Vec<u8>>, capture::QueueStats) {
    let module = Module::new();
    let mut queue = queue(&module, &small(16));
    for length in [60, 61, 62] {
        module.deliver(PORT, &vec![7; length]);
    }
    module.touch(PORT, 0, |ring| spoil(ring, ring.slot(1)));
    (take(&mut queue), queue.stats().expect("there are counters"))
}

#[test]
fn a_slot_that_points_nowhere_costs_its_own_frame() {
    for buffer in [0, 1, 0x7fff_ffff, u32::MAX, 100_000] {
        let (frames, stats) = between_good_frames(|ring, slot| ring.set_slot(1, Slot { buffer, ..slot }));
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [60, 62], "buffer {buffer}");
        assert_eq!((stats.received, stats.damaged), (3, 1));
    }
    for length in [2049, u16::MAX] {
        let (frames, stats) = between_good_frames(|ring, slot| ring.set_slot(1, Slot { length, ..slot }));
        assert_eq!((frames.len(), stats.received, stats.damaged), (2, 3, 1), "length {length}");
    }
    let (frames, stats) = between_good_frames(|ring, slot| ring.set_slot(1, Slot { flags: 0x10, ..slot }));
    assert_eq!((frames.len(), stats.damaged), (2, 1), "NS_INDIRECT: its octets are in another process");
    let (frames, _) = between_good_frames(|ring, slot| ring.set_slot(1, Slot { length: 0, ..slot }));
    assert_eq!(frames[1].len(), 0);
}

#[test]
fn a_bad_piece_spoils_the_whole_frame_and_no_other() {
    let module = Module::new();
    let mut queue = queue(&module, &small(16));
    module.deliver(PORT, &[1; 60]);
    module.deliver_in_pieces(PORT, 0, &[2; 300], 100);
    module.deliver(PORT, &[3; 61]);
    module.touch(PORT, 0, |ring| ring.set_slot(2, Slot { buffer: 0, ..ring.slot(2) }));
    assert_eq!(take(&mut queue), [vec![1; 60], vec![3; 61]]);
    let stats = queue.stats().unwrap();
    assert_eq!((stats.received, stats.damaged), (3, 1));
}

#[test]
fn a_tail_that_is_no_slot_is_put_right_or_told() {
    let module = Module::new();
    let mut queue = queue(&module, &small(16));
    module.deliver(PORT, &[1; 60]);
    module.touch(PORT, 0, |ring| ring.set(28, 16));
    assert_eq!(take(&mut queue), [[1; 60]], "the next sync has put it right");
    module.meddle(PORT, |ring| ring.set(28, u32::MAX));
    let error = (0..2).find_map(|_| queue.next_batch().err()).map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("its tail is outside"), "{error}");
    queue.stop().unwrap();
    assert_eq!(queue.wait(Duration::ZERO).unwrap(), Readiness::Ended);
}

#[test]
fn a_memory_that_is_laid_out_otherwise_is_refused() {
    let lies: [Lie; 10] = [
        (|ring| ring.set(8, 0), "number of slots"),
        (|ring| ring.set(8, u32::MAX), "number of slots"),
        (|ring| ring.set(8, 3000), "offset of the buffers"),
        (|ring| ring.set(12, 0), "size of buffers"),
        (|ring| ring.set(12, u32::MAX), "size of buffers"),
        (|ring| ring.set(0, 64), "offset of the buffers"),
        (|ring| ring.set(4, 0x7fff_ffff), "offset of the buffers"),
        (|ring| ring.set(4, u32::MAX), "offset of the buffers"),
        (|ring| ring.set(16, 1 << 16), "direction of the ring"),
        (|ring| ring.set(56, 0xfff), "mask of offsets"),
    ];
    for (lie, words) in lies {
        let module = Module::new();
        module.port(PORT, Shape::default());
        module.meddle(PORT, lie);
        let error = open(&module, &whole(PORT)).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("not laid out") && error.contains(words), "{words}: {error}");
    }
    // Words of the `netmap_if` at the start of the memory: counts of rings, then the offsets of the rings.
    for (offset, values) in [(28, [0, 0]), (24, [u32::MAX, 1 << 29]), (36, [1 << 20, u32::MAX])] {
        for value in values {
            let module = Module::new();
            module.port(PORT, Shape::default());
            module
                .meddle(PORT, move |ring| ring.memory.word(offset).store(value, std::sync::atomic::Ordering::Relaxed));
            let error = open(&module, &whole(PORT)).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains("not laid out"), "{offset} = {value}: {error}");
        }
    }
    for value in [1u64, 4, 1 << 40, u64::MAX, u64::MAX - 7, i64::MIN as u64] {
        let module = Module::new();
        module.port(PORT, Shape::default());
        module.meddle(PORT, move |ring| ring.memory.write(56 + 16, &value.to_ne_bytes()));
        let error = open(&module, &whole(PORT)).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("not laid out"), "{value:#x}: {error}");
    }
}

#[test]
fn a_list_of_spare_buffers_may_be_anything() {
    for first in [0u32, 1, 2, 77, u32::MAX] {
        for link in [0u32, 1, 2, 77, u32::MAX] {
            let module = Module::new();
            module.port(PORT, Shape::default());
            module.meddle(PORT, move |ring| {
                // `bufs_head`, and the first word of every buffer: circles, ends and nonsense.
                ring.memory.word(32).store(first, std::sync::atomic::Ordering::Relaxed);
                let [a, b, c, d, ..] = ring.memory.read(ring.at, 8)[..] else { return };
                let buffers = ring.at + u32::from_ne_bytes([a, b, c, d]) as usize;
                for buffer in 2..200 {
                    ring.memory.word(buffers + 2048 * buffer).store(link, std::sync::atomic::Ordering::Relaxed);
                }
            });
            let mut queue = queue(&module, &small(16));
            module.meddle(PORT, |_| {});
            for _ in 0..10 {
                module.deliver(PORT, &[5; 60]);
            }
            let mut batch = queue.next_batch().unwrap().expect("there are frames");
            let mut frames = batch.frames();
            let mut held = Vec::new();
            while frames.next().is_some() {
                held.extend(frames.hold());
            }
            assert!(held.len() <= 2, "{first} {link}: each buffer once");
        }
    }
}

/// What an adversary does, or the reader.
fn act(module: &Module, queue: &mut Queue, held: &mut Vec<capture_netmap::Held>, random: &mut Random) -> bool {
    let words = [0, 1, 2, 3, 15, 16, 17, 63, 64, 2048, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    match random.below(12) {
        0..3 => {
            let length = random.pick(&[0, 1, 14, 60, 100, 2048, 2049, 9000]);
            module.deliver_in_pieces(PORT, 0, &random.vec(length), random.pick(&[16, 100, 2048, 5000]));
        }
        3 => {
            let slot = Slot { buffer: random.pick(&words), length: random.short(), flags: random.short() };
            module.touch(PORT, 0, |ring| ring.set_slot(random.word(), slot));
        }
        4 => {
            let flags = random.pick(&[0, 0x20, 0x10, 0x24, 1]);
            module.touch(PORT, 0, |ring| {
                for index in 0..ring.slots {
                    ring.set_slot(index, Slot { flags, ..ring.slot(index) });
                }
            });
        }
        // head, cur, tail, flags, time.
        5 => {
            let (offset, value) = (random.pick(&[20, 24, 28, 32, 40, 44, 48]), random.pick(&words));
            module.touch(PORT, 0, |ring| ring.set(offset, value));
        }
        6 => {
            let mut random = Random::new(random.draw());
            module.meddle(PORT, move |ring| {
                if random.one_in(3) {
                    ring.set(random.pick(&[20, 24, 28]), random.word() % 40);
                }
            });
        }
        7 => module.meddle(PORT, |_| {}),
        8 => {
            held.truncate(random.below(4));
            let _ = queue.stats().expect("there are counters");
        }
        9 => return queue.wait(Duration::ZERO).is_ok_and(|readiness| readiness != Readiness::Ended),
        _ => match queue.next_batch() {
            Ok(Some(mut batch)) => {
                let most = random.pick(&[0, 1, 5, usize::MAX]);
                let mut frames = batch.frames();
                for _ in 0..most {
                    let Some(frame) = frames.next() else { break };
                    assert!(frame.data.len() <= frame.wire_len as usize);
                    // Every octet is there.
                    std::hint::black_box(frame.data.iter().fold(0u8, |sum, octet| sum ^ octet));
                    if random.one_in(4) {
                        held.extend(frames.hold());
                    }
                }
                if random.one_in(5) {
                    batch.stop().expect("a model always syncs");
                } else if random.one_in(5) {
                    std::mem::forget(batch);
                }
            }
            Ok(None) => {}
            Err(error) => assert!(error.to_string().contains("its tail is outside"), "{error}"),
        },
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_lie_is_believed(seed in any::<u64>(), slots in 16u32..40, steps in 1usize..300) {
        let module = Module::new();
        let mut queue = queue(&module, &small(slots));
        let (mut random, mut held) = (Random::new(seed), Vec::new());
        for _ in 0..steps {
            if !act(&module, &mut queue, &mut held, &mut random) {
                break;
            }
        }
        let stats = queue.stats().expect("there are counters");
        prop_assert!(stats.damaged <= stats.received);
        drop(queue);
        for frame in &held {
            std::hint::black_box(frame.iter().fold(0u8, |sum, octet| sum ^ octet));
        }
    }

    /// Without lies: whatever comes in whatever pieces and is read in whatever way comes out, once, in order, and the memory is whole at the end.
    #[test]
    fn what_comes_in_comes_out(seed in any::<u64>(), slots in 16u32..40, snaplen in prop_oneof![1u32..200, Just(262_144)]) {
        let module = Module::new();
        let mut options = small(slots);
        options.snaplen = snaplen;
        let mut queue = queue(&module, &options);
        let mut random = Random::new(seed);
        let (mut sent, mut seen, mut held) = (Vec::new(), 0, Vec::new());
        for _ in 0..200 {
            for _ in 0..random.below(12) {
                let frame = { let length = random.below(700) + 1; random.vec(length) };
                if module.deliver_in_pieces(PORT, 0, &frame, random.pick(&[50, 300, 2048])) {
                    sent.push(frame);
                }
            }
            if random.one_in(4) {
                queue.wait(Duration::ZERO).unwrap();
            }
            while let Some(mut batch) = queue.next_batch().unwrap() {
                let mut frames = batch.frames();
                while let Some(frame) = frames.next() {
                    let expected: &Vec<u8> = &sent[seen];
                    prop_assert_eq!(frame.data, &expected[..expected.len().min(snaplen as usize)]);
                    prop_assert_eq!(frame.wire_len as usize, expected.len());
                    if random.one_in(9) {
                        held.extend(frames.hold().map(|frame| (seen, frame)));
                    }
                    seen += 1;
                }
            }
            for (number, frame) in &held {
                let expected = &sent[*number];
                prop_assert_eq!(&**frame, &expected[..expected.len().min(snaplen as usize)]);
            }
            held.truncate(random.below(5));
        }
        prop_assert_eq!(seen, sent.len());
        let stats = queue.stats().unwrap();
        prop_assert_eq!((stats.received, stats.damaged, module.resets()), (seen as u64, 0, 0));
        drop((queue, held));
        prop_assert!(module.closed().iter().all(|closed| closed.whole && closed.back.len() == 4));
    }

    #[test]
    fn no_lie_to_a_sender_is_believed(seed in any::<u64>()) {
        let module = Module::new();
        let mut tx = common::tx(&module, PORT);
        let mut random = Random::new(seed);
        let at = |module: &Module, offset: usize, value: u32| module.touch(PORT, 0, |rx| {
            // The transmit ring is two before the receive ring, in rings of a whole number of pages.
            let ring = (256 + 16 * 1024_usize).next_multiple_of(4096);
            rx.memory.word(rx.at - 2 * ring + offset).store(value, std::sync::atomic::Ordering::Relaxed);
        });
        for _ in 0..100 {
            let done = match random.below(6) {
                0 => { at(&module, random.pick(&[20, 24, 28]), random.pick(&[0, 1, 500, 1023, 1024, u32::MAX])); Ok(()) }
                1 => { at(&module, 256 + 16 * random.below(1024), random.pick(&[0, 1, 7, u32::MAX])); Ok(()) }
                2 => tx.flush(),
                3 => tx.wait(Duration::ZERO).map(drop),
                _ => tx.fill(random.below(2000), |octets| { octets[0] = 1; octets.len() }).map(drop),
            };
            if let Err(error) = done {
                prop_assert!(error.to_string().contains("is damaged"), "{}", error);
            }
            let stats = tx.stats();
            prop_assert_eq!(stats.filled, stats.sent + stats.refused + stats.in_flight);
        }
    }
}

#[test]
fn a_slot_that_cannot_hold_its_frame_is_damaged_and_forwarded_to_nobody() {
    const NS_FORWARD: u16 = 4;
    let module = Module::new();
    module.port("lo", Shape { host: true, ..Shape::default() });
    let mut options = Options::new("lo");
    (options.direction, options.forward_to_host) = (CaptureDirection::In, true);
    let mut queue = queue(&module, &options);
    module.deliver("lo", &[1; 60]);
    module.touch("lo", 0, |ring| ring.set_slot(0, Slot { length: u16::MAX, flags: NS_FORWARD, ..ring.slot(0) }));
    assert!(take(&mut queue).is_empty());
    assert!(queue.next_batch().unwrap().is_none());
    assert_eq!((queue.stats().unwrap().damaged, module.host_got("lo")), (1, vec![]));
}
