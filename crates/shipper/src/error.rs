//! Why a sink could not be started, or ended before its time.

use std::io;
use std::path::PathBuf;

use crate::kafka::ProbeError;

/// Why a sink could not be started, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// librdkafka did not accept an option; the text is its own, with the option's name.
    #[error("Kafka option {key}={value}: {reason}")]
    KafkaOption {
        /// Name of the option.
        key: String,
        /// Its value (of passwords: `***`).
        value: String,
        /// librdkafka's words, or ours.
        reason: String,
    },
    /// librdkafka could not make a client of these options.
    #[error("Kafka client: {0}")]
    KafkaClient(String),
    /// A file or directory.
    #[error("{path}: {what}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried, or what to do.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What [`crate::probe`] found wrong at a Kafka cluster.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// Whoever read our standard output has gone.
    #[error("the reader of standard output has gone")]
    ReaderGone,
    /// A bug of ours; what the sink still had is in the ledger as aborted.
    #[error("the sink's thread panicked: {0}")]
    Panicked(String),
    /// The system kept the sink's thread waiting beyond every deadline.
    #[error("the sink's thread did not end in time; it is left behind")]
    Stuck,
}
