//! `kafka://[user:password@]host:9092[,host2:9092]/topic[?option=value&...]`
//!
//! Read by hand: a URL has one host, and this has several.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::{Host, form_urlencoded};

use super::UrlError;

/// How messages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// The cheapest by far; shrinks records some four times.
    #[default]
    Lz4,
    /// Nine times, for a third more CPU.
    Zstd,
    /// For consumers that know nothing else.
    Gzip,
    /// For consumers that know nothing else.
    Snappy,
}

impl Compression {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
        }
    }
}

/// Options of Kafka sinks that do not stand in the URL. The URL's win over `librdkafka`, and those over the fields.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaOptions {
    /// How messages are compressed; lz4 if not given.
    pub compression: Option<Compression>,
    /// Seconds until a message that was not acknowledged is given up; 300 if not given, 0 for never.
    pub timeout_seconds: Option<u32>,
    /// Any option of librdkafka, as it is.
    pub librdkafka: BTreeMap<String, String>,
}

/// A Kafka topic.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port` of each broker to start from.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// User and password from the URL.
    pub credentials: Option<(String, String)>,
    /// Options from elsewhere.
    pub options: KafkaOptions,
    /// librdkafka's options from the URL's query.
    pub query: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// `rest` is what follows the scheme and its colon.
    pub(super) fn parse(rest: &str) -> Result<Self, UrlError> {
        let rest = rest.strip_prefix("//").ok_or_else(|| UrlError::Broker(rest.to_owned()))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, topic) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(credentials(user_info)), hosts),
            None => (None, authority),
        };
        Ok(Self {
            brokers: hosts.split(',').map(broker).collect::<Result<_, _>>()?,
            topic: checked_topic(topic)?,
            credentials,
            options: KafkaOptions::default(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        })
    }
}

fn credentials(user_info: &str) -> (String, String) {
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    (decode(user), decode(password))
}

fn broker(text: &str) -> Result<String, UrlError> {
    let wrong = || UrlError::Broker(text.to_owned());
    // The colons of a bare IPv6 address are in brackets.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().map_err(|_| wrong())?),
        _ => (text, 9092),
    };
    Host::parse(host).map_err(|_| wrong())?;
    Ok(format!("{host}:{port}"))
}

fn checked_topic(name: &str) -> Result<String, UrlError> {
    let valid = (1..=249).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
        && name != "."
        && name != "..";
    if valid { Ok(name.to_owned()) } else { Err(UrlError::Topic(name.to_owned())) }
}

/// Whether an option's value must not be shown.
pub(crate) fn is_secret(option: &str) -> bool {
    ["password", "secret", "key.pem", "sasl.oauthbearer.config", "sasl.jaas"].iter().any(|part| option.contains(part))
}

struct Veiled<'a>(&'a BTreeMap<String, String>);

impl fmt::Debug for Veiled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value.as_str() }));
        f.debug_map().entries(shown).finish()
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("compression", &self.compression)
            .field("timeout_seconds", &self.timeout_seconds)
            .field("librdkafka", &Veiled(&self.librdkafka))
            .finish()
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("credentials", &self.credentials.as_ref().map(|(user, _)| (user, "***")))
            .field("options", &self.options)
            .field("query", &Veiled(&self.query))
            .finish()
    }
}
