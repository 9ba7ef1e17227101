//! The way of received frames through memory: descriptors out of the RX ring, their octets lent, their chunks back into the fill ring.
//!
//! Holds the bounds checks: every address and length that the kernel wrote is checked, in release builds too. Knows no socket.
//! The *receiver* remembers what is on loan: a [`Loan`] that is leaked is taken back by the next call, whose exclusive borrow proves
//! that nobody can still read the frames.
#![allow(unsafe_code)]

use libc::xdp_desc;

use super::memory::Memory;
use super::ring::Ring;

/// `XDP_PKT_CONTD`: the frame goes on in the next descriptor.
const CONTINUED: u32 = 1;
/// Octets for the frames of one batch that have to be joined.
const SCRATCH: usize = MOST as usize * LARGEST_CHUNK;
const LARGEST_CHUNK: usize = 4096;

/// Descriptors lent at once, at most: as many frames as have their headers in the cache together, though each begins on a page of its own.
/// And chunks that were read are given back before the last one is.
const MOST: u32 = 256;

/// The memory of one receive queue.
pub(crate) struct Receiver {
    core: Core,
    /// Where frames of several buffers are joined; empty if there are none such.
    scratch: Box<[u8]>,
}

/// All but the scratch memory, which is written while the rest is read.
pub(crate) struct Core {
    umem: Memory,
    rx: Ring<xdp_desc>,
    fill: Ring<u64>,
    /// Octets of a chunk, a power of two.
    chunk: u64,
    /// Octets of a frame that are lent.
    snaplen: u32,
    frags: bool,
    /// Descriptors given back, and chunks put into the fill ring, since the start.
    consumed: u32,
    filled: u32,
    /// Descriptors on loan.
    lent: u32,
}

/// Some frames, until it is dropped.
pub(crate) struct Loan<'q> {
    receiver: &'q mut Receiver,
    frames: u32,
}

/// Where a reader stands in a loan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// Descriptors read.
    at: u32,
    frames_left: u32,
}

/// One frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawFrame<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) wire_len: u32,
}

/// A descriptor pointed outside of our memory, or across chunks: the frame cannot be read. The next one can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl Receiver {
    /// Gives all chunks of `umem` to the kernel, as far as the fill ring has room.
    pub(crate) fn new(
        umem: Memory,
        rx: Ring<xdp_desc>,
        fill: Ring<u64>,
        chunk: u32,
        snaplen: u32,
        frags: bool,
    ) -> Self {
        assert!(chunk.is_power_of_two());
        let chunks = (umem.length() as u64 / u64::from(chunk)).min(u64::from(fill.size())) as u32;
        let scratch = vec![0; if frags { SCRATCH } else { 0 }].into_boxed_slice();
        let chunk = u64::from(chunk);
        let mut core = Core { umem, rx, fill, chunk, snaplen, frags, consumed: 0, filled: 0, lent: 0 };
        for n in 0..chunks {
            core.fill.write(n, u64::from(n) * chunk);
        }
        core.filled = chunks;
        core.fill.produce(chunks);
        Self { core, scratch }
    }

    /// Whether there is something to lend. A leaked loan counts as given back.
    pub(crate) fn ready(&mut self) -> bool {
        self.core.take_back();
        self.core.available() > 0
    }

    /// Whether the driver waits to be told that there are chunks again.
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.core.fill.needs_wakeup()
    }

    /// Lends the frames that there are, up to [`MOST`] descriptors.
    #[inline]
    pub(crate) fn lend(&mut self) -> Option<Loan<'_>> {
        self.core.take_back();
        let available = self.core.available().min(MOST);
        if available == 0 {
            return None;
        }
        let several = self.core.prefetch(available);
        let (descriptors, frames) =
            if several && self.core.frags { self.core.whole_frames(available) } else { (available, available) };
        self.core.lent = descriptors;
        Some(Loan { receiver: self, frames })
    }

    /// Gives what is on loan back to the kernel.
    pub(crate) fn take_back(&mut self) {
        self.core.take_back();
    }

    /// Frames in the ring that are not lent yet.
    pub(crate) fn pending(&self) -> u64 {
        self.core.pending()
    }
}

