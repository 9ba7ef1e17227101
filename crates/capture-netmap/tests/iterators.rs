//! Iterators over the frames of a batch: held frames, and what the next iterator gives.

mod common;

use capture::{RxBatch, RxQueue};
use capture_netmap::Options;
use common::{queue, take, whole};
use testkit::model::netmap::{Module, Slot};

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
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
fn an_iterator_goes_on_where_the_one_before_stopped() {
    for before in 0..16 {
        let module = Module::new();
        let mut options = whole("vale0:1");
        (options.slots, options.extra_bufs) = (Some(16), 2);
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
        assert_eq!(held.len(), 63);
        let mut frames = batch.frames();
        assert!(frames.hold().is_none(), "held already, or another iterator's");
        seen.extend(frames.by_ref().take(2).map(|frame| frame.wire_len as usize));
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
