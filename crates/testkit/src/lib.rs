//! What tests need and nothing else uses: real networks and servers, numbered frames, and queues that misbehave on
//! purpose.
//!
//! Whatever cannot be set up is a panic that says what is missing: a test that cannot run has failed.

pub mod kafka;
pub mod net;
pub mod queues;
pub mod send;
mod sys;
mod tmpfs;

pub use tmpfs::Tmpfs;
