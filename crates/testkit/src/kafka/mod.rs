//! A real Apache Kafka broker on loopback, and what is in its topics as kcat sees it.

mod admin;
mod broker;
mod consume;
mod jars;

pub use broker::{Kafka, KafkaOptions};
pub use consume::Message;
