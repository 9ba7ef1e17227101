//! Kernel modules played in plain memory, so that backends can be tested without them.
//!
//! Each model writes the documented layout by itself: a second reading of it, that knows nothing of the backend's.

pub mod netmap;
pub mod pfring;
