//! What `--fix` may change, and nothing else: how it is read, and how it is written.
//!
//! Targets are named by numbers, not by paths: a journal that somebody else wrote cannot make `--undo` write to other files.

use std::fs;
use std::io;

use netdev::ethtool::{self, Offload};
use netdev::interfaces;
use serde::{Deserialize, Serialize};

use super::read::namespace;
use crate::explain;

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Target {
    /// Of an interface of a network namespace; the index says whether it is still the same.
    Offload { interface: String, index: i32, namespace: u64, offload: String },
    /// The cores that may serve an interrupt.
    Irq { number: u32 },
    /// The governor of a core's frequency.
    Governor { core: u32 },
    /// `net.core.rmem_max`.
    #[serde(rename = "rmem_max")]
    RmemMax,
}

/// A setting and its new value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub target: Target,
    pub to: String,
}

/// Why a setting could not be read or written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such thing any more.
    Gone,
    /// It belongs to another network namespace.
    Elsewhere,
    Failed(String),
}

/// The settings of this machine, or those of a test.
pub(crate) trait Settings {
    fn read(&self, target: &Target) -> Result<String, Refusal>;
    fn write(&mut self, target: &Target, value: &str) -> Result<(), Refusal>;
}

impl Target {
    /// As a user would call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Offload { interface, offload, .. } => format!("{offload} of {interface}"),
            Self::Irq { number } => format!("cores of interrupt {number}"),
            Self::Governor { core } => format!("governor of core {core}"),
            Self::RmemMax => "net.core.rmem_max".to_owned(),
        }
    }

    /// Whether it is the same setting, though the interface may have another name by now.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Offload { index: a, namespace: b, offload: c, .. },
                Self::Offload { index: d, namespace: e, offload: f, .. },
            ) => (a, b, c) == (d, e, f),
            _ => self == other,
        }
    }

    /// The file of all that are files.
    fn path(&self) -> Option<String> {
        match self {
            Self::Offload { .. } => None,
            Self::Irq { number } => Some(format!("/proc/irq/{number}/smp_affinity_list")),
            Self::Governor { core } => Some(format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor")),
            Self::RmemMax => Some("/proc/sys/net/core/rmem_max".to_owned()),
        }
    }

    /// The interface's name now, and the offload.
    fn offload(&self) -> Result<(String, Offload), Refusal> {
        let Self::Offload { index, namespace: made_in, offload, .. } = self else { return Err(Refusal::Gone) };
        let known = [Offload::Gro, Offload::GroHw, Offload::Lro, Offload::Gso, Offload::Tso];
        let which = known.into_iter().find(|known| known.name() == offload).ok_or(Refusal::Gone)?;
        if namespace() != Some(*made_in) {
            return Err(Refusal::Elsewhere);
        }
        let all = interfaces::list().map_err(|error| Refusal::Failed(explain(&error.into())))?;
        let found = all.into_iter().find(|interface| interface.index == *index).ok_or(Refusal::Gone)?;
        Ok((found.name, which))
    }
}

/// The settings of this machine.
pub(crate) struct Live;

impl Settings for Live {
    fn read(&self, target: &Target) -> Result<String, Refusal> {
        if let Some(path) = target.path() {
            return fs::read_to_string(&path)
                .map(|text| text.trim().to_owned())
                .map_err(|error| refused(&path, &error));
        }
        let (name, offload) = target.offload()?;
        match ethtool::offload(&name, offload) {
            Ok(Some(on)) => Ok(if on { "on" } else { "off" }.to_owned()),
            Ok(None) => Err(Refusal::Gone),
            Err(error) => Err(Refusal::Failed(explain(&error.into()))),
        }
    }

    fn write(&mut self, target: &Target, value: &str) -> Result<(), Refusal> {
        if let Some(path) = target.path() {
            return fs::write(&path, value).map_err(|error| refused(&path, &error));
        }
        let (name, offload) = target.offload()?;
        ethtool::set_offload(&name, offload, value == "on").map_err(|error| Refusal::Failed(explain(&error.into())))
    }
}

fn refused(path: &str, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound => Refusal::Gone,
        _ => Refusal::Failed(format!("{path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_gone_and_the_rest_is_read() {
        assert!(Live.read(&Target::RmemMax).unwrap().parse::<u64>().is_ok());
        for gone in [Target::Irq { number: u32::MAX }, Target::Governor { core: u32::MAX }] {
            assert_eq!(Live.read(&gone), Err(Refusal::Gone));
        }
        let offload = |index, namespace, offload: &str| {
            Live.read(&Target::Offload { interface: "lo".into(), index, namespace, offload: offload.into() })
        };
        let here = namespace().unwrap();
        assert!(["on", "off"].contains(&offload(1, here, "gro").unwrap().as_str()));
        assert_eq!(offload(i32::MAX, here, "gro"), Err(Refusal::Gone));
        assert_eq!(offload(1, here + 1, "gro"), Err(Refusal::Elsewhere));
        // Not one of those that --fix changes.
        assert_eq!(offload(1, here, "rxvlan"), Err(Refusal::Gone));
    }

    #[test]
    fn a_target_is_the_same_under_another_name() {
        let eth = |interface: &str, index| Target::Offload {
            interface: interface.into(),
            index,
            namespace: 1,
            offload: "gro".into(),
        };
        assert!(eth("a", 2).is(&eth("b", 2)) && !eth("a", 2).is(&eth("a", 3)) && !eth("a", 2).is(&Target::RmemMax));
        let text = serde_json::to_string(&eth("a", 2)).unwrap();
        assert_eq!(serde_json::from_str::<Target>(&text).unwrap(), eth("a", 2));
    }
}
