//! Values that flags and configuration files share: text or number in, checked range, one message for both.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use shipper::SinkConfig;

/// What a number counts: how it is read and shown.
pub(crate) trait Unit {
    /// From text as users write it.
    fn parse(text: &str) -> Result<u64, String>;
    /// As users read it.
    fn show(n: u64) -> String;
}

/// A plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain;

impl Unit for Plain {
    fn parse(text: &str) -> Result<u64, String> {
        text.parse().map_err(|_| format!("{text:?} is not a whole number"))
    }

    fn show(n: u64) -> String {
        n.to_string()
    }
}

/// Octets: `64MiB`, `900kB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Octets;

impl Unit for Octets {
    fn parse(text: &str) -> Result<u64, String> {
        text.parse()
            .map(|size: bytesize::ByteSize| size.as_u64())
            .map_err(|_| format!("{text:?} is not a size such as 64MiB, 900kB or 4096"))
    }

    fn show(n: u64) -> String {
        bytesize::ByteSize(n).display().iec().to_string()
    }
}

/// Milliseconds, written with a unit: `200ms`, `10s`, `5min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Millis;

impl Unit for Millis {
    fn parse(text: &str) -> Result<u64, String> {
        let time = humantime::parse_duration(text)
            .map_err(|_| format!("{text:?} is not a time such as 200ms, 10s or 5min"))?;
        u64::try_from(time.as_millis()).map_err(|_| format!("{text:?} is too long"))
    }

    fn show(n: u64) -> String {
        humantime::format_duration(Duration::from_millis(n)).to_string()
    }
}

/// A number of some unit within a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ranged<U, const MIN: u64, const MAX: u64>(u64, PhantomData<U>);

impl<U: Unit, const MIN: u64, const MAX: u64> Ranged<U, MIN, MAX> {
    fn checked(n: u64) -> Result<Self, String> {
        if (MIN..=MAX).contains(&n) {
            Ok(Self(n, PhantomData))
        } else {
            Err(Self::wrong(format!("{} is out of range", U::show(n))))
        }
    }

    /// What is wrong, and what is allowed.
    fn wrong(what: impl fmt::Display) -> String {
        format!("{what}: {} to {} is allowed", U::show(MIN), U::show(MAX))
    }

    /// A number that is known to be allowed.
    pub(crate) const fn of(n: u64) -> Self {
        assert!(MIN <= n && n <= MAX);
        Self(n, PhantomData)
    }

    /// The number.
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Ranged<Millis, MIN, MAX> {
    /// As a time.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<U: Unit, const MIN: u64, const MAX: u64> FromStr for Ranged<U, MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        U::parse(text).map_err(Self::wrong).and_then(Self::checked)
    }
}

impl<'de, U: Unit, const MIN: u64, const MAX: u64> Deserialize<'de> for Ranged<U, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<U, const MIN: u64, const MAX: u64>(PhantomData<U>);

        impl<U: Unit, const MIN: u64, const MAX: u64> Visitor<'_> for Any<U, MIN, MAX> {
            type Value = Ranged<U, MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a value from {:?} to {:?}", U::show(MIN), U::show(MAX))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
                self.visit_i128(n.into())
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
                self.visit_i128(n.into())
            }

            fn visit_i128<E: de::Error>(self, n: i128) -> Result<Self::Value, E> {
                let fits = u64::try_from(n);
                let n = fits.map_err(|_| E::custom(Ranged::<U, MIN, MAX>::wrong(format!("{n} is out of range"))))?;
                // A bare number of milliseconds would be read as seconds by some and as minutes by others.
                if U::show(1) == Millis::show(1) {
                    return Err(E::custom(format!("{n} has no unit: write \"{n}ms\" or \"{n}s\"")));
                }
                Ranged::checked(n).map_err(E::custom)
            }

            fn visit_u128<E: de::Error>(self, n: u128) -> Result<Self::Value, E> {
                Err(E::custom(Ranged::<U, MIN, MAX>::wrong(format!("{n} is out of range"))))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Any(PhantomData))
    }
}

