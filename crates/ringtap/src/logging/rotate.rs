//! `ringtap.log`, which becomes `ringtap.log.1.gz` at 10 MB; ten old parts are kept.
//!
//! Whoever logs, be it a worker, only renames the full file to `ringtap.log.1`. A thread of its own compresses that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

const LIMIT: u64 = 10_000_000;
const KEPT: u32 = 10;

pub(super) struct RotatingFile {
    names: Names,
    file: File,
    len: u64,
    limit: u64,
    packer: SyncSender<()>,
    busy: Arc<AtomicBool>,
}

impl RotatingFile {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the log directory {} (--log-dir)", directory.display()))?;
        let names = Names(directory.join("ringtap.log"));
        let file =
            append(&names.0).with_context(|| format!("cannot open the log file {} (--log-dir)", names.0.display()))?;
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        let busy = Arc::new(AtomicBool::new(false));
        // Started here, and not by who logs: it would share that thread's core.
        let packer = start_packer(names.clone(), Arc::clone(&busy)).context("cannot start a thread")?;
        let log = Self { names, file, len, limit: LIMIT, packer, busy };
        if log.names.full().exists() {
            log.pack(); // an earlier run ended before it did
        }
        Ok(log)
    }

    fn pack(&self) {
        // There is room in the channel, since it is not busy.
        if !self.busy.swap(true, Ordering::AcqRel) && self.packer.try_send(()).is_err() {
            self.busy.store(false, Ordering::Release);
        }
    }

    /// Logging goes on whatever fails here: the file then only grows longer.
    fn rotate(&mut self) {
        if self.busy.load(Ordering::Acquire) {
            return; // tried again with the next line
        }
        // One that is still there could not be compressed.
        if self.names.full().exists() || self.begin_anew().is_err() {
            self.len = 0; // tried again after another 10 MB
        }
        self.pack();
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        fs::rename(&self.names.0, self.names.full())?;
        match append(&self.names.0) {
            Ok(file) => {
                self.file = file;
                self.len = 0;
                Ok(())
            }
            Err(error) => {
                fs::rename(self.names.full(), &self.names.0)?;
                Err(error)
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.len >= self.limit {
            self.rotate();
        }
        let n = self.file.write(line)?;
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The log's file, and those beside it.
#[derive(Clone)]
struct Names(PathBuf);

impl Names {
    /// One that waits to be compressed.
    fn full(&self) -> PathBuf {
        self.0.with_file_name("ringtap.log.1")
    }

    fn old(&self, n: u32) -> PathBuf {
        self.0.with_file_name(format!("ringtap.log.{n}.gz"))
    }

    /// Makes the full file the first of the old parts. The oldest goes only when its place is needed.
    fn pack(&self) -> io::Result<()> {
        // Under another name first, so that a part with its final name is always whole.
        let partial = self.0.with_file_name("ringtap.log.1.gz.partial");
        if let Err(error) = compress(&self.full(), &partial) {
            drop(fs::remove_file(&partial)); // it only takes room
            return Err(error);
        }
        let free = (1..KEPT).find(|&n| !self.old(n).exists()).unwrap_or(KEPT);
        for n in (1..free).rev() {
            fs::rename(self.old(n), self.old(n + 1))?;
        }
        fs::rename(&partial, self.old(1))?;
        fs::remove_file(self.full())
    }
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut encoder = GzEncoder::new(File::create(to)?, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?.sync_all()
}

fn start_packer(names: Names, busy: Arc<AtomicBool>) -> io::Result<SyncSender<()>> {
    let (packer, told) = sync_channel(1);
    thread::Builder::new().name("rt-log".to_owned()).spawn(move || {
        for () in told {
            let packed = names.pack();
            busy.store(false, Ordering::Release);
            if let Err(error) = packed {
                let full = names.full();
                tracing::warn!("{}: cannot be compressed, and is tried again later: {error}", full.display());
            }
        }
    })?;
    Ok(packer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use std::process::Command;
    use std::time::{Duration, Instant};
    use testkit::Tmpfs;

    fn wait(log: &RotatingFile) {
        let begun = Instant::now();
        while log.busy.load(Ordering::Acquire) {
            assert!(begun.elapsed() < Duration::from_secs(30), "not packed");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn open(directory: &Path, limit: u64) -> RotatingFile {
        RotatingFile { limit, ..RotatingFile::open(directory).unwrap() }
    }

    /// All lines, from the oldest part to the file that is being written.
    fn text(log: &RotatingFile) -> String {
        wait(log);
        let mut text = String::new();
        for n in (1..=KEPT).rev() {
            if let Ok(file) = File::open(log.names.old(n)) {
                GzDecoder::new(file).read_to_string(&mut text).unwrap();
            }
        }
        text.push_str(&fs::read_to_string(log.names.full()).unwrap_or_default());
        text.push_str(&fs::read_to_string(&log.names.0).unwrap());
        text
    }

    fn numbers(text: &str) -> Vec<u32> {
        text.lines().map(|line| line[5..8].parse().unwrap()).collect()
    }

    #[test]
    fn parts_are_compressed_in_order_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 100);
        for n in 0..30 {
            writeln!(log, "line {n:03} {}", "x".repeat(20)).unwrap();
            if n % 2 == 0 {
                wait(&log);
            }
        }
        assert_eq!(numbers(&text(&log)), (0..30).collect::<Vec<_>>());
        assert!(log.names.old(3).exists() && !log.names.full().exists());
    }

    #[test]
    fn what_an_earlier_run_left_is_compressed_first() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ringtap.log.1"), "line 000\n").unwrap();
        fs::write(dir.path().join("ringtap.log"), "line 001\n").unwrap();
        let mut log = open(dir.path(), 5);
        wait(&log);
        writeln!(log, "line 002").unwrap();
        assert_eq!(numbers(&text(&log)), [0, 1, 2]);
        assert!(log.names.old(2).exists() && !log.names.full().exists());
    }

    #[test]
    fn a_full_disk_costs_no_old_part() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Tmpfs::mount(dir.path(), "512k");
        for n in 1..=KEPT {
            fs::write(dir.path().join(format!("ringtap.log.{n}.gz")), n.to_string()).unwrap();
        }
        let parts = || (1..=KEPT).map(|n| fs::read(dir.path().join(format!("ringtap.log.{n}.gz"))).unwrap());
        let before: Vec<_> = parts().collect();
        let mut log = open(dir.path(), 60_000);
        disk.fill(20 * 4096); // 15 pages for what is logged, and compressed it is 7 or 8
        let mut random = 1_u64;
        let mut lines = |log: &mut RotatingFile, octets: usize| {
            for _ in 0..octets / 16 {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                // Lost if the part that is being compressed has the last page just now.
                let _ = writeln!(log, "{:015x}", random >> 4);
            }
            wait(log);
        };
        lines(&mut log, 61_000);
        log.limit = 1000;
        for _ in 0..4 {
            lines(&mut log, 1000);
        }
        assert!(log.names.full().exists(), "could not be compressed");
        assert_eq!(parts().collect::<Vec<_>>(), before);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 13, "the parts, ballast, the full one and the next");
        disk.relieve();
        while log.names.full().exists() {
            lines(&mut log, 16);
        }
        assert_eq!(parts().skip(1).collect::<Vec<_>>(), before[..9], "one was dropped for one");
    }

    /// The partial file is a pipe that nobody reads: a disk that takes forever.
    #[test]
    fn who_logs_does_not_wait_for_the_compression() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("ringtap.log.1.gz.partial");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut log = open(dir.path(), 100);
        for n in 0..30 {
            writeln!(log, "line {n:03} {}", "x".repeat(20)).unwrap();
        }
        assert!(log.busy.load(Ordering::Acquire));
        drop(fs::read(&pipe).unwrap());
        // It was no file, and so was removed.
        assert_eq!(numbers(&text(&log)), (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_someone_cuts_short_has_no_hole() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 10);
        for n in 0..3 {
            writeln!(log, "line {n:03}").unwrap();
            wait(&log);
        }
        assert!(log.names.old(1).exists(), "rotated");
        OpenOptions::new().write(true).open(&log.names.0).unwrap().set_len(0).unwrap();
        writeln!(log, "line 003").unwrap();
        assert_eq!(fs::read_to_string(&log.names.0).unwrap(), "line 003\n");
    }
}
