//! Whether a Kafka cluster would take records: asked by a consumer that subscribes to nothing, so that nothing is made.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tracing::debug;

use super::{options, outcome};
use crate::config::KafkaConfig;
use crate::error::SinkError;

/// What is wrong with a cluster, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// No broker answered.
    #[error(
        "{brokers}: no broker answered within {seconds} s ({reason}): check host, port and firewall, and that it runs"
    )]
    Unreachable {
        /// The brokers of the URL.
        brokers: String,
        /// How long it was tried.
        seconds: u64,
        /// The latest trouble, in librdkafka's words.
        reason: String,
    },
    /// The broker does not let us in.
    #[error(
        "{brokers}: the broker does not let us in ({reason}): check security.protocol, sasl.mechanisms, user and password"
    )]
    NotAuthorized {
        /// The brokers of the URL.
        brokers: String,
        /// In librdkafka's words.
        reason: String,
    },
    /// There is no such topic.
    #[error("there is no topic {topic:?}: create it, as with kafka-topics.sh --create --topic {topic} --partitions 6")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// The broker said something else about the topic.
    #[error("topic {topic:?}: {reason}")]
    Topic {
        /// Its name.
        topic: String,
        /// In librdkafka's words.
        reason: String,
    },
}

#[derive(Debug, Default)]
struct Listener {
    trouble: Mutex<(Option<String>, Option<String>)>,
}

impl Listener {
    /// The latest refusal, and the latest trouble of any kind.
    fn heard(&self) -> (Option<String>, Option<String>) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Listener {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, line: &str) {
        debug!("librdkafka: {line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match error.rdkafka_error_code() {
            Some(code) if outcome::is_refusal(code, reason) => trouble.0 = Some(reason.to_owned()),
            Some(Code::AllBrokersDown) => {}
            _ => trouble.1 = Some(reason.to_owned()),
        }
    }
}

impl ConsumerContext for Listener {}

/// Says what was found, in one line.
pub(crate) fn probe(config: &KafkaConfig, timeout: Duration) -> Result<String, SinkError> {
    // Options that only a producer checks are checked too.
    let options = options::probe(config)?;
    let client: BaseConsumer<Listener> =
        options.create_with_context(Listener::default()).map_err(options::creation_error)?;
    let deadline = Instant::now() + timeout;
    let brokers = config.brokers.join(",");
    loop {
        let answer = client.fetch_metadata(Some(&config.topic), Duration::from_millis(300).min(timeout));
        // Error events come by polling only, one a call.
        for _ in 0..20 {
            drop(client.poll(Duration::ZERO));
        }
        let (refusal, trouble) = client.context().heard();
        match answer {
            Ok(metadata) => {
                let Some(topic) = metadata.topics().first() else { continue };
                return match topic.error().map(Code::from) {
                    None => Ok(found(metadata.brokers().len(), topic.partitions().len(), &config.topic)),
                    Some(Code::UnknownTopicOrPartition) => {
                        Err(ProbeError::NoTopic { topic: config.topic.clone() }.into())
                    }
                    Some(Code::LeaderNotAvailable) if Instant::now() < deadline => continue,
                    Some(code) => {
                        Err(ProbeError::Topic { topic: config.topic.clone(), reason: code.to_string() }.into())
                    }
                };
            }
            Err(error) => {
                if let Some(reason) = refusal {
                    return Err(ProbeError::NotAuthorized { brokers, reason }.into());
                }
                if Instant::now() >= deadline {
                    let reason = trouble.unwrap_or_else(|| error.to_string());
                    return Err(ProbeError::Unreachable { brokers, seconds: timeout.as_secs(), reason }.into());
                }
            }
        }
    }
}

fn found(brokers: usize, partitions: usize, topic: &str) -> String {
    let s = |n: usize| if n == 1 { "" } else { "s" };
    format!("{brokers} broker{}, topic {topic:?} with {partitions} partition{}", s(brokers), s(partitions))
}
