//! The walk on images in plain memory.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::*;

const BUCKET: usize = 94;
const SLOT: u64 = slot_size(BUCKET) as u64;
const AREA: u64 = 8192;

/// An empty ring of 8192 octets of slots, each at most 144.
struct Image(Arc<[AtomicU64]>);

impl Image {
    fn new() -> Self {
        let image = Self((0..(8192 + AREA) / 8).map(|_| AtomicU64::new(0)).collect());
        image.set(info::VERSION, u64::from(RING_VERSION));
        image.set(info::SLOT_LEN, SLOT);
        image.set(info::TOTAL, 8192 + AREA);
        image
    }

    fn set(&self, offset: usize, value: u64) {
        self.0[offset / 8].store(value, Ordering::Release);
    }

    fn get(&self, offset: usize) -> u64 {
        self.0[offset / 8].load(Ordering::Acquire)
    }

    /// A slot with `captured` octets, all of this value; where the next one starts.
    fn slot(&self, start: u64, captured: usize, value: u8) -> u64 {
        let mut octets = vec![0; slot_size(captured)];
        octets[16..20].copy_from_slice(&(captured as u32).to_ne_bytes());
        octets[20..24].copy_from_slice(&1000_u32.to_ne_bytes());
        octets[0..8].copy_from_slice(&3_u64.to_ne_bytes());
        octets[8..16].copy_from_slice(&7_u64.to_ne_bytes());
        octets[slot::INTERFACE] = 1;
        octets[48..48 + captured].fill(value);
        octets[48 + captured..50 + captured].fill(0x88);
        for (number, word) in octets.chunks_exact(8).enumerate() {
            self.set(info::LENGTH + start as usize + number * 8, u64::from_ne_bytes(word.try_into().unwrap()));
        }
        start + octets.len() as u64
    }

    fn memory(&self) -> Memory {
        Memory::shared(Arc::clone(&self.0), usize::MAX)
    }
}

fn values(walk: &mut Walk, memory: &Memory, most: u64) -> Vec<u8> {
    let Some((mut loan, _)) = walk.lend(memory, most) else { return Vec::new() };
    let mut slots = loan.slots();
    let mut values = Vec::new();
    while let Ok(Some(frame)) = slots.next() {
        assert_eq!((frame.wire_len, frame.nanos, frame.received), (1000, 3_000_007_000, Some(false)));
        values.push(frame.data.first().copied().unwrap_or(0));
    }
    values
}

#[test]
fn a_batch_has_an_end_and_the_next_goes_on_behind_it() {
    let image = Image::new();
    let mut at = 0;
    for value in 1..=10 {
        at = image.slot(at, 10 + usize::from(value), value);
    }
    image.set(info::INSERT_OFF, at);
    image.set(info::TOT_INSERT, 10);
    let memory = image.memory();
    let mut walk = Walk::new(&memory, BUCKET, 5).unwrap();
    assert_eq!(values(&mut walk, &memory, 4), [1, 2, 3, 4]);
    assert_eq!(image.get(info::TOT_READ), 4);
    assert_eq!(values(&mut walk, &memory, 100), [5, 6, 7, 8, 9, 10]);
    assert_eq!((image.get(info::TOT_READ), image.get(info::REMOVE_OFF)), (10, at));
    assert!(walk.lend(&memory, 1).is_none());
}

#[test]
fn the_walk_wraps_as_soon_as_a_largest_slot_has_no_room() {
    let image = Image::new();
    let (mut at, mut count) = (0, 0);
    // 146 slots of 56 octets end at 8176, but behind 8048 no largest slot has room.
    while at + SLOT <= AREA {
        at = image.slot(at, 6, count as u8);
        count += 1;
    }
    image.slot(0, 6, 0xaa);
    let memory = image.memory();
    let mut walk = Walk::new(&memory, BUCKET, 100).unwrap();
    image.set(info::INSERT_OFF, 0);
    image.set(info::TOT_INSERT, count);
    // Nothing of it lies before offset 0: a full ring of this kind the module never makes.
    assert!(values(&mut walk, &memory, 1).is_empty());
    assert!(walk.is_lost());
    assert_eq!(walk.resume(&memory), Some(count - 1));

    let mut walk = Walk::new(&memory, BUCKET, 100).unwrap();
    image.set(info::INSERT_OFF, at - 56);
    image.set(info::TOT_INSERT, 10);
    assert_eq!(values(&mut walk, &memory, 10).len(), 10);
    image.set(info::INSERT_OFF, 56);
    image.set(info::TOT_INSERT, count + 1);
    let rest = values(&mut walk, &memory, 1000);
    assert_eq!((rest.len() as u64, rest.last()), (count - 9, Some(&0xaa)));
    assert_eq!(image.get(info::REMOVE_OFF), 56);
}

#[test]
fn a_leaked_loan_is_taken_back_by_the_next_call() {
    let image = Image::new();
    let end = image.slot(image.slot(0, 60, 1), 60, 2);
    image.set(info::INSERT_OFF, end);
    image.set(info::TOT_INSERT, 2);
    let memory = image.memory();
    let mut walk = Walk::new(&memory, BUCKET, 100).unwrap();
    std::mem::forget(walk.lend(&memory, 1).unwrap());
    assert_eq!(image.get(info::TOT_READ), 0, "still on loan");
    assert_eq!(walk.waiting(&memory), 1);
    assert_eq!(image.get(info::TOT_READ), 1);
    assert_eq!(values(&mut walk, &memory, 9), [2]);
}

#[test]
fn versions_are_told_apart() {
    let image = Image::new();
    image.set(info::VERSION, 0xffff_0000 | 20);
    assert_eq!(total_of(&image.memory()), Err(Unusable::Version(20)));
}
