//! /dev/netmap: the system calls, behind a trait by which tests put a model in its place.
//!
//! Knows no policy: what an error means is said elsewhere.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// One open /dev/netmap: the module's side of a port.
///
/// Everything that this crate asks of the module goes through here. The memory is shared by a file descriptor that is mapped on this
/// side, so nothing that an implementation does can be unsound.
pub trait Kernel: Send + Sync {
    /// `NIOCCTRL`: a `struct nmreq_header` and the structure of its request, of which the module rewrites parts. The address of `body` is
    /// put into the header by the implementation.
    ///
    /// # Errors
    /// What ioctl(2) says.
    fn control(&self, request: u32, header: &mut [u8], body: &mut [u8]) -> io::Result<()>;

    /// `NIOCRXSYNC` or `NIOCTXSYNC`.
    ///
    /// # Errors
    /// What ioctl(2) says.
    fn sync(&self, request: u32) -> io::Result<()>;

    /// Waits for `POLLIN` or `POLLOUT` and gives what poll(2) gives in `revents`, 0 if time is up or a signal came.
    ///
    /// # Errors
    /// What poll(2) says.
    fn poll(&self, events: i16, timeout: Duration) -> io::Result<i16>;

    /// What is to be mapped.
    fn memory(&self) -> BorrowedFd<'_>;
}

/// The real one.
pub(crate) struct Device(File);

impl Device {
    pub(crate) const PATH: &str = "/dev/netmap";

    pub(crate) fn open() -> io::Result<Self> {
        File::options().read(true).write(true).open(Self::PATH).map(Self)
    }
}

impl Kernel for Device {
    fn control(&self, request: u32, header: &mut [u8], body: &mut [u8]) -> io::Result<()> {
        let address = (body.as_mut_ptr().expose_provenance() as u64).to_ne_bytes();
        let field =
            header.get_mut(BODY..).and_then(|rest| rest.first_chunk_mut()).ok_or(io::ErrorKind::InvalidInput)?;
        *field = address;
        // SAFETY: the header is whole, and the module reads and writes the request's structure at the address in it: each caller gives
        // the structure that belongs to the type of request. Both are borrowed exclusively until the call returns.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::c_ulong::from(request) as _, header.as_mut_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn sync(&self, request: u32) -> io::Result<()> {
        // SAFETY: takes numbers only.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::c_ulong::from(request) as _, 0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn poll(&self, events: i16, timeout: Duration) -> io::Result<i16> {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(86_400) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: one pollfd and a timespec that live through the call; no signal mask.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) };
        if ready >= 0 {
            return Ok(poll.revents);
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            e => Err(e),
        }
    }

    fn memory(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Offset of the address in the header.
const BODY: usize = std::mem::offset_of!(super::abi::Header, body);
