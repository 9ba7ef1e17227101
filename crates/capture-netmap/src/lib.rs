//! Capture and transmit by netmap (netmap(4), <https://github.com/luigirizzo/netmap>): rings of NICs, of the host, of VALE switches, of
//! pipes, and monitors of all these, mapped into memory and read in place.
//!
//! One call, [`open`], gives one [`Queue`] for each thread that is to read: each has a descriptor and a ring of its own. [`Tx`] sends.
//! Needs the netmap module in the kernel and the right to open /dev/netmap, and nothing to build: the interface is declared here.
//!
//! # What to know about netmap
//! - **It takes the traffic away from the host**, unless [`Options::forward_to_host`] is set, or the port is a monitor.
//! - **Losses of a ring are unknown**: the module has no counter of them. What the NIC lost is told where there is a NIC. A pipe loses
//!   nothing, it makes its sender wait; that the sender waits is not known here either.
//! - **A time is of a sync, not of a frame**: all frames that one look at the ring brought have the same, in microseconds.
//! - **`stop` does not close the port.** What is in the ring at that moment is lent; what comes later is not, and is not counted.
//! - Host rings (`eth1^`) have what the host sends only while somebody has the transmit rings of the interface open by netmap; else it goes
//!   straight to the driver. A monitor sees only ports that somebody has open.
//! - An interface cannot be deleted while a port of it is open: the command waits. The queue ends with an error within about a second.
//! - No filters: they are to be run on the frames that come out. Frames are cut to the snaplen without being copied.
//! - Registering a port may take its link down for some seconds. GRO and LRO are to be switched off, or frames come merged.
//!
//! Knows `capture` and `netdev`, and nothing else of the project.
//!
//! # Tests
//! All but those of `tests/real_module.rs` run on a model of the module (`testkit::model::netmap`), also under AddressSanitizer:
//! ```text
//! RUSTFLAGS=-Zsanitizer=address cargo +nightly test -p capture-netmap --lib --tests --target x86_64-unknown-linux-gnu
//! ```
#![cfg(target_os = "linux")]

mod explain;
mod held;
mod open;
mod options;
mod port;
mod queue;
mod sys;
mod transmit;
mod walk;

pub use held::Held;
pub use open::{open, rings, usable};
pub use options::Options;
pub use port::{Port, Rings};
pub use queue::{Batch, Frames, Queue};
pub use transmit::{Tx, TxOptions};

/// How a test puts a model in the place of the module.
#[doc(hidden)]
pub mod over {
    pub use crate::open::{open_over as open, real, rings_over as rings, usable_over as usable};
    pub use crate::sys::device::Kernel;
    pub use crate::transmit::tx_over as tx;
}
