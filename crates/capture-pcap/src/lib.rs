//! Capture files as queues, and BPF expressions compiled by whichever libpcap is found at run time.
//!
//! - [`FileQueue`] reads pcap and pcapng files, plain or compressed, and lends their packets out of its read buffer.
//! - [`Libpcap`] turns expressions ("tcp port 80") into programs for the kernel or for [`Filter`].
//! - [`LiveQueue`] captures on an interface by any libpcap, as a baseline and for what only a special libpcap knows.
//! - [`Filter`] runs such a program on frames in user space.
//!
//! The file readers are our own and need no libpcap. All `unsafe` stands in `sys`.

mod file;
mod filter;
mod libpcap;
mod live;
mod place;
mod sys;

pub use file::{FileBatch, FileFrames, FileOptions, FileQueue, Progress, Rate};
pub use filter::{Filter, InvalidProgram};
pub use libpcap::{CompileError, Libpcap};
pub use live::{LiveBatch, LiveFrames, LiveOptions, LiveQueue, open_live};
pub use place::Place;
