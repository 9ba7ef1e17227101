//! The TX ring in memory: slots that this process fills and the kernel sends.
//!
//! Holds the mapping and the hand-over by `tp_status`. Knows no socket calls and no frame.
#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::tpacket2_hdr;

const _: () = assert!(size_of::<tpacket2_hdr>() == 32, "tpacket2_hdr is not the kernel's");
const _: () = assert!(offset_of!(tpacket2_hdr, tp_status) == 0, "tpacket2_hdr is not the kernel's");
const _: () = assert!(offset_of!(tpacket2_hdr, tp_len) == 4, "tpacket2_hdr is not the kernel's");

/// Where a slot's frame starts: `TPACKET2_HDRLEN - sizeof(struct sockaddr_ll)` (`tpacket_fill_skb`, net/packet/af_packet.c).
pub(crate) const HEADER: usize = 32;

// Of linux/if_packet.h.
const SEND_REQUEST: u32 = 1;
const SENDING: u32 = 2;
const WRONG_FORMAT: u32 = 4;

/// Whose a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Ours: never used, or sent.
    Free,
    /// The kernel's, to be sent: it has not begun, and does only while it is called.
    Waiting,
    /// The kernel's, being sent.
    Busy,
    /// The kernel refused the frame, and waits for another in this slot.
    Refused,
}

/// Slots of one size, one behind the other.
pub(crate) struct TxRing {
    base: NonNull<u8>,
    slot_size: usize,
    slots: usize,
}

// SAFETY: the ring owns its mapping, which is not bound to a thread; no other pointer to it exists in this process.
unsafe impl Send for TxRing {}

impl TxRing {
    /// Maps the TX ring that `socket` has, of `slots` slots of `slot_size` octets, which fill its blocks without gaps.
    pub(crate) fn map(socket: BorrowedFd<'_>, slot_size: usize, slots: usize) -> io::Result<Self> {
        if slots == 0 || slot_size <= HEADER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = slot_size.checked_mul(slots).ok_or(io::ErrorKind::InvalidInput)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, socket.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, slot_size, slots })
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Octets of a slot's frame.
    pub(crate) fn room(&self) -> usize {
        self.slot_size - HEADER
    }

    fn word(&self, slot: usize, offset: usize) -> &AtomicU32 {
        assert!(slot < self.slots);
        let word = self.base.as_ptr().wrapping_add(slot * self.slot_size + offset).cast::<u32>();
        // SAFETY: inside of the mapping, for `slot` is below `slots` and `offset` is that of a header's word; aligned, for slots are
        // multiples of 16 octets; alive as long as `self`. The kernel reads and writes the word too, which is what an atomic is for.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Whose the slot is. Acquire: when it is ours the kernel is through with its octets.
    pub(crate) fn state(&self, slot: usize) -> Slot {
        match self.word(slot, 0).load(Ordering::Acquire) & (SEND_REQUEST | SENDING | WRONG_FORMAT) {
            0 => Slot::Free,
            status if status & WRONG_FORMAT != 0 => Slot::Refused,
            SEND_REQUEST => Slot::Waiting,
            _ => Slot::Busy,
        }
    }

    /// The octets of a slot that is ours.
    ///
    /// # Panics
    /// If it is the kernel's.
    pub(crate) fn octets(&mut self, slot: usize) -> &mut [u8] {
        assert_eq!(self.state(slot), Slot::Free, "a slot is filled only while it is ours");
        let start = self.base.as_ptr().wrapping_add(slot * self.slot_size + HEADER);
        // SAFETY: inside of the mapping, as above. The kernel does not touch the octets of a slot that is ours, and the exclusive borrow
        // keeps `hand_over` away.
        unsafe { std::slice::from_raw_parts_mut(start, self.slot_size - HEADER) }
    }

    /// Gives a filled slot to the kernel, which sends it at the next call of send(2).
    pub(crate) fn hand_over(&mut self, slot: usize, length: u32) {
        self.word(slot, offset_of!(tpacket2_hdr, tp_len)).store(length, Ordering::Relaxed);
        // Release: the octets and the length are written before.
        self.word(slot, 0).store(SEND_REQUEST, Ordering::Release);
    }

    /// Octets of the frame that was handed over in this slot.
    pub(crate) fn length(&self, slot: usize) -> usize {
        self.word(slot, offset_of!(tpacket2_hdr, tp_len)).load(Ordering::Relaxed) as usize
    }

    /// Copies the frame of one waiting slot into another, over what waits there.
    ///
    /// # Panics
    /// If one of them is not waiting.
    pub(crate) fn move_up(&mut self, from: usize, to: usize) {
        assert_eq!((self.state(from), self.state(to)), (Slot::Waiting, Slot::Waiting), "only what waits is moved");
        let length = self.length(from).min(self.room());
        let frame = |slot: usize| self.base.as_ptr().wrapping_add(slot * self.slot_size + HEADER);
        // SAFETY: both inside of the mapping, for `state` has checked the slots, and `length` is at most a slot's room; the kernel reads
        // the octets of a waiting slot only in send(2), which the owner of this exclusive borrow would have to call.
        unsafe { std::ptr::copy(frame(from), frame(to), length) };
        self.hand_over(to, length as u32);
    }

    /// Takes back a slot whose frame is waiting, or was refused.
    ///
    /// # Panics
    /// If the kernel has begun to send it.
    pub(crate) fn take_back(&mut self, slot: usize) {
        assert!(matches!(self.state(slot), Slot::Waiting | Slot::Refused), "what is being sent cannot be taken back");
        self.word(slot, 0).store(0, Ordering::Relaxed);
    }
}

impl Drop for TxRing {
    fn drop(&mut self) {
        // SAFETY: the mapping of `map`, whole, and once; nobody borrows it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.slot_size * self.slots) };
    }
}
