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
/// Where the walk stands is kept here and told to the queue at the end, so that a loop over the frames has it in a register: nothing that is
/// not inlined is given a reference to this. Of a leaked iterator (`mem::forget`) the queue takes all frames as not looked at, and counts
/// them so.
pub struct Frames<'b> {
    ring: &'b Ring,
    view: View<'b>,
    /// Slots on loan up to the end of the loan or of the ring, and where that is.
    run: slice::Iter<'b, RawSlot>,
    run_end: u32,
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
        let view = ring.view();
        Frames {
            ring,
            view,
            run: view.run(walk.cursor, walk.end),
            run_end: view.run_end(walk.cursor, walk.end),
            nothing_to_hold: walk.cursor,
            constants: self.constants,
            scratch,
            walk,
            counters,
            shared,
        }
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
        // By far the most frames lie in one slot.
        let raw = if let [slot, ..] = self.run.as_slice()
            && let Some((data, slot)) = self.view.whole(slot)
        {
            self.run.next();
            let cut = data.get(..self.constants.snaplen).unwrap_or(data);
            RawFrame { data: cut, wire_len: slot.length.into(), flags: slot.flags }
        } else {
            self.settle();
            let scratch = std::mem::take(&mut self.scratch);
            let frame;
            (frame, self.scratch) = elsewhere(self.ring, self.walk, self.counters, self.constants.snaplen, scratch);
            self.run = self.view.run(self.walk.cursor, self.walk.end);
            self.run_end = self.view.run_end(self.walk.cursor, self.walk.end);
            let raw = frame?;
            if raw.flags & abi::MORE_FRAGMENTS != 0 {
                self.nothing_to_hold = self.cursor();
            }
            raw
        };
        Some(self.frame(raw))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.ring.distance(self.cursor(), self.walk.end) as usize))
    }
}

impl Drop for Frames<'_> {
    #[inline]
    fn drop(&mut self) {
        self.settle();
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
    loop {
        match walk.step(ring, snaplen, &mut scratch) {
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
    /// The slot after the frame that came last.
    #[inline]
    fn cursor(&self) -> u32 {
        // A run is at most a ring.
        let cursor = self.run_end - self.run.len() as u32;
        if cursor == self.ring.slots() { 0 } else { cursor }
    }

    /// Tells the queue how far this is. All slots since the last time had a frame each.
    #[inline]
    fn settle(&mut self) {
        let cursor = self.cursor();
        self.counters.received += u64::from(self.ring.distance(self.walk.cursor, cursor));
        self.walk.cursor = cursor;
    }

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
        if self.cursor() == self.nothing_to_hold {
            return None;
        }
        let index = self.ring.previous(self.cursor());
        let slot = self.ring.slot(index);
        let data = self.ring.octets(slot)?;
        let length = data.len().min(self.constants.snaplen);
        let spare = self.shared.spares.pop()?;
        self.nothing_to_hold = self.cursor();
        self.ring.set_slot(index, Slot { buffer: spare, length: 0, flags: abi::BUF_CHANGED });
        let shared = Arc::clone(self.shared);
        Some(Held::new(shared, slot.buffer, length, slot.length.into(), self.constants.time))
    }
}
