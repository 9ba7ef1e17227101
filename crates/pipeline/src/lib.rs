//! Frames to records: dissect, encode, batch, hand over, and the ledger that accounts for all of it.
//!
//! Knows the seam (`capture`) and nothing of backends or sinks: a worker is generic over its queue and ends at a
//! [`handoff`] lane, from which a sink takes finished batches.

pub mod app;
pub mod batch;
pub mod dissect;
pub mod enrich;
pub mod flow;
#[cfg(not(loom))]
pub mod glimpse;
pub mod handoff;
pub mod ledger;
pub mod os;
pub mod pool;
pub mod record;
pub mod schema;
mod sync;
mod sys;
#[cfg(not(loom))]
pub mod worker;

/// Version of the record schema; carried by every Kafka message and raised when a field changes its name, type or meaning.
pub const SCHEMA_VERSION: u32 = 1;
