//! What comes to a topic, read back: for measurements that want to see where the way ends.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use tracing::debug;

use super::options;
use super::probe::probe;
use crate::config::KafkaConfig;
use crate::error::SinkError;

/// Reads a topic from its present end on, all partitions of it. Is in no group, and leaves nothing at the broker.
pub struct TopicReader {
    consumer: BaseConsumer,
}

impl TopicReader {
    /// Finds the topic's end.
    ///
    /// # Errors
    /// What [`crate::probe`] says; what librdkafka says of the options.
    pub fn open(config: &KafkaConfig, timeout: Duration) -> Result<Self, SinkError> {
        let deadline = Instant::now() + timeout;
        probe(config, timeout)?;
        let mut options = options::probe(config)?;
        // librdkafka assigns nothing without a name; the group is never joined.
        options.set("group.id", "ringtap-reader").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = options.create().map_err(options::creation_error)?;
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let metadata = consumer.fetch_metadata(Some(&config.topic), left()).map_err(said)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let mut places = TopicPartitionList::new();
        for partition in partitions.map(rdkafka::metadata::MetadataPartition::id) {
            let (_, end) = consumer.fetch_watermarks(&config.topic, partition, left()).map_err(said)?;
            places.add_partition_offset(&config.topic, partition, Offset::Offset(end)).map_err(said)?;
        }
        consumer.assign(&places).map_err(said)?;
        Ok(Self { consumer })
    }

    /// Shows the next message's payload, or waits for one. Says whether there was one.
    ///
    /// # Errors
    /// [`SinkError::KafkaClient`] if the client cannot go on. A broker that is away for a while is no error.
    pub fn next(&self, wait: Duration, see: impl FnOnce(&[u8])) -> Result<bool, SinkError> {
        match self.consumer.poll(wait) {
            None => Ok(false),
            Some(Ok(message)) => {
                see(message.payload().unwrap_or_default());
                Ok(true)
            }
            Some(Err(error)) => match self.consumer.client().fatal_error() {
                Some((code, reason)) => Err(SinkError::KafkaClient(format!("{code}: {reason}"))),
                None => {
                    debug!("reading the topic: {error}");
                    Ok(false)
                }
            },
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn said(error: KafkaError) -> SinkError {
    SinkError::KafkaClient(error.to_string())
}
