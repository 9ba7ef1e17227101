//! What tests need and nothing else uses: real networks and servers, numbered frames, frames of every protocol, a second
//! way to make their records, databases of addresses, and queues that misbehave on purpose.
//!
//! Whatever cannot be set up is a panic that says what is missing: a test that cannot run has failed.

pub mod conformance;
pub mod frames;
pub mod generate;
pub mod kafka;
pub mod mmdb;
pub mod model;
pub mod net;
pub mod queues;
pub mod random;
pub mod reference;
pub mod relay;
pub mod send;
mod sys;
mod tmpfs;

pub use tmpfs::Tmpfs;
