//! The walk over the ring: which slots are ours, and the loan of them.
//!
//! The walk keeps its own counters and writes them for the kernel to see when a loan ends: once a batch. What the kernel wrote is
//! checked before it is used: offsets, lengths, and the mark behind each slot.
//!
//! # Why the kernel never writes into a lent slot
//! It writes at `insert_off`, at most `slot_len` octets, after `check_free_ring_slot` (kernel/pf_ring.c) has found room:
//! - `insert_off < remove_off`: only if at least 2 `slot_len` lie between, so it ends one `slot_len` before the first lent slot;
//! - `insert_off > remove_off`: up to the end of the ring, where an offset wraps to 0 *after* an insertion, as soon as less than
//!   `slot_len` is left. With `remove_off` 0 it writes only if at least 3 `slot_len` are left, so it does not wrap onto it;
//! - equal: it takes the ring for empty if fewer than `min_num_slots` are queued. By the two rules above an insertion never makes them equal
//!   while anything is queued.
//!
//! So everything from `remove_off` to `insert_off` is ours, however many slots that are. The slot *before* `remove_off`, which the same
//! rules leave alone, is for libpfring: it publishes `remove_off` before its user looks at the frame. Here a loan publishes when it
//! ends, so it needs no such slot.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;

use super::abi::{RING_VERSION, info, slot, slot_size};
use super::memory::Memory;

/// A frame in its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawFrame<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) wire_len: u32,
    /// Nanoseconds since 1970; 0 if the kernel gave none.
    pub(crate) nanos: u64,
    /// Whether it was received; `None` in the module's quick mode, which does not say.
    pub(crate) received: Option<bool>,
}

/// So many frames could not be read: the bookkeeping of one points outside of what is ours, and the rest is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) u64);

/// Why a ring cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Of another version than [`RING_VERSION`].
    Version(u16),
    /// Sizes that do not fit together.
    Layout,
}

/// What the first page says before the whole ring is mapped: its octets.
pub(crate) fn total_of(first_page: &Memory) -> Result<usize, Unusable> {
    let version = first_page.word(info::VERSION).load(Ordering::Relaxed).to_ne_bytes();
    let version = u16::from_ne_bytes([version[0], version[1]]);
    if version != RING_VERSION {
        return Err(Unusable::Version(version));
    }
    let total = usize::try_from(first_page.word(info::TOTAL).load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    // SO_RING_BUCKET_LEN and min_num_slots are 32 bits, and the module keeps the whole below 4 GiB and a page or so.
    if total <= info::LENGTH || !total.is_multiple_of(4096) || total > (1 << 33) {
        return Err(Unusable::Layout);
    }
    Ok(total)
}

/// Where the walk stands.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Octets behind the two pages.
    area: usize,
    /// `slot_len`: as large as a slot can get.
    largest: usize,
    snaplen: usize,
    /// Of the next slot to be read.
    offset: usize,
    /// Frames read, those on loan not included.
    read: u64,
    /// Frames on loan, and those of them that were not yet looked at.
    lent: u64,
    left: u64,
    /// `insert_off` when the loan began: nothing of it lies behind.
    limit: usize,
    /// The next slot cannot be found: see [`Walk::resume`].
    lost: bool,
}

/// Some slots, until this is dropped.
pub(crate) struct Loan<'q> {
    memory: &'q Memory,
    walk: &'q mut Walk,
}

/// The slots of a loan that were not yet looked at.
pub(crate) struct Slots<'b> {
    memory: &'b Memory,
    walk: &'b mut Walk,
}

impl Walk {
    /// Over a whole ring whose slots hold up to `bucket` captured octets; frames are cut to `snaplen`.
    pub(crate) fn new(memory: &Memory, bucket: usize, snaplen: usize) -> Result<Self, Unusable> {
        let total = total_of(memory)?;
        let sizes = memory.word(info::SLOT_LEN).load(Ordering::Relaxed).to_ne_bytes();
        let largest = u32::from_ne_bytes([sizes[0], sizes[1], sizes[2], sizes[3]]) as usize;
        let area = total - info::LENGTH;
        if memory.len() != total || largest < slot_size(bucket) || largest.checked_mul(3).is_none_or(|l| l > area) {
            return Err(Unusable::Layout);
        }
        Ok(Self { area, largest, snaplen, offset: 0, read: 0, lent: 0, left: 0, limit: 0, lost: false })
    }

    /// Frames that wait; none while the place is lost.
    #[inline]
    pub(crate) fn waiting(&mut self, memory: &Memory) -> u64 {
        self.take_back(memory);
        if self.lost {
            return 0;
        }
        // Acquire: pairs with the barrier between the kernel's writes of the slot and of insert_off and that of tot_insert
        // (copy_data_to_ring).
        let waiting = memory.word(info::TOT_INSERT).load(Ordering::Acquire).wrapping_sub(self.read);
        if waiting > (self.area / slot_size(1)) as u64 {
            // More than fit, or fewer than were read.
            self.lost = true;
            return 0;
        }
        waiting
    }

