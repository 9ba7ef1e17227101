//! The rates, by the clock: what is due is lent, and nothing else.

mod common;

use std::time::{Duration, Instant};

use capture::{Readiness, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue, Rate};
use common::pcap;
use tempfile::TempDir;

/// How long a run takes, and how many packets there were.
fn timed(rate: Rate, files: &[Vec<u8>]) -> (Duration, usize) {
    let folder = TempDir::new().expect("a folder");
    let paths: Vec<_> = (0..files.len()).map(|number| folder.path().join(number.to_string())).collect();
    for (path, file) in paths.iter().zip(files) {
        std::fs::write(path, file).expect("room");
    }
    let mut queue = FileQueue::open(&paths, FileOptions { rate }).expect("they exist");
    let (start, mut packets) = (Instant::now(), 0);
    loop {
        if let Some(mut batch) = queue.next_batch().expect("whole files") {
            packets += batch.frames().count();
            continue;
        }
        let asked = Instant::now();
        let readiness = queue.wait(Duration::from_millis(5)).expect("no errors");
        assert!(asked.elapsed() < Duration::from_millis(500), "a wait is no longer than it may be");
        if readiness == Readiness::Ended {
            return (start.elapsed(), packets);
        }
    }
}

fn file(times: &[(u32, u32)]) -> Vec<u8> {
    pcap(0xa1b2_c3d4, 1, &times.iter().map(|&(s, us)| (s, us, &b"abc"[..], 3)).collect::<Vec<_>>())
}

#[test]
fn the_original_pace() {
    // 300 ms, a step back of an hour, 100 ms more; then a file a day later, of 100 ms.
    let first = file(&[(5000, 0), (5000, 100_000), (5000, 300_000), (1000, 0), (1000, 100_000)]);
    let second = file(&[(90_000, 0), (90_000, 100_000)]);
    let (took, packets) = timed(Rate::Original, &[first.clone(), second.clone()]);
    assert_eq!(packets, 7);
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(1500), "{took:?}");
    let (took, packets) = timed(Rate::Max, &[first, second]);
    assert!(packets == 7 && took < Duration::from_millis(300), "{took:?}");
}

#[test]
fn packets_per_second() {
    let times: Vec<_> = (0..501).map(|number| (number, 0)).collect();
    let (took, packets) = timed("1000".parse().unwrap(), &[file(&times[..250]), file(&times[250..])]);
    assert_eq!(packets, 501);
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(1500), "{took:?}");
}
