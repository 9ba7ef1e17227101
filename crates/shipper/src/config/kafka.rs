//! `kafka://[user:password@]host:9092[,host2:9092]/topic[?option=value&...]`
//!
//! Read by hand: a URL has one host, and this has several.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, form_urlencoded};

use super::UrlError;

/// A Kafka topic.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port` of each broker to start from.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// User and password from the URL.
    pub credentials: Option<(String, String)>,
    /// librdkafka's options from elsewhere.
    pub librdkafka: BTreeMap<String, String>,
    /// librdkafka's options from the URL's query.
    pub query: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// `rest` is what follows the scheme and its colon.
    pub(super) fn parse(rest: &str) -> Result<Self, UrlError> {
        // Only what stands behind the last @ is surely no password, whatever a user forgot to encode.
        let shown = |part: &str| {
            if rest.rsplit('@').next().is_some_and(|end| end.contains(part)) { part.to_owned() } else { veiled(rest) }
        };
        let rest = rest.strip_prefix("//").ok_or_else(|| UrlError::Broker(shown(rest)))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, topic) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(credentials(user_info)), hosts),
            None => (None, authority),
        };
        Ok(Self {
            brokers: hosts
                .split(',')
                .map(|text| broker(text).ok_or_else(|| UrlError::Broker(shown(text))))
                .collect::<Result<_, _>>()?,
            topic: if is_topic(topic) { topic.to_owned() } else { return Err(UrlError::Topic(shown(topic))) },
            credentials,
            librdkafka: BTreeMap::new(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        })
    }
}

fn credentials(user_info: &str) -> (String, String) {
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    (decode(user), decode(password))
}

fn broker(text: &str) -> Option<String> {
    // The colons of a bare IPv6 address are in brackets.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().ok()?),
        _ => (text, 9092),
    };
    Host::parse(host).ok()?;
    Some(format!("{host}:{port}"))
}

fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
        && name != "."
        && name != ".."
}

/// Whether an option of librdkafka has a value that must not be shown.
#[must_use]
pub fn is_secret(option: &str) -> bool {
    let option = option.to_ascii_lowercase();
    let parts = ["passw", "passphrase", "secret", "key.pem", "sasl.oauthbearer.config", "sasl.jaas"];
    parts.iter().any(|part| option.contains(part))
}

/// A sink's URL as it may be shown, be it right or wrong: without user information and without the values of secret options.
#[must_use]
pub fn veiled(url: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let options = query.split('&').map(|option| match option.split_once('=') {
        Some((name, _)) if is_secret(&percent_decode_str(name).decode_utf8_lossy()) => format!("{name}=***"),
        _ => option.to_owned(),
    });
    let mut shown = path.to_owned();
    for (n, option) in options.enumerate().filter(|_| url.contains('?')) {
        shown.push(if n == 0 { '?' } else { '&' });
        shown.push_str(&option);
    }
    // A password may have any sign in it, if it was not encoded.
    let Some((before, after)) = shown.rsplit_once('@') else { return shown };
    let scheme = before.find("//").map_or("", |at| &before[..at + 2]);
    let scheme = if scheme.bytes().all(|c| c.is_ascii_lowercase() || b"+:/".contains(&c)) { scheme } else { "" };
    format!("{scheme}***@{after}")
}

struct Veiled<'a>(&'a BTreeMap<String, String>);

impl fmt::Debug for Veiled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value.as_str() }));
        f.debug_map().entries(shown).finish()
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("credentials", &self.credentials.as_ref().map(|(user, _)| (user, "***")))
            .field("librdkafka", &Veiled(&self.librdkafka))
            .field("query", &Veiled(&self.query))
            .finish()
    }
}
