//! The walk over the slots that are ours: what may be lent, frame by frame, and what of it was looked at.
//!
//! Knows one ring and no system call. Slots are taken as found: a frame that lies nowhere is damaged, and the walk goes on behind it.

use crate::sys::abi;
use crate::sys::ring::{Ring, Slot};

/// Where the reader stands. `head` to `cursor`: looked at; `cursor` to `end`: on loan and not yet looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Our first slot, as published.
    pub(crate) head: u32,
    /// Whoever takes frames out of single slots moves it by one each, up to the number of slots: [`settle`](Self::settle) knows.
    pub(crate) cursor: u32,
    pub(crate) end: u32,
    /// Up to where frames were counted.
    counted: u32,
    /// In the middle of a frame that can never be whole: its other slots are passed over.
    skipping: bool,
}

/// A frame as it lies in the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawFrame<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) wire_len: u32,
    /// Of its first slot.
    pub(crate) flags: u16,
}

/// What the walk found.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Frame(RawFrame<'a>),
    /// A frame that lies nowhere.
    Damaged,
    End,
}

impl Walk {
    pub(crate) fn new(head: u32) -> Self {
        Self { head, cursor: head, end: head, counted: head, skipping: false }
    }

    /// Takes whole frames up to `tail` on loan, both slots of the ring; of more than half a ring the first half, so that the module has
    /// slots to fill while the rest is read. Says whether there are any, and how many frames were given up because their end can never
    /// come.
    pub(crate) fn lend(&mut self, ring: &Ring, tail: u32, last: bool) -> (bool, u64) {
        let mut damaged = 0;
        while self.skipping && self.head != tail {
            self.skipping = ring.slot(self.head).goes_on();
            self.head = ring.next(self.head);
        }
        let mut end = self.whole_until(ring, ring.within_half(self.head, tail));
        if end == self.head {
            end = self.whole_until(ring, tail); // a frame of more than half a ring
        }
        if end == self.head && tail != self.head {
            // Nothing but the start of one frame. It can grow as long as the module has a slot left, and one it never fills.
            if last || ring.distance(self.head, tail) + 1 >= ring.slots() {
                (end, self.head) = (tail, tail);
                self.skipping = !last;
                damaged = 1;
            }
        }
        (self.cursor, self.end, self.counted) = (self.head, end, self.head);
        (self.head != end, damaged)
    }

    /// Where the last whole frame before `tail` ends.
    fn whole_until(&self, ring: &Ring, tail: u32) -> u32 {
        let mut end = tail;
        while end != self.head && ring.slot(ring.previous(end)).goes_on() {
            end = ring.previous(end);
        }
        end
    }

    /// The next frame, its data cut to `snaplen` octets. Joins what lies in several slots in `scratch`, whose rest is left there; if that
    /// has no room the loan ends before the frame.
    #[inline]
    pub(crate) fn step<'a>(&mut self, ring: &'a Ring, snaplen: usize, scratch: &mut &'a mut [u8]) -> Step<'a> {
        if self.cursor == self.end {
            return Step::End;
        }
        let slot = ring.slot(self.cursor);
        if slot.goes_on() {
            return self.join(ring, snaplen, scratch);
        }
        self.cursor = ring.next(self.cursor);
        match ring.octets(slot) {
            Some(data) => {
                let cut = data.get(..snaplen).unwrap_or(data);
                Step::Frame(RawFrame { data: cut, wire_len: slot.length.into(), flags: slot.flags })
            }
            None => Step::Damaged,
        }
    }

    #[cold]
    fn join<'a>(&mut self, ring: &'a Ring, snaplen: usize, scratch: &mut &'a mut [u8]) -> Step<'a> {
        let start = self.cursor;
        let (mut first, mut whole) = (None, true);
        let (mut filled, mut wire_len, mut fits) = (0, 0u32, true);
        // Ends: the cursor moves, and `end` is ahead of it.
        while self.cursor != self.end {
            let slot = ring.slot(self.cursor);
            self.cursor = ring.next(self.cursor);
            match ring.octets(slot) {
                Some(data) => {
                    wire_len = wire_len.saturating_add(slot.length.into());
                    let (begin, _) = *first.get_or_insert((data, slot.flags));
                    // Nothing to join if all that is wanted lies in the first slot.
                    if begin.len() < snaplen {
                        let wanted = data.get(..snaplen - filled).unwrap_or(data);
                        match scratch.get_mut(filled..filled + wanted.len()) {
                            Some(room) => room.copy_from_slice(wanted),
                            None => fits = false,
                        }
                        filled += wanted.len();
                    }
                }
                None => whole = false,
            }
            if !slot.goes_on() {
                return match first {
                    Some(_) if whole && !fits => {
                        (self.cursor, self.end) = (start, start);
                        Step::End
                    }
                    Some((begin, flags)) if whole => {
                        let data =
                            if filled == 0 { begin.get(..snaplen).unwrap_or(begin) } else { take(scratch, filled) };
                        Step::Frame(RawFrame { data, wire_len, flags })
                    }
                    _ => Step::Damaged,
                };
            }
        }
        // The last slot said before that the frame ends in it.
        Step::Damaged
    }

    /// Frames that were taken since the last time, each out of a slot of its own. Puts a cursor behind the last slot of the ring at the first.
    #[inline]
    pub(crate) fn settle(&mut self, ring: &Ring) -> u64 {
        if self.cursor >= ring.slots() {
            self.cursor = 0;
        }
        let taken = ring.distance(self.counted, self.cursor);
        self.counted();
        taken.into()
    }

    /// All up to the cursor is counted.
    pub(crate) fn counted(&mut self) {
        self.counted = self.cursor;
    }

    /// Frames on loan that nobody looked at.
    pub(crate) fn unseen(&self, ring: &Ring) -> u64 {
        let (mut at, mut frames) = (self.cursor, 0);
        while at != self.end {
            frames += u64::from(!ring.slot(at).goes_on());
            at = ring.next(at);
        }
        frames
    }

    /// Marks what is on loan to be forwarded, except frames in several slots, which the module would forward in pieces.
    pub(crate) fn forward(&self, ring: &Ring) {
        let (mut at, mut within) = (self.head, false);
        while at != self.end {
            let slot = ring.slot(at);
            if !slot.goes_on() && !within {
                ring.set_slot(at, Slot { flags: slot.flags | abi::FORWARD, ..slot });
            }
            within = slot.goes_on();
            at = ring.next(at);
        }
    }

    /// Nothing is on loan, and nothing of it was given back.
    pub(crate) fn cancel(&mut self) {
        (self.cursor, self.end, self.counted) = (self.head, self.head, self.head);
    }

    /// Whether something is on loan.
    pub(crate) fn on_loan(&self) -> bool {
        self.head != self.end
    }

    /// Gives back what is on loan.
    pub(crate) fn take_back(&mut self) {
        (self.head, self.cursor, self.counted) = (self.end, self.end, self.end);
    }
}

/// The first `length` octets; the rest stays.
fn take<'a>(scratch: &mut &'a mut [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = std::mem::take(scratch).split_at_mut(length);
    *scratch = rest;
    taken
}
