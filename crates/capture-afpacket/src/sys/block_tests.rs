//! Blocks built by hand, whole and damaged.

use proptest::prelude::*;

use super::*;

/// One frame as the kernel lays it out: the data 82 octets behind the header's start, as on Ethernet.
pub(crate) struct FrameSpec {
    pub(crate) data: Vec<u8>,
    pub(crate) status: u32,
    pub(crate) tci: u16,
    pub(crate) tpid: u16,
    pub(crate) pkttype: u8,
}

impl FrameSpec {
    fn plain(len: usize) -> Self {
        Self { data: (0..len).map(|i| i as u8).collect(), status: 1, tci: 0, tpid: 0, pkttype: 0 }
    }
}

/// An image in words, for the alignment.
pub(crate) fn image(frames: &[FrameSpec], size: usize) -> Vec<u64> {
    let mut block = vec![0u8; size];
    put32(&mut block, 8, 1);
    put32(&mut block, 12, frames.len() as u32);
    put32(&mut block, 16, 48);
    let mut at = 48;
    for (i, frame) in frames.iter().enumerate() {
        let step = (82 + frame.data.len()).next_multiple_of(8);
        put32(&mut block, at, if i + 1 == frames.len() { 0 } else { step as u32 });
        put32(&mut block, at + 4, 1_700_000_000 + i as u32);
        put32(&mut block, at + 8, i as u32);
        put32(&mut block, at + 12, frame.data.len() as u32);
        put32(&mut block, at + 16, frame.data.len() as u32 + 1);
        put32(&mut block, at + 20, frame.status);
        block[at + 24..at + 26].copy_from_slice(&82u16.to_ne_bytes());
        put32(&mut block, at + 32, frame.tci.into());
        block[at + 36..at + 38].copy_from_slice(&frame.tpid.to_ne_bytes());
        block[at + 58] = frame.pkttype;
        block[at + 82..at + 82 + frame.data.len()].copy_from_slice(&frame.data);
        at += step;
    }
    block.chunks(8).map(|c| u64::from_ne_bytes(c.try_into().unwrap())).collect()
}

fn put32(block: &mut [u8], at: usize, value: u32) {
    block[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

pub(crate) fn octets(words: &[u64]) -> &[u8] {
    // SAFETY: any initialised memory is valid as octets, and the length is that of the same slice.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) }
}

fn octets_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: any initialised memory is valid as octets and the other way round; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 8) }
}

/// Walks to the end: the frames, and how many the walk gave up.
fn walk(block: &[u8]) -> (Vec<RawFrame<'_>>, u32) {
    let mut cursor = Cursor::new(block);
    let claimed = cursor.remaining();
    let mut frames = Vec::new();
    loop {
        match cursor.next(block) {
            Ok(Some(frame)) => {
                let range = block.as_ptr_range();
                let data = frame.data.as_ptr_range();
                assert!(data.start >= range.start && data.end <= range.end);
                frames.push(frame);
            }
            Ok(None) => {
                assert_eq!(frames.len(), claimed as usize);
                return (frames, 0);
            }
            Err(Damaged(n)) => {
                assert!(n > 0);
                assert_eq!(frames.len() + n as usize, claimed as usize);
                assert_eq!(cursor.next(block).map(|f| f.is_none()), Ok(true));
                return (frames, n);
            }
        }
    }
}

#[test]
fn a_whole_block_gives_every_frame_in_order() {
    let words = image(&[60, 0, 1514, 1].map(FrameSpec::plain), 4096);
    let (frames, damaged) = walk(octets(&words));
    assert_eq!(damaged, 0);
    assert_eq!(frames.iter().map(|f| f.data.len()).collect::<Vec<_>>(), [60, 0, 1514, 1]);
    assert_eq!(frames[2].data[..4], [0, 1, 2, 3]);
    assert_eq!((frames[2].seconds, frames[2].nanos, frames[2].wire_len), (1_700_000_002, 2, 1515));
}

