//! Capture by AF_XDP: a small XDP program sends the frames of a NIC's receive queue into memory that this process reads in place.
//!
//! One call, [`open`], gives one [`Queue`] for each receive queue of the interface that is taken. [`Tx`] sends by the same mechanism.
//! Nothing is linked for it, and nothing is compiled on the machine: the program is a few instructions put together here, with the filter
//! expression translated into them. It is attached by a link and ends with the process, also after `kill -9`.
//!
//! # What a user has to know
//! **AF_XDP takes frames away from the host.** A frame that goes to a queue here does not reach the kernel's stack: on the queues that are
//! taken the machine cannot be spoken to any more by what the filter selects. Without a filter that is everything. [`Options::host`]
//! decides about the rest:
//!
//! | | selected by the filter (or no filter) | not selected | queues that are not taken |
//! |---|---|---|---|
//! | `host = false` | captured | dropped | to the host |
//! | `host = true` | captured | to the host | to the host |
//!
//! Only received frames are seen, as they are before the stack: not those that this machine sends, and not yet merged by GRO if the program is
//! in the driver. In generic mode the frames come after GRO; those of a device that does not tell the stack by which queue they came (veth) are
//! all of queue 0. And VLAN tags that the NIC took out are lost with both modes (there is a
//! warning, and `ethtool -K eth0 rxvlan off` helps). A filter has to be compiled without a live handle (`Libpcap::compile`).
//!
//! Attaching a program may make a driver set its rings up anew: the link can be away for a moment at start and end. Each queue has 32 MiB of
//! memory that cannot be swapped, unless [`Options::frame_count`] says something else.
//!
//! On veth the driver mode needs nothing special: attaching the program makes the pair deliver by NAPI, and turns the other end's
//! segmentation offload off.
//!
//! # Losses
//! The RX ring has as many entries as there are chunks of memory, so it is never full. In copy mode a frame for which there is no chunk
//! counts in `rx_dropped` of `XDP_STATISTICS` (and once more in `rx_fill_ring_empty_descs`, which is therefore not added), as does a frame
//! too large for a chunk where the kernel knows no frames of several buffers. In zero-copy mode the NIC itself finds no chunk, and the
//! frame is in its counters (`nic_dropped`).
//!
//! Needs Linux 5.9 (links of XDP); 5.18 for frames of several buffers in the program, 6.6 in the socket. `CAP_NET_RAW` for the socket, `CAP_NET_ADMIN` and `CAP_BPF` for
//! the program. Knows `capture` and `netdev` and nothing else of the project.
//!
//! # Tests
//! The tests make network namespaces and load programs and need root; they fail without it. The walk over the rings is tested in plain
//! memory, also under AddressSanitizer:
//! ```text
//! RUSTFLAGS=-Zsanitizer=address cargo +nightly test -p capture-afxdp --lib --target x86_64-unknown-linux-gnu
//! ```
#![cfg(target_os = "linux")]

mod assembler;
mod attachment;
mod open;
mod options;
mod port;
mod program;
mod queue;
mod sys;
mod translate;
mod transmit;

pub use open::{open, usable};
pub use options::{Attach, Mode, Options, Queues};
pub use queue::{Batch, Frames, Queue};
pub use transmit::{Tx, TxOptions};
