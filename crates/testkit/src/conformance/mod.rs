//! What every capture backend has to keep: one suite for all of them.
//!
//! A backend describes itself by a [`Lab`]: how a queue is opened, how frames come to it, and what the mechanism can and cannot do
//! ([`Nature`]). [`conformance_tests!`](crate::conformance_tests) makes a test of each requirement. What a nature admits is said in
//! docs/backends.md, too: it is no way round a requirement.

mod account;
mod content;
mod life;
mod reading;
mod veth;

use std::time::Duration;

use capture::{CaptureDirection, CaptureError, FilterProgram, RxQueue};

pub use account::{
    a_reader_that_sleeps_loses_exactly_what_is_counted, leaked_batches_are_taken_back, many_laps_of_the_ring,
};
pub use content::{
    directions_are_kept, filters_are_kept, frames_come_whole_and_in_order, tags_are_not_lost, the_snaplen_cuts,
    times_are_true, two_queues_share_the_frames,
};
pub use life::{
    a_batch_can_be_read_in_pieces, a_deleted_interface_is_followed_or_told, a_missing_interface_is_named,
    a_quiet_queue_sleeps, a_stopped_queue_drains_and_ends, counters_and_stop_work_while_a_batch_is_out,
    the_link_may_flap,
};
pub use reading::{Harvest, finish, finish_all, read};
pub use veth::{OnVeth, VethBackend, VethLab, wait_for_carrier};

/// A place where a backend can be tried.
pub trait Lab: Sized + Sync {
    /// The backend's queue.
    type Queue: RxQueue + Send;

    /// What the mechanism can do.
    const NATURE: Nature;

    /// A fresh interface on which nobody speaks.
    fn new() -> Self;

    /// Opens the interface under test.
    ///
    /// # Errors
    /// What the backend says.
    fn open(&self, settings: &Settings) -> Result<Vec<Self::Queue>, CaptureError>;

    /// Frames come to the interface under test from outside. Returns when it has received them.
    fn send(&self, frames: &[Vec<u8>]);

    /// This machine sends frames by the interface under test.
    fn send_out(&self, frames: &[Vec<u8>]);

    /// Whether the other end's link is up.
    fn set_link(&self, up: bool);

    /// Deletes the interface under test, and says whether this lab can. What the suite then asks for is tested elsewhere if it cannot.
    fn delete(&self) -> bool {
        false
    }

    /// Makes the interface again that was deleted.
    fn make_again(&self) {}

    /// Runs `task` where queues may be read.
    fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        task()
    }
}

/// What a queue is opened with; what a mechanism cannot do is not asked of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: the lab's own.
    pub interface: Option<String>,
    /// Octets captured of each frame.
    pub snaplen: u32,
    /// Which frames.
    pub direction: CaptureDirection,
    /// Compiled for Ethernet.
    pub filter: Option<FilterProgram>,
    /// Queues to open.
    pub queues: usize,
    /// As small a ring as the mechanism has: at most some thousand short frames.
    pub small_ring: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interface: None,
            snaplen: 65_535,
            direction: CaptureDirection::Promisc,
            filter: None,
            queues: 1,
            small_ring: false,
        }
    }
}

/// What a mechanism can do, and what it admits not to.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    /// Whether each frame has a time of its own; otherwise one time for the frames of a batch.
    pub time_per_frame: bool,
    /// Whether the ring's losses are counted exactly; otherwise they have to be unknown.
    pub drops_known: bool,
    /// Whether the mechanism filters by itself; otherwise the worker does.
    pub filters: bool,
    /// Whether the mechanism cuts frames to the snaplen; otherwise they come whole.
    pub cuts: bool,
    /// The directions that can be asked for; all others have to be refused with words that name the direction.
    pub directions: &'static [CaptureDirection],
    /// Whether frames say in which direction they went.
    pub tells_direction: bool,
    /// Whether a VLAN tag is taken out of the frame and told beside it; otherwise it stays in its place.
    pub takes_tags_out: bool,
    /// Whether a tag keeps its TPID; otherwise every tag of a received frame comes as one of 802.1Q (0x8100).
    pub keeps_tpid: bool,
    /// Whether several queues can share the interface under test.
    pub several_queues: bool,
    /// Whether an interface that was deleted is waited for, and captured on when it is made again; otherwise it ends the queue with an error.
    pub follows: bool,
    /// Octets of the longest frame that the lab can bring.
    pub longest: usize,
    /// Frames that can be sent before any is read, with a ring of the usual size.
    pub holds: usize,
    /// How long after the link is up again frames may still be missing.
    pub link_settles: Duration,
}

impl Nature {
    /// AF_PACKET's: all that there is.
    pub const FULL: Self = Self {
        time_per_frame: true,
        drops_known: true,
        filters: true,
        cuts: true,
        directions: &[CaptureDirection::In, CaptureDirection::Out, CaptureDirection::Promisc],
        tells_direction: true,
        takes_tags_out: true,
        keeps_tpid: true,
        several_queues: true,
        follows: true,
        longest: 1514,
        holds: 20_000,
        link_settles: Duration::from_millis(500),
    };
}

/// Makes a test of each requirement, for a type that is a [`Lab`].
#[macro_export]
macro_rules! conformance_tests {
    ($lab:ty $(, #[$attribute:meta])?) => {
        $crate::conformance_tests! { @each $lab, [$(#[$attribute])?]
            frames_come_whole_and_in_order
            times_are_true
            the_snaplen_cuts
            filters_are_kept
            directions_are_kept
            tags_are_not_lost
            two_queues_share_the_frames
            a_reader_that_sleeps_loses_exactly_what_is_counted
            many_laps_of_the_ring
            leaked_batches_are_taken_back
            a_batch_can_be_read_in_pieces
            counters_and_stop_work_while_a_batch_is_out
            a_stopped_queue_drains_and_ends
            a_quiet_queue_sleeps
            the_link_may_flap
            a_deleted_interface_is_followed_or_told
            a_missing_interface_is_named
        }
    };
    (@each $lab:ty, $attributes:tt $($name:ident)*) => {
        $($crate::conformance_tests! { @one $lab, $attributes $name })*
    };
    (@one $lab:ty, [$($attribute:tt)*] $name:ident) => {
        #[test]
        $($attribute)*
        fn $name() {
            $crate::conformance::$name::<$lab>();
        }
    };
}
