//! The kernel's interfaces, each behind functions that cannot be misused. All `unsafe` of this crate is below here.
//!
//! Knows sockets, memory and layouts; knows no options, no policy and no logging.

pub(crate) mod block;
pub(crate) mod copy_ring;
pub(crate) mod messages;
pub(crate) mod mmap;
pub(crate) mod socket;
pub(crate) mod tx_ring;
