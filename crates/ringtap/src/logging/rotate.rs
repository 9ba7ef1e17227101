//! `ringtap.log`, which becomes `ringtap.log.1.gz` at 10 MB; ten old parts are kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

const LIMIT: u64 = 10_000_000;
const KEPT: u32 = 10;

pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    len: u64,
    limit: u64,
}

impl RotatingFile {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the log directory {} (--log-dir)", directory.display()))?;
        let path = directory.join("ringtap.log");
        let file = append(&path).with_context(|| format!("cannot open the log file {} (--log-dir)", path.display()))?;
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self { path, file, len, limit: LIMIT })
    }

    fn old(&self, n: u32) -> PathBuf {
        self.path.with_file_name(format!("ringtap.log.{n}.gz"))
    }

    /// Logging goes on whatever fails here: the file then only grows longer.
    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..KEPT).rev() {
            if self.old(n).exists() {
                fs::rename(self.old(n), self.old(n + 1))?;
            }
        }
        // Written under another name first, so that a part with its final name is always whole.
        let partial = self.path.with_file_name("ringtap.log.1.gz.partial");
        let mut encoder = GzEncoder::new(File::create(&partial)?, Compression::default());
        io::copy(&mut File::open(&self.path)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&partial, self.old(1))?;
        self.file = OpenOptions::new().create(true).write(true).truncate(true).open(&self.path)?;
        self.len = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.len >= self.limit && self.rotate().is_err() {
            self.len = 0; // tried again after another 10 MB
        }
        let n = self.file.write(line)?;
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn parts_are_compressed_in_order_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::open(dir.path()).unwrap();
        log.limit = 100;
        for n in 0..30 {
            writeln!(log, "line {n:03} {}", "x".repeat(20)).unwrap();
        }
        let mut text = String::new();
        for n in (1..=KEPT).rev() {
            if let Ok(file) = File::open(log.old(n)) {
                GzDecoder::new(file).read_to_string(&mut text).unwrap();
            }
        }
        text.push_str(&fs::read_to_string(&log.path).unwrap());
        let lines: Vec<_> = text.lines().map(|line| line[5..8].parse::<u32>().unwrap()).collect();
        assert_eq!(lines, (0..30).collect::<Vec<_>>());
    }
}
