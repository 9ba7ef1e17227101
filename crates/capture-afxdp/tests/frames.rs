//! Frames of several buffers, and an account that is exact while the reader is slow.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use capture::{Count, Readiness, RxBatch, RxQueue};
use capture_afxdp::Attach;
use common::{VethLab, compile, finish, open_on, single};
use testkit::generate::{Generator, Kind};
use testkit::net::VethOptions;
use testkit::send::{FrameShape, number_of, numbered};

const BOTH: [Attach; 2] = [Attach::Native, Attach::Generic];

fn frames(lengths: &[usize], count: usize) -> Vec<Vec<u8>> {
    let shape = |n: usize| FrameShape { length: lengths[n % lengths.len()], ..FrameShape::default() };
    (0..count).map(|n| numbered(&shape(n), n as u64)).collect()
}

#[test]
fn jumbo_frames_are_whole() {
    for attach in BOTH {
        for frame_size in [2048, 4096] {
            for snaplen in [65_535, 4000, 256] {
                let lab = VethLab::new(&VethOptions { mtu: 9000, ..VethOptions::default() });
                let queue = single(open_on(&lab, attach, |o| (o.frame_size, o.snaplen) = (frame_size, snaplen)));
                let sent = frames(&[9014, 60, 1792, 1793, 3840, 3841, 5000, 9013, 1514], 500);
                lab.send(&sent);
                let harvest = lab.b.enter(|| finish(queue));
                harvest.assert_closed();
                assert_eq!(harvest.frames.len(), 500, "{attach:?}, {frame_size}, {snaplen}: {:?}", harvest.stats);
                assert_eq!(harvest.stats.super_frames, 0);
                for (frame, sent) in harvest.frames.iter().zip(&sent) {
                    assert_eq!(frame.wire_len as usize, sent.len());
                    assert_eq!(frame.data, sent[..sent.len().min(snaplen as usize)], "{attach:?}, {frame_size}");
                }
            }
        }
    }
}

#[test]
fn a_filter_sees_all_of_a_jumbo_frame() {
    for attach in BOTH {
        let lab = VethLab::new(&VethOptions { mtu: 9000, ..VethOptions::default() });
        // The octet lies in the last buffer; the length is that of the whole frame.
        let filter = compile("ether[8500] = 0xa5 and len > 8900");
        let queue = single(open_on(&lab, attach, |o| o.filter = Some(filter)));
        lab.send(&frames(&[9000, 60, 8800, 5000], 100));
        let harvest = lab.b.enter(|| finish(queue));
        harvest.assert_closed();
        assert_eq!(harvest.numbers(), (0..100).step_by(4).collect::<Vec<_>>(), "{attach:?}");
    }
}

/// A reader that sleeps between batches, while more comes than the ring holds: whatever the moment, nothing is missing that is not counted.
#[test]
fn a_slow_reader_loses_exactly_what_is_counted() {
    for (attach, mtu, lengths) in [
        (Attach::Native, 1500, &[60, 1514][..]),
        (Attach::Generic, 1500, &[60, 1514]),
        (Attach::Native, 9000, &[9014, 60, 5000]),
        (Attach::Generic, 9000, &[9014, 60, 5000]),
    ] {
        let lab = Arc::new(VethLab::new(&VethOptions { mtu, ..VethOptions::default() }));
        let mut queue = single(open_on(&lab, attach, |o| o.frame_count = 256));
        let sent = Arc::new(AtomicBool::new(false));
        let reader = {
            let (lab, sent) = (Arc::clone(&lab), Arc::clone(&sent));
            thread::spawn(move || {
                lab.b.enter(|| {
                    let mut numbers = Vec::new();
                    loop {
                        let over = sent.load(Ordering::Acquire);
                        if over {
                            queue.stop().unwrap();
                        }
                        while let Some(mut batch) = queue.next_batch().unwrap() {
                            numbers.extend(batch.frames().filter_map(|f| number_of(f.data)));
                            let stats = batch.stats().unwrap();
                            assert!(
                                stats.offered.exact() >= Some(stats.received + stats.ring_dropped.exact().unwrap())
                            );
                            thread::sleep(Duration::from_millis(2));
                        }
                        if queue.wait(Duration::from_millis(20)).unwrap() == Readiness::Ended {
                            return (numbers, queue.stats().unwrap());
                        }
                    }
                })
            })
        };
        let all = frames(lengths, 20_000);
        for some in all.chunks(500) {
            lab.send(some);
        }
        sent.store(true, Ordering::Release);
        let (numbers, stats) = reader.join().unwrap();
        let missing = all.len() - numbers.len();
        assert!(missing > 0 && !numbers.is_empty(), "{attach:?}: {missing}");
        assert!(numbers.is_sorted());
        assert_eq!(stats.received as usize, numbers.len());
        assert_eq!(stats.ring_dropped, Count::Exact(missing as u64), "{attach:?}, {mtu}: {stats:?}");
        assert_eq!(stats.offered, Count::Exact(all.len() as u64));
    }
}

/// Huge pages set aside, given back as they were.
struct HugePages(String);

impl HugePages {
    const FILE: &str = "/proc/sys/vm/nr_hugepages";

    fn more(count: u64) -> Self {
        let before = std::fs::read_to_string(Self::FILE).expect("the kernel has huge pages").trim().to_owned();
        let wanted = before.parse::<u64>().expect("a number") + count;
        std::fs::write(Self::FILE, wanted.to_string()).expect("the number can be changed");
        Self(before)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::FILE, &self.0);
    }
}

#[test]
fn memory_may_be_of_huge_pages() {
    let _pages = HugePages::more(1);
    let lab = VethLab::new(&VethOptions::default());
    let queue = single(open_on(&lab, Attach::Auto, |o| (o.huge_pages, o.frame_count) = (true, 512)));
    assert_eq!(queue.is_zero_copy(), Some(false));
    lab.send(&frames(&[60, 1514], 300));
    let harvest = lab.b.enter(|| finish(queue));
    assert_eq!(harvest.numbers().len(), 300);
}

/// Frames that were never a socket buffer: another way through veth, and the one of a NIC's driver.
#[test]
fn frames_of_the_drivers_own_are_received() {
    let lab = VethLab::new(&VethOptions::default());
    let queue = single(open_on(&lab, Attach::Native, |_| {}));
    lab.a.enter(|| Generator::open("a0", &[60, 1514, 300], Kind::default()).send(3000, Some(20_000)));
    thread::sleep(Duration::from_millis(100));
    let harvest = lab.b.enter(|| finish(queue));
    harvest.assert_closed();
    assert_eq!(harvest.numbers(), (0..3000).collect::<Vec<_>>(), "{:?}", harvest.stats);
    let lengths: Vec<_> = harvest.frames.iter().map(|f| f.data.len()).take(4).collect();
    assert_eq!(lengths, [60, 1514, 300, 60]);
}
