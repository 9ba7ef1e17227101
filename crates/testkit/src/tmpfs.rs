//! A small file system that can be full.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs of a given size, unmounted when dropped. Needs root.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one on an existing directory.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[must_use]
    pub fn mount(directory: &Path, size: &str) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "ringtap-test"])
            .arg(directory)
            .status()
            .expect("mount(8) is there");
        assert!(status.success(), "cannot mount a tmpfs on {}: these tests need root", directory.display());
        Self(directory.to_owned())
    }

    /// Fills it with one file until not `left` octets are free.
    ///
    /// # Panics
    /// If the file cannot be written for another reason than lack of space.
    pub fn fill(&self, left: u64) {
        let free = self.free();
        if free > left {
            std::fs::write(self.0.join("ballast"), vec![0; usize::try_from(free - left).expect("fits")])
                .expect("ballast can be written");
        }
    }

    /// Removes what `fill` made.
    ///
    /// # Panics
    /// If it was not there.
    pub fn relieve(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("ballast is there");
    }

    /// Octets that are free.
    ///
    /// # Panics
    /// If df(1) is not there.
    #[must_use]
    pub fn free(&self) -> u64 {
        let out = Command::new("df").args(["--output=avail", "-B1"]).arg(&self.0).output().expect("df(1) is there");
        String::from_utf8_lossy(&out.stdout)
            .lines()
            .nth(1)
            .and_then(|n| n.trim().parse().ok())
            .expect("df says a number")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a server that was just killed may still be letting go of it.
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted: {}", self.0.display(), io::Error::last_os_error());
        }
    }
}
