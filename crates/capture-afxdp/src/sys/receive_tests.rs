//! A kernel in plain memory: honest, and one that lies.

use proptest::prelude::*;

use super::*;

const CHUNK: u32 = 2048;
/// Where a frame starts in its chunk (`XDP_PACKET_HEADROOM`).
const HEADROOM: u64 = 256;

/// Entries of both rings, which are as many as there are chunks.
fn receiver(chunks: u32, snaplen: u32, frags: bool) -> Receiver {
    let umem = Memory::plain((chunks * CHUNK) as usize);
    Receiver::new(umem, Ring::plain(chunks), Ring::plain(chunks), CHUNK, snaplen, frags)
}

/// The kernel's side: takes a chunk from the fill ring for each of these buffers, and publishes them all.
fn deliver(receiver: &mut Receiver, buffers: &[(&[u8], bool)]) {
    let core = &mut receiver.core;
    let (mut produced, mut taken) = (core.rx.produced(), core.fill.consumed());
    for (octets, continued) in buffers {
        assert_ne!(taken, core.fill.produced(), "the fill ring is empty");
        let addr = core.fill.read(taken) + HEADROOM;
        taken = taken.wrapping_add(1);
        let place = core.umem.at(addr as usize, octets.len()).unwrap();
        // SAFETY: inside of the memory, which nobody borrows.
        unsafe { place.copy_from_nonoverlapping(octets.as_ptr(), octets.len()) };
        let (len, options) = (octets.len() as u32, u32::from(*continued));
        core.rx.write(produced, xdp_desc { addr, len, options });
        produced = produced.wrapping_add(1);
    }
    core.fill.consume(taken);
    core.rx.produce(produced);
}

/// Reads all that is lent: the frames, and how many are damaged.
fn read(loan: &mut Loan<'_>) -> (Vec<(Vec<u8>, u32)>, u32) {
    let mut cursor = loan.start();
    let (claimed, mut frames, mut damaged) = (loan.frames(), Vec::new(), 0);
    let mut walk = loan.walk();
    // All are alive at the same time, as a reader may have it.
    let mut alive = Vec::new();
    while let Some(frame) = walk.next(&mut cursor) {
        match frame {
            Ok(frame) => alive.push(frame),
            Err(Damaged) => damaged += 1,
        }
    }
    frames.extend(alive.iter().map(|f| (f.data.to_vec(), f.wire_len)));
    assert_eq!(frames.len() as u32 + damaged, claimed);
    (frames, damaged)
}

#[test]
fn frames_come_in_order_and_their_chunks_go_back() {
    let mut receiver = receiver(8, 65_535, false);
    for lap in 0..100_u8 {
        deliver(&mut receiver, &[(&[lap; 60], false), (&[lap + 1; 1500], false), (&[], false)]);
        assert_eq!(receiver.pending(), 3);
        let mut loan = receiver.lend().unwrap();
        assert_eq!(loan.pending(), 0);
        let (frames, damaged) = read(&mut loan);
        assert_eq!(damaged, 0);
        assert_eq!(frames, [(vec![lap; 60], 60), (vec![lap + 1; 1500], 1500), (vec![], 0)]);
        drop(loan);
        assert!(receiver.lend().is_none());
        assert_eq!(receiver.core.fill.produced().wrapping_sub(receiver.core.fill.consumed()), 8, "all chunks are back");
    }
}

#[test]
fn a_leaked_loan_is_taken_back_by_the_next_call() {
    let mut receiver = receiver(4, 65_535, false);
    for _ in 0..10 {
        deliver(&mut receiver, &[(&[1; 60][..], false); 4]);
        std::mem::forget(receiver.lend().unwrap());
        assert_eq!(receiver.core.fill.produced(), receiver.core.fill.consumed(), "still on loan");
        assert!(!receiver.ready());
        assert_eq!(receiver.core.fill.produced().wrapping_sub(receiver.core.fill.consumed()), 4);
    }
}

#[test]
fn frames_are_cut_to_the_snaplen_and_joined_only_as_far_as_needed() {
    let mut receiver = receiver(8, 1000, true);
    let (a, b) = ([1; 900], [2; 300]);
    deliver(&mut receiver, &[(&a, true), (&b, false), (&[3; 1400], true), (&b, false), (&b, false)]);
    assert_eq!(receiver.pending(), 3);
    let mut loan = receiver.lend().unwrap();
    let (frames, damaged) = read(&mut loan);
    assert_eq!(damaged, 0);
    let joined = [&a[..], &b[..100]].concat();
    assert_eq!(frames, [(joined, 1200), (vec![3; 1000], 1700), (b.to_vec(), 300)]);
}

#[test]
fn a_batch_ends_with_a_whole_frame() {
    let mut receiver = receiver(1024, 262_144, true);
    let buffer = [7; 1700];
    // 200 frames of five buffers, 8500 octets.
    let frame = [(&buffer[..], true), (&buffer, true), (&buffer, true), (&buffer, true), (&buffer, false)];
    let all: Vec<_> = frame.iter().copied().cycle().take(5 * 200).collect();
    deliver(&mut receiver, &all);
    let mut batches = Vec::new();
    while let Some(mut loan) = receiver.lend() {
        let (frames, damaged) = read(&mut loan);
        assert!(damaged == 0 && frames.iter().all(|f| f.0 == [7; 8500] && f.1 == 8500));
        batches.push(frames.len());
    }
    assert_eq!(batches, [51, 51, 51, 47]);
}

