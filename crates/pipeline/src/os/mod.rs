//! Which operating system sent a SYN: what it chose where RFCs leave the choice tells it apart from others.
//!
//! Signatures are in the notation of p0f 3 (its README, section 5), of which databases are kept; some of the usual systems are built in. A guess,
//! as proxies and load balancers answer with their own stack, and anybody can imitate another.

mod signature;
mod syn;
mod systems;

pub use signature::SignatureError;
pub(crate) use syn::Syn;
pub use systems::{Guess, System, Systems};
