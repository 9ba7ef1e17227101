//! What is found: a setting, what it means, and whether it is as it should be.

use clap::ValueEnum;
use serde::Serialize;

use super::change::Change;

/// What a finding is about, as `--only` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Topic {
    /// What the NIC and its driver do to frames
    Offloads,
    /// Flow control of the link
    Pause,
    /// Frames that the NIC holds
    Rings,
    /// Receive queues
    Queues,
    /// How frames are spread over the queues
    Rss,
    /// Cores that serve the NIC's interrupts
    Irq,
    /// Where in the machine the NIC is
    Numa,
    /// What this process may do
    Capabilities,
    /// Memory that may be locked
    Memlock,
    /// The largest buffer of a socket
    Rmem,
    /// Pages of 2 MiB
    Hugepages,
    /// The frequency of the cores
    Governor,
    /// Where the kernel's time comes from
    Clock,
    /// Kernel, and modules of mechanisms and drivers
    Modules,
}

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// What is captured is wrong or lost because of it.
    Problem,
    /// Could be better.
    Advice,
    /// Could not be read, and why.
    Unknown(String),
    /// As it should be.
    Good,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub topic: Topic,
    /// The interface; `None` for the machine.
    pub interface: Option<String>,
    /// One or two sentences for the user.
    pub means: String,
    pub present: String,
    pub wanted: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What the user can paste into a shell.
    pub command: Option<String>,
    /// What `--fix` does; nothing if that is not safe.
    pub fix: Vec<Change>,
}

impl Finding {
    /// All as it should be, until a check says otherwise.
    pub(crate) fn good(topic: Topic, interface: Option<&str>, present: impl Into<String>) -> Self {
        let present = present.into();
        Self {
            topic,
            interface: interface.map(str::to_owned),
            means: String::new(),
            wanted: present.clone(),
            present,
            verdict: Verdict::Good,
            command: None,
            fix: Vec::new(),
        }
    }

    /// The system did not tell.
    pub(crate) fn unknown(topic: Topic, interface: Option<&str>, reason: impl Into<String>) -> Self {
        let mut finding = Self::good(topic, interface, "unknown");
        finding.wanted.clear();
        finding.verdict = Verdict::Unknown(reason.into());
        finding
    }

    pub(crate) fn means(mut self, means: impl Into<String>) -> Self {
        self.means = means.into();
        self
    }

    /// Not as it should be.
    pub(crate) fn but(mut self, verdict: Verdict, wanted: impl Into<String>) -> Self {
        self.verdict = verdict;
        self.wanted = wanted.into();
        self
    }

    pub(crate) fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    pub(crate) fn fix(mut self, fix: Vec<Change>) -> Self {
        self.fix = fix;
        self
    }
}
