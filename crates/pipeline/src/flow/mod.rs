//! Flows: the packets of a conversation, counted both ways, reported as differences since the last report.
//!
//! Knows packets as [`Packet`] and nothing of frames, records or queues. One [`Table`] belongs to one queue's worker: an interface's queues
//! get both directions of a flow where the hash of the NIC is symmetric (`ringtap doctor` looks at it).
//!
//! # What adds up
//! Every packet that [`Table::update`] counted is in exactly one report, by the time [`Table::end`] has returned: what
//! [`Flow::delta`] says, summed over all reports of both sides, is what came in. Nothing is reported twice.
//!
//! # Time
//! It comes from the packets (and from [`Table::advance`] while there are none), so a replay gives the reports that live traffic gave. Clocks that
//! are set back or forward do no harm to any sum: see the module `clock`.

mod clock;
mod community;
mod extra;
mod extract;
#[expect(clippy::module_inception, reason = "a flow is what the module is about")]
mod flow;
mod fragments;
mod index;
mod key;
mod lists;
mod packet;
mod table;
mod tcp;
mod timeouts;
mod unpack;

pub use community::{COMMUNITY_ID, community_id};
pub use extra::{Extra, IcmpErrors};
pub use flow::{Flow, Sent};
pub use key::{Common, Endpoint, Ends, Key, NO_VLAN, Side};
pub use packet::{Packet, Segment, Tunnel};
pub use table::{OCTETS_PER_FLOW, Report, Table};
pub use tcp::{Anomalies, Handshake, Times};
pub use timeouts::{Reason, Timeouts};
pub use unpack::{Ahead, Unpack};

/// Packets that are looked at before the first of them is counted: as many as memory can be asked for at a time.
pub const AHEAD: usize = 32;
/// The last frame of these may hold several packets.
pub const MOST_AHEAD: usize = AHEAD + Unpack::MAX_DEPTH as usize;
