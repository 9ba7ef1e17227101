//! Every kind of file that is read, made octet by octet or by the programs that people use.

mod common;

use std::fs;
use std::io::Write;

use capture::{CaptureError, Direction, FrameFlags, RxQueue};
use capture_pcap::{FileOptions, FileQueue};
use common::{Blocks, Packet, arg, drain, parse, pcap, read, run, whole};
use tempfile::TempDir;

const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;
const MODIFIED: u32 = 0xa1b2_cd34;

/// A pcap file in the other byte order.
fn swapped(file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let words = |octets: &[u8], out: &mut Vec<u8>| out.extend(octets.chunks(4).flat_map(|w| w.iter().rev()));
    words(&file[..4], &mut out);
    out.extend([file[5], file[4], file[7], file[6]]);
    words(&file[8..24], &mut out);
    let header = if file.starts_with(&MODIFIED.to_le_bytes()) { 24 } else { 16 };
    let mut at = 24;
    while at < file.len() {
        words(&file[at..at + header], &mut out);
        let captured = u32::from_le_bytes(file[at + 8..at + 12].try_into().expect("4 octets")) as usize;
        out.extend(&file[at + header..at + header + captured]);
        at += header + captured;
    }
    out
}

#[test]
fn pcap_of_all_kinds_in_both_orders() {
    for (magic, nanos) in [(MICRO, 5_000), (NANO, 5), (MODIFIED, 5_000)] {
        let file = pcap(magic, 1, &[(1, 5, b"abc", 3), (u32::MAX, 999_999, b"", 60), (2, 0, b"01234567", 1500)]);
        let packets = whole(&file);
        let seen: Vec<_> = packets.iter().map(|p| (p.nanos, p.wire, p.data.as_slice(), p.link_type)).collect();
        let last = u64::from(u32::MAX) * 1_000_000_000 + 999_999 * (nanos / 5);
        assert_eq!(
            seen,
            [
                (1_000_000_000 + nanos, 3, &b"abc"[..], 1),
                (last, 60, &b""[..], 1),
                (2_000_000_000, 1500, &b"01234567"[..], 1)
            ]
        );
        assert_eq!(whole(&swapped(&file)), packets, "{magic:x}");
    }
}

#[test]
fn old_versions_have_the_lengths_exchanged() {
    for (minor, captured, wire) in [(2, 60_u32, 4_u32), (3, 60, 4), (3, 4, 60), (4, 4, 60)] {
        let mut file = pcap(MICRO, 1, &[(1, 0, b"abcd", 60)]);
        file[6] = minor;
        file[32..36].copy_from_slice(&captured.to_le_bytes());
        file[36..40].copy_from_slice(&wire.to_le_bytes());
        let packets = whole(&file);
        assert_eq!((packets[0].data.as_slice(), packets[0].wire), (&b"abcd"[..], 60), "2.{minor}");
    }
    let mut file = pcap(MICRO, 1, &[]);
    file[6] = 5;
    assert!(parse(&file).1[0].to_string().contains("version 2.5"));
}

#[test]
fn link_types_are_those_of_the_registry() {
    for (network, link_type) in
        [(12, 101), (14, 101), (101, 101), (1, 1), (0x3000_0001, 1), (276, 276), (0x0001_0001, 0x1_0001)]
    {
        assert_eq!(whole(&pcap(MICRO, network, &[(0, 0, b"x", 1)]))[0].link_type, link_type, "{network:#x}");
    }
}

#[test]
fn a_frame_check_sequence_that_the_file_declares_is_not_part_of_the_frame() {
    let packets = whole(&pcap(MICRO, 0x2400_0001, &[(0, 0, b"framefcs.", 9), (0, 0, b"fra", 9), (0, 0, b"fr", 2)]));
    let seen: Vec<_> = packets.iter().map(|p| (p.data.as_slice(), p.wire)).collect();
    assert_eq!(seen, [(&b"frame"[..], 5), (b"fra", 5), (b"fr", 2)]);

    let mut blocks = Blocks::new(false);
    let options = blocks.option(13, &[32]);
    blocks.interface(1, 0, &options);
    blocks.enhanced(0, 0, b"framefcs.", 9, &[]);
    let two = blocks.option(2, &(2_u32 << 5).to_le_bytes());
    blocks.enhanced(0, 0, b"frame.2", 7, &two);
    let data: Vec<_> = whole(&blocks.file).into_iter().map(|p| p.data).collect();
    assert_eq!(data, [b"frame", b"frame"]);
}

