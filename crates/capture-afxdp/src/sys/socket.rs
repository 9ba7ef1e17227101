//! An AF_XDP socket: options, bind, statistics, poll.
//!
//! Holds the system calls, one method for each thing asked. Knows no order in which to ask and no option of ours.
#![allow(unsafe_code)]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, sockaddr_xdp, xdp_mmap_offsets, xdp_statistics, xdp_umem_reg};

use super::memory::Memory;

const _: () = assert!(size_of::<xdp_umem_reg>() == 32, "xdp_umem_reg is not the kernel's");
const _: () = assert!(offset_of!(xdp_umem_reg, chunk_size) == 16, "xdp_umem_reg is not the kernel's");
const _: () = assert!(size_of::<sockaddr_xdp>() == 16, "sockaddr_xdp is not the kernel's");
const _: () = assert!(offset_of!(sockaddr_xdp, sxdp_queue_id) == 8, "sockaddr_xdp is not the kernel's");
const _: () = assert!(size_of::<xdp_statistics>() == 48, "xdp_statistics is not the kernel's");
const _: () = assert!(offset_of!(xdp_statistics, rx_ring_full) == 24, "xdp_statistics is not the kernel's");
const _: () = assert!(size_of::<xdp_mmap_offsets>() == 128, "xdp_mmap_offsets is not the kernel's");

/// `XDP_OPTIONS` and `XDP_OPTIONS_ZEROCOPY` of linux/if_xdp.h.
const OPTIONS: c_int = 8;
const OPTIONS_ZERO_COPY: u32 = 1;

/// Which frames are copied by the kernel, and how large they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The driver writes to our memory by itself (`XDP_ZEROCOPY`); otherwise the kernel copies (`XDP_COPY`).
    pub(crate) zero_copy: bool,
    /// Frames of several buffers (`XDP_USE_SG`, Linux 6.6).
    pub(crate) frags: bool,
}

/// Places at which the rings are mapped (`XDP_PGOFF_`).
pub(crate) const RX_PLACE: u64 = 0;
pub(crate) const TX_PLACE: u64 = 0x8000_0000;
pub(crate) const FILL_PLACE: u64 = 0x1_0000_0000;
pub(crate) const COMPLETION_PLACE: u64 = 0x1_8000_0000;

/// The four rings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RingKind {
    Rx = 2,
    Tx = 3,
    Fill = 5,
    Completion = 6,
}

pub(crate) struct XdpSocket {
    fd: OwnedFd,
}

impl XdpSocket {
    /// Without memory and rings.
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Makes `memory` the socket's, in chunks of `chunk_size` octets. The kernel keeps its pages as long as the socket lives, also if the
    /// mapping ends before.
    pub(crate) fn register(&self, memory: &Memory, chunk_size: u32) -> io::Result<()> {
        let region = xdp_umem_reg {
            addr: memory.address(),
            len: memory.length() as u64,
            chunk_size,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        self.set(libc::XDP_UMEM_REG, &region)
    }

    /// Makes a ring of `entries`, a power of two.
    pub(crate) fn make_ring(&self, kind: RingKind, entries: u32) -> io::Result<()> {
        self.set(kind as c_int, &entries)
    }

    /// Where in their mappings the rings' parts lie.
    pub(crate) fn layout(&self) -> io::Result<xdp_mmap_offsets> {
        // SAFETY: all octets zero is a valid xdp_mmap_offsets.
        let (offsets, length) = self.get(libc::XDP_MMAP_OFFSETS, unsafe { std::mem::zeroed() })?;
        // Older than Linux 5.4: a shorter structure, and no need-wakeup flag.
        if length < size_of::<xdp_mmap_offsets>() {
            return Err(io::Error::from_raw_os_error(libc::EPROTONOSUPPORT));
        }
        Ok(offsets)
    }

    /// Binds to a receive and send queue of an interface.
    pub(crate) fn bind(&self, interface: i32, queue: u32, binding: Binding) -> io::Result<()> {
        let copy = if binding.zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        let frags = if binding.frags { libc::XDP_USE_SG } else { 0 };
        let address = sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_USE_NEED_WAKEUP | copy | frags,
            sxdp_ifindex: interface.cast_unsigned(),
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let length = size_of::<sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: the address is a whole sockaddr_xdp, and its length is given.
        let result = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) };
        check(result)
    }

    /// Whether the driver writes to our memory by itself; of a bound socket.
    pub(crate) fn is_zero_copy(&self) -> io::Result<bool> {
        Ok(self.get(OPTIONS, 0_u32)?.0 & OPTIONS_ZERO_COPY != 0)
    }

    /// Counters since the socket was made; reading changes nothing. Kernels before 5.9 leave the last three at 0.
    pub(crate) fn statistics(&self) -> io::Result<xdp_statistics> {
        // SAFETY: all octets zero is a valid xdp_statistics.
        Ok(self.get(libc::XDP_STATISTICS, unsafe { std::mem::zeroed() })?.0)
    }

    /// Waits for a frame, at most `timeout`; wakes the driver if it sleeps. Says whether there is something.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(86_400) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: one pollfd and a timespec that live through the call; no signal mask.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) };
        match ready {
            0.. => Ok(ready > 0),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => Ok(false),
                e => Err(e),
            },
        }
    }

    /// Wakes the driver, that it takes buffers from the fill ring.
    pub(crate) fn wake(&self) -> io::Result<()> {
        let no_buffer = std::ptr::null_mut();
        // SAFETY: no buffer, of length 0.
        let result = unsafe { libc::recv(self.fd.as_raw_fd(), no_buffer, 0, libc::MSG_DONTWAIT) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether its interface is still there, without a lock: the kernel unbinds the sockets of one that is deleted, and wakes none that is not
    /// bound. A kernel without recvmsg(2) here (before Linux 5.11) does not tell.
    pub(crate) fn is_bound(&self) -> bool {
        !self.wake().is_err_and(|error| error.raw_os_error() == Some(libc::ENXIO))
    }

    /// Has the kernel send what is in the TX ring.
    pub(crate) fn send(&self) -> io::Result<()> {
        let (fd, flags) = (self.fd.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: no octets and no address.
        let result = unsafe { libc::sendto(fd, std::ptr::null(), 0, flags, std::ptr::null(), 0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn set<T>(&self, option: c_int, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        let value = std::ptr::from_ref(value).cast();
        // SAFETY: `value` is `length` octets, of the type that the option takes.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_XDP, option, value, length) })
    }

    fn get<T: Copy>(&self, option: c_int, mut value: T) -> io::Result<(T, usize)> {
        let mut length = size_of::<T>() as libc::socklen_t;
        let place = (&raw mut value).cast();
        // SAFETY: the kernel writes at most `length` octets to `value`, a type of integers, each caller's as the option gives.
        check(unsafe { libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_XDP, option, place, &raw mut length) })?;
        Ok((value, length as usize))
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends `datagram` by UDP as segments of `size` octets, cut as late as the devices on the way allow (`UDP_SEGMENT` of linux/udp.h).
#[cfg(test)]
pub(crate) fn send_segments(to: std::net::SocketAddr, datagram: &[u8], size: c_int) -> io::Result<usize> {
    const UDP_SEGMENT: c_int = 103;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let length = size_of::<c_int>() as libc::socklen_t;
    let value = (&raw const size).cast();
    // SAFETY: an integer of the length given.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, UDP_SEGMENT, value, length) })?;
    socket.send_to(datagram, to)
}
