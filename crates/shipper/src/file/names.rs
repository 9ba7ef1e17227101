//! Names of finished files: the next free number before the extension.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a path leads: a link is followed, so that the files are made, moved and numbered where it points to. Links in /dev and /proc
/// are left alone: what they lead to is open already, and no directory of ours.
pub(super) fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many as the kernel follows (path_resolution(7)); a circle is then found when the file is opened.
    for _ in 0..40 {
        if path.starts_with("/dev") || path.starts_with("/proc") {
            break;
        }
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| target.clone(), |parent| parent.join(&target));
    }
    path
}

/// `records.ndjson.zst` is `records` and `.ndjson.zst`; `records` has no extension.
fn split(path: &Path) -> (OsString, OsString) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bare = name.strip_suffix(".zst").unwrap_or(&name);
    let dot = bare.rfind('.').filter(|&dot| dot > 0).unwrap_or(bare.len());
    (OsString::from(&name[..dot]), OsString::from(&name[dot..]))
}

/// The `number`th finished file of `path`.
pub(super) fn finished(path: &Path, number: u32) -> PathBuf {
    let (mut name, extension) = split(path);
    name.push(format!("-{number:06}"));
    name.push(extension);
    path.with_file_name(name)
}

/// One more than the highest number in use.
pub(super) fn next_number(path: &Path) -> u32 {
    let (stem, extension) = split(path);
    let (stem, extension) = (format!("{}-", stem.to_string_lossy()), extension.to_string_lossy().into_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    let names = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let numbers = names.filter_map(|name| {
        let name = name.to_string_lossy().into_owned();
        name.strip_prefix(&stem)?.strip_suffix(&extension)?.parse::<u32>().ok()
    });
    numbers.max().map_or(1, |highest| highest.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_extension_and_go_on() {
        for (path, name) in [
            ("/x/a.ndjson", "/x/a-000007.ndjson"),
            ("/x/a.ndjson.zst", "/x/a-000007.ndjson.zst"),
            ("/x/a", "/x/a-000007"),
            ("/x/.hidden", "/x/.hidden-000007"),
            ("/x/a.b.c", "/x/a.b-000007.c"),
        ] {
            assert_eq!(finished(Path::new(path), 7), Path::new(name));
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ndjson");
        assert_eq!(next_number(&path), 1);
        for name in ["a-000002.ndjson", "a-000041.ndjson", "a-9.json", "b-000099.ndjson", "a-x.ndjson"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(next_number(&path), 42);
    }
}
