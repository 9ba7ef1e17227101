//! Receiving by recvmmsg(2): memory for many frames, and what the kernel says of each.
#![allow(unsafe_code)]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{sockaddr_ll, tpacket_auxdata};

const _: () = assert!(size_of::<tpacket_auxdata>() == 20, "tpacket_auxdata is not the kernel's");
const _: () = assert!(offset_of!(tpacket_auxdata, tp_vlan_tci) == 16, "tpacket_auxdata is not the kernel's");

/// `TP_STATUS_VLAN_VALID` and `TP_STATUS_VLAN_TPID_VALID` of linux/if_packet.h.
const VLAN_VALID: u32 = 1 << 4;
const TPID_VALID: u32 = 1 << 6;
/// Octets for the control messages of a frame: a time and the auxiliary data, with room to spare.
const CONTROL: usize = 128;

/// A frame's place, and what the kernel tells beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) captured: usize,
    /// Octets before the filter cut it.
    pub(crate) wire_len: u32,
    pub(crate) outgoing: bool,
    pub(crate) seconds: i64,
    pub(crate) nanos: i64,
    pub(crate) vlan: Option<(u16, u16)>,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Memory for the frames of one call, and the headers that lead the kernel to it.
pub(crate) struct Messages {
    octets: Vec<u8>,
    stride: usize,
    _vectors: Vec<libc::iovec>,
    names: Vec<sockaddr_ll>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in the headers lead to buffers of the same value, which are never reallocated and do not move with it; nothing is
// bound to a thread.
unsafe impl Send for Messages {}

impl Messages {
    /// For `count` frames of at most `stride` octets.
    pub(crate) fn new(count: usize, stride: usize) -> Self {
        let mut octets = vec![0u8; count * stride];
        let mut vectors: Vec<libc::iovec> = octets
            .chunks_exact_mut(stride)
            .map(|place| libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: stride })
            .collect();
        // SAFETY: all octets zero is a valid sockaddr_ll.
        let mut names: Vec<sockaddr_ll> = vec![unsafe { std::mem::zeroed() }; count];
        let mut controls = vec![Control([0; CONTROL]); count];
        let mut headers = Vec::with_capacity(count);
        for ((vector, name), control) in vectors.iter_mut().zip(&mut names).zip(&mut controls) {
            // SAFETY: all octets zero is a valid mmsghdr.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            headers.push(header);
        }
        Self { octets, stride, _vectors: vectors, names, controls, headers }
    }

    /// Receives what is there, without waiting; says how many frames. Those of the call before are gone.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = size_of::<sockaddr_ll>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        let (pointer, count) = (self.headers.as_mut_ptr(), self.headers.len() as libc::c_uint);
        // SAFETY: that many headers, each with an address, a vector and control memory of its own, all alive as long as `self`, of which
        // nothing is borrowed now; their lengths are those of the memory.
        let got = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), pointer, count, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
        };
        match usize::try_from(got) {
            Ok(got) => Ok(got.min(self.headers.len())),
            Err(_) => match io::Error::last_os_error() {
                e if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(0),
                e => Err(e),
            },
        }
    }

    /// The octets of the `nth` frame, as many as were captured.
    pub(crate) fn octets(&self, nth: usize, captured: usize) -> &[u8] {
        let start = nth * self.stride;
        self.octets.get(start..start + captured.min(self.stride)).unwrap_or(&[])
    }

    /// What was told of the `nth` frame of the last call.
    pub(crate) fn told(&self, nth: usize) -> Option<Told> {
        let (header, name, control) = (self.headers.get(nth)?, self.names.get(nth)?, self.controls.get(nth)?);
        let captured = (header.msg_len as usize).min(self.stride);
        let mut told = Told { captured, wire_len: header.msg_len, ..Told::default() };
        told.outgoing = name.sll_pkttype == libc::PACKET_OUTGOING;
        let length = header.msg_hdr.msg_controllen.min(CONTROL);
        told.read_control(control.0.get(..length).unwrap_or(&[]));
        told.wire_len = told.wire_len.max(u32::try_from(told.captured).unwrap_or(u32::MAX));
        Some(told)
    }
}

impl Told {
    /// Walks over control messages (cmsg(3)): a `struct cmsghdr` of 16 octets - length, level, type - and its data, aligned to 8.
    fn read_control(&mut self, mut rest: &[u8]) {
        const HEADER: usize = size_of::<libc::cmsghdr>();
        while let Some(head) = rest.get(..HEADER) {
            let word = |at: usize| head.get(at..at + 4).and_then(|w| w.try_into().ok()).map_or(0, i32::from_ne_bytes);
            let length = head.first_chunk::<{ size_of::<usize>() }>().map_or(0, |l| usize::from_ne_bytes(*l));
            let Some(data) = rest.get(HEADER..length) else { return };
            match (word(HEADER - 8), word(HEADER - 4)) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let number =
                        |at: usize| data.get(at..at + 8).and_then(|n| n.try_into().ok()).map_or(0, i64::from_ne_bytes);
                    (self.seconds, self.nanos) = (number(0), number(8));
                }
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => self.read_auxiliary(data),
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(8)..).unwrap_or(&[]);
        }
    }

    /// `struct tpacket_auxdata`: status, length, captured length (32 bits each), two offsets, tag, tag's protocol (16 bits each).
    fn read_auxiliary(&mut self, data: &[u8]) {
        let word = |at: usize| data.get(at..at + 4).and_then(|w| w.try_into().ok()).map_or(0, u32::from_ne_bytes);
        let half = |at: usize| data.get(at..at + 2).and_then(|w| w.try_into().ok()).map_or(0, u16::from_ne_bytes);
        let status = word(0);
        self.wire_len = word(4);
        if status & VLAN_VALID != 0 {
            let tpid = if status & TPID_VALID != 0 { half(18) } else { 0x8100 };
            self.vlan = Some((tpid, half(16)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn control_messages_of_any_octets_are_no_reason_to_panic(octets in proptest::collection::vec(any::<u8>(), 0..CONTROL)) {
            Told::default().read_control(&octets);
        }
    }
}
