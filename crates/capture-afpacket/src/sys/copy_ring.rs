//! Slots in this process's own memory, sent by sendmmsg(2): one system call copies many frames into the kernel.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Frames of one call at most (`UIO_MAXIOV` is what the kernel takes).
const CALL: usize = 1024;

/// Octets between slots: the starts of slots that lie a power of two apart would share a few lines of the core's cache.
const GAP: usize = 64;

/// Slots of one size, and for each the headers by which the kernel finds its frame.
pub(crate) struct CopyRing {
    octets: Vec<u8>,
    slot_size: usize,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in the headers lead to `octets` and `vectors` of the same value, whose buffers are never reallocated and do not
// move with it; nothing is bound to a thread.
unsafe impl Send for CopyRing {}

impl CopyRing {
    pub(crate) fn new(slot_size: usize, slots: usize) -> Self {
        let mut octets = vec![0u8; (slot_size + GAP) * slots];
        let mut vectors: Vec<libc::iovec> = octets
            .chunks_exact_mut(slot_size + GAP)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: 0 })
            .collect();
        let messages = vectors
            .iter_mut()
            .map(|vector| {
                // SAFETY: all octets zero is a valid mmsghdr: no address, no control data.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = vector;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        Self { octets, slot_size, vectors, messages }
    }

    pub(crate) fn slots(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn slot_size(&self) -> usize {
        self.slot_size
    }

    /// Octets of a slot.
    pub(crate) fn octets(&mut self, slot: usize) -> &mut [u8] {
        let start = slot * (self.slot_size + GAP);
        &mut self.octets[start..start + self.slot_size]
    }

    /// Sets how long the slot's frame is.
    pub(crate) fn set_length(&mut self, slot: usize, length: usize) {
        self.vectors[slot].iov_len = length.min(self.slot_size);
    }

    /// How long the slot's frame is.
    pub(crate) fn length(&self, slot: usize) -> usize {
        self.vectors[slot].iov_len
    }

    /// Sends the frames of `count` slots from `first` on, without going round; returns how many the kernel took.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, first: usize, count: usize) -> io::Result<usize> {
        let messages = &mut self.messages[first..first + count.min(CALL)];
        // SAFETY: that many headers, each with one vector over a slot of `octets`, which live as long as `self`; the kernel reads frames
        // no longer than their slots (`set_length`) and writes only the headers' `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
