//! Questions to the kernel. All `unsafe` of this crate is below here.
//!
//! Knows sockets and layouts; knows no policy and no logging.

pub(crate) mod barrier;
pub(crate) mod control;
pub(crate) mod doze;
pub(crate) mod ethtool;
pub(crate) mod namespace;
pub(crate) mod netlink;
pub(crate) mod packet;
