//! A queue over a list of frames.

use std::slice;
use std::time::Duration;

use capture::{CaptureError, Count, Frame, Interface, LinkType, QueueStats, Readiness, RxBatch, RxQueue};

use super::OwnedFrame;

/// Lends its frames in batches, as if all had come to the ring before the first call; then it ends.
#[derive(Debug)]
pub struct MemoryQueue {
    frames: Vec<OwnedFrame>,
    batch_sizes: Vec<usize>,
    batches: usize,
    position: usize,
    interfaces: Vec<Interface>,
}

/// Some frames of a [`MemoryQueue`].
#[derive(Debug)]
pub struct MemoryBatch<'q> {
    frames: slice::Iter<'q, OwnedFrame>,
    stats: QueueStats,
}

/// The frames of a batch that were not looked at.
#[derive(Debug)]
pub struct MemoryFrames<'b, 'q>(&'b mut slice::Iter<'q, OwnedFrame>);

impl MemoryQueue {
    /// Lends `batch_sizes` frames in turn, over and over.
    ///
    /// # Panics
    /// If no size is above 0.
    #[must_use]
    pub fn new(frames: Vec<OwnedFrame>, batch_sizes: &[usize]) -> Self {
        assert!(batch_sizes.iter().any(|&n| n > 0), "a batch size above 0 is needed");
        let interfaces = vec![Interface { name: "memory0".into(), link_type: LinkType::ETHERNET }];
        Self { frames, batch_sizes: batch_sizes.to_vec(), batches: 0, position: 0, interfaces }
    }

    /// With other interfaces than one named `memory0`.
    #[must_use]
    pub fn with_interfaces(mut self, interfaces: Vec<Interface>) -> Self {
        self.interfaces = interfaces;
        self
    }
}

impl RxQueue for MemoryQueue {
    type Batch<'q> = MemoryBatch<'q>;

    fn next_batch(&mut self) -> Result<Option<MemoryBatch<'_>>, CaptureError> {
        let left = self.frames.get(self.position..).unwrap_or(&[]);
        if left.is_empty() {
            return Ok(None);
        }
        let size = self.batch_sizes.get(self.batches % self.batch_sizes.len()).copied().unwrap_or(1);
        self.batches += 1;
        let batch = left.get(..size).unwrap_or(left);
        self.position += batch.len();
        let offered = Count::Exact(self.frames.len() as u64);
        let stats = QueueStats { offered, received: self.position as u64, ..QueueStats::ZERO };
        Ok(Some(MemoryBatch { frames: batch.iter(), stats }))
    }

    fn wait(&mut self, _timeout: Duration) -> Result<Readiness, CaptureError> {
        Ok(if self.position < self.frames.len() { Readiness::Ready } else { Readiness::Ended })
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        let offered = Count::Exact(self.frames.len() as u64);
        Ok(QueueStats { offered, received: self.position as u64, ..QueueStats::ZERO })
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}

impl<'q> RxBatch for MemoryBatch<'q> {
    type Frames<'b>
        = MemoryFrames<'b, 'q>
    where
        Self: 'b;

    fn frames(&mut self) -> MemoryFrames<'_, 'q> {
        MemoryFrames(&mut self.frames)
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        Ok(self.stats)
    }
}

impl<'b> Iterator for MemoryFrames<'b, '_> {
    type Item = Frame<'b>;

    fn next(&mut self) -> Option<Frame<'b>> {
        self.0.next().map(OwnedFrame::lend)
    }
}
