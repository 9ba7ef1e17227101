//! Frames that outlive their batch, without a copy: their buffer was taken out of the ring, and a spare one put in its place.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use capture::Timestamp;

use crate::sys::device::Kernel;
use crate::sys::spares::Spares;

/// What a queue and the frames that are held of it have in common. The spare buffers go back into the module's list before the descriptor
/// is closed: the order of the fields is that of their ends.
pub(crate) struct Shared {
    pub(crate) spares: Spares,
    pub(crate) kernel: Box<dyn Kernel>,
}

/// The octets of a frame, as lent. See [`Frames::hold`](crate::Frames::hold). The port stays open as long as a frame of it is held.
pub struct Held {
    shared: Arc<Shared>,
    buffer: u32,
    length: usize,
    /// Octets that the frame had on the wire.
    pub wire_len: u32,
    /// Of the frame.
    pub timestamp: Timestamp,
}

impl Held {
    pub(crate) fn new(shared: Arc<Shared>, buffer: u32, length: usize, wire_len: u32, timestamp: Timestamp) -> Self {
        Self { shared, buffer, length, wire_len, timestamp }
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.shared.spares.octets(self.buffer, self.length)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("length", &self.length).field("wire_len", &self.wire_len).finish_non_exhaustive()
    }
}

/// The buffer is spare again.
impl Drop for Held {
    fn drop(&mut self) {
        self.shared.spares.push(self.buffer);
    }
}
