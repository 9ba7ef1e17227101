//! Raw frames on packet(7) sockets: sent by sendmmsg(2), received by recv(2).
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A socket that sends on one interface and receives nothing.
pub(crate) fn open(interface: &str) -> io::Result<OwnedFd> {
    bind(interface, 0)
}

/// A socket that receives what comes in on one interface, each call for 50 ms at most.
pub(crate) fn receiver(interface: &str) -> io::Result<OwnedFd> {
    let socket = bind(interface, (libc::ETH_P_ALL as u16).to_be())?;
    let time = libc::timeval { tv_sec: 0, tv_usec: 50_000 };
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &time)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(32_i32 << 20))?;
    // What is sent from here is no arrival.
    set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
    Ok(socket)
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: reads a whole T.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next frame; `None` if none came in time.
pub(crate) fn receive(socket: &OwnedFd, room: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: writes at most so many octets.
    let got = unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0) };
    match usize::try_from(got) {
        Ok(length) => Ok(Some(length)),
        Err(_) => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(None),
            error => Err(error),
        },
    }
}

fn bind(interface: &str, protocol: u16) -> io::Result<OwnedFd> {
    let name = CString::new(interface)?;
    // SAFETY: reads a string that ends with a zero octet.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) }; // nothing comes before bind(2)
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all octets zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = index.cast_signed();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: reads a whole sockaddr_ll.
    let result = unsafe { libc::bind(fd, (&raw const address).cast(), length) };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Sends the frames in order; returns how many the kernel took.
pub(crate) fn send(socket: &OwnedFd, frames: &[Vec<u8>]) -> io::Result<usize> {
    let mut vectors: Vec<libc::iovec> =
        frames.iter().map(|f| libc::iovec { iov_base: f.as_ptr().cast_mut().cast(), iov_len: f.len() }).collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all octets zero is a valid mmsghdr.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let count = libc::c_uint::try_from(messages.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `count` headers, each with one vector over a frame; all live through the call, which only reads the frames.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
