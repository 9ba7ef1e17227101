//! Writing to standard output without ever blocking on a reader that does not read.
//!
//! O_NONBLOCK belongs to the open file, which others share: set on a terminal it would reach the shell. So a pipe or a
//! terminal is opened anew by its name under /proc, which gives an open file of our own. Where that cannot be (sockets), the
//! inherited one is written in pieces that do not block.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use crate::stdout::Stream;

/// What POSIX lets through in one piece once `poll` says that a pipe is writable.
const PIECE: usize = 4096;

#[derive(Debug)]
enum Open {
    /// Closed with us, so that a reader sees the end.
    Own(File),
    /// Stays open.
    Inherited(ManuallyDrop<File>),
}

#[derive(Debug)]
pub(crate) struct Output {
    file: Open,
    /// How much may be written at once.
    piece: usize,
    /// Of a regular file: where our latest write ended.
    end: Option<u64>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self::of(libc::STDOUT_FILENO)
    }

    /// Of a descriptor that stays open for the life of the process; it is never closed here.
    fn of(fd: RawFd) -> Self {
        // SAFETY: the descriptor stays open (std reopens closed standard descriptors at start), and is not closed here.
        let inherited = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        if inherited.metadata().is_ok_and(|metadata| metadata.is_file()) {
            // Never blocks for long, and its position must be shared with whoever else writes there.
            return Self { file: Open::Inherited(inherited), piece: usize::MAX, end: Some(0) };
        }
        let own = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(format!("/proc/self/fd/{fd}"));
        match own {
            Ok(own) => Self { file: Open::Own(own), piece: usize::MAX, end: None },
            Err(_) => Self { file: Open::Inherited(inherited), piece: PIECE, end: None },
        }
    }

    fn file(&self) -> &File {
        match &self.file {
            Open::Own(file) => file,
            Open::Inherited(file) => file,
        }
    }
}

impl Stream for Output {
    fn write_some(&mut self, octets: &[u8], patience: Duration) -> io::Result<usize> {
        let mut file = self.file();
        if !writable(file.as_raw_fd(), patience)? {
            return Ok(0);
        }
        match file.write(&octets[..octets.len().min(self.piece)]) {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(0),
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                if self.end.is_some() {
                    self.end = file.stream_position().ok();
                }
                Ok(n)
            }
            Err(error) => Err(error),
        }
    }

    /// Only at the end of a regular file, and only if nobody wrote there since: standard error may go to the same file.
    fn take_back(&mut self, octets: u64) -> io::Result<()> {
        let mut file = self.file();
        let size = file.metadata()?.len();
        if self.end != Some(size) || file.stream_position()? != size {
            return Err(ErrorKind::Unsupported.into());
        }
        let left = size.saturating_sub(octets);
        file.set_len(left)?;
        file.seek(SeekFrom::Start(left)).map(drop)
    }
}

/// Also true if writing would fail: the write tells why.
fn writable(fd: RawFd, patience: Duration) -> io::Result<bool> {
    let mut one = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `one` is a valid pollfd, and 1 their number.
    let ready = unsafe { libc::poll(&raw mut one, 1, milliseconds) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == ErrorKind::Interrupted { Ok(false) } else { Err(error) };
    }
    Ok(ready > 0)
}
