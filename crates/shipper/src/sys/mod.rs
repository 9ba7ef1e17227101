//! The one home of `unsafe` in this crate: lending batches to librdkafka, and writing to pipes without blocking.

pub(crate) mod access;
pub(crate) mod output;
pub(crate) mod produce;
