//! `file:///path[?rotate=1GiB&zstd=true]`

use std::path::PathBuf;

use url::Url;

use super::{UrlError, veiled};

/// Where records are written as NDJSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// The file being written; with compression its name ends in `.zst`.
    pub path: PathBuf,
    /// Octets on disk after which a file is finished and the next begun.
    pub rotate: u64,
    /// zstd level, if the file is compressed.
    pub zstd: Option<i32>,
}

impl FileConfig {
    /// 1 GiB: large enough that rotation costs nothing, small enough to be moved around.
    pub const DEFAULT_ROTATE: u64 = 1 << 30;
    /// Below this a file would hold less than a batch.
    pub const MIN_ROTATE: u64 = 1 << 20;
    /// Level 1 shrinks records nine times already (measured); higher ones cost more than they gain.
    pub const DEFAULT_LEVEL: i32 = 1;

    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let wrong = || UrlError::Path(veiled(text));
        if !text.starts_with("file:///") {
            return Err(wrong());
        }
        let url = Url::parse(text).map_err(|_| wrong())?;
        let mut path = url.to_file_path().map_err(|()| wrong())?;
        if path.file_name().is_none() || url.path().ends_with('/') {
            return Err(wrong());
        }
        let (mut rotate, mut zstd) = (Self::DEFAULT_ROTATE, None);
        for (name, value) in url.query_pairs() {
            let error = |expected| UrlError::Value { name: name.to_string(), value: value.to_string(), expected };
            match &*name {
                "rotate" => {
                    rotate = octets(&value).ok_or_else(|| error("a size as in 100MB, 64MiB or 1GiB"))?;
                    if rotate < Self::MIN_ROTATE {
                        return Err(error("at least 1MiB"));
                    }
                }
                "zstd" => zstd = level(&value).ok_or_else(|| error("true, false or a level from 1 to 19"))?,
                _ => return Err(UrlError::Option { name: name.to_string() }),
            }
        }
        if zstd.is_some() && path.extension().is_none_or(|extension| extension != "zst") {
            path.as_mut_os_string().push(".zst");
        }
        Ok(Self { path, rotate, zstd })
    }
}

fn level(text: &str) -> Option<Option<i32>> {
    match text {
        "true" => Some(Some(FileConfig::DEFAULT_LEVEL)),
        "false" => Some(None),
        _ => text.parse().ok().filter(|level| (1..=19).contains(level)).map(Some),
    }
}

fn octets(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor: u64 = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}
