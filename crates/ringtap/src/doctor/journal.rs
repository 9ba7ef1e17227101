//! What `--fix` changed, so that `--undo` can restore it.
//!
//! A value is in the file before it is changed. The first old value of a setting stays, however often it is fixed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::change::{Change, Refusal, Settings, Target};

/// Where it is unless told otherwise. It does not survive a start of the machine, and neither do the changes.
pub(crate) const DEFAULT: &str = "/run/ringtap/doctor.json";

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Changed,
    /// There is no need, or no longer a right, to change it.
    Skipped,
    Failed,
}

/// What was done, or was not.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Deed {
    pub outcome: Outcome,
    pub text: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    target: Target,
    old: String,
    new: String,
}

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    entries: Vec<Entry>,
    /// The folder, locked: two at a time would overwrite each other's old values.
    _lock: File,
}

impl Journal {
    /// The one that is there, or an empty one in a folder that is made if need be. Nobody else has it meanwhile.
    ///
    /// # Errors
    /// If it is damaged, if the folder cannot be made or if it is in use.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let folder = folder(path);
        let lock = fs::create_dir_all(folder).and_then(|()| File::open(folder)).with_context(|| unwritable(path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("the journal {} is in use by another ringtap doctor", path.display()))?;
        let entries = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!("the journal {} is damaged; move it away, and its changes cannot be undone", path.display())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read the journal {}", path.display())),
        };
        Ok(Self { path: path.to_owned(), entries, _lock: lock })
    }

    /// Writes it all to a new file (0600, as such files are made) that takes the old one's place; no entries, no file.
    fn save(&self) -> Result<()> {
        let write = || {
            if self.entries.is_empty() {
                return match fs::remove_file(&self.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                };
            }
            let mut file = tempfile::NamedTempFile::new_in(folder(&self.path))?;
            serde_json::to_writer(&mut file, &self.entries)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map(drop).map_err(|error| error.error)
        };
        write().with_context(|| unwritable(&self.path))
    }

    /// Makes the changes, one after the other.
    ///
    /// # Errors
    /// If the journal cannot be written: then nothing more is changed.
    pub(crate) fn fix(&mut self, changes: Vec<Change>, settings: &mut impl Settings) -> Result<Vec<Deed>> {
        let mut deeds = Vec::new();
        for Change { target, to } in changes {
            let name = target.name();
            let old = match settings.read(&target) {
                Ok(old) if old == to => continue,
                Ok(old) => old,
                Err(refusal) => {
                    deeds.push(Deed::failed(&name, &refusal));
                    continue;
                }
            };
            let known = self.entries.iter().position(|entry| entry.target.is(&target));
            let before = known.map(|place| std::mem::replace(&mut self.entries[place].new, to.clone()));
            if known.is_none() {
                self.entries.push(Entry { target: target.clone(), old: old.clone(), new: to.clone() });
            }
            self.save()?;
            match settings.write(&target, &to) {
                Ok(()) => deeds.push(Deed::new(Outcome::Changed, format!("{name}: {old} -> {to}"))),
                Err(refusal) => {
                    match (known, before) {
                        (Some(place), Some(before)) => self.entries[place].new = before,
                        _ => drop(self.entries.pop()),
                    }
                    self.save()?;
                    deeds.push(Deed::failed(&name, &refusal));
                }
            }
        }
        Ok(deeds)
    }

    /// Restores the old values, the last change first. What cannot be restored any more is said and forgotten; what failed, or belongs to
    /// another network namespace, stays in the journal for another try.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub(crate) fn undo(&mut self, settings: &mut impl Settings) -> Result<Vec<Deed>> {
        let mut deeds = Vec::new();
        let mut kept = Vec::new();
        while let Some(entry) = self.entries.pop() {
            let name = entry.target.name();
            let result = settings.read(&entry.target).and_then(|now| {
                if now == entry.old {
                    return Ok(Deed::new(Outcome::Skipped, format!("{name}: is {now} again already")));
                }
                if now != entry.new {
                    let text = format!("{name}: somebody else has set it to {now} meanwhile");
                    return Ok(Deed::new(Outcome::Skipped, text));
                }
                settings.write(&entry.target, &entry.old)?;
                Ok(Deed::new(Outcome::Changed, format!("{name}: {now} -> {}", entry.old)))
            });
            match result {
                Ok(deed) => deeds.push(deed),
                Err(Refusal::Gone) => {
                    deeds.push(Deed::new(Outcome::Skipped, format!("{name}: gone, nothing to restore")));
                }
                Err(refusal) => {
                    deeds.push(Deed::failed(&name, &refusal));
                    kept.push(entry);
                }
            }
        }
        // They were taken from the end.
        kept.reverse();
        self.entries = kept;
        self.save()?;
        Ok(deeds)
    }
}

/// Where a journal of this path is; one without a folder is here.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritable(path: &Path) -> String {
    format!("cannot write the journal {} (run as root)", path.display())
}

impl Deed {
    fn new(outcome: Outcome, text: String) -> Self {
        Self { outcome, text }
    }

