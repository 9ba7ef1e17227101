//! A packet(7) socket that captures nothing and only asks for promiscuous mode.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, packet_mreq};

const _: () = assert!(size_of::<packet_mreq>() == 16, "packet_mreq is not the kernel's");

/// With protocol 0: no frame ever comes to it (packet(7)).
pub(crate) fn open() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Keeps the interface in promiscuous mode as long as the socket lives (`PACKET_MR_PROMISC`).
pub(crate) fn promiscuous(socket: &OwnedFd, ifindex: c_int) -> io::Result<()> {
    let request =
        packet_mreq { mr_ifindex: ifindex, mr_type: libc::PACKET_MR_PROMISC as u16, mr_alen: 0, mr_address: [0; 8] };
    // SAFETY: a whole packet_mreq that lives through the call, and its length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            size_of::<packet_mreq>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
