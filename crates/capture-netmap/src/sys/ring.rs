//! One ring in shared memory: slots and buffers, each checked before it is used.
//!
//! Knows the layout, not who owns which slot. What does not change while a port is open is read and checked once; head, cur and tail are
//! handed over by acquire and release, once a batch; a slot is read once, by relaxed loads, which are plain ones to the processor, and
//! checked as a copy. Nothing that is read is believed.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::{offset_of, size_of};
use std::ops::Deref;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::abi;
use super::memory::{Buffers, Memory};

/// Slots of a ring at most: twice what any driver or `ring_size` of the module gives.
const MOST_SLOTS: u32 = 1 << 20;
/// Octets of a buffer: the module's `buf_size` is 64 and more; a slot's length has 16 bits.
const BUFFER_SIZES: std::ops::RangeInclusive<u32> = 64..=1 << 16;

/// The rings of a port, as `struct netmap_if` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Rx(u32),
    Tx(u32),
    HostRx(u32),
    HostTx(u32),
}

/// One ring, in memory that it shares with held frames (`Arc`), or has for itself (`Box`).
pub(crate) struct Ring<M = Arc<Memory>> {
    memory: M,
    place: Place,
}

/// Where a ring and its buffers are: read once, and checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    at: usize,
    slots: u32,
    buffer_size: u32,
    /// Where buffer 0 would be, and how many there are until the mapping ends.
    buffers_at: usize,
    buffers: u32,
}

/// The slots and buffers of a ring.
#[derive(Clone, Copy)]
pub(crate) struct View<'r> {
    slots: &'r [RawSlot],
    buffers: Buffers<'r>,
}

/// A slot as it lies in memory: number, length and flags, and a pointer that we do not use.
pub(crate) type RawSlot = [AtomicU64; 2];

/// A copy of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) buffer: u32,
    pub(crate) length: u16,
    pub(crate) flags: u16,
}

/// The shared memory is not as netmap lays it out: what, and what was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nonsense(pub(crate) &'static str, pub(crate) u64);

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.0, self.1)
    }
}

impl Place {
    /// The ring `which` of the `struct netmap_if` at `interface`.
    fn find(memory: &Memory, interface: usize, which: Which) -> Result<Self, Nonsense> {
        let count = |field: usize| interface.checked_add(field).and_then(|at| memory.load(at));
        let counts = || {
            Some((
                u64::from(count(offset_of!(abi::Interface, tx_rings))?),
                u64::from(count(offset_of!(abi::Interface, rx_rings))?),
                u64::from(count(offset_of!(abi::Interface, host_tx_rings))?),
                u64::from(count(offset_of!(abi::Interface, host_rx_rings))?),
            ))
        };
        let (tx, rx, host_tx, host_rx) = counts().ok_or(Nonsense("the offset of the interface", interface as u64))?;
        let (before, number, of, receives) = match which {
            Which::Tx(number) => (0, number, tx, false),
            Which::HostTx(number) => (tx, number, host_tx, false),
            Which::Rx(number) => (tx + host_tx, number, rx, true),
            Which::HostRx(number) => (tx + host_tx + rx, number, host_rx, true),
        };
        if u64::from(number) >= of {
            return Err(Nonsense("the number of rings of this kind", of));
        }
        // At most 5 times 2^32: no overflow.
        let index = (before + u64::from(number)) as usize;
        let entry = interface + size_of::<abi::Interface>();
        let offset = memory.load_long(entry + 8 * index).ok_or(Nonsense("the number of rings", index as u64))?;
        let at = interface.wrapping_add(offset as usize);
        Self::at(memory, at, entry + 8 * index + 8, receives)
    }

