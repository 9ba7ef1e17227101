//! Loans from the read buffer.

use capture::{CaptureError, Frame, QueueStats, RxBatch};

use super::format::{Format, Step};
use super::pace::Pace;
use super::queue::FileQueue;

/// The whole packets in the read buffer that are due. Those not looked at are passed over when the batch is dropped.
pub struct FileBatch<'q> {
    queue: &'q mut FileQueue,
}

impl<'q> FileBatch<'q> {
    pub(super) fn new(queue: &'q mut FileQueue) -> Self {
        Self { queue }
    }
}

impl RxBatch for FileBatch<'_> {
    type Frames<'b>
        = FileFrames<'b>
    where
        Self: 'b;

    fn frames(&mut self) -> FileFrames<'_> {
        self.queue.frames()
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        Ok(self.queue.counted())
    }
}

impl Drop for FileBatch<'_> {
    fn drop(&mut self) {
        self.queue.take_back();
    }
}

/// The packets of a [`FileBatch`], found as they are asked for: nothing is prepared, so each header is read once.
pub struct FileFrames<'b> {
    pub(super) format: &'b Format,
    pub(super) octets: &'b [u8],
    pub(super) pos: &'b mut usize,
    pub(super) received: &'b mut u64,
    pub(super) pace: &'b mut Pace,
}

impl<'b> Iterator for FileFrames<'b> {
    type Item = Frame<'b>;

    // Inlined into the worker's loop, where the frame's fields then stay in registers.
    #[inline(always)]
    fn next(&mut self) -> Option<Frame<'b>> {
        if let Format::Pcap(pcap) = self.format
            && self.pace.is_max()
            && let Some((frame, end)) = pcap.packet(self.octets, *self.pos)
        {
            *self.pos = end;
            *self.received += 1;
            return Some(frame);
        }
        self.next_of_any_kind()
    }
}

impl<'b> FileFrames<'b> {
    /// A packet of any format, if it is due.
    #[inline(never)]
    fn next_of_any_kind(&mut self) -> Option<Frame<'b>> {
        // Anything but a packet ends the batch; the queue meets it again at the next one.
        let Step::Frame { frame, end } = self.format.step(self.octets, self.pos) else { return None };
        if !self.pace.is_max() {
            if self.pace.not_due(&frame).is_some() {
                return None;
            }
            self.pace.lent(&frame);
        }
        *self.pos = end;
        *self.received += 1;
        Some(frame)
    }
}
