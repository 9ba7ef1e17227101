//! What a program that is started gets on its way.
#![expect(unsafe_code, reason = "what happens between fork and exec is the caller's responsibility")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// `command` will be killed when the thread that starts it ends, whatever ends it: also a SIGKILL of this process, after which nobody would
/// be left to do so.
pub(super) fn end_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the kernel was asked.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
    };
    // SAFETY: between fork and exec two plain system calls are made; nothing is allocated, no lock is taken.
    unsafe { command.pre_exec(ask) };
}