#[test]
fn a_packet_longer_than_it_claims_to_have_been_is_lent_whole() {
    let packets = whole(&pcap(MICRO, 1, &[(0, 0, b"abcdef", 4)]));
    assert_eq!((packets[0].data.as_slice(), packets[0].wire), (&b"abcdef"[..], 6));
}

#[test]
fn pcapng_in_both_orders_with_all_blocks() {
    for big in [false, true] {
        let mut blocks = Blocks::new(big);
        let name = blocks.option(2, b"eth0");
        let nanos = blocks.option(9, &[9]);
        blocks.interface(1, 0, &[name, nanos].concat());
        let binary = blocks.option(9, &[0x80 | 10]);
        let offset = if big { 100_i64.to_be_bytes() } else { 100_i64.to_le_bytes() };
        let offset = blocks.option(14, &offset);
        blocks.interface(12, 4, &[binary, offset].concat());
        blocks.enhanced(0, 7, b"one", 3, &[]);
        let inbound = blocks.option(2, &blocks.word(1));
        blocks.enhanced(1, 1536, b"two!", 4, &inbound);
        let outbound =
            [blocks.option(1, b"a comment"), blocks.option(2, &blocks.word(2)), blocks.option(0, &[])].concat();
        blocks.enhanced(0, 1 << 40, b"three", 1500, &outbound);
        blocks.block(5, &[0; 12]);
        blocks.block(0x8000_0001, b"somebody's own");
        let old: Vec<u8> = [
            &blocks.half2(1, 0xffff)[..],
            &blocks.word(0),
            &blocks.word(2048),
            &blocks.word(3),
            &blocks.word(9),
            b"old\0",
        ]
        .concat();
        blocks.block(2, &old);
        // Another section, in the other order, with its own interface 0, of which 4 octets are kept.
        blocks.section(!big);
        blocks.interface(113, 4, &[]);
        let simple = [&blocks.word(9)[..], b"simp"].concat();
        blocks.block(3, &simple);
        let mut queue = FileQueue::from_reader("test", Box::new(std::io::Cursor::new(blocks.file.clone())));
        let (packets, errors) = drain(&mut queue);
        assert!(errors.is_empty(), "{errors:?}");
        let packet = |nanos, data: &[u8], wire, link_type, interface, direction| Packet {
            nanos,
            wire,
            data: data.to_vec(),
            link_type,
            interface,
            direction,
            flags: FrameFlags::NONE,
        };
        assert_eq!(
            packets,
            [
                packet(7, b"one", 3, 1, 0, Direction::Unknown),
                packet(101_500_000_000, b"two!", 4, 101, 1, Direction::Rx),
                packet(1 << 40, b"three", 1500, 1, 0, Direction::Tx),
                packet(102_000_000_000, b"old", 9, 101, 1, Direction::Unknown),
                Packet { flags: FrameFlags::NO_TIME, ..packet(0, b"simp", 9, 113, 2, Direction::Unknown) },
            ]
        );
        let names: Vec<_> = queue.interfaces().iter().map(|i| (i.name.as_str(), i.link_type.0)).collect();
        assert_eq!(names, [("eth0", 1), ("test", 101), ("test", 113)]);
    }
}

#[test]
fn gzip_and_zstd_of_many_parts() {
    let folder = TempDir::new().unwrap();
    let data = [7_u8; 1000];
    let records: Vec<_> = (0..3000).map(|i| (i, 0, &data[..(i % 1000) as usize], i % 1000)).collect();
    let file = pcap(NANO, 1, &records);
    let expected = whole(&file);
    let plain = folder.path().join("plain");
    // Two members, or frames, with the border in the middle of a packet.
    let (first, second) = file.split_at(file.len() / 2 + 5);
    for (program, start) in [("gzip", &[][..]), ("zstd", &[]), ("zstd", b"\x50\x2a\x4d\x18\x04\0\0\0skip")] {
        let mut compressed = start.to_vec();
        for part in [first, second] {
            fs::write(&plain, part).unwrap();
            compressed.extend(run(program, &["-c", arg(&plain)]));
        }
        assert_eq!(whole(&compressed), expected, "{program} from a reader");
        let path = folder.path().join("compressed");
        fs::write(&path, &compressed).unwrap();
        assert_eq!(read(&path).0, expected, "{program} from a file");

        // Cut off: every packet that can be had, then the error.
        let (packets, errors) = parse(&compressed[..compressed.len() - 9]);
        assert!(packets.len() > 1000 && expected.starts_with(&packets), "{program}: {} packets", packets.len());
        assert!(matches!(&errors[..], [CaptureError::Damaged { .. }]), "{errors:?}");
    }
}

