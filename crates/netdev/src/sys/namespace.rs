//! Network namespaces by unshare(2) and setns(2).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The calling thread gets a new network namespace, returned as an open file.
pub(crate) fn unshare() -> io::Result<File> {
    // SAFETY: takes a number only; concerns the calling thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    File::open("/proc/thread-self/ns/net")
}

/// The calling thread moves into `namespace`.
pub(crate) fn enter(namespace: &File) -> io::Result<()> {
    set(namespace.as_raw_fd())
}

/// `command` will run inside `namespace`, which has to stay open until it is started.
pub(crate) fn run_inside(command: &mut Command, namespace: &File) {
    let fd = namespace.as_raw_fd();
    // SAFETY: setns is the only thing done between fork and exec, a plain system call.
    unsafe { command.pre_exec(move || set(fd)) };
}

fn set(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes numbers only; concerns the calling thread.
    if unsafe { libc::setns(fd, libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
