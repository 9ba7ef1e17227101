//! The files of a report: looked after at the start, for a measurement takes hours, and written at the end.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::args::FileArgs;
use super::html;
use super::report::Report;
use super::scratch;
use crate::{print, tell};

/// Where a report goes beside standard output.
pub(crate) struct Files {
    json: Option<Output>,
    html: Option<Output>,
}

/// A file that is to be written.
enum Output {
    /// Made beside the file, whose name it gets when it is whole: until then the file stays what it was.
    Beside { new: NamedTempFile, path: PathBuf },
    /// `-`: standard output, which is given nothing else then.
    Standard,
    /// No regular file, or one that is open already, as /dev/stdout may be: what is there stays.
    Open(File, PathBuf),
}

impl Files {
    /// Finds out now whether they can be written.
    pub(crate) fn prepare(FileArgs { json, html }: &FileArgs) -> Result<Self> {
        if let (Some(one), Some(other)) = (json, html)
            && one == other
        {
            bail!("--json and --html name the same file: {}", one.display());
        }
        let prepare =
            |path: &PathBuf| Output::prepare(path).with_context(|| format!("cannot write {}", path.display()));
        Ok(Self { json: json.as_ref().map(prepare).transpose()?, html: html.as_ref().map(prepare).transpose()? })
    }

    /// What is for people to read: to standard output, or beside it if that is given a file.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        if [&self.json, &self.html].into_iter().flatten().any(|output| matches!(output, Output::Standard)) {
            tell(text.trim_end());
            return Ok(());
        }
        print(text.as_bytes())
    }

    /// Writes both. That one fails is no reason to lose the other.
    pub(crate) fn write(self, report: &Report) -> Result<()> {
        let json = || -> Result<String> { Ok(serde_json::to_string_pretty(report)? + "\n") };
        let first = self.json.map_or(Ok(()), |output| output.write(&json()?));
        let second = self.html.map_or(Ok(()), |output| output.write(&html::page(report)));
        first.and(second)
    }
}

impl Output {
    fn prepare(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Standard);
        }
        let device = path.starts_with("/dev") || path.starts_with("/proc");
        // What a link points to is replaced, and not the link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mode = match fs::metadata(&path) {
            Ok(found) if found.is_dir() => bail!("it is a folder"),
            Ok(found) if device || !found.is_file() => {
                return Ok(Self::Open(open_special(&path)?, path));
            }
            Ok(found) => {
                // Who may not write to a file shall not replace it either.
                File::options().write(true).open(&path)?;
                found.permissions().mode()
            }
            Err(_) => 0o666,
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        scratch::clean(folder);
        let prefix = format!(".{}", scratch::prefix());
        let mut new = tempfile::Builder::new();
        let new = new.prefix(&prefix).permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
        scratch::lock(new.as_file());
        Ok(Self::Beside { new, path })
    }

    fn write(self, text: &str) -> Result<()> {
        let (Self::Beside { path, .. } | Self::Open(_, path)) = &self else { return print(text.as_bytes()) };
        let what = format!("cannot write {}", path.display());
        let write = || -> Result<()> {
            match self {
                Self::Standard => {}
                Self::Open(mut file, _) => file.write_all(text.as_bytes())?,
                Self::Beside { mut new, path } => {
                    new.write_all(text.as_bytes())?;
                    new.persist(path)?;
                }
            }
            Ok(())
        };
        write().context(what)
    }
}

/// A device, a FIFO or a socket. One that nobody reads is told now: to wait for a reader would be to hear no signal.
fn open_special(path: &Path) -> Result<File> {
    let open = File::options().append(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let file = open.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => anyhow!("nobody reads it"),
        _ => anyhow!(error),
    })?;
    // From here on its reader may be slow.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(json: &Path, html: Option<&Path>) -> Result<Files> {
        Files::prepare(&FileArgs { json: Some(json.to_owned()), html: html.map(Path::to_owned) })
    }

    #[test]
    fn what_was_there_stays_until_there_is_something_better() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("old.json"), "old").unwrap();
        std::os::unix::fs::symlink(at("old.json"), at("link.json")).unwrap();
        let files = prepare(&at("link.json"), Some(&at("new.html"))).unwrap();
        assert_eq!(fs::read_to_string(at("old.json")).unwrap(), "old");
        assert!(!at("new.html").exists());
        files.write(&Report { measure: "elapsed", ..Report::default() }).unwrap();
        assert!(fs::read_to_string(at("old.json")).unwrap().contains("\"elapsed\""));
        assert!(at("link.json").is_symlink() && at("new.html").exists());
        drop(prepare(&at("other.json"), None).unwrap());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn what_cannot_be_written_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let wrong = |path: &Path| format!("{:#}", prepare(path, None).err().unwrap());
        assert!(wrong(folder.path()).contains("it is a folder"));
        assert!(wrong(&folder.path().join("no/such/folder.json")).contains("no/such/folder.json"));
        let same = folder.path().join("x");
        assert!(prepare(&same, Some(&same)).is_err());
        assert!(matches!(Output::prepare(Path::new("/dev/null")), Ok(Output::Open(..))));
        // Standard output that goes to a file.
        let file = File::create(folder.path().join("table")).unwrap();
        let open = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)));
        assert!(matches!(Output::prepare(&open), Ok(Output::Open(..))));
    }
}