/// What zstd itself can get out of a damaged file, we get as well, and of a gzip file what is before the damage.
#[test]
fn damaged_compressed_data_give_what_is_before() {
    let folder = TempDir::new().unwrap();
    // Hardly compressible, so that there are many blocks.
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 & 0x3f
    };
    let data: Vec<u8> = (0..1000).map(|_| noise()).collect();
    let contents: Vec<Vec<u8>> = (0..2000).map(|_| data.iter().map(|d| d ^ noise()).collect()).collect();
    let records: Vec<_> = contents.iter().map(|c| (0, 0, c.as_slice(), 1000)).collect();
    let plain = folder.path().join("plain");
    fs::write(&plain, pcap(NANO, 1, &records)).unwrap();
    for program in ["gzip", "zstd"] {
        let mut compressed = run(program, &["-c", arg(&plain)]);
        let middle = compressed.len() / 2;
        compressed[middle..middle + 64].fill(0xff);
        let path = folder.path().join("damaged");
        fs::write(&path, &compressed).unwrap();
        let theirs = if program == "zstd" { run("zstd", &["-dcf", arg(&path)]).len() } else { 0 };
        let (packets, errors) = read(&path);
        assert!(!errors.is_empty(), "{program}");
        let got: usize = packets.iter().map(|p| p.data.len() + 16).sum();
        assert!(got > 300_000 && got + 8192 > theirs, "{program}: {got} of {theirs}");
    }
}

#[test]
fn a_pipe_is_read_as_it_comes() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("fifo");
    run("mkfifo", &[arg(&fifo)]);
    let mut queue = FileQueue::open([&fifo], FileOptions::default()).unwrap();
    assert_eq!(queue.progress().total(), None);
    assert!(queue.next_batch().unwrap().is_none(), "nobody writes yet, and nobody waits");
    let file = pcap(MICRO, 1, &[(1, 0, b"abc", 3), (2, 0, b"def", 3)]);
    let writer = std::thread::spawn(move || {
        let mut pipe = fs::OpenOptions::new().write(true).open(fifo).unwrap();
        for octet in file {
            pipe.write_all(&[octet]).unwrap();
        }
    });
    let (packets, errors) = drain(&mut queue);
    writer.join().unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(packets.len(), 2);
}

#[test]
fn what_wireshark_and_scapy_write() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let corpus = common::corpus();
    let names: Vec<_> = corpus.files.iter().take(40).collect();
    for original in names {
        let expected =
            common::run_text("tshark", &["-r", arg(original), "-T", "fields", "-e", "frame.len"]).lines().count();
        for format in ["pcap", "nsecpcap", "modpcap", "pcapng"] {
            let copy = path(format);
            let _ = fs::remove_file(&copy);
            run("editcap", &["-F", format, arg(original), arg(&copy)]);
            // editcap refuses link types that a format lacks, and several in one pcap file.
            if !copy.exists() {
                continue;
            }
            let written =
                common::run_text("tshark", &["-r", arg(&copy), "-T", "fields", "-e", "frame.len"]).lines().count();
            let (packets, errors) = read(&copy);
            assert!(errors.is_empty(), "{format} of {}: {errors:?}", original.display());
            assert_eq!(packets.len(), written, "{format} of {} ({expected})", original.display());
        }
    }
}

/// A file from a tape or a block device is padded. gzip(1) takes that at the end; we read on behind it, as Python does.
#[test]
fn zeros_behind_a_gzip_member_are_padding() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.pcap");
    let file = pcap(0xa1b2_c3d4, 1, &[(1, 2, b"first", 5), (3, 4, b"second", 60)]);
    let (start, rest) = file.split_at(30);
    let gz = dir.path().join("a.pcap.gz");
    let mut packed = Vec::new();
    for between in [0, 70_000] {
        packed.clear();
        for (part, zeros) in [(start, between), (rest, 70_000)] {
            fs::write(&path, part).unwrap();
            packed.extend(run("gzip", &["-c", arg(&path)]));
            packed.resize(packed.len() + zeros, 0);
        }
        fs::write(&gz, &packed).unwrap();
        let (packets, errors) = read(&gz);
        assert!(packets.len() == 2 && errors.is_empty(), "{errors:?}");
        if between == 0 {
            assert_eq!(run("gzip", &["-dcq", arg(&gz)]), file, "gzip agrees");
        }
    }
    packed.extend(b"garbage");
    fs::write(&gz, &packed).unwrap();
    let (packets, errors) = read(&gz);
    assert!(packets.len() == 2 && matches!(errors[..], [CaptureError::Damaged { .. }]), "{errors:?}");
}

