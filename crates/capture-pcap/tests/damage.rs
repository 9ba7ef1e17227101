//! Damaged, cut off and foreign files: every whole packet before the damage, then an error that says where; never a panic.

mod common;

use capture::{CaptureError, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue};
use common::{Blocks, drain, parse, pcap, whole};
use proptest::prelude::*;
use tempfile::TempDir;

fn small_pcap(magic: u32) -> Vec<u8> {
    pcap(magic, 1, &[(1, 2, b"first", 5), (3, 4, b"", 60), (5, 6, b"the third packet", 1500)])
}

fn small_pcapng(big: bool) -> Vec<u8> {
    let mut blocks = Blocks::new(big);
    let name = blocks.option(2, b"eth0");
    blocks.interface(1, 0, &name);
    blocks.enhanced(0, 7, b"first", 5, &[]);
    blocks.block(5, &[0; 12]);
    let flags = blocks.option(2, &blocks.word(1));
    blocks.enhanced(0, 1 << 40, b"the second packet", 1500, &flags);
    blocks.section(!big);
    blocks.interface(113, 4, &[]);
    let simple = [&blocks.word(9)[..], b"simp"].concat();
    blocks.block(3, &simple);
    blocks.file
}

/// Where whole files of fewer packets end.
fn small_files() -> Vec<Vec<u8>> {
    vec![
        small_pcap(0xa1b2_c3d4),
        small_pcap(0xa1b2_3c4d),
        small_pcap(0xa1b2_cd34),
        small_pcapng(false),
        small_pcapng(true),
    ]
}

#[test]
fn every_prefix_gives_its_whole_packets() {
    for file in small_files() {
        let all = whole(&file);
        let mut most = 0;
        for cut in 0..file.len() {
            let (packets, errors) = parse(&file[..cut]);
            assert!(all.starts_with(&packets) && packets.len() >= most, "{cut} octets");
            most = packets.len();
            match errors.as_slice() {
                // At the end of a packet or block nothing is missing.
                [] => {}
                [CaptureError::Damaged { offset, reason, .. }] => {
                    assert!(*offset as usize <= cut && reason.contains("cut off"), "{cut}: {offset} {reason}");
                    let (before, none) = parse(&file[..*offset as usize]);
                    assert_eq!(before, packets, "the offset is the end of what is whole");
                    assert!(none.is_empty() || *offset == 0, "{cut}: {none:?}");
                }
                [CaptureError::Unsupported(text)] if cut < 4 => assert!(text.contains("pcapng"), "{text}"),
                other => panic!("{cut}: {other:?}"),
            }
        }
        assert!(most + 1 >= all.len(), "only the last packet is missing in the end");
    }
}

#[test]
fn what_is_no_capture_is_told_so() {
    for (octets, why) in [(&b""[..], "is empty"), (b"ab", "too short"), (b"Dear all,\nplease find", "magic")] {
        let (packets, errors) = parse(octets);
        assert!(packets.is_empty());
        let [CaptureError::Unsupported(text)] = &errors[..] else { panic!("{errors:?}") };
        assert!(text.contains(why) && text.contains("pcap and pcapng, plain or compressed"), "{text}");
    }
}

/// What the second of two files does not keep from being read.
#[test]
fn after_a_damaged_file_comes_the_next() {
    let folder = TempDir::new().unwrap();
    let file = small_pcap(0xa1b2_c3d4);
    let paths: Vec<_> = ["a", "text", "b"].iter().map(|name| folder.path().join(name)).collect();
    std::fs::write(&paths[0], &file[..file.len() - 1]).unwrap();
    std::fs::write(&paths[1], "no capture").unwrap();
    std::fs::write(&paths[2], &file).unwrap();
    let mut queue = FileQueue::open(&paths, FileOptions::default()).unwrap();
    let progress = queue.progress();
    let (packets, errors) = drain(&mut queue);
    assert_eq!(packets.len(), 2 + 3);
    assert!(
        matches!(&errors[..], [CaptureError::Damaged { offset, .. }, CaptureError::Unsupported(_)] if *offset == 61),
        "{errors:?}"
    );
    // Of the text no more was read than it took to see what it is.
    assert_eq!(progress.total(), Some(file.len() as u64 * 2 - 1 + 10));
    assert_eq!(progress.read(), file.len() as u64 * 2 - 1 + 4);
    assert_eq!(queue.interfaces().len(), 2);
}

#[test]
fn what_cannot_be_opened() {
    let folder = TempDir::new().unwrap();
    let open = |path: &std::path::Path| FileQueue::open([path], FileOptions::default()).map(|_| ());
    assert!(matches!(open(folder.path()), Err(CaptureError::System { .. })));
    let error = open(&folder.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("none: No such file"), "{error}");
    assert!(matches!(
        FileQueue::open(["-", "-"], FileOptions::default()).map(|_| ()),
        Err(CaptureError::BadOption { .. })
    ));
}

