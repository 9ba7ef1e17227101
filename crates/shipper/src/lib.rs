//! Finished batches to their sinks: Kafka, files, standard output.
//!
//! Knows batches and the ledger (`pipeline`), and no frame. Every sink has one thread, which takes batches from a lane of
//! each worker and settles each of them exactly once: acknowledged, or given up under a name of [`pipeline::ledger::Loss`].
//!
//! Entry points: [`SinkConfig::parse`] makes a URL into a checked configuration, [`probe`] tries it and changes nothing,
//! [`start`] runs it. [`TopicReader`] reads back what came to a topic.

mod account;
mod config;
mod drive;
mod error;
#[cfg(test)]
mod faults;
mod file;
mod handle;
mod kafka;
mod quiet;
mod stdout;
#[expect(unsafe_code, reason = "the one home of unsafe in this crate")]
mod sys;

pub use config::{FileConfig, KafkaConfig, SinkConfig, UrlError, is_secret, veiled};
pub use error::SinkError;
pub use handle::{SinkHandle, SinkState, Workers, start};
pub use kafka::{ProbeError, TopicReader};

use std::fmt;
use std::time::Duration;

/// What [`probe`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The sink's name, without credentials.
    pub sink: String,
    /// What was found, one line.
    pub found: String,
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sink, self.found)
    }
}

/// Tries whether a sink would take records, and changes nothing: no topic, no file is made.
///
/// # Errors
/// Why it would not, and what to do.
pub fn probe(config: &SinkConfig, timeout: Duration) -> Result<ProbeReport, SinkError> {
    let found = match config {
        SinkConfig::Kafka(kafka) => kafka::probe(kafka, timeout)?,
        SinkConfig::File(file) => file::probe(file)?,
        SinkConfig::Stdout => "standard output is open".to_owned(),
        SinkConfig::Null => "records are counted and thrown away".to_owned(),
    };
    Ok(ProbeReport { sink: config.to_string(), found })
}
