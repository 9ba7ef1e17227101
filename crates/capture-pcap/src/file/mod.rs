//! Capture files as a queue: what `FileQueue` is made of.
//!
//! `input` gives octets, `buffer` holds them, `format` with `pcap` and `pcapng` finds the packets in them, `pace` says when
//! a packet is due, and `queue` puts these together. Only `input` does I/O; the parsers work on slices and are pure.

mod batch;
mod buffer;
mod format;
mod input;
mod pace;
mod pcap;
mod pcapng;
mod pcapng_interface;
mod progress;
mod queue;

pub use batch::{FileBatch, FileFrames};
pub use pace::Rate;
pub use progress::Progress;
pub use queue::{FileOptions, FileQueue};
