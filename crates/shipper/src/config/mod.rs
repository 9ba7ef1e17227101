//! From the text of a sink's URL to a checked configuration.

mod file;
mod kafka;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use file::FileConfig;
pub use kafka::{KafkaConfig, is_secret, veiled};

/// A sink, as its URL names it. Its `Display` is the name that ledger and logs use, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkConfig {
    /// `kafka://host:9092[,host2:9092]/topic[?option=value&...]`
    Kafka(KafkaConfig),
    /// `file:///path[?rotate=1GiB&zstd=true]`
    File(FileConfig),
    /// `stdout:`
    Stdout,
    /// `null:`
    Null,
}

/// Why a sink's URL is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No scheme, or one that does not exist.
    #[error("{0:?} is not a sink: use kafka://host:9092/topic, file:///path, stdout: or null:")]
    Scheme(String),
    /// A scheme of a later version.
    #[error("{0}: sinks are not in this version: use kafka://host:9092/topic, file:///path, stdout: or null:")]
    Later(&'static str),
    /// `stdout:` and `null:` have nothing behind the colon.
    #[error("{0}: takes nothing behind the colon")]
    Bare(&'static str),
    /// No broker, or one that is not host:port.
    #[error("{0:?} is not a broker: use kafka://host:9092/topic, several as host:9092,host2:9092")]
    Broker(String),
    /// No topic, or a name that Kafka does not take.
    #[error("{0:?} is not a Kafka topic: kafka://host:9092/topic, 1 to 249 of the characters a-z A-Z 0-9 . _ -")]
    Topic(String),
    /// A path that is not absolute, or names a host.
    #[error("{0:?} is not an absolute path: use file:///path/to/records.ndjson, with three slashes")]
    Path(String),
    /// A query parameter that this sink does not have.
    #[error(
        "{name:?} is not an option of file sinks: rotate (as in 100MB, 1GiB), zstd (true, false or a level 1 to 19)"
    )]
    Option {
        /// Its name.
        name: String,
    },
    /// A query parameter whose value makes no sense.
    #[error("{name}={value:?}: {expected}")]
    Value {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

const LATER: [&str; 6] = ["elastic+http", "elastic+https", "tcp", "store", "ipfix", "elastic"];

impl SinkConfig {
    /// Reads a sink's URL.
    ///
    /// # Errors
    /// What is wrong with it and what is allowed.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once(':').ok_or_else(|| UrlError::Scheme(veiled(text)))?;
        match scheme {
            "kafka" => KafkaConfig::parse(rest).map(Self::Kafka),
            "file" => FileConfig::parse(text).map(Self::File),
            "stdout" if rest.is_empty() => Ok(Self::Stdout),
            "stdout" => Err(UrlError::Bare("stdout")),
            "null" if rest.is_empty() => Ok(Self::Null),
            "null" => Err(UrlError::Bare("null")),
            _ => Err(LATER
                .into_iter()
                .find(|later| *later == scheme)
                .map_or_else(|| UrlError::Scheme(veiled(scheme)), UrlError::Later)),
        }
    }

    /// Adds librdkafka's options from elsewhere to a Kafka sink; those of the URL win. Other sinks stay as they are.
    #[must_use]
    pub fn with_librdkafka(mut self, options: &BTreeMap<String, String>) -> Self {
        if let Self::Kafka(kafka) = &mut self {
            kafka.librdkafka = options.clone();
        }
        self
    }

    /// Whether both would write to the same place, whatever their options. Two sinks must not: they would get into each
    /// other's way, and share a name in the ledger.
    #[must_use]
    pub fn same_target(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Kafka(a), Self::Kafka(b)) => a.topic == b.topic && brokers(a) == brokers(b),
            (Self::File(a), Self::File(b)) => real_path(a) == real_path(b),
            (Self::Stdout, Self::Stdout) | (Self::Null, Self::Null) => true,
            _ => false,
        }
    }
}

/// In any order and spelling.
fn brokers(kafka: &KafkaConfig) -> BTreeSet<String> {
    kafka.brokers.iter().map(|broker| broker.to_ascii_lowercase()).collect()
}

/// By whatever links its directory is named; the file need not be there.
fn real_path(file: &FileConfig) -> PathBuf {
    let (directory, name) = (file.path.parent(), file.path.file_name());
    let real = directory.and_then(|directory| directory.canonicalize().ok());
    real.zip(name).map_or_else(|| file.path.clone(), |(directory, name)| directory.join(name))
}

impl FromStr for SinkConfig {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for SinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kafka(kafka) => write!(f, "kafka://{}/{}", kafka.brokers.join(","), kafka.topic),
            Self::File(file) => write!(f, "file://{}", file.path.display()),
            Self::Stdout => f.write_str("stdout:"),
            Self::Null => f.write_str("null:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> String {
        SinkConfig::parse(text).map_or_else(|error| format!("error: {error}"), |config| config.to_string())
    }

