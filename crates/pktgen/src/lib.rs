//! The traffic generator, and the account of what arrived.
//!
//! - [`Source`]s write frames into the slots of a ring: [`Uniform`], [`Imix`] and [`Mix`] traffic, [`Replay`] of captured frames.
//! - [`generate`] sends them by any [`capture::TxQueue`] at a steady [`Pace`].
//! - A [`Stamp`] in each frame says which stream it is of, which of its frames, and when it was sent; a [`Tracker`] finds from the stamps
//!   what is missing, doubled, reordered or late.
//!
//! Knows no backend and opens nothing. No unsafe.
#![forbid(unsafe_code)]

mod address;
mod error;
mod generate;
mod latency;
mod measure;
mod mix;
mod pace;
mod replay;
mod source;
mod stamp;
mod template;
mod track;

pub use address::{Endpoints, MacRange, Rate, frames, ip_range_of};
pub use error::GenError;
pub use generate::{Limits, Report, Signals, attempt, generate, send_end};
pub use latency::{Latencies, Latency, Quantiles};
pub use measure::{Received, Work, highest_without_loss, read, receive, receive_until, thread_time};
pub use mix::Mix;
pub use pace::{Pace, Pacing};
pub use replay::Replay;
pub use source::{Addresses, Imix, Source, Uniform};
pub use stamp::{Stamp, StampKind};
pub use template::{Kind, Shape, Template, Values};
pub use track::{Arrivals, Doubt, Progress, Tracker};
