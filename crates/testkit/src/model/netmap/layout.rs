//! Where things lie, by the numbers of net/netmap.h.

use std::sync::atomic::Ordering;

use super::Shared;

/// `sizeof(struct netmap_if)`, `sizeof(struct netmap_ring)`, `sizeof(struct netmap_slot)`.
const IF: usize = 56;
const RING: usize = 256;
const SLOT: usize = 16;
/// Room for the `netmap_if` of one descriptor.
const IF_ROOM: usize = 1024;
const INTERFACES: usize = 32;

/// The measures of one port's memory: first the `netmap_if`s, then the rings, then the buffers, as the module's pools are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) slots: u32,
    pub(super) buffer_size: u32,
    pub(super) rings: u16,
    pub(super) host_rings: u16,
    pub(super) buffers: u32,
}

impl Layout {
    fn ring_room(&self) -> usize {
        (RING + SLOT * self.slots as usize).next_multiple_of(4096)
    }

    /// Transmit rings, host transmit rings, receive rings, host receive rings.
    pub(super) fn all_rings(&self) -> usize {
        2 * (usize::from(self.rings) + usize::from(self.host_rings))
    }

    fn buffers_at(&self) -> usize {
        IF_ROOM * INTERFACES + self.all_rings() * self.ring_room()
    }

    pub(super) fn length(&self) -> usize {
        (self.buffers_at() + self.buffers as usize * self.buffer_size as usize).next_multiple_of(4096)
    }

    pub(super) fn interface(&self, descriptor: usize) -> usize {
        assert!(descriptor < INTERFACES, "the model has no more descriptors of one port");
        descriptor * IF_ROOM
    }

    pub(super) fn ring(&self, number: usize) -> usize {
        IF_ROOM * INTERFACES + number * self.ring_room()
    }

    pub(super) fn buffer(&self, number: u32) -> usize {
        self.buffers_at() + number as usize * self.buffer_size as usize
    }

    /// Writes the `netmap_if` of a descriptor. A VALE port reports no host rings in its registration and has one of each here.
    pub(super) fn write_interface(&self, memory: &Shared, descriptor: usize, name: &str, extra: u32) {
        let at = self.interface(descriptor);
        memory.write(at, &[0; IF]);
        memory.write(at, name.as_bytes().get(..15).unwrap_or(name.as_bytes()));
        for (offset, value) in [
            (16, 14),
            (24, u32::from(self.rings)),
            (28, u32::from(self.rings)),
            (32, extra),
            (36, u32::from(self.host_rings)),
            (40, u32::from(self.host_rings)),
        ] {
            memory.word(at + offset).store(value, Ordering::Relaxed);
        }
        for number in 0..self.all_rings() {
            memory.write(at + IF + 8 * number, &((self.ring(number) - at) as i64).to_ne_bytes());
        }
    }

    /// Writes a ring whose slots have the buffers given.
    pub(super) fn write_ring(&self, memory: &Shared, number: usize, ringid: u16, receives: bool, buffers: &[u32]) {
        let at = self.ring(number);
        memory.write(at, &vec![0; RING + SLOT * self.slots as usize]);
        memory.write(at, &((self.buffers_at() - at) as i64).to_ne_bytes());
        memory.word(at + 8).store(self.slots, Ordering::Relaxed);
        memory.word(at + 12).store(self.buffer_size, Ordering::Relaxed);
        memory.write(at + 16, &ringid.to_ne_bytes());
        memory.write(at + 18, &u16::from(!receives).to_ne_bytes());
        for (slot, &buffer) in buffers.iter().enumerate() {
            memory.word(at + RING + SLOT * slot).store(buffer, Ordering::Relaxed);
        }
    }
}

/// A slot as it lies there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// `buf_idx`.
    pub buffer: u32,
    /// `len`.
    pub length: u16,
    /// `flags`.
    pub flags: u16,
}

/// One ring in memory, to be read and written at will.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// All of the port's memory.
    pub memory: &'a Shared,
    /// Where the ring is in it.
    pub at: usize,
    /// Slots, as the model knows.
    pub slots: u32,
}

impl View<'_> {
    fn get(&self, offset: usize) -> u32 {
        self.memory.word(self.at + offset).load(Ordering::Acquire)
    }

    /// Any word of the ring's header: 8 `num_slots`, 12 `buf_size`, 20 `head`, 24 `cur`, 28 `tail`, 32 `flags`, ...
    pub fn set(&self, offset: usize, value: u32) {
        self.memory.word(self.at + offset).store(value, Ordering::Release);
    }

    /// `head`.
    #[must_use]
    pub fn head(&self) -> u32 {
        self.get(20)
    }

    /// `cur`.
    #[must_use]
    pub fn cur(&self) -> u32 {
        self.get(24)
    }

    /// `tail`.
    #[must_use]
    pub fn tail(&self) -> u32 {
        self.get(28)
    }

    /// `flags`.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.get(32)
    }

    /// `ts`.
    pub fn set_time(&self, seconds: i64, microseconds: i64) {
        self.memory.write(self.at + 40, &seconds.to_ne_bytes());
        self.memory.write(self.at + 48, &microseconds.to_ne_bytes());
    }

    /// Slot `index`, taken modulo their number.
    #[must_use]
    pub fn slot(&self, index: u32) -> Slot {
        let at = RING + SLOT * (index % self.slots) as usize;
        let [a, b, c, d] = self.get(at + 4).to_ne_bytes();
        Slot { buffer: self.get(at), length: u16::from_ne_bytes([a, b]), flags: u16::from_ne_bytes([c, d]) }
    }

    /// Writes slot `index`, taken modulo their number.
    pub fn set_slot(&self, index: u32, slot: Slot) {
        let at = RING + SLOT * (index % self.slots) as usize;
        self.set(at, slot.buffer);
        let ([a, b], [c, d]) = (slot.length.to_ne_bytes(), slot.flags.to_ne_bytes());
        self.set(at + 4, u32::from_ne_bytes([a, b, c, d]));
    }
}
