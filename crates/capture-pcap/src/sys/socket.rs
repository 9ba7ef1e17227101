//! What is asked of the socket under a libpcap handle, past libpcap.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use capture::BpfInstruction;

/// Puts a program in the place of the one that a packet(7) socket has, past libpcap. When this returns no frame is under way that the old
/// one let through. libpcap's own way would also run the new program on what waits in the ring (`blocks_to_filter_in_userland` of
/// pcap-linux.c).
pub(crate) fn attach(socket: BorrowedFd<'_>, program: &[BpfInstruction]) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> =
        program.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
    let len = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    // SAFETY: a whole sock_fprog, whose instructions live through the call, and its length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // Receive paths that still run the old filter.
    netdev::wait_for_receive_paths();
    Ok(())
}

/// Whether it is a packet(7) socket, whose counters mean what this crate takes them for.
pub(crate) fn is_packet_socket(socket: BorrowedFd<'_>) -> bool {
    let mut domain: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets to an integer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &raw mut length,
        )
    };
    result == 0 && domain == libc::AF_PACKET
}

/// Sleeps until there is something to read or an error, at most that many milliseconds. Whether it was something to read.
pub(crate) fn poll(socket: BorrowedFd<'_>, milliseconds: i32) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives through the call.
    match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
        0.. => Ok(poll.revents & libc::POLLIN != 0),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
    }
}
