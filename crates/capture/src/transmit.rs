//! Queues that send: for the generator.

use std::time::Duration;

use crate::CaptureError;

/// One transmit queue: owned and filled by one thread.
///
/// Frames are written straight into the slots of the ring by [`fill`](Self::fill), and leave with the next [`flush`](Self::flush): as many
/// as were filled, by one system call or none. When there is no room, [`wait`](Self::wait) sleeps until some has left.
pub trait TxQueue {
    /// Writes up to `most` frames into free slots. `write` gets the octets of a slot, [`max_frame`](Self::max_frame) of them with
    /// whatever was in them before, and answers how many the frame has; 0 ends the call without a frame. Never blocks.
    ///
    /// Returns the frames written; fewer than `most` if there is no more room.
    ///
    /// # Errors
    /// If the queue cannot go on.
    fn fill(&mut self, most: usize, write: impl FnMut(&mut [u8]) -> usize) -> Result<usize, CaptureError>;

    /// [`fill`](Self::fill) with one frame, again and again. A queue whose slots keep what was sent need not write what is there already.
    ///
    /// # Errors
    /// If the queue cannot go on.
    fn repeat(&mut self, most: usize, frame: &[u8]) -> Result<usize, CaptureError> {
        self.fill(most, |slot| match slot.get_mut(..frame.len()) {
            Some(room) => {
                room.copy_from_slice(frame);
                frame.len()
            }
            None => 0,
        })
    }

    /// Hands over to the kernel what was filled.
    ///
    /// # Errors
    /// If the queue cannot go on. That the interface has no room now, or is down for a while, is not an error: frames wait or are `refused`. A frame that
    /// would never be taken does not hold up the others for good.
    fn flush(&mut self) -> Result<(), CaptureError>;

    /// Sleeps until there is room for a frame, at most `timeout`. Says whether there is.
    ///
    /// # Errors
    /// If the queue cannot go on.
    fn wait(&mut self, timeout: Duration) -> Result<bool, CaptureError>;

    /// Waits until nothing is in flight any more, at most `timeout`. Says whether nothing is.
    ///
    /// # Errors
    /// If the queue cannot go on.
    fn drain(&mut self, timeout: Duration) -> Result<bool, CaptureError>;

    /// Takes back the frames that the mechanism has not begun to send, if it lets them be told: they are `refused` from now on. For the
    /// end, when nobody waits for them any longer.
    fn take_back(&mut self) {}

    /// What became of the frames.
    fn stats(&mut self) -> TxStats;

    /// The longest frame that fits into a slot, in octets, without the frame check sequence.
    fn max_frame(&self) -> usize;
}

/// What became of the frames of a [`TxQueue`]: `filled = sent + refused + in_flight`. Monotonic, except for `in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxStats {
    /// Written into slots.
    pub filled: u64,
    /// The mechanism says that they left: they were given to the driver. What the driver or the wire loses after that nobody here knows.
    pub sent: u64,
    /// The mechanism did not take them.
    pub refused: u64,
    /// Filled, and neither sent nor refused yet.
    pub in_flight: u64,
}
