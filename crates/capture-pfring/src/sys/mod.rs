//! The kernel's interface and libpfring's, each behind functions that cannot be misused. All `unsafe` of this crate is below here.
//!
//! Knows system calls, memory and layouts; knows no options, no policy and no logging.

pub mod abi;
pub mod memory;
pub(crate) mod ring;
pub mod socket;
pub(crate) mod zc;