impl Core {
    /// Descriptors in the ring, those on loan included. Acquire: they, and the octets of their frames, are written.
    #[inline]
    fn available(&self) -> u32 {
        self.rx.produced().wrapping_sub(self.consumed).min(self.rx.size())
    }

    fn pending(&self) -> u64 {
        let (from, to) = (self.lent, self.available());
        if !self.frags {
            return u64::from(to.saturating_sub(from));
        }
        (from..to).filter(|&at| self.descriptor(at).options & CONTINUED == 0).count() as u64
    }

    /// The descriptor at this distance from the oldest that was not given back.
    #[inline]
    fn descriptor(&self, at: u32) -> xdp_desc {
        self.rx.read(self.consumed.wrapping_add(at))
    }

    /// Has the headers of the first `count` frames brought into the cache, and says whether a frame is of several buffers. Descriptors and
    /// frames come from the cache of the core that wrote them; asked for together, all are on their way at once.
    #[inline]
    fn prefetch(&self, count: u32) -> bool {
        let mut options = 0;
        for at in 0..count {
            let descriptor = self.descriptor(at);
            // Nothing is read: what an address leads to does not matter.
            self.umem.prefetch(descriptor.addr);
            options |= descriptor.options;
        }
        options & CONTINUED != 0
    }

    /// Of the first `available` descriptors: those of whole frames, and how many frames they are. At least one: a frame without an end counts
    /// as one, and will be found damaged.
    fn whole_frames(&self, available: u32) -> (u32, u32) {
        let (mut descriptors, mut frames) = (0, 0);
        for at in 0..available {
            if self.descriptor(at).options & CONTINUED == 0 {
                (descriptors, frames) = (at + 1, frames + 1);
            }
        }
        if frames == 0 { (available, 1) } else { (descriptors, frames) }
    }

    /// Octets of scratch memory that a frame of `total` octets takes: none if its first buffer has all that is lent.
    fn octets_to_join(&self, first: &xdp_desc, total: u64) -> u64 {
        let wanted = total.min(u64::from(self.snaplen));
        if wanted <= u64::from(first.len) { 0 } else { wanted }
    }

    /// The octets that a descriptor leads to.
    #[inline]
    fn octets(&self, descriptor: &xdp_desc) -> Option<&[u8]> {
        let (address, length) = (descriptor.addr, descriptor.len);
        let within = address & (self.chunk - 1);
        if within + u64::from(length) > self.chunk {
            return None;
        }
        let start = self.umem.at(usize::try_from(address).ok()?, length as usize)?;
        // SAFETY: `length` octets at `start` are inside of the memory, which lives as long as `self`. They are in the chunk of a
        // descriptor that is on loan: the kernel does not write to it before it is in the fill ring again, which wants `self` exclusively.
        Some(unsafe { std::slice::from_raw_parts(start, length as usize) })
    }

    #[inline]
    fn next<'b>(&'b self, cursor: &mut Cursor, scratch: &mut &'b mut [u8]) -> Option<Result<RawFrame<'b>, Damaged>> {
        if cursor.frames_left == 0 || cursor.at >= self.lent {
            return None;
        }
        cursor.frames_left -= 1;
        let descriptor = self.descriptor(cursor.at);
        cursor.at += 1;
        if descriptor.options & CONTINUED != 0 {
            return Some(self.joined(&descriptor, cursor, scratch).ok_or(Damaged));
        }
        let Some(octets) = self.octets(&descriptor) else { return Some(Err(Damaged)) };
        Some(Ok(RawFrame { data: self.cut(octets), wire_len: descriptor.len }))
    }

