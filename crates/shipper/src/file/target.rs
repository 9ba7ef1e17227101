//! The file that is being written.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::names;
use crate::config::FileConfig;
use crate::error::SinkError;
use crate::sys::access;

#[derive(Debug)]
pub(super) struct Target {
    file: File,
    path: PathBuf,
    len: u64,
    /// Which file it is, whatever its name: device and inode. `None` of a pipe or a device, which cannot be cut back, rotated
    /// and moved.
    identity: Option<(u64, u64)>,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn error(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> SinkError {
    move |source| SinkError::File { path: path.to_owned(), what, source }
}

/// The directory of a sink's file, if it is there.
fn directory(path: &Path) -> Result<&Path, SinkError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let missing = "make this directory first, or use another";
    let metadata = fs::metadata(directory).map_err(error(directory, missing))?;
    if metadata.is_dir() { Ok(directory) } else { Err(error(directory, missing)(ErrorKind::NotADirectory.into())) }
}

/// Whether a file could be written there. Makes none.
pub(crate) fn probe(config: &FileConfig) -> Result<String, SinkError> {
    let path = &names::behind_links(&config.path);
    let directory = directory(path)?;
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(error(path, "name a file, not a directory")(ErrorKind::IsADirectory.into()));
        }
        Ok(metadata) if !metadata.is_file() => {
            access::writable(path).map_err(error(path, "cannot write"))?;
            return Ok("a pipe or device that can be written".to_owned());
        }
        _ => {}
    }
    access::writable_directory(directory).map_err(error(directory, "no files can be made here"))?;
    Ok(if path.exists() {
        format!("directory is writable; the file that is there will be kept as {}", next_name(path).display())
    } else {
        "directory is writable".to_owned()
    })
}

fn next_name(path: &Path) -> PathBuf {
    names::finished(path, names::next_number(path))
}

impl Target {
    /// Begins a new file, after moving aside one that is there. Pipes and devices are opened as they are.
    pub(super) fn begin(path: &Path) -> Result<Self, SinkError> {
        directory(path)?;
        match fs::symlink_metadata(path) {
            Ok(_) if is_special(path) => return Self::open_special(path),
            Ok(metadata) if metadata.is_dir() => {
                return Err(error(path, "name a file, not a directory")(ErrorKind::IsADirectory.into()));
            }
            Ok(_) => drop(move_aside(path)?),
            Err(_) => {}
        }
        // O_APPEND: also right after someone has cut the file short (logrotate's copytruncate).
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(error(path, "cannot make this file"))?;
        Self::regular(file, path)
    }

    /// After a file was moved away: goes on in the one that was put in its place (logrotate's `create`), behind what it holds,
    /// or begins one.
    pub(super) fn follow(path: &Path) -> Result<Self, SinkError> {
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            let opened = OpenOptions::new().append(true).custom_flags(libc::O_NOFOLLOW).open(path);
            return Self::regular(opened.map_err(error(path, "cannot go on in this file"))?, path);
        }
        Self::begin(path)
    }

    fn regular(file: File, path: &Path) -> Result<Self, SinkError> {
        let metadata = file.metadata().map_err(error(path, "cannot be looked at"))?;
        Ok(Self { file, path: path.to_owned(), len: metadata.len(), identity: Some(identity(&metadata)) })
    }

    fn open_special(path: &Path) -> Result<Self, SinkError> {
        let file = OpenOptions::new().append(true).open(path).map_err(error(path, "cannot open"))?;
        Ok(Self { file, path: path.to_owned(), len: 0, identity: None })
    }

    /// Octets in this file.
    pub(super) fn len(&self) -> u64 {
        if self.identity.is_some() { self.len } else { 0 }
    }

    /// Someone renamed or removed the file (logrotate), so that what is written to it may never be seen: it is not the one
    /// that has the name now.
    pub(super) fn was_moved_away(&self) -> bool {
        let Some(ours) = self.identity else { return false };
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) => identity(&metadata) != ours,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => true,
            // Nobody can look there: it still has a name, or none.
            Err(_) => self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0),
        }
    }

    /// Writes all, or leaves the file as it was.
    pub(super) fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < octets.len() {
            match self.file.write(&octets[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => {
                    self.cut_off(written as u64);
                    return Err(result.err().unwrap_or_else(|| ErrorKind::WriteZero.into()));
                }
            }
        }
        self.len += octets.len() as u64;
        Ok(())
    }

    /// Removes the last `octets`, part of a batch.
    fn cut_off(&self, octets: u64) {
        if octets > 0
            && self.identity.is_some()
            && let Err(error) = self.file.metadata().and_then(|m| self.file.set_len(m.size().saturating_sub(octets)))
        {
            tracing::warn!("{}: part of a batch stays behind: {error}", self.path.display());
        }
    }

    /// Moves it aside under a number of its own: `None` if someone moved it away already.
    pub(super) fn set_aside(&self) -> Result<Option<PathBuf>, SinkError> {
        if self.was_moved_away() { Ok(None) } else { move_aside(&self.path).map(Some) }
    }

    /// The same open file once more, to bring what it holds to the disk. `None` if it has none.
    pub(super) fn for_the_disk(&self) -> Option<io::Result<File>> {
        self.identity.map(|_| self.file.try_clone())
    }
}

/// Pipes and devices, and whatever else is found in /dev and /proc: `/dev/stdout` may be a link to a file of someone's.
fn is_special(path: &Path) -> bool {
    path.starts_with("/dev")
        || path.starts_with("/proc")
        || fs::metadata(path).is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_char_device() || kind.is_socket() || kind.is_block_device()
        })
}

/// Renames a file to the next free number. Unlike a rename, a link never replaces what is there.
fn move_aside(path: &Path) -> Result<PathBuf, SinkError> {
    let failed = || error(path, "cannot move this file aside, and it is not overwritten");
    let mut number = names::next_number(path);
    loop {
        let aside = names::finished(path, number);
        match fs::hard_link(path, &aside) {
            Ok(()) => {
                fs::remove_file(path).map_err(failed())?;
                return Ok(aside);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number = number.saturating_add(1),
            // A file system without links (FAT): the name was free a moment ago.
            Err(_) if !aside.exists() => {
                fs::rename(path, &aside).map_err(failed())?;
                return Ok(aside);
            }
            Err(error) => return Err(failed()(error)),
        }
    }
}
