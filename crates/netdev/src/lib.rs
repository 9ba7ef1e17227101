//! Network interfaces as the kernel shows them: what there is, what the NIC lost, whether an interface is still there; and how long a queue
//! on one may be left alone.
//!
//! What all live backends share, and `ringtap list`. All answers are of the network namespace of the calling thread, or of that in
//! which a value was made. Knows `capture` and nothing else of the project; changes nothing but the promiscuous mode, that only as
//! long as a [`Promiscuous`] lives, and offloads when [`ethtool::set_offload`] is called.
#![cfg(target_os = "linux")]

mod device;
pub mod ethtool;
mod follow;
mod gather;
pub mod interfaces;
mod loss;
mod namespace;
mod promiscuous;
mod sys;
mod watch;
mod xdp;

pub use device::{Carrier, Device, Sight, control_socket, link_type_of, longest_frame};
pub use follow::Follow;
pub use gather::{Gather, doze};
pub use loss::NicLoss;
pub use namespace::Namespace;
pub use promiscuous::Promiscuous;
pub use sys::barrier::wait_for_receive_paths;
pub use watch::{Change, Link, Watch};
pub use xdp::{XdpProgram, takes_tags_out, xdp_program};
