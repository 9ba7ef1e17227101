//! The seam between the capture mechanisms and everything behind them.
//!
//! A backend (AF_PACKET, a pcap file, netmap, ...) implements [`RxQueue`]; the worker in `pipeline` is generic over it.
//! A queue *lends* batches of frames that lie in the ring itself; nothing is copied on the way to the encoder.
//!
//! This crate holds types and traits only: no `unsafe`, no I/O, no knowledge of any backend, of records or of sinks.
#![forbid(unsafe_code)]

mod error;
mod filter;
mod frame;
mod interface;
mod link_type;
mod queue;
mod stats;
mod timestamp;
mod transmit;

pub use error::CaptureError;
pub use filter::{BpfInstruction, FilterError, FilterProgram};
pub use frame::{Direction, Frame, FrameFlags, VlanTag};
pub use interface::{Interface, InterfaceIndex};
pub use link_type::LinkType;
pub use queue::{CaptureDirection, Readiness, RxBatch, RxQueue};
pub use stats::{Count, QueueStats};
pub use timestamp::Timestamp;
pub use transmit::{TxQueue, TxStats};
