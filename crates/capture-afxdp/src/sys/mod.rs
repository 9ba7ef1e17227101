//! The kernel's interfaces, each behind functions that cannot be misused. All `unsafe` of this crate is below here.
//!
//! Knows bpf(2), sockets, memory and layouts; knows no options, no policy and no logging.

pub(crate) mod bpf;
pub(crate) mod memory;
pub(crate) mod receive;
pub(crate) mod ring;
pub(crate) mod send;
pub(crate) mod socket;
