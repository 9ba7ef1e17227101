//! What the ring held, on loan: the frames of a batch, and those that are held beyond it.

use std::sync::Arc;

use capture::{CaptureError, Direction, Frame, FrameFlags, QueueStats, RxBatch};

use super::{Constants, Counters, Queue, Told};
use crate::held::{Held, Shared};
use crate::sys::abi;
use crate::sys::ring::{Ring, Slot, View};
use crate::walk::{RawFrame, Step, Walk};

/// What the ring held, on loan. Gives it back when dropped.
pub struct Batch<'q> {
    queue: &'q mut Queue,
    constants: Constants,
}

/// The frames of a batch.
pub struct Frames<'b> {
    ring: &'b Ring,
    view: View<'b>,
    walk: &'b mut Walk,
    scratch: &'b mut [u8],
    counters: &'b mut Counters,
    shared: &'b Arc<Shared>,
    constants: Constants,
    /// The slot of the frame that came last; `NO_SLOT` if it does not lie in a slot of its own.
    last: u32,
}

/// No ring has so many slots.
const NO_SLOT: u32 = u32::MAX;

impl<'q> Batch<'q> {
    pub(super) fn new(queue: &'q mut Queue, constants: Constants) -> Self {
        Self { queue, constants }
    }
}

impl RxBatch for Batch<'_> {
    type Frames<'b>
        = Frames<'b>
    where
        Self: 'b;

    #[inline]
    fn frames(&mut self) -> Frames<'_> {
        // The borrow proves that no frame of an earlier iterator is left: the scratch is free again.
        let Queue { ring, walk, scratch, counters, shared, .. } = &mut *self.queue;
        Frames { ring, view: ring.view(), walk, scratch, counters, shared, constants: self.constants, last: NO_SLOT }
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        Ok(self.queue.counters())
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.queue.stop_here()
    }
}

impl Drop for Batch<'_> {
    #[inline]
    fn drop(&mut self) {
        self.queue.take_back();
    }
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'b>> {
        let index = self.walk.cursor;
        // By far the most frames lie in one slot.
        if index != self.walk.end
            && let Some((data, slot, next)) = self.view.whole(index)
        {
            self.walk.cursor = next;
            self.last = index;
            let cut = data.get(..self.constants.snaplen).unwrap_or(data);
            return Some(self.frame(RawFrame { data: cut, wire_len: slot.length.into(), flags: slot.flags }));
        }
        self.next_of_pieces()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.ring.distance(self.walk.cursor, self.walk.end) as usize))
    }
}

impl<'b> Frames<'b> {
    /// The end of the batch, a frame in several slots, or the frame after one that is damaged.
    #[cold]
    fn next_of_pieces(&mut self) -> Option<Frame<'b>> {
        loop {
            let index = self.walk.cursor;
            let raw = match self.walk.step(self.ring, self.constants.snaplen, &mut self.scratch) {
                Step::Frame(raw) => raw,
                Step::Damaged => {
                    self.counters.received += 1;
                    self.counters.damaged += 1;
                    continue;
                }
                Step::End => {
                    self.last = NO_SLOT;
                    return None;
                }
            };
            self.last = if raw.flags & abi::MORE_FRAGMENTS == 0 { index } else { NO_SLOT };
            return Some(self.frame(raw));
        }
    }

    #[inline]
    fn frame(&mut self, raw: RawFrame<'b>) -> Frame<'b> {
        self.counters.received += 1;
        let mut flags = FrameFlags::NONE;
        if raw.wire_len > self.constants.longest {
            flags = FrameFlags::SUPER_FRAME;
            self.counters.super_frames += 1;
        }
        Frame {
            data: raw.data,
            timestamp: self.constants.time,
            wire_len: raw.wire_len,
            interface: self.constants.interface,
            link_type: self.constants.link_type,
            direction: match self.constants.told {
                Told::ByPort(direction) => direction,
                Told::ByFrame if raw.flags & abi::SENT != 0 => Direction::Tx,
                Told::ByFrame => Direction::Rx,
            },
            vlan: None,
            flags,
        }
    }

    /// Keeps the frame that came last beyond its batch, without a copy: its buffer leaves the ring, and one of
    /// [`Options::extra_bufs`](crate::Options::extra_bufs) takes its place.
    ///
    /// `None` if no buffer is spare, if the frame is held already or lies in several slots, and with
    /// [`Options::forward_to_host`](crate::Options::forward_to_host), by which it would be taken from the host.
    pub fn hold(&mut self) -> Option<Held> {
        if self.constants.forward {
            return None;
        }
        let index = Some(self.last).filter(|&index| index != NO_SLOT)?;
        let slot = self.ring.slot(index);
        let data = self.ring.octets(slot)?;
        let length = data.len().min(self.constants.snaplen);
        let spare = self.shared.spares.pop()?;
        self.last = NO_SLOT;
        self.ring.set_slot(index, Slot { buffer: spare, length: 0, flags: abi::BUF_CHANGED });
        let shared = Arc::clone(self.shared);
        Some(Held::new(shared, slot.buffer, length, slot.length.into(), self.constants.time))
    }
}
