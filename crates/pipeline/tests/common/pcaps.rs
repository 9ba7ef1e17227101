//! Captures to compare with: real ones, or what scapy makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use capture::{Frame, LinkType, Readiness, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue};

/// The folder of real captures, if the environment names one.
const PCAPS: &str = "RINGTAP_PCAPS";

/// All captures of that folder, in order; `None` if none is named.
pub(crate) fn real() -> Option<Vec<PathBuf>> {
    let folder = std::env::var_os(PCAPS)?;
    let mut files = Vec::new();
    captures(Path::new(&folder), &mut files);
    files.sort();
    assert!(!files.is_empty(), "{PCAPS} names a folder without captures: {}", folder.display());
    Some(files)
}

/// One capture of many kinds of packets, much of it damaged, in `folder`.
pub(crate) fn made(folder: &Path) -> PathBuf {
    by_scapy(include_str!("made.py"), folder.join("made.pcap"))
}

/// One capture of tunnels of every kind, in `folder`.
#[allow(dead_code, reason = "not every test uses all")]
pub(crate) fn tunnels(folder: &Path) -> PathBuf {
    by_scapy(include_str!("tunnels.py"), folder.join("tunnels.pcap"))
}

/// Links whose IP packets we find.
#[allow(dead_code, reason = "not every test uses all")]
pub(crate) const READ: [LinkType; 6] =
    [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL, LinkType::LINUX_SLL2, LinkType::NULL, LinkType::PPP];

/// Shows all frames of a capture, as far as it is sound. `false` if it is none.
#[allow(dead_code, reason = "not every test uses all")]
pub(crate) fn each_frame(path: &Path, mut look: impl FnMut(&Frame<'_>)) -> bool {
    let Ok(mut queue) = FileQueue::open([path], FileOptions::default()) else { return false };
    while !matches!(queue.wait(Duration::ZERO), Ok(Readiness::Ended)) {
        if let Ok(Some(mut batch)) = queue.next_batch() {
            batch.frames().for_each(|frame| look(&frame));
        }
    }
    true
}

fn by_scapy(script: &str, path: PathBuf) -> PathBuf {
    let made = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .expect("these tests need python3 and scapy");
    assert!(made.status.success(), "scapy: {}", String::from_utf8_lossy(&made.stderr));
    path
}

fn captures(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{PCAPS}: {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            captures(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "pcap" || ext == "pcapng" || ext == "cap") {
            files.push(path);
        }
    }
}