#[test]
fn a_walk_that_is_begun_again_has_all_the_scratch_memory() {
    let mut receiver = receiver(64, 65_535, true);
    let frame = [(&[1_u8; 1000][..], true), (&[2; 1000], false)];
    deliver(&mut receiver, &frame.iter().copied().cycle().take(60).collect::<Vec<_>>());
    let mut loan = receiver.lend().unwrap();
    let mut cursor = loan.start();
    for left in (0..30).rev() {
        let frame = loan.walk().next(&mut cursor).unwrap().unwrap();
        assert_eq!((frame.data.len(), cursor.frames_left()), (2000, left));
    }
    assert!(loan.walk().next(&mut cursor).is_none());
}

#[test]
fn each_wrong_descriptor_costs_its_own_frame_only() {
    let outside = u64::from(8 * CHUNK);
    for (addr, len) in [
        (outside, 60),
        (outside - 59, 60),
        (u64::MAX, 1),
        (u64::MAX - 10, 60),
        (0, CHUNK + 1),
        (HEADROOM, CHUNK),
        (HEADROOM, u32::MAX),
        (1 << 48 | 64, 60),
    ] {
        for frags in [false, true] {
            let mut receiver = receiver(8, 65_535, frags);
            deliver(&mut receiver, &[(&[1; 60], false), (&[2; 60], false), (&[3; 60], false)]);
            receiver.core.rx.write(1, xdp_desc { addr, len, options: 0 });
            let (frames, damaged) = read(&mut receiver.lend().unwrap());
            assert_eq!(damaged, 1, "{addr} {len}");
            assert_eq!(frames, [(vec![1; 60], 60), (vec![3; 60], 60)]);
        }
    }
}

#[test]
fn a_frame_without_an_end_is_damaged_and_not_waited_for() {
    let mut receiver = receiver(8, 65_535, true);
    deliver(&mut receiver, &[(&[1; 60], false), (&[2; 60], true)]);
    assert_eq!(read(&mut receiver.lend().unwrap()), (vec![(vec![1; 60], 60)], 0));
    assert_eq!(read(&mut receiver.lend().unwrap()), (vec![], 1));
    assert!(receiver.lend().is_none());
}

#[test]
fn a_continued_frame_where_none_was_asked_for_is_damaged() {
    let mut receiver = receiver(8, 65_535, false);
    deliver(&mut receiver, &[(&[1; 60], true), (&[2; 60], false)]);
    assert_eq!(read(&mut receiver.lend().unwrap()), (vec![(vec![2; 60], 60)], 1));
}

#[test]
fn the_wish_to_be_woken_is_seen() {
    let receiver = receiver(8, 65_535, false);
    assert!(!receiver.needs_wakeup());
    receiver.core.fill.set_flags(1);
    assert!(receiver.needs_wakeup());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever the kernel claims: no octet outside of our memory is read, and frames and damage add up (`read` asserts it).
    #[test]
    fn lying_descriptors_never_lead_outside(
        lies in prop::collection::vec((prop_oneof![any::<u64>(), 0_u64..20_000], prop_oneof![any::<u32>(), 0_u32..3000], 0_u32..3), 1..40),
        produced in prop_oneof![any::<u32>(), 0_u32..20],
        snaplen in 1_u32..3000,
        frags: bool,
    ) {
        let mut receiver = receiver(8, snaplen, frags);
        let mut claimed = 0_u32;
        for round in lies.chunks(8) {
            for (at, &(addr, len, options)) in (0..).zip(round) {
                receiver.core.rx.write(claimed.wrapping_add(at), xdp_desc { addr, len, options });
            }
            claimed = claimed.wrapping_add(produced);
            receiver.core.rx.produce(claimed);
            receiver.pending();
            for _ in 0..10 {
                let Some(mut loan) = receiver.lend() else { break };
                for (data, wire_len) in read(&mut loan).0 {
                    prop_assert!(data.len() as u32 <= snaplen.min(wire_len));
                }
            }
        }
    }

    /// Frames of all shapes come out as they went in.
    #[test]
    fn honest_frames_are_whole(frames in prop::collection::vec(prop::collection::vec(1_usize..1792, 1..4), 1..20), snaplen in 1_u32..4000) {
        let mut receiver = receiver(64, snaplen, true);
        let octets: Vec<u8> = (0..8000).map(|n| (n % 251) as u8).collect();
        let mut buffers = Vec::new();
        for parts in &frames {
            let mut at = 0;
            for (n, &part) in parts.iter().enumerate() {
                buffers.push((&octets[at..at + part], n + 1 < parts.len()));
                at += part;
            }
        }
        deliver(&mut receiver, &buffers);
        let (got, damaged) = read(&mut receiver.lend().unwrap());
        prop_assert_eq!((got.len(), damaged), (frames.len(), 0));
        for ((data, wire_len), parts) in got.iter().zip(&frames) {
            let total: usize = parts.iter().sum();
            prop_assert_eq!(*wire_len as usize, total);
            prop_assert_eq!(data, &octets[..total.min(snaplen as usize)]);
        }
    }
}
