//! What needs a disk that is slow, or fails: one that only says so.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capture::Timestamp;
use pipeline::batch::{OpenBatch, SharedBatch};
use pipeline::ledger::{Ledger, SinkCounters};
use pipeline::pool::Pool;

use super::FileSink;
use crate::account::Account;
use crate::config::{FileConfig, SinkConfig};
use crate::drive::Sink;
use crate::error::SinkError;

const SLOW: Duration = Duration::from_secs(2);

fn batch(pool: &mut Pool, counters: &SinkCounters) -> SharedBatch {
    let mut open = OpenBatch::new(pool.take().expect("a buffer"), 0, 0, Instant::now());
    while let Some(room) = open.room() {
        room[..4000].fill(b' ');
        open.commit(4000, Timestamp::EPOCH);
    }
    let batch = open.close(pool.home(), Instant::now()).expect("a batch");
    counters.produced(batch.len() as u64);
    batch
}

fn sink(folder: &std::path::Path, to_disk: fn(&File) -> io::Result<()>) -> (FileSink, Ledger, Arc<SinkCounters>) {
    let Ok(SinkConfig::File(config)) = SinkConfig::parse(&format!("file://{}/r?rotate=1MiB", folder.display())) else {
        panic!("not a file sink");
    };
    let config = FileConfig { rotate: 4 << 20, ..config };
    let ledger = Ledger::new();
    let counters = ledger.add_sink("r");
    let account = Arc::new(Account::new(Arc::clone(&counters)));
    (FileSink::open_with(&config, &account, to_disk).unwrap(), ledger, counters)
}

#[test]
fn a_slow_disk_does_not_hold_up_the_sink_but_its_end() {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    let folder = tempfile::tempdir().unwrap();
    let (mut sink, ledger, counters) = sink(folder.path(), |_| {
        thread::sleep(SLOW);
        DONE.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mut pool = Pool::new(1, 1 << 20);
    let begun = Instant::now();
    for _ in 0..6 {
        sink.accept(batch(&mut pool, &counters)).unwrap();
    }
    assert!(begun.elapsed() < SLOW, "it waited for the disk: {:?}", begun.elapsed());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "rotated");
    assert_eq!(ledger.report(false).sinks[0].in_flight, 0);
    sink.finish().unwrap();
    assert_eq!(DONE.load(Ordering::SeqCst), 2, "both files are on the disk");
}

#[test]
fn a_disk_that_fails_later_is_an_error_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (mut sink, _ledger, counters) = sink(folder.path(), |file| {
        let finished = file.metadata()?.len() >= 4 << 20;
        if finished { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let mut pool = Pool::new(1, 1 << 20);
    for _ in 0..6 {
        sink.accept(batch(&mut pool, &counters)).unwrap();
    }
    let Err(SinkError::File { path, .. }) = sink.finish() else { panic!("not said") };
    assert_eq!(path, folder.path().join("r-000001"), "which file it was");
}

/// Otherwise the end would wait for a gigabyte.
#[test]
fn a_file_is_brought_to_the_disk_while_it_grows() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let folder = tempfile::tempdir().unwrap();
    let (mut sink, _ledger, counters) = sink(folder.path(), |_| {
        SEEN.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    sink.config.rotate = 1 << 30;
    let mut pool = Pool::new(1, 1 << 20);
    for _ in 0..140 {
        sink.accept(batch(&mut pool, &counters)).unwrap();
        if sink.pending == 0 {
            // The thread may be slow to begin; we must not be so fast that it is not idle yet.
            while !sink.write_back.as_ref().unwrap().is_idle() {
                thread::yield_now();
            }
        }
    }
    assert_eq!(SEEN.load(Ordering::SeqCst), 2);
    sink.finish().unwrap();
    assert_eq!(SEEN.load(Ordering::SeqCst), 3);
}
