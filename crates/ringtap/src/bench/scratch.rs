//! Temporary files of a measurement. They bear the number of its process, so that what one that was killed has left can be told from what is in
//! use, and is removed by the next.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, geteuid, test_kill_process};
use tempfile::TempDir;

/// What all names begin with; the process's number follows, and something random.
const NAME: &str = "ringtap-bench-";

/// A folder for one run, removed with this value.
pub(super) struct Scratch {
    folder: TempDir,
    _in_use: File,
}

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        let make = || -> io::Result<Self> {
            let folder = tempfile::Builder::new().prefix(&prefix()).tempdir()?;
            let in_use = File::open(folder.path())?;
            lock(&in_use);
            Ok(Self { folder, _in_use: in_use })
        };
        make().with_context(|| {
            format!("cannot make a temporary folder in {} (TMPDIR names another)", env::temp_dir().display())
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The start of the names of this process.
pub(super) fn prefix() -> String {
    format!("{NAME}{}-", std::process::id())
}

/// Says that it is in use: to whom this process's number says nothing, as in another container.
pub(super) fn lock(file: &File) {
    let _ = flock(file, FlockOperation::NonBlockingLockExclusive); // a filesystem without locks has the numbers
}

/// Removes what killed measurements of this user have left in `folder`, by name: nothing else.
pub(super) fn clean(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(pid) = process_of(&entry.file_name()) else { continue };
        let path = entry.path();
        // Of a link itself, which is none of ours.
        let Ok(found) = entry.metadata() else { continue };
        let ours = (found.is_dir() || found.is_file()) && found.uid() == geteuid().as_raw();
        if !ours || is_alive(pid) || is_in_use(&path) {
            continue;
        }
        let removed = if found.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Ok(()) => tracing::info!("removed {}, which a measurement that was killed has left", path.display()),
            Err(error) => tracing::debug!(%error, "cannot remove {}", path.display()),
        }
    }
}

/// Whose it is, if it is named as ours are.
fn process_of(name: &OsStr) -> Option<Pid> {
    let name = name.to_str()?;
    let (pid, random) = name.strip_prefix('.').unwrap_or(name).strip_prefix(NAME)?.split_once('-')?;
    let ours = pid.bytes().all(|octet| octet.is_ascii_digit())
        && !random.is_empty()
        && random.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if ours { Pid::from_raw(pid.parse().ok()?) } else { None }
}

/// That it may not be signalled says that it is there.
fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

fn is_in_use(path: &Path) -> bool {
    let free =
        |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive) != Err(rustix::io::Errno::WOULDBLOCK);
    File::open(path).is_ok_and(|file| !free(&file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_what_is_ours_and_of_a_process_that_is_gone_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let (gone, here) = (child.id(), std::process::id());
        let foreign = [
            "ringtap-bench-x-abc".to_owned(),
            "ringtap-bench-0-abc".to_owned(),
            format!("ringtap-bench-{gone}"),
            format!("ringtap-bench-{gone}-"),
            format!("ringtap-bench-{gone}-a.json"),
            format!("my-ringtap-bench-{gone}-abc"),
            format!("ringtap-bench-{here}-abc"),
        ];
        foreign.iter().for_each(|name| fs::write(at(name), "x").unwrap());
        let link = at(&format!("ringtap-bench-{gone}-link"));
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let used = at(&format!("ringtap-bench-{gone}-used"));
        fs::create_dir(&used).unwrap();
        let in_use = File::open(&used).unwrap();
        lock(&in_use);
        let left = [at(&format!("ringtap-bench-{gone}-Ab3")), at(&format!(".ringtap-bench-{gone}-Ab3"))];
        fs::create_dir(&left[0]).unwrap();
        fs::write(left[0].join("capture"), "x").unwrap();
        fs::write(&left[1], "x").unwrap();
        clean(folder.path());
        assert!(!left[0].exists() && !left[1].exists());
        assert!(foreign.iter().all(|name| at(name).exists()) && link.is_symlink() && used.exists());
        drop(in_use);
        clean(folder.path());
        assert!(!used.exists());
    }
}