    /// Lends what waits, at most `most` frames, and says how many they are.
    #[inline]
    pub(crate) fn lend<'q>(&'q mut self, memory: &'q Memory, most: u64) -> Option<(Loan<'q>, u64)> {
        let count = self.waiting(memory).min(most);
        if count == 0 {
            return None;
        }
        // After tot_insert: it may be of a later frame, which is further on and as good a limit.
        self.limit = usize::try_from(memory.word(info::INSERT_OFF).load(Ordering::Acquire)).unwrap_or(usize::MAX);
        self.lent = count;
        self.left = count;
        Some((Loan { memory, walk: self }, count))
    }

    /// Ends the loan, if there is one, and lets the kernel have its slots.
    #[inline]
    pub(crate) fn take_back(&mut self, memory: &Memory) {
        if self.lent == 0 {
            return;
        }
        while self.left > 0 && !self.lost {
            if self.step(memory).is_none() {
                self.lost = true;
            }
        }
        self.left = 0;
        self.read = self.read.wrapping_add(std::mem::take(&mut self.lent));
        if !self.lost {
            self.publish(memory);
        }
    }

    /// `tot_read` first: with the offsets equal and an old `tot_read` the kernel would take an empty ring for a full one. Release: our
    /// reads of the slots are done before the kernel can see that they are free.
    fn publish(&self, memory: &Memory) {
        memory.word(info::TOT_READ).store(self.read, Ordering::Release);
        memory.word(info::REMOVE_OFF).store(self.offset as u64, Ordering::Release);
    }

    /// Whether the next slot cannot be found.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Goes on behind everything that is in the ring, and says how many frames were passed over: of a tot_insert that cannot be true, none.
    /// The kernel must not be inserting meanwhile. `None` if the place where it will insert cannot be one.
    pub(crate) fn resume(&mut self, memory: &Memory) -> Option<u64> {
        self.take_back(memory);
        let inserted = memory.word(info::TOT_INSERT).load(Ordering::Acquire);
        let offset = usize::try_from(memory.word(info::INSERT_OFF).load(Ordering::Acquire)).ok()?;
        if offset > self.area - self.largest || !offset.is_multiple_of(slot::ALIGNMENT) {
            return None;
        }
        let passed = inserted.wrapping_sub(self.read);
        (self.offset, self.read, self.lost) = (offset, inserted, false);
        self.publish(memory);
        Some(if passed > (self.area / slot_size(1)) as u64 { 0 } else { passed })
    }

    /// The next slot of the loan: its offset and captured octets. `None` if it cannot be one.
    #[inline]
    fn step(&mut self, memory: &Memory) -> Option<(usize, usize)> {
        let start = self.offset;
        // The oldest slots lie before the end of the ring, the later ones from its start.
        let limit = if self.limit < start { self.area } else { self.limit };
        if limit > self.area || start + slot_size(0) > limit {
            return None;
        }
        let [captured, _] = pair(memory, start, slot::LENGTHS);
        let captured = captured as usize;
        if captured > self.largest {
            return None;
        }
        let size = slot_size(captured);
        if size > self.largest || start + size > limit {
            return None;
        }
        let next = start + size;
        self.offset = if next + self.largest > self.area { 0 } else { next };
        self.left -= 1;
        Some((start, captured))
    }
}

impl Loan<'_> {
    /// Those not yet looked at.
    #[inline]
    pub(crate) fn slots(&mut self) -> Slots<'_> {
        Slots { memory: self.memory, walk: self.walk }
    }
}

impl Drop for Loan<'_> {
    #[inline]
    fn drop(&mut self) {
        self.walk.take_back(self.memory);
    }
}

impl<'b> Slots<'b> {
    /// Slots not yet looked at.
    pub(crate) fn left(&self) -> u64 {
        self.walk.left
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// If the slot cannot be one: the rest cannot be found, and the loan is over.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<RawFrame<'b>>, Damaged> {
        if self.walk.left == 0 {
            return Ok(None);
        }
        match self.read() {
            Some(frame) => Ok(Some(frame)),
            None => Err(self.give_up()),
        }
    }

    #[cold]
    fn give_up(&mut self) -> Damaged {
        self.walk.lost = true;
        Damaged(std::mem::take(&mut self.walk.left))
    }

    #[inline]
    fn read(&mut self) -> Option<RawFrame<'b>> {
        let left = self.walk.left;
        let (start, captured) = self.walk.step(self.memory)?;
        let [_, wire_len] = pair(self.memory, start, slot::LENGTHS);
        // SAFETY: `step` found the whole slot before `limit`, or before the end of the ring with `limit` behind a wrap: in the part
        // that the kernel has handed over (see the top of this module). It is given back by `take_back`, which wants the walk
        // exclusively, and the loan has it borrowed for `'b`. It lies behind the two pages of words.
        let octets = unsafe { self.memory.octets(info::LENGTH + start + slot::HEADER, captured + slot::MAGIC.len()) }?;
        let (data, mark) = octets.split_at(captured);
        if mark != slot::MAGIC || wire_len < data.len() as u32 {
            // This one is damaged too.
            self.walk.left = left;
            return None;
        }
        let nanos = word(self.memory, start, slot::NANOSECONDS);
        let interface = pair(self.memory, start, slot::INTERFACE)[0];
        let received = word(self.memory, start, slot::FLAGS).to_ne_bytes()[slot::RX_DIRECTION] != 0;
        Some(RawFrame {
            data: data.get(..self.walk.snaplen).unwrap_or(data),
            wire_len,
            nanos: if nanos == 0 { microseconds(self.memory, start) } else { nanos },
            received: (interface != 0).then_some(received),
        })
    }
}

#[cold]
fn microseconds(memory: &Memory, start: usize) -> u64 {
    let (seconds, micros) = (word(memory, start, slot::TIME), word(memory, start, slot::TIME + 8));
    seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000))
}

/// A word of the header of the slot at `start`, which `step` has found inside of the ring. Read by an atomic: a kernel that lies about
/// its slots may be writing here.
#[inline]
fn word(memory: &Memory, start: usize, offset: usize) -> u64 {
    memory.word(info::LENGTH + start + offset).load(Ordering::Relaxed)
}

/// Two u32, the lower address first.
#[inline]
fn pair(memory: &Memory, start: usize, offset: usize) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word(memory, start, offset).to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
