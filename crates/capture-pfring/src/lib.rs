//! Capture by PF_RING, in two ways:
//!
//! - [`open`]: the kernel's module (`pf_ring.ko`) fills a ring that this process reads in place. By the kernel's interface alone, ring version
//!   21, nothing linked. Several queues share an interface by its RSS queues ("channels") or by a cluster, which deals by the flow. Filters run in
//!   the kernel, and so does the cut to the snaplen.
//! - [`open_zc`]: "zero copy", the NIC's own ring in user space, by the closed part of libpfring, which is looked up at run time. Needs a ZC
//!   driver, huge pages, and a licence for more than five minutes.
//!
//! Needs `CAP_NET_RAW`, ZC root. Knows `capture` and `netdev` and nothing else of the project. The module is not part of any kernel: tests
//! run against a model of it in testkit, and those in tests/real_module.rs against the real one, in a virtual machine
//! (`scripts/guest-test --module pf_ring.ko`).
#![cfg(target_os = "linux")]

mod open;
mod options;
mod port;
mod program;
mod queue;
#[doc(hidden)]
pub mod sys;
mod zc;

pub use open::{open, open_with, usable, usable_with};
pub use options::{Options, Sharing};
pub use queue::{Batch, Frames, Queue};
pub use zc::{ZcBatch, ZcFrames, ZcQueue, open_zc};
