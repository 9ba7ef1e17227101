//! Network namespaces without names: for measurements and tests that must leave nothing behind.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use capture::CaptureError;

use crate::sys::namespace;

/// A network namespace without a name: it ends, with all its interfaces, when this value and all programs and sockets inside are gone,
/// also after a kill.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, in which even the loopback interface is down.
    ///
    /// # Errors
    /// [`CaptureError::Permission`] without `CAP_SYS_ADMIN`.
    pub fn new() -> Result<Self, CaptureError> {
        const ACTION: &str = "making a network namespace";
        // A thread of its own: the caller's namespace stays what it is.
        let made = thread::spawn(namespace::unshare).join().unwrap_or_else(|panic| resume_unwind(panic));
        match made {
            Ok(file) => Ok(Self { file }),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(CaptureError::no_permission(
                ACTION,
                "CAP_SYS_ADMIN and CAP_NET_ADMIN",
                "cap_sys_admin,cap_net_admin,cap_net_raw",
            )),
            Err(e) => Err(CaptureError::system(ACTION, e)),
        }
    }

    /// Runs `task` on a new thread inside and returns what it returns; a panic goes on in the caller.
    ///
    /// # Errors
    /// [`CaptureError::System`] if the namespace cannot be entered.
    pub fn enter<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T, CaptureError> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.move_thread().map(|()| task()));
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// The calling thread moves inside, for good.
    ///
    /// # Errors
    /// [`CaptureError::System`].
    pub fn move_thread(&self) -> Result<(), CaptureError> {
        namespace::enter(&self.file).map_err(|e| CaptureError::system("entering a network namespace", e))
    }

    /// `command` will run inside. The namespace has to live until it is started.
    pub fn run_inside(&self, command: &mut Command) {
        namespace::run_inside(command, &self.file);
    }

    /// A path that other programs of this machine can open as long as this value lives.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}