#[test]
fn tags_direction_and_segmentation_are_read() {
    let mut tagged = FrameSpec::plain(60);
    (tagged.status, tagged.tci, tagged.tpid) = (1 | VLAN_VALID | VLAN_TPID_VALID, 0x2064, 0x88a8);
    let mut old_kernel = FrameSpec::plain(60);
    (old_kernel.status, old_kernel.tci) = (1 | VLAN_VALID, 5);
    let mut sent = FrameSpec::plain(60);
    (sent.status, sent.pkttype) = (1 | GSO_TCP, 4);
    let words = image(&[tagged, old_kernel, sent], 4096);
    let (frames, _) = walk(octets(&words));
    assert_eq!(frames.iter().map(|f| f.vlan).collect::<Vec<_>>(), [Some((0x88a8, 0x2064)), Some((0x8100, 5)), None]);
    assert_eq!(frames.iter().map(|f| f.outgoing).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(frames.iter().map(|f| f.gso).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn an_empty_block_and_one_too_short_for_its_header_give_nothing() {
    assert_eq!(walk(octets(&image(&[], 4096))).0.len(), 0);
    assert_eq!(walk(octets(&[0; 5])).0.len(), 0);
    assert_eq!(walk(&[]).0.len(), 0);
}

#[test]
fn a_count_beyond_what_fits_is_capped() {
    let mut words = image(&[60].map(FrameSpec::plain), 4096);
    put32(octets_mut(&mut words), 12, u32::MAX);
    let (frames, damaged) = walk(octets(&words));
    assert_eq!((frames.len(), damaged as usize), (1, (4096 - 48) / 68 - 1));
}

#[test]
fn each_wrong_field_ends_the_walk_where_it_stands() {
    // (offset in the second frame's header, value): the first frame is given, two are damaged.
    for (field, value) in [(12, 4000), (12, u32::MAX), (12, 100), (24, 67), (24, 0), (24, 0xffff)] {
        let mut words = image(&[60, 60, 60].map(FrameSpec::plain), 4096);
        put32(octets_mut(&mut words), 48 + 144 + field, value);
        let (frames, damaged) = walk(octets(&words));
        assert_eq!((frames.len(), damaged), (1, 2), "field {field} = {value}");
    }
    // A wrong next offset in the first: itself it is given.
    for next in [0, 8, 68, 136, 145, 4096, 4000, u32::MAX] {
        let mut words = image(&[60, 60, 60].map(FrameSpec::plain), 4096);
        put32(octets_mut(&mut words), 48, next);
        let (frames, damaged) = walk(octets(&words));
        assert_eq!((frames.len(), damaged), (1, 2), "next offset {next}");
    }
    // A wrong first offset: nothing is given.
    for first in [0, 8, 40, 49, 4096, 4040, u32::MAX] {
        let mut words = image(&[60, 60, 60].map(FrameSpec::plain), 4096);
        put32(octets_mut(&mut words), 16, first);
        assert_eq!(walk(octets(&words)).1, 3, "first offset {first}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever stands in the block: frames lie inside of it, and frames and damage add up to what it claims (`walk` asserts it).
    #[test]
    fn random_octets_never_lead_outside(words in prop::collection::vec(any::<u64>(), 0..200), count in 0u32..40, first in 0u32..80) {
        let mut words = words;
        if words.len() > 6 {
            put32(octets_mut(&mut words), 12, count);
            put32(octets_mut(&mut words), 16, first * 8);
        }
        walk(octets(&words));
    }

    #[test]
    fn overwritten_words_never_lead_outside(
        lens in prop::collection::vec(0usize..200, 1..12),
        hits in prop::collection::vec((0usize..1024, prop_oneof![any::<u32>(), 0u32..5000]), 1..6),
    ) {
        let mut words = image(&lens.into_iter().map(FrameSpec::plain).collect::<Vec<_>>(), 4096);
        for (word, value) in hits {
            put32(octets_mut(&mut words), word * 4, value);
        }
        walk(octets(&words));
    }
}