#[test]
fn a_zstd_window_that_is_too_large_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.pcap");
    fs::write(&path, pcap(MICRO, 1, &[(1, 2, b"packet", 6)])).unwrap();
    let packed = dir.path().join("a.pcap.zst");
    // From a pipe: of a file that is known to be short zstd asks for a small window.
    let compress = |long: u32| {
        let script = format!("cat {} | zstd -q -1 --long={long} > {}", arg(&path), arg(&packed));
        run("sh", &["-c", &script]);
        read(&packed)
    };
    let (packets, errors) = compress(31);
    assert!(packets.is_empty());
    let [CaptureError::Unsupported(text)] = &errors[..] else { panic!("{errors:?}") };
    assert!(text.contains("zstd -dc --long=31 FILE | ringtap replay -"), "{text}");
    let (packets, errors) = compress(27);
    assert!(packets.len() == 1 && errors.is_empty(), "{errors:?}");
}

/// The same interfaces, described again and again, are entered once; names are cut to what a record holds.
#[test]
fn interfaces_are_entered_once() {
    let mut blocks = Blocks::new(false);
    let long = blocks.option(2, "ü".repeat(20_000).as_bytes());
    for n in 0..70_000_u32 {
        blocks.section(false);
        let name = blocks.option(2, format!("eth{}", n % 3).as_bytes());
        blocks.interface(1, 0, &name);
        blocks.interface(1, 0, &[]);
        blocks.interface(101, 0, &[]);
        if n % 10_000 == 0 {
            blocks.interface(1, 0, &long);
            blocks.enhanced(n % 3 + 1, 7, b"packet", 6, &[]);
        }
    }
    let mut queue = FileQueue::from_reader("file", Box::new(std::io::Cursor::new(blocks.file)));
    let (packets, errors) = drain(&mut queue);
    assert!(packets.len() == 7 && errors.is_empty(), "{errors:?}");
    let mut names: Vec<_> = queue.interfaces().iter().map(|i| (i.name.clone(), i.link_type.0)).collect();
    let table = names.clone();
    names.sort();
    let long = "ü".repeat(32);
    let wanted = [("eth0", 1), ("eth1", 1), ("eth2", 1), ("file", 1), ("file", 101), (&long, 1)];
    assert_eq!(names, wanted.map(|(name, link_type)| (name.to_owned(), link_type)));
    for (n, packet) in packets.iter().enumerate() {
        let expected = ["file", "file", long.as_str()][n * 10_000 % 3];
        assert_eq!(table[packet.interface as usize].0, expected, "packet {n}");
    }
}

#[test]
fn too_many_interfaces_are_refused_with_the_packets_before() {
    for (distinct, reason) in [(true, "more than 16384 different interfaces"), (false, "more than 65536 interfaces")] {
        let mut blocks = Blocks::new(false);
        blocks.interface(1, 0, &[]);
        blocks.enhanced(0, 7, b"packet", 6, &[]);
        for n in 0..70_000 {
            let name = blocks.option(2, format!("eth{}", if distinct { n } else { 0 }).as_bytes());
            blocks.interface(1, 0, &name);
        }
        let (packets, errors) = parse(&blocks.file);
        assert_eq!(packets.len(), 1);
        assert!(matches!(&errors[..], [CaptureError::Damaged { reason: r, .. }] if r.contains(reason)), "{errors:?}");
    }
}

/// Offsets that lead out of what a record can say: the frame is marked, and its time is not made up.
#[test]
fn a_time_that_cannot_be_is_no_time() {
    let mut blocks = Blocks::new(false);
    for offset in [-2_i64, i64::MAX, 3] {
        let option = blocks.option(14, &offset.to_le_bytes());
        blocks.interface(1, 0, &option);
    }
    (0..3).for_each(|interface| blocks.enhanced(interface, 1_000_000, b"packet", 6, &[]));
    let seen: Vec<_> = whole(&blocks.file).iter().map(|p| (p.nanos, p.flags)).collect();
    assert_eq!(seen, [(0, FrameFlags::NO_TIME), (0, FrameFlags::NO_TIME), (4_000_000_000, FrameFlags::NONE)]);
}