#[test]
fn lengths_that_cannot_be() {
    let mut blocks = Blocks::new(false);
    blocks.interface(1, 0, &[]);
    let start = blocks.file.len();
    blocks.enhanced(0, 0, b"four", 4, &[]);
    let cases: [(usize, u32, &str); 6] = [
        (4, 8, "claims 8 octets"),
        (4, 17 << 20, "(12 to"),
        (8, 1, "interface 1, but 1"),
        (20, 5, "with room for 4"),
        (20, 300_000, "more than the 262144"),
        (32, 40, "at its end"),
    ];
    for (at, value, reason) in cases {
        let mut file = blocks.file.clone();
        file[start + at..start + at + 4].copy_from_slice(&value.to_le_bytes());
        let (packets, errors) = parse(&file);
        assert!(packets.is_empty());
        assert!(
            matches!(&errors[..], [CaptureError::Damaged { offset, reason: r, .. }] if *offset == start as u64 && r.contains(reason)),
            "{errors:?}"
        );
    }
    let mut file = small_pcap(0xa1b2_c3d4);
    file[24 + 8..24 + 12].copy_from_slice(&262_145_u32.to_le_bytes());
    assert!(matches!(&parse(&file).1[..], [CaptureError::Damaged { offset: 24, .. }]));
}

/// A block that is not looked at may be longer than any that is.
#[test]
fn a_long_block_is_passed_over() {
    let mut blocks = Blocks::new(false);
    blocks.interface(1, 0, &[]);
    blocks.enhanced(0, 0, b"four", 4, &[]);
    blocks.block(0x8000_0001, &vec![0; 17 << 20]);
    let cut = blocks.file.len() - 1;
    blocks.enhanced(0, 0, b"four", 4, &[]);
    assert_eq!(whole(&blocks.file).len(), 2);
    let (packets, errors) = parse(&blocks.file[..cut]);
    assert_eq!(packets.len(), 1);
    assert!(matches!(&errors[..], [CaptureError::Damaged { reason, .. }] if reason.contains("cut off")), "{errors:?}");
}

/// Packets of the greatest length make the buffer grow; in the small one there are many.
#[test]
fn long_packets_are_read() {
    let long = vec![9; 262_144];
    let file =
        pcap(0xa1b2_c3d4, 1, &[(0, 0, b"a", 1), (1, 0, &long, 262_144), (2, 0, &long, 262_144), (3, 0, b"b", 1)]);
    let lengths: Vec<_> = whole(&file).iter().map(|p| p.data.len()).collect();
    assert_eq!(lengths, [1, 262_144, 262_144, 1]);
    let very_long = vec![9; 20 << 20];
    let file = pcap(0xa1b2_c3d4, 249, &[(0, 0, &very_long, 20 << 20), (3, 0, b"b", 1)]);
    assert_eq!(whole(&file).len(), 2);
}

#[test]
fn what_was_not_looked_at_is_counted_and_passed_over() {
    let file = small_pcap(0xa1b2_c3d4);
    for leak in [false, true] {
        let mut queue = FileQueue::from_reader("memory", Box::new(std::io::Cursor::new(file.clone())));
        assert!(queue.next_batch().unwrap().is_none(), "the interface is new");
        let mut batch = queue.next_batch().unwrap().expect("three packets");
        assert_eq!(batch.frames().next().map(|f| f.data.len()), Some(5));
        assert_eq!(batch.frames().next().map(|f| f.data.len()), Some(0), "it goes on where it was");
        if leak {
            std::mem::forget(batch);
        } else {
            drop(batch);
        }
        assert!(queue.next_batch().unwrap().is_none());
        assert_eq!(queue.stats().unwrap().received, 3);
    }
}

#[test]
fn stopping_ends_at_once() {
    let mut queue = FileQueue::from_reader("memory", Box::new(std::io::Cursor::new(small_pcap(0xa1b2_c3d4))));
    assert!(queue.next_batch().unwrap().is_none());
    queue.stop().unwrap();
    queue.stop().unwrap();
    assert!(queue.next_batch().unwrap().is_none());
    assert_eq!(drain(&mut queue).0.len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Packets that end before the first changed octet are read as they were.
    #[test]
    fn random_damage(
        which in 0_usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let file = &small_files()[which];
        let mut damaged = file.clone();
        let mut first = file.len();
        for (at, value) in changes {
            let at = at.index(file.len());
            first = first.min(at);
            damaged[at] = value;
        }
        let (before, _) = parse(&file[..first]);
        let (packets, _) = parse(&damaged);
        prop_assert!(packets.starts_with(&before), "{packets:?} {before:?}");
        damaged.truncate(cut.index(file.len()));
        parse(&damaged);
    }

    #[test]
    fn random_octets(start in 0_usize..5, keep in 0_usize..60, noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut file = small_files()[start][..keep].to_vec();
        file.extend(noise);
        parse(&file);
    }
}
