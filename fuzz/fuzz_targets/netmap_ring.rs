//! Any commands to both sides of a netmap ring, and any words written over it: the walk ends, reads nothing outside, and its counters hold.
#![no_main]

use std::time::Duration;

use capture::{Readiness, RxBatch, RxQueue};
use capture_netmap::{Held, Options, over};
use libfuzzer_sys::fuzz_target;
use testkit::model::netmap::{Module, Shape, Slot};

#[path = "../../crates/capture-netmap/tests/common/mod.rs"]
mod common;

const PORT: &str = "vale0:1";

fuzz_target!(|input: &[u8]| {
    let module = Module::new();
    module.port(PORT, Shape { slots: 16, buffer_size: 64, ..Shape::default() });
    let mut octets = input.iter().copied();
    let mut options = Options::new(PORT);
    (options.extra_bufs, options.snaplen) = (3, 1 + u32::from(octets.next().unwrap_or(0)));
    let mut queue = over::open(&options, common::opener(&module)).expect("the port can be opened").pop().expect("one queue");
    let mut held: Vec<Held> = Vec::new();
    let mut lent = 0u64;
    while let Some(command) = octets.next() {
        let mut next = || octets.next().unwrap_or(0);
        match command % 10 {
            0 | 1 => {
                let (length, piece) = (usize::from(next()) * 3, usize::from(next()).max(1));
                module.deliver_in_pieces(PORT, 0, &vec![command; length], piece);
            }
            2 => {
                let (index, buffer, flags) = (next(), u32::from_le_bytes([next(), next(), next(), next()]), next());
                let length = u16::from_le_bytes([next(), next()]);
                module.touch(PORT, 0, |ring| ring.set_slot(index.into(), Slot { buffer, length, flags: flags.into() }));
            }
            3 => {
                let (index, flags) = (next(), next());
                module.touch(PORT, 0, |ring| {
                    ring.set_slot(index.into(), Slot { flags: flags.into(), ..ring.slot(index.into()) });
                });
            }
            // Words of the header that change: from head on.
            4 => {
                let (offset, value) = (20 + 4 * (usize::from(next()) % 8), u32::from_le_bytes([next(), 0, next(), next()]));
                module.touch(PORT, 0, |ring| ring.set(offset, value));
            }
            5 => {
                let (offset, value) = (20 + 4 * (usize::from(next()) % 3), u32::from(next() % 20));
                module.meddle(PORT, move |ring| ring.set(offset, value));
            }
            6 => {
                module.meddle(PORT, |_| {});
                held.clear();
            }
            7 => {
                if let Ok(Readiness::Ended) | Err(_) = queue.wait(Duration::ZERO) {
                    break;
                }
            }
            how => {
                let most = usize::from(next());
                let Ok(Some(mut batch)) = queue.next_batch() else { continue };
                let mut frames = batch.frames();
                for _ in 0..most {
                    let Some(frame) = frames.next() else { break };
                    lent += 1;
                    assert!(frame.data.len() <= frame.wire_len as usize && frame.data.len() <= options.snaplen as usize);
                    std::hint::black_box(frame.data.iter().fold(0u8, |sum, octet| sum ^ octet));
                    if frame.data.first() == Some(&1) {
                        held.extend(frames.hold());
                    }
                }
                if how == 9 && most == 200 {
                    batch.stop().expect("the model always syncs");
                } else if how == 9 {
                    std::mem::forget(batch);
                }
            }
        }
    }
    let stats = queue.stats().expect("there are counters");
    assert!(stats.received >= lent + stats.damaged);
    drop(queue);
    for frame in &held {
        std::hint::black_box(frame.iter().fold(0u8, |sum, octet| sum ^ octet));
    }
});
