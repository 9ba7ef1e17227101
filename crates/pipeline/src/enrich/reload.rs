//! Who reads the databases, and publishes what came of it: the process's, never a worker's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::lookup::Enrich;
use super::mmdb::{Database, DatabaseError, Part};
use super::network::Network;
use super::ranges;
use super::services::Services;
use super::tables::Tables;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Countries.
    Country,
    /// Autonomous systems.
    System,
}

impl What {
    /// For messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Country => "countries",
            Self::System => "autonomous systems",
        }
    }
}

/// A file that was read, or could not be.
#[derive(Debug)]
pub struct Loaded {
    /// What for.
    pub what: What,
    /// Which.
    pub path: PathBuf,
    /// How many countries or systems it has, and when it was built (seconds since 1970), or why it is not used.
    pub result: Result<(usize, u64), DatabaseError>,
    /// Of a file that cannot be used: whether what was read from it before goes on being used.
    pub kept: bool,
}

/// A file as it was when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanos: i64,
}

/// A file that is watched.
#[derive(Debug)]
struct Source {
    what: What,
    path: PathBuf,
    /// As of the last reading; `None` if it was not there.
    read: Option<Stamp>,
    /// As of the last look.
    seen: Option<Stamp>,
    database: Option<Database>,
}

impl Source {
    fn new(what: What, path: PathBuf) -> Self {
        Self { what, path, read: None, seen: None, database: None }
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some(Stamp {
            inode: metadata.ino(),
            size: metadata.len(),
            seconds: metadata.mtime(),
            nanos: metadata.mtime_nsec(),
        })
    }

    /// Whether it was replaced, and nobody writes to it any more: it was the same at the last look.
    fn has_changed(&mut self) -> bool {
        let stamp = self.stamp();
        let settled = stamp == self.seen;
        self.seen = stamp;
        settled && stamp != self.read
    }

    fn load(&mut self) -> Loaded {
        // Before reading: what changes meanwhile is read again.
        self.seen = self.stamp();
        self.read = self.seen;
        let part = match self.what {
            What::Country => Part::Country,
            What::System => Part::System,
        };
        let result = Database::read(&self.path, part).map(|database| {
            let about = (database.entries.len() - 1, database.built);
            self.database = Some(database);
            about
        });
        let kept = result.is_err() && self.database.is_some();
        Loaded { what: self.what, path: self.path.clone(), result, kept }
    }
}

/// What all workers of a process look things up in, and where it comes from.
#[derive(Debug)]
pub struct Enrichment {
    home: Vec<Network>,
    services: Arc<Services>,
    generation: AtomicU64,
    tables: Mutex<Arc<Tables>>,
    sources: Mutex<Vec<Source>>,
}

impl Enrichment {
    /// Without a database: special ranges, home networks (if there is none: the private ones) and services.
    #[must_use]
    pub fn new(home: &[Network], services: Services) -> Self {
        let home = if home.is_empty() { ranges::home() } else { home.to_vec() };
        let tables = Tables::new(None, None, &home);
        Self {
            home,
            services: Arc::new(services),
            generation: AtomicU64::new(0),
            tables: Mutex::new(Arc::new(tables)),
            sources: Mutex::default(),
        }
    }

    /// Reads a database, and from then on again when [`look`](Self::look) finds it replaced. One that cannot be read may come later.
    pub fn add(&self, what: What, path: PathBuf) -> Loaded {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut source = Source::new(what, path);
        let loaded = source.load();
        sources.push(source);
        if loaded.result.is_ok() {
            self.publish(&sources);
        }
        loaded
    }

    /// Reads again what was replaced since, and tells of each. A file counts as replaced when it differs from what was read, and is the same as at
    /// the look before: one that is just being written is left alone. Of one that cannot be used, what was read before stays.
    pub fn look(&self) -> Vec<Loaded> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded: Vec<_> =
            sources.iter_mut().filter_map(|source| source.has_changed().then(|| source.load())).collect();
        if loaded.iter().any(|loaded| loaded.result.is_ok()) {
            self.publish(&sources);
        }
        loaded
    }

    fn publish(&self, sources: &[Source]) {
        let of = |what| sources.iter().filter(|source| source.what == what).find_map(|source| source.database.as_ref());
        let tables = Arc::new(Tables::new(of(What::Country), of(What::System), &self.home));
        *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = tables;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// For one worker.
    #[must_use]
    pub fn worker(self: &Arc<Self>) -> Enrich {
        Enrich::new(Arc::clone(self))
    }

    #[inline(always)]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A number that is not newer than the tables.
    pub(super) fn published(&self) -> (u64, Arc<Tables>) {
        let generation = self.generation();
        (generation, Arc::clone(&self.tables.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(super) fn services(&self) -> Arc<Services> {
        Arc::clone(&self.services)
    }
}
