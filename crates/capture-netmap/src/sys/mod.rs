//! netmap's interface, each part behind functions that cannot be misused. All `unsafe` of this crate is below here.
//!
//! Knows system calls, memory and layouts; knows no options, no policy and no logging.

pub(crate) mod abi;
pub(crate) mod device;
pub(crate) mod memory;
pub(crate) mod ring;
pub(crate) mod spares;
