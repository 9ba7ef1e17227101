//! Capture by AF_PACKET (packet(7)): a TPACKET_V3 ring that the kernel fills and this process reads in place.
//!
//! One call, [`open`], gives one [`Queue`] for each thread that is to read. Several queues share an interface by
//! `PACKET_FANOUT`: each frame goes to exactly one of them. Filters run in the kernel, and so does the cut to the snaplen.
//!
//! Needs Linux 4.20 or newer and `CAP_NET_RAW`, also for promiscuous mode (`packet_mc_add` in net/packet/af_packet.c asks
//! for no other capability). Knows `capture` and nothing else of the project.
//!
//! # Tests
//! The tests under `tests/` make network namespaces and need root; they fail without it. The walk over a block is
//! tested on images in plain memory, also under AddressSanitizer:
//! ```text
//! RUSTFLAGS=-Zsanitizer=address cargo +nightly test -p capture-afpacket --lib --target x86_64-unknown-linux-gnu
//! ```
#![cfg(target_os = "linux")]

mod budget;
mod fanout;
mod open;
mod options;
mod plain;
mod port;
mod program;
mod queue;
mod sys;
mod transmit;

pub use budget::share_memory;
pub use open::{open, usable};
pub use options::{FanoutMode, Options};
pub use plain::{PlainBatch, PlainFrames, PlainOptions, PlainQueue, open_plain};
pub use queue::{Batch, Frames, Queue};
pub use transmit::{CopyTx, Tx, TxOptions};