    #[test]
    fn names_have_ports_and_no_credentials() {
        assert_eq!(name("kafka://h/t"), "kafka://h:9092/t");
        assert_eq!(
            name("kafka://al:p%40ss@h:1,[::1]:2,[fe80::1]/a.b-c_d?acks=1"),
            "kafka://h:1,[::1]:2,[fe80::1]:9092/a.b-c_d"
        );
        assert_eq!(name("file:///tmp/a%20b.ndjson?rotate=100MB&zstd=true"), "file:///tmp/a b.ndjson.zst");
        assert_eq!((name("stdout:").as_str(), name("null:").as_str()), ("stdout:", "null:"));
    }

    #[test]
    fn credentials_and_options_are_decoded_and_kept() {
        let SinkConfig::Kafka(kafka) =
            SinkConfig::parse("kafka://al:p%40%2Bss@h/t?compression.type=zstd&a=b+c").unwrap()
        else {
            panic!("not a Kafka sink");
        };
        assert_eq!(kafka.credentials, Some(("al".to_owned(), "p@+ss".to_owned())));
        assert_eq!(kafka.query["compression.type"], "zstd");
        assert!(!format!("{kafka:?}").contains("p@"), "no password in a debug print");
    }

    /// Wherever the mistake is, and whatever signs of it should have been encoded.
    #[test]
    fn no_error_and_no_veiled_url_has_a_password() {
        for (text, part) in [
            ("kafka://user:s3cret@h/bad topic", "\"bad topic\" is not a Kafka topic"),
            ("kafka:user:s3cret@host/t", "\"***@host/t\" is not a broker"),
            ("kafka://user:s3cret@h:99999/t", "\"h:99999\" is not a broker"),
            ("kafka://user:s3cret/s3cret@h/t", "***@h/t"),
            ("kafka://user:s3cret?s3cret@h/t", "***@h/t"),
            ("kafka://user:s3cret@s3cret/s3cret@h/t", "***@h/t"),
            ("kafka://h/a b?sasl.password=s3cret&acks=1", "not a Kafka topic"),
            ("kafka://h/a b?SASL%2Epassword=s3cret@s3cret&acks=1", "not a Kafka topic"),
            ("kafak://user:s3cret@h/t", "use kafka://"),
            ("s3cret@h/t", "use kafka://"),
            ("s3cret@h:9092/t", "use kafka://"),
            ("file://user:s3cret@h/x", "***@h/x"),
        ] {
            let (said, shown) = (name(text), veiled(text));
            assert!(said.starts_with("error: ") && said.contains(part), "{text}: {said}");
            assert!(!said.contains("s3cret") && !said.contains("user"), "{said}");
            assert!(!shown.contains("s3cret") && !shown.contains("user"), "{shown}");
        }
        assert_eq!(veiled("kafka://al:x@h/t?sasl.password=x&acks=1"), "kafka://***@h/t?sasl.password=***&acks=1");
        assert_eq!(veiled("kafka://h:1/t"), "kafka://h:1/t");
        assert_eq!(veiled("file:///a?rotate=1"), "file:///a?rotate=1");
    }

    #[test]
    fn the_same_place_is_known_by_any_options_and_spelling() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let (real, link) = (format!("file://{}", real.display()), format!("file://{}", link.display()));
        for (a, b, same) in [
            ("kafka://h/t?acks=1", "kafka://al:x@H:9092/t", true),
            ("kafka://a,b/t", "kafka://b,a/t", true),
            ("kafka://h/t", "kafka://h/u", false),
            ("kafka://h/t", "kafka://h:1/t", false),
            (&format!("{real}/r"), &format!("{link}/r?rotate=1MiB"), true),
            (&format!("{real}/r?zstd=true"), &format!("{real}//r.zst"), true),
            (&format!("{real}/r?zstd=true"), &format!("{real}/r"), false),
            ("file:///nonexistent/a", "file:///nonexistent/a?rotate=1MiB", true),
            ("stdout:", "stdout:", true),
            ("stdout:", "null:", false),
        ] {
            let (first, second) = (SinkConfig::parse(a).unwrap(), SinkConfig::parse(b).unwrap());
            assert_eq!((first.same_target(&second), second.same_target(&first)), (same, same), "{a} {b}");
        }
    }

    #[test]
    fn errors_say_what_is_allowed() {
        for (text, part) in [
            ("http://x", "use kafka://"),
            ("records", "use kafka://"),
            ("tcp://h:1", "not in this version"),
            ("elastic+https://h", "not in this version"),
            ("store:///x", "not in this version"),
            ("ipfix://h", "not in this version"),
            ("stdout:x", "nothing behind"),
            ("kafka:h/t", "not a broker"),
            ("kafka:///t", "not a broker"),
            ("kafka://h:99999/t", "not a broker"),
            ("kafka://h,,g/t", "not a broker"),
            ("kafka://h", "not a Kafka topic"),
            ("kafka://h/a/b", "not a Kafka topic"),
            ("kafka://h/..", "not a Kafka topic"),
            ("file://tmp/x", "three slashes"),
            ("file:x", "three slashes"),
            ("file:///", "three slashes"),
            ("file:///x?color=red", "rotate"),
            ("file:///x?rotate=12parsec", "rotate=\"12parsec\""),
            ("file:///x?rotate=1kB", "at least"),
            ("file:///x?zstd=99", "1 to 19"),
        ] {
            let said = name(text);
            assert!(said.starts_with("error: ") && said.contains(part), "{text}: {said}");
        }
    }
}