    fn failed(name: &str, refusal: &Refusal) -> Self {
        let why = match refusal {
            Refusal::Gone => "is not there",
            Refusal::Elsewhere => "belongs to another network namespace; run this there",
            Refusal::Failed(why) => why,
        };
        Self::new(Outcome::Failed, format!("{name}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Settings by name; what is in `stuck` cannot be written.
    #[derive(Default)]
    struct Fake {
        values: std::collections::BTreeMap<String, String>,
        stuck: Vec<String>,
        written: Vec<String>,
    }

    impl Fake {
        fn new() -> Self {
            let values = [("gro of eth0", "on"), ("lro of eth0", "on"), ("net.core.rmem_max", "212992")];
            let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            Self { values, ..Self::default() }
        }

        fn get(&self, name: &str) -> &str {
            &self.values[name]
        }

        fn set(&mut self, name: &str, value: &str) {
            self.values.insert(name.to_owned(), value.to_owned());
        }
    }

    impl Settings for Fake {
        fn read(&self, target: &Target) -> Result<String, Refusal> {
            self.values.get(&target.name()).cloned().ok_or(Refusal::Gone)
        }

        fn write(&mut self, target: &Target, value: &str) -> Result<(), Refusal> {
            if self.stuck.contains(&target.name()) {
                return Err(Refusal::Failed("stuck".to_owned()));
            }
            self.written.push(target.name());
            self.set(&target.name(), value);
            Ok(())
        }
    }

    fn offload(offload: &str) -> Change {
        let target = Target::Offload { interface: "eth0".into(), index: 2, namespace: 1, offload: offload.into() };
        Change { target, to: "off".to_owned() }
    }

    fn all() -> Vec<Change> {
        vec![offload("gro"), offload("lro"), Change { target: Target::RmemMax, to: "16777216".to_owned() }]
    }

    fn texts(deeds: &[Deed]) -> Vec<&str> {
        deeds.iter().map(|deed| deed.text.as_str()).collect()
    }

    #[test]
    fn what_was_changed_is_restored_in_reverse() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/doctor.json");
        let mut fake = Fake::new();
        let deeds = Journal::open(&path).unwrap().fix(all(), &mut fake).unwrap();
        assert_eq!(
            texts(&deeds),
            ["gro of eth0: on -> off", "lro of eth0: on -> off", "net.core.rmem_max: 212992 -> 16777216"]
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fake.written.clear();
        let deeds = Journal::open(&path).unwrap().undo(&mut fake).unwrap();
        assert_eq!(
            texts(&deeds),
            ["net.core.rmem_max: 16777216 -> 212992", "lro of eth0: off -> on", "gro of eth0: off -> on"]
        );
        assert!(!path.exists());
        assert_eq!(Journal::open(&path).unwrap().undo(&mut fake).unwrap(), []);
        assert_eq!(fake.written.len(), 3);
    }

    #[test]
    fn only_one_has_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("doctor.json");
        let first = Journal::open(&path).unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("is in use"));
        drop(first);
        Journal::open(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_first_old_value_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("doctor.json");
        let mut fake = Fake::new();
        Journal::open(&path).unwrap().fix(all(), &mut fake).unwrap();
        assert_eq!(Journal::open(&path).unwrap().fix(all(), &mut fake).unwrap(), []);
        fake.set("net.core.rmem_max", "1000");
        Journal::open(&path).unwrap().fix(all(), &mut fake).unwrap();
        Journal::open(&path).unwrap().undo(&mut fake).unwrap();
        assert_eq!(fake.get("net.core.rmem_max"), "212992");
    }

    #[test]
    fn what_others_did_meanwhile_is_respected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("doctor.json");
        let mut fake = Fake::new();
        Journal::open(&path).unwrap().fix(all(), &mut fake).unwrap();
        fake.set("net.core.rmem_max", "33554432");
        fake.set("gro of eth0", "on");
        fake.values.remove("lro of eth0");
        let deeds = Journal::open(&path).unwrap().undo(&mut fake).unwrap();
        assert!(texts(&deeds)[0].contains("somebody else has set it to 33554432"), "{deeds:?}");
        assert_eq!(texts(&deeds)[1..], ["lro of eth0: gone, nothing to restore", "gro of eth0: is on again already"]);
        assert_eq!(fake.get("net.core.rmem_max"), "33554432");
        assert!(!path.exists());
    }

    #[test]
    fn what_fails_is_said_and_the_rest_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("doctor.json");
        let mut fake = Fake::new();
        fake.stuck.push("gro of eth0".to_owned());
        let deeds = Journal::open(&path).unwrap().fix(all(), &mut fake).unwrap();
        assert_eq!(deeds[0], Deed::new(Outcome::Failed, "gro of eth0: stuck".to_owned()));
        assert_eq!(Journal::open(&path).unwrap().entries.len(), 2, "only what was changed");
        fake.stuck = vec!["lro of eth0".to_owned()];
        let deeds = Journal::open(&path).unwrap().undo(&mut fake).unwrap();
        assert_eq!((deeds[0].outcome, deeds[1].outcome), (Outcome::Changed, Outcome::Failed));
        fake.stuck.clear();
        let deeds = Journal::open(&path).unwrap().undo(&mut fake).unwrap();
        assert_eq!(texts(&deeds), ["lro of eth0: off -> on"]);
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_journal_is_neither_used_nor_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("doctor.json");
        for text in ["", "{}", r#"[{"target":{"kind":"file","path":"/etc/passwd"},"old":"a","new":"b"}]"#] {
            fs::write(&path, text).unwrap();
            assert!(Journal::open(&path).unwrap_err().to_string().contains("is damaged"));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
