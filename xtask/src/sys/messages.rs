//! The least that receives by recvmmsg(2) with a time and the auxiliary data for each frame: what ringtap's plain socket is compared with.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// Frames of one call.
const FRAMES: usize = 256;
const CONTROL: usize = 128;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// A packet(7) socket and the memory for a call.
pub(crate) struct MessageLoop {
    socket: OwnedFd,
    snaplen: usize,
    octets: Vec<u8>,
    names: Vec<libc::sockaddr_ll>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl MessageLoop {
    /// On an interface of the calling thread's namespace.
    pub(crate) fn open(interface: &str, buffer: i32, snaplen: u32) -> io::Result<Self> {
        let no_protocol = 0; // nothing comes before the filter is there
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, no_protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        super::ring::cut(&socket, snaplen)?;
        super::ring::set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)?;
        super::ring::set(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
        super::ring::set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(buffer / 2))?;
        super::ring::bind(&socket, interface)?;
        let snaplen = snaplen as usize;
        // SAFETY: all octets zero is a valid sockaddr_ll.
        let names = vec![unsafe { std::mem::zeroed::<libc::sockaddr_ll>() }; FRAMES];
        // SAFETY: all octets zero is a valid mmsghdr.
        let headers = vec![unsafe { std::mem::zeroed::<libc::mmsghdr>() }; FRAMES];
        let vectors = vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; FRAMES];
        let (octets, controls) = (vec![0; FRAMES * snaplen], vec![Control([0; CONTROL]); FRAMES]);
        Ok(Self { socket, snaplen, octets, names, controls, vectors, headers })
    }

    /// Gives each frame of one call to `touch`; says how many they were.
    pub(crate) fn batch(&mut self, mut touch: impl FnMut(&[u8])) -> usize {
        let Self { octets, names, controls, vectors, headers, snaplen, socket } = self;
        let places = octets.chunks_exact_mut(*snaplen).zip(names).zip(controls).zip(vectors);
        for (header, (((place, name), control), vector)) in headers.iter_mut().zip(places) {
            *vector = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: *snaplen };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        let (fd, wait) = (socket.as_raw_fd(), libc::MSG_DONTWAIT as _);
        // SAFETY: so many headers, each with memory of its own that lives through the call.
        let got = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), FRAMES as _, wait, ptr::null_mut()) };
        let got = usize::try_from(got).unwrap_or(0);
        for (header, place) in headers.iter().zip(octets.chunks_exact(*snaplen)).take(got) {
            touch(place.get(..header.msg_len as usize).unwrap_or_default());
        }
        got
    }

    /// Waits for a frame, up to `timeout` milliseconds.
    pub(crate) fn poll(&self, timeout: i32) {
        super::poll(&self.socket, timeout);
    }
}
