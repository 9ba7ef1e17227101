//! librdkafka's options: ours, the user's over them, and those that the ledger cannot live with.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use super::Limits;
use crate::config::{KafkaConfig, is_secret};
use crate::error::SinkError;
use crate::handle::Workers;

/// Options that librdkafka knows by two names: the second becomes the first, so that the user's always replaces ours.
const ALIASES: [(&str, &str); 7] = [
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("acks", "request.required.acks"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight.requests.per.connection", "max.in.flight"),
    ("retries", "message.send.max.retries"),
];

/// The producer's options for batches of `buffers` pool buffers in all.
pub(super) fn producer(config: &KafkaConfig, sensor: &str, buffers: usize) -> Result<ClientConfig, SinkError> {
    let mut all = defaults(config, sensor, buffers);
    let users = users(config);
    for (key, value) in &users {
        if let Some(reason) = refusal(key, value) {
            return Err(option_error(key, value, reason));
        }
    }
    all.extend(users);
    Ok(client_config(&all))
}

/// How many batches librdkafka can have under way, and how long it waits for one.
pub(super) fn limits(config: &KafkaConfig, workers: &Workers) -> Result<Limits, SinkError> {
    let options = producer(config, &workers.sensor, workers.count * workers.buffers)?;
    let number = |key: &str, default: u64| options.get(key).and_then(|value| value.parse().ok()).unwrap_or(default);
    // Of each partition: each worker's batches go to one.
    let in_flight = usize::try_from(number("max.in.flight.requests.per.connection", 5)).unwrap_or(usize::MAX);
    let timeout = number("message.timeout.ms", 300_000);
    Ok(Limits {
        window: in_flight.max(1).saturating_mul(workers.count.max(1)),
        patience: (timeout > 0).then(|| Duration::from_millis(timeout)),
    })
}

/// The same for a client that only asks: a consumer, which never makes a topic.
pub(super) fn probe(config: &KafkaConfig) -> Result<ClientConfig, SinkError> {
    producer(config, "check", 0).map(|mut config| {
        config.remove("enable.idempotence");
        config.set("allow.auto.create.topics", "false");
        config
    })
}

fn defaults(config: &KafkaConfig, sensor: &str, buffers: usize) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = [
        ("bootstrap.servers", config.brokers.join(",")),
        ("client.id", format!("ringtap-{sensor}")),
        // No duplicate and no change of order by retries; acknowledged means written by all in-sync replicas.
        ("enable.idempotence", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("max.in.flight.requests.per.connection", "5".to_owned()),
        ("compression.type", "lz4".to_owned()),
        // The partition that Java's producers would choose for the same key.
        ("partitioner", "murmur2_random".to_owned()),
        // Batches are made already: waiting for more would only add delay, and a broker that refuses one for its size would
        // refuse those that were put into the same set with it.
        ("linger.ms", "0".to_owned()),
        ("batch.num.messages", "1".to_owned()),
        // What is too large is for the broker to say: it counts after compression.
        ("message.max.bytes", "67108864".to_owned()),
        // The pools bound what is under way. Lent batches take no memory of librdkafka's.
        ("queue.buffering.max.messages", (2 * buffers).max(100_000).to_string()),
        ("queue.buffering.max.kbytes", "2147483647".to_owned()),
        ("message.timeout.ms", "300000".to_owned()),
        // A broker that is back should be found soon: the pools are filling.
        ("reconnect.backoff.max.ms", "2000".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if let Some((user, password)) = &config.credentials {
        all.insert("sasl.username".to_owned(), user.clone());
        all.insert("sasl.password".to_owned(), password.clone());
    }
    all
}

/// From the configuration, then from the URL, by their first names.
fn users(config: &KafkaConfig) -> BTreeMap<String, String> {
    let first_name =
        |key: &str| ALIASES.iter().find(|(_, alias)| *alias == key).map_or(key, |(name, _)| name).to_owned();
    config.librdkafka.iter().chain(&config.query).map(|(key, value)| (first_name(key), value.clone())).collect()
}

/// Why the ledger could not be kept with this option.
fn refusal(key: &str, value: &str) -> Option<&'static str> {
    match key {
        "delivery.report.only.error" if value != "false" => Some("the ledger needs the reports of what was delivered"),
        "acks" if matches!(value, "0" | "none") => Some("without acknowledgements nobody knows what was delivered"),
        "enabled_events" => Some("the ledger needs the events that it asks for"),
        "transactional.id" => Some("ringtap does not use transactions; enable.idempotence prevents duplicates"),
        "queuing.strategy" if value != "fifo" => Some("records would change their order"),
        "bootstrap.servers" => Some("the brokers stand in the URL: kafka://host:9092,host2:9092/topic"),
        _ => None,
    }
}

fn client_config(all: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in all {
        config.set(key, value);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// librdkafka's objection with the option's name, and without secrets.
pub(super) fn creation_error(error: KafkaError) -> SinkError {
    match error {
        KafkaError::ClientConfig(_, reason, key, value) => option_error(&key, &value, &reason),
        KafkaError::ClientCreation(reason) => SinkError::KafkaClient(reason),
        other => SinkError::KafkaClient(other.to_string()),
    }
}

/// librdkafka quotes values at times. A name that it does not know may be that of a password, misspelt.
fn option_error(key: &str, value: &str, reason: &str) -> SinkError {
    let hidden = is_secret(key) || reason.contains("No such configuration property");
    let quoted = hidden && !value.is_empty() && reason.contains(value);
    let reason = if quoted { "its value is refused" } else { reason.trim() };
    let shown = if hidden { "***" } else { value };
    SinkError::KafkaOption { key: key.to_owned(), value: shown.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SinkConfig;

    fn options(url: &str, file: &[(&str, &str)]) -> Result<ClientConfig, SinkError> {
        let file = file.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let Ok(SinkConfig::Kafka(config)) = SinkConfig::parse(url).map(|c| c.with_librdkafka(&file)) else {
            panic!("{url} is not a Kafka sink");
        };
        producer(&config, "s", 10)
    }

    #[test]
    fn the_url_wins_over_the_file_and_that_over_ours() {
        let file = [("linger.ms", "3"), ("client.id", "file"), ("compression.codec", "zstd")];
        let config = options("kafka://h/t?client.id=url&delivery.timeout.ms=9", &file).unwrap();
        assert_eq!(config.get("client.id"), Some("url"));
        assert_eq!(config.get("message.timeout.ms"), Some("9"), "an alias replaces ours");
        assert_eq!(config.get("delivery.timeout.ms"), None);
        assert_eq!((config.get("linger.ms"), config.get("compression.type")), (Some("3"), Some("zstd")));
        assert_eq!((config.get("acks"), config.get("bootstrap.servers")), (Some("all"), Some("h:9092")));
    }

    #[test]
    fn what_would_break_the_ledger_is_refused_with_a_reason() {
        for query in [
            "delivery.report.only.error=true",
            "acks=0",
            "request.required.acks=0",
            "enabled_events=0",
            "transactional.id=x",
            "queuing.strategy=lifo",
            "metadata.broker.list=elsewhere",
        ] {
            let error = options(&format!("kafka://h/t?{query}"), &[]).unwrap_err().to_string();
            assert!(error.starts_with("Kafka option ") && error.contains(": "), "{error}");
        }
        assert!(options("kafka://h/t?delivery.report.only.error=false", &[]).is_ok());
    }

    #[test]
    fn passwords_stay_out_of_errors() {
        let said = |key: &str, reason: &str| {
            let kind = rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
            creation_error(KafkaError::ClientConfig(kind, reason.into(), key.into(), "hunter2".into())).to_string()
        };
        assert_eq!(said("sasl.password", "bad"), "Kafka option sasl.password=***: bad");
        assert_eq!(said("ssl.key.pem", "bad \"hunter2\""), "Kafka option ssl.key.pem=***: its value is refused");
        assert_eq!(said("client.id", "bad"), "Kafka option client.id=hunter2: bad");
        // Misspelt, as librdkafka itself says it.
        let unknown =
            options("kafka://h/t?sasl.pasword=hunter2", &[]).unwrap().create::<rdkafka::producer::BaseProducer>();
        let unknown = creation_error(unknown.err().expect("an option that does not exist")).to_string();
        assert!(unknown.contains("sasl.pasword=***") && !unknown.contains("hunter2"), "{unknown}");
    }

    /// The guide says so.
    #[test]
    fn a_record_has_five_minutes() {
        assert_eq!(options("kafka://h/t", &[]).unwrap().get("message.timeout.ms"), Some("300000"));
    }
}
