//! Whether this process may write somewhere, without writing.

use std::ffi::{CString, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether files can be made in a directory.
pub(crate) fn writable_directory(path: &Path) -> io::Result<()> {
    access(path, libc::W_OK | libc::X_OK)
}

/// Whether an existing file can be written.
pub(crate) fn writable(path: &Path) -> io::Result<()> {
    access(path, libc::W_OK)
}

fn access(path: &Path, mode: c_int) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with NUL; the call only reads it.
    let result = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