    /// The ring at the offset `at`; the list of rings ends at `list_end`.
    fn at(memory: &Memory, at: usize, list_end: usize, receives: bool) -> Result<Self, Nonsense> {
        let misplaced = Nonsense("the offset of the ring", at as u64);
        if !at.is_multiple_of(8) || at.checked_add(size_of::<abi::Ring>()).is_none_or(|end| end > memory.length()) {
            return Err(misplaced);
        }
        let word = |field: usize| memory.load(at + field).unwrap_or_default();
        let long = |field: usize| memory.load_long(at + field).unwrap_or_default();
        let slots = word(offset_of!(abi::Ring, num_slots));
        let buffer_size = word(offset_of!(abi::Ring, buf_size));
        let end = at + size_of::<abi::Ring>() + slots as usize * size_of::<abi::Slot>();
        if !(2..=MOST_SLOTS).contains(&slots) || end > memory.length() {
            return Err(Nonsense("the number of slots", slots.into()));
        }
        if !BUFFER_SIZES.contains(&buffer_size) {
            return Err(Nonsense("the size of buffers", buffer_size.into()));
        }
        let [.., low, high] = word(offset_of!(abi::Ring, ringid)).to_ne_bytes();
        let direction = u16::from_ne_bytes([low, high]);
        if direction != u16::from(!receives) {
            return Err(Nonsense("the direction of the ring", direction.into()));
        }
        // Somebody else's `NETMAP_REQ_OPT_OFFSETS`: frames would start somewhere in their buffers.
        if long(offset_of!(abi::Ring, offset_mask)) != 0 {
            return Err(Nonsense("the mask of offsets", long(offset_of!(abi::Ring, offset_mask))));
        }
        let buffers_at = at.wrapping_add(long(offset_of!(abi::Ring, buf_ofs)) as usize);
        // Buffers lie behind all rings: none may overlap with what is written beside them.
        if buffers_at < end.max(list_end) || buffers_at >= memory.length() {
            return Err(Nonsense("the offset of the buffers", buffers_at as u64));
        }
        let buffers = u32::try_from((memory.length() - buffers_at) / buffer_size as usize).unwrap_or(u32::MAX);
        Ok(Self { at, slots, buffer_size, buffers_at, buffers })
    }

    /// Where a buffer is; `None` if there is none of that number.
    #[inline]
    pub(crate) fn buffer(&self, number: u32) -> Option<usize> {
        if number < abi::FIRST_BUFFER || number >= self.buffers {
            return None;
        }
        Some(self.buffers_at + number as usize * self.buffer_size as usize)
    }
}

impl<M: Deref<Target = Memory>> Ring<M> {
    /// The ring `which` of the `struct netmap_if` at `interface`.
    pub(crate) fn find(memory: M, interface: usize, which: Which) -> Result<Self, Nonsense> {
        Ok(Self { place: Place::find(&memory, interface, which)?, memory })
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn slots(&self) -> u32 {
        self.place.slots
    }

    pub(crate) fn buffer_size(&self) -> usize {
        self.place.buffer_size as usize
    }

    /// The slot after `index`.
    #[inline]
    pub(crate) fn next(&self, index: u32) -> u32 {
        if index + 1 < self.place.slots { index + 1 } else { 0 }
    }

    /// The slot before `index`.
    #[inline]
    pub(crate) fn previous(&self, index: u32) -> u32 {
        if index == 0 { self.place.slots - 1 } else { index - 1 }
    }

    /// Steps from one slot to another, both below [`slots`](Self::slots); `from` may be just behind the last one.
    #[inline]
    pub(crate) fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { to + self.place.slots - from }
    }

    /// `to`, or the slot half a ring from `from` if that comes before it.
    pub(crate) fn within_half(&self, from: u32, to: u32) -> u32 {
        let half = self.place.slots / 2;
        if self.distance(from, to) <= half { to } else { (from + half) % self.place.slots }
    }

    fn field(&self, offset: usize) -> u32 {
        // Acquire: what the module wrote into slots and buffers before is seen.
        self.memory.word(self.place.at + offset).map_or(u32::MAX, |word| word.load(Ordering::Acquire))
    }

    fn in_ring(&self, index: u32) -> Option<u32> {
        (index < self.place.slots).then_some(index)
    }

    /// Where the module's slots begin; `None` if that is no slot.
    #[inline]
    pub(crate) fn tail(&self) -> Option<u32> {
        self.in_ring(self.field(offset_of!(abi::Ring, tail)))
    }

    /// What is published as our first slot; `None` if that is no slot.
    pub(crate) fn head(&self) -> Option<u32> {
        self.in_ring(self.field(offset_of!(abi::Ring, head)))
    }

    /// Our slots begin at `head`, and what comes at `cur` or later is new. The module reads it at the next sync.
    #[inline]
    pub(crate) fn publish(&self, head: u32, cur: u32) {
        for (offset, value) in [(offset_of!(abi::Ring, cur), cur), (offset_of!(abi::Ring, head), head)] {
            if let Some(word) = self.memory.word(self.place.at + offset) {
                // Release: what we read and wrote before is done.
                word.store(value, Ordering::Release);
            }
        }
    }

    /// Sets flags of the ring.
    pub(crate) fn set_flags(&self, flags: u32) {
        let at = self.place.at + offset_of!(abi::Ring, flags);
        self.memory.store(at, self.memory.load(at).unwrap_or_default() | flags);
    }

    /// Seconds and microseconds of the last sync.
    pub(crate) fn time(&self) -> (u64, u64) {
        let long = |field: usize| self.memory.load_long(self.place.at + field).unwrap_or_default();
        (long(offset_of!(abi::Ring, seconds)), long(offset_of!(abi::Ring, microseconds)))
    }

