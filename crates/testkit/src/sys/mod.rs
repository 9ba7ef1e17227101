//! System calls of the test kit. All its `unsafe` is below here.

pub(crate) mod bpf;
pub(crate) mod packet;
pub(crate) mod shared;
pub(crate) mod thread;
pub(crate) mod tun;
