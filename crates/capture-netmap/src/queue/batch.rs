//! What the ring held, on loan: the frames of a batch, and those that are held beyond it.

use std::slice;
use std::sync::Arc;

use capture::{CaptureError, Direction, Frame, FrameFlags, QueueStats, RxBatch};

use super::{Constants, Counters, Queue, Told};
use crate::held::{Held, Shared};
use crate::sys::abi;
use crate::sys::ring::{RawSlot, Ring, Slot, View};
use crate::walk::{RawFrame, Step, Walk};

/// What the ring held, on loan. Gives it back when dropped.
pub struct Batch<'q> {
    queue: &'q mut Queue,
    constants: Constants,
}

/// The frames of a batch.
///
/// Nothing that is not inlined is given a reference to this, so that a loop over the frames has it in registers. What each frame changes is
/// the walk's cursor: a leaked iterator (`mem::forget`) leaves it where it was, as one that was dropped.
pub struct Frames<'b> {
    ring: &'b Ring,
    view: View<'b>,
    /// Slots on loan up to the end of the loan or of the ring, from the walk's cursor on.
    run: slice::Iter<'b, RawSlot>,
    /// Where the cursor stands if no frame came yet, or one that cannot be held.
    nothing_to_hold: u32,
    constants: Constants,
    scratch: &'b mut [u8],
    walk: &'b mut Walk,
    counters: &'b mut Counters,
    shared: &'b Arc<Shared>,
}

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
        // What the iterator before took.
        counters.received += walk.settle(ring);
        let view = ring.view();
        Frames {
            ring,
            view,
            run: view.run(walk.cursor, walk.end),
            nothing_to_hold: walk.cursor,
            constants: self.constants,
            scratch,
            walk,
            counters,
            shared,
        }
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        let Queue { ring, walk, counters, .. } = &mut *self.queue;
        counters.received += walk.settle(ring);
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
        // By far the most frames lie in one slot.
        let raw = if let [slot, ..] = self.run.as_slice()
            && let Some((data, slot)) = self.view.whole(slot)
        {
            self.run.next();
            self.walk.cursor += 1;
            let cut = data.get(..self.constants.snaplen).unwrap_or(data);
            RawFrame { data: cut, wire_len: slot.length.into(), flags: slot.flags }
        } else {
            let scratch = std::mem::take(&mut self.scratch);
            let frame;
            (frame, self.scratch) = elsewhere(self.ring, self.walk, self.counters, self.constants.snaplen, scratch);
            self.run = self.view.run(self.walk.cursor, self.walk.end);
            if frame.as_ref().is_none_or(|raw| raw.flags & abi::MORE_FRAGMENTS != 0) {
                self.nothing_to_hold = self.walk.cursor;
            }
            frame?
        };
        Some(self.frame(raw))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.ring.distance(self.walk.cursor, self.walk.end) as usize))
    }
}

/// A frame in several slots, in the ring's first slot, or after one that is damaged, and what is left of `scratch`; `None` at the end of
/// the batch.
#[cold]
#[inline(never)]
fn elsewhere<'b>(
    ring: &'b Ring,
    walk: &mut Walk,
    counters: &mut Counters,
    snaplen: usize,
    mut scratch: &'b mut [u8],
) -> (Option<RawFrame<'b>>, &'b mut [u8]) {
    counters.received += walk.settle(ring);
    loop {
        let step = walk.step(ring, snaplen, &mut scratch);
        walk.counted();
        match step {
            Step::Frame(raw) => {
                counters.received += 1;
                return (Some(raw), scratch);
            }
            Step::Damaged => {
                counters.received += 1;
                counters.damaged += 1;
            }
            Step::End => return (None, scratch),
        }
    }
}

impl<'b> Frames<'b> {
    #[inline]
    fn frame(&mut self, raw: RawFrame<'b>) -> Frame<'b> {
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
        if self.walk.cursor == self.nothing_to_hold {
            return None;
        }
        let index = self.ring.previous(self.walk.cursor);
        let slot = self.ring.slot(index);
        let data = self.ring.octets(slot)?;
        let length = data.len().min(self.constants.snaplen);
        let spare = self.shared.spares.pop()?;
        self.nothing_to_hold = self.walk.cursor;
        self.ring.set_slot(index, Slot { buffer: spare, length: 0, flags: abi::BUF_CHANGED });
        let shared = Arc::clone(self.shared);
        Some(Held::new(shared, slot.buffer, length, slot.length.into(), self.constants.time))
    }
}
