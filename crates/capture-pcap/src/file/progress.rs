//! How far a queue has come in its files, for a progress line in another thread.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of the input has been read. Any thread may ask; the answer is brought up to date with each read.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    total: Option<u64>,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Self {
        Self { read: AtomicU64::new(0), total }
    }

    /// Octets read so far, of all files, as they lie on the disk (compressed, if they are).
    #[must_use]
    pub fn read(&self) -> u64 {
        // A number to look at: nothing else is concluded from it, so no ordering is needed.
        self.read.load(Ordering::Relaxed)
    }

    /// The sizes of all files together, octets; `None` if one has no size, such as a pipe.
    #[must_use]
    pub const fn total(&self) -> Option<u64> {
        self.total
    }
}

/// Counts what goes through.
pub(super) struct Counting<R> {
    pub(super) inner: R,
    pub(super) progress: Arc<Progress>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let octets = self.inner.read(buffer)?;
        self.progress.read.fetch_add(octets as u64, Ordering::Relaxed);
        Ok(octets)
    }
}