    #[inline]
    fn cut<'b>(&self, octets: &'b [u8]) -> &'b [u8] {
        octets.get(..self.snaplen as usize).unwrap_or(octets)
    }

    /// A frame of several buffers. Moves the cursor behind it in any case.
    #[inline(never)]
    fn joined<'b>(&'b self, first: &xdp_desc, cursor: &mut Cursor, scratch: &mut &'b mut [u8]) -> Option<RawFrame<'b>> {
        let (start, mut total, mut ended) = (cursor.at, u64::from(first.len), !self.frags);
        while !ended && cursor.at < self.lent {
            let descriptor = self.descriptor(cursor.at);
            cursor.at += 1;
            total += u64::from(descriptor.len);
            ended = descriptor.options & CONTINUED == 0;
        }
        let octets = self.octets(first)?;
        if !ended || !self.frags {
            return None;
        }
        let wire_len = u32::try_from(total).ok()?;
        let needed = usize::try_from(self.octets_to_join(first, total)).ok()?;
        // Checked though perhaps not read: a frame is lent only if all of it is there.
        let parts = || std::iter::once(*first).chain((start..cursor.at).map(|at| self.descriptor(at)));
        if parts().any(|part| self.octets(&part).is_none()) {
            return None;
        }
        if needed == 0 {
            return Some(RawFrame { data: self.cut(octets), wire_len });
        }
        if needed > scratch.len() {
            return None;
        }
        let (place, rest) = std::mem::take(scratch).split_at_mut(needed);
        *scratch = rest;
        let mut done = 0;
        for part in parts() {
            // The kernel could have changed the descriptor since; its octets are checked again.
            let octets = self.octets(&part)?;
            let count = octets.len().min(needed - done);
            place.get_mut(done..done + count)?.copy_from_slice(octets.get(..count)?);
            done += count;
        }
        (done == needed).then_some(RawFrame { data: place, wire_len })
    }

    /// Puts the chunks of the descriptors on loan into the fill ring, and gives the descriptors back.
    fn take_back(&mut self) {
        if self.lent == 0 {
            return;
        }
        let (length, chunk, mut filled) = (self.umem.length() as u64, !(self.chunk - 1), self.filled);
        for at in 0..self.lent {
            let address = self.descriptor(at).addr;
            // An address that is not ours would be refused by the kernel; its chunk is lost.
            if address < length {
                self.fill.write(filled, address & chunk);
                filled = filled.wrapping_add(1);
            }
        }
        self.filled = filled;
        self.consumed = self.consumed.wrapping_add(self.lent);
        self.lent = 0;
        self.rx.consume(self.consumed);
        self.fill.produce(self.filled);
    }
}

impl Loan<'_> {
    /// Frames lent, those that cannot be read included.
    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    pub(crate) fn start(&self) -> Cursor {
        Cursor { at: 0, frames_left: self.frames }
    }

    /// See [`Receiver::pending`].
    pub(crate) fn pending(&self) -> u64 {
        self.receiver.pending()
    }

    /// The frames from `cursor` on. Frames joined by an earlier walk are no longer borrowed, so all the scratch memory is free.
    #[inline]
    pub(crate) fn walk(&mut self) -> Walk<'_> {
        let Receiver { core, scratch } = &mut *self.receiver;
        Walk { core, scratch }
    }
}

impl Drop for Loan<'_> {
    #[inline]
    fn drop(&mut self) {
        self.receiver.take_back();
    }
}

/// Reads the frames of a loan.
pub(crate) struct Walk<'b> {
    core: &'b Core,
    scratch: &'b mut [u8],
}

impl<'b> Walk<'b> {
    /// The next frame; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self, cursor: &mut Cursor) -> Option<Result<RawFrame<'b>, Damaged>> {
        self.core.next(cursor, &mut self.scratch)
    }
}

impl Cursor {
    pub(crate) fn frames_left(self) -> usize {
        self.frames_left as usize
    }
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
