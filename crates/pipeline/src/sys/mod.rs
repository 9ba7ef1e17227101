//! The only unsafe code of this crate.
#![allow(unsafe_code)]

pub(crate) mod prefetch;
pub(crate) mod spsc;
pub(crate) mod vec;