    /// For looking at one slot after the other.
    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        let at = self.place.at + size_of::<abi::Ring>();
        // SAFETY: `Place::at` found all slots of the ring inside of this memory, and the ring at a multiple of 8.
        let slots = unsafe { self.memory.pairs_at(at, self.place.slots as usize) };
        let Place { buffer_size, buffers_at, buffers, .. } = self.place;
        let first = buffers_at.wrapping_add(abi::FIRST_BUFFER as usize * buffer_size as usize);
        // SAFETY: `Place::at` counted the buffers that are whole inside of this memory, of which the first ones are left out here.
        let buffers = unsafe { self.memory.buffers_at(first, buffers.saturating_sub(abi::FIRST_BUFFER), buffer_size) };
        View { slots, buffers }
    }

    /// A copy of a slot. All zero, which no slot in use is, for an index that is none.
    #[inline]
    pub(crate) fn slot(&self, index: u32) -> Slot {
        self.view().slot(index).unwrap_or(Slot { buffer: 0, length: 0, flags: 0 })
    }

    /// Writes a slot of ours.
    #[inline]
    pub(crate) fn set_slot(&self, index: u32, slot: Slot) {
        if let Some([long, _]) = self.view().slots.get(index as usize) {
            let ([a, b, c, d], [e, f], [g, h]) =
                (slot.buffer.to_ne_bytes(), slot.length.to_ne_bytes(), slot.flags.to_ne_bytes());
            long.store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), Ordering::Relaxed);
        }
    }

    /// The octets that a slot refers to; `None` if they are not in a buffer.
    #[inline]
    pub(crate) fn octets(&self, slot: Slot) -> Option<&[u8]> {
        self.view().octets(slot)
    }
}

impl<'r> View<'r> {
    /// A copy of a slot.
    #[inline]
    fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(index as usize).map(read)
    }

    /// The slots from one up to another, or up to the end of the ring if that comes before it.
    #[inline]
    pub(crate) fn run(&self, from: u32, to: u32) -> slice::Iter<'r, RawSlot> {
        let end = if from <= to { to as usize } else { self.slots.len() };
        self.slots.get(from as usize..end).unwrap_or_default().iter()
    }

    /// The octets that a slot refers to; `None` if they are not in a buffer.
    #[inline]
    fn octets(&self, slot: Slot) -> Option<&'r [u8]> {
        if slot.flags & abi::INDIRECT != 0 {
            return None;
        }
        self.buffers.octets(slot.buffer.wrapping_sub(abi::FIRST_BUFFER), slot.length)
    }

    /// A frame that lies in this slot alone. `None` for any other slot, and for one that is damaged.
    #[inline]
    pub(crate) fn whole(&self, slot: &RawSlot) -> Option<(&'r [u8], Slot)> {
        let slot = read(slot);
        if slot.flags & (abi::MORE_FRAGMENTS | abi::INDIRECT) != 0 {
            return None;
        }
        Some((self.octets(slot)?, slot))
    }
}

#[inline]
fn read([long, _]: &RawSlot) -> Slot {
    let [a, b, c, d, e, f, g, h] = long.load(Ordering::Relaxed).to_ne_bytes();
    Slot {
        buffer: u32::from_ne_bytes([a, b, c, d]),
        length: u16::from_ne_bytes([e, f]),
        flags: u16::from_ne_bytes([g, h]),
    }
}

const _: () = assert!(
    offset_of!(abi::Slot, buf_idx) == 0 && offset_of!(abi::Slot, len) == 4 && offset_of!(abi::Slot, flags) == 6
);

impl Ring<Box<Memory>> {
    /// The whole buffer of a slot, to be written; `None` if there is none of that number.
    #[inline]
    pub(crate) fn room(&mut self, slot: Slot) -> Option<&mut [u8]> {
        let at = self.place.buffer(slot.buffer)?;
        self.memory.octets_mut(at, self.place.buffer_size as usize)
    }

    /// Other rings and held frames may look at the same memory from now on.
    pub(crate) fn share(self) -> (Ring, Arc<Memory>) {
        let memory = Arc::<Memory>::from(self.memory);
        (Ring { memory: Arc::clone(&memory), place: self.place }, memory)
    }

    /// The memory, for what has to be alone with it.
    pub(crate) fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

impl Slot {
    /// Whether the frame goes on in the next slot.
    #[inline]
    pub(crate) fn goes_on(self) -> bool {
        self.flags & abi::MORE_FRAGMENTS != 0
    }
}