/// A sensor's name: it becomes `observer.name` and part of Kafka keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SensorName(pub String);

impl FromStr for SensorName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=64).contains(&text.len());
        if fits && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not a sensor's name: 1 to 64 letters, digits, dots, dashes and underscores"))
        }
    }
}

/// A value that is read from text by both flags and files.
macro_rules! deserialize_from_str {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

/// Text that some library's type is parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed<T>(pub T);

impl<T: FromStr<Err: fmt::Display>> FromStr for Parsed<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: T::Err| error.to_string())
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

deserialize_from_str!(SensorName);

/// A list of a configuration file. An entry that is there twice is a mistake, and is found here, where its line is known.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de> + PartialEq>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Any<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + PartialEq> Visitor<'de> for Any<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list in brackets, of one entry too: [\"one\"] or [\"one\", \"another\"]")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(entry) = entries.next_element()? {
                if list.contains(&entry) {
                    return Err(de::Error::custom(format!("entry {} of this list is there twice", list.len() + 1)));
                }
                list.push(entry);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_any(Any(PhantomData))
}

/// URLs of sinks in a configuration file: read here already, where a mistake has its line.
pub(crate) fn sinks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(PartialEq)]
    struct Url(String);

    impl<'de> Deserialize<'de> for Url {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let url = String::deserialize(deserializer)?;
            SinkConfig::parse(&url).map_err(de::Error::custom)?;
            Ok(Self(url))
        }
    }

    Ok(list::<D, Url>(deserializer)?.into_iter().map(|Url(url)| url).collect())
}

/// Options of another program: text, and numbers and booleans without quotes too. Not so for passwords: `1.50` would become another one.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Text(String);

    struct Any;

    impl Visitor<'_> for Any {
        type Value = Text;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text, a number, true or false")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
            Ok(Text(text.to_owned()))
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Text, E> {
            Ok(Text(value.to_string()))
        }

        fn visit_i64<E: de::Error>(self, n: i64) -> Result<Text, E> {
            Ok(Text(n.to_string()))
        }

        fn visit_f64<E: de::Error>(self, n: f64) -> Result<Text, E> {
            Ok(Text(n.to_string()))
        }
    }

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Any)
        }
    }

    struct Table;

    impl<'de> Visitor<'de> for Table {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("options: \"key\" = \"value\"")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut texts = BTreeMap::new();
            while let Some(key) = entries.next_key::<String>()? {
                let secret = ["password", "secret"].iter().any(|word| key.to_ascii_lowercase().contains(word));
                let value = if secret { entries.next_value()? } else { entries.next_value::<Text>()?.0 };
                texts.insert(key, value);
            }
            Ok(texts)
        }
    }

    deserializer.deserialize_map(Table)
}

/// A flag that takes one of these words; completions offer them.
pub(crate) fn one_of<T>(words: &[&'static str]) -> impl TypedValueParser<Value = Parsed<T>> + use<T>
where
    T: FromStr<Err: fmt::Display> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Parsed<T>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_say_what_is_allowed() {
        type Size = Ranged<Octets, 1024, 1_048_576>;
        assert_eq!("64KiB".parse::<Size>().unwrap().get(), 65_536);
        assert_eq!("1".parse::<Size>().unwrap_err(), "1 B is out of range: 1.0 KiB to 1.0 MiB is allowed");
        let error = "x".parse::<Size>().unwrap_err();
        assert!(error.contains("is not a size") && error.ends_with("1.0 KiB to 1.0 MiB is allowed"), "{error}");
        assert_eq!("200ms".parse::<Ranged<Millis, 1, 1000>>().unwrap().duration(), Duration::from_millis(200));
    }

    #[test]
    fn names_are_plain() {
        assert!("sensor-1.example_x".parse::<SensorName>().is_ok());
        for bad in ["", "a b", "ü", &"x".repeat(65)] {
            assert!(bad.parse::<SensorName>().is_err(), "{bad:?}");
        }
    }
}
