//! Queues that need no network: one that lends frames from memory, and one that spoils another's.

mod fault;
mod memory;

use capture::{Direction, Frame, FrameFlags, InterfaceIndex, LinkType, Timestamp, VlanTag};

pub use fault::{FaultBatch, FaultCounts, FaultPlan, FaultQueue};
pub use memory::{MemoryBatch, MemoryQueue};

/// A frame that owns its octets.
#[derive(Clone, Debug)]
pub struct OwnedFrame {
    /// Captured octets.
    pub data: Vec<u8>,
    /// See [`Frame`], as all that follow.
    pub timestamp: Timestamp,
    /// At least the length of `data`.
    pub wire_len: u32,
    /// Index into the queue's interfaces.
    pub interface: InterfaceIndex,
    /// What `data` starts with.
    pub link_type: LinkType,
    /// Received or sent.
    pub direction: Direction,
    /// A stripped tag.
    pub vlan: Option<VlanTag>,
    /// Remarks.
    pub flags: FrameFlags,
}

impl OwnedFrame {
    /// A whole Ethernet frame, received at the epoch.
    #[must_use]
    pub fn ethernet(data: Vec<u8>) -> Self {
        Self {
            wire_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            data,
            timestamp: Timestamp::EPOCH,
            interface: InterfaceIndex(0),
            link_type: LinkType::ETHERNET,
            direction: Direction::Rx,
            vlan: None,
            flags: FrameFlags::NONE,
        }
    }

    /// The frame, lent.
    #[must_use]
    pub fn lend(&self) -> Frame<'_> {
        let Self { ref data, timestamp, wire_len, interface, link_type, direction, vlan, flags } = *self;
        Frame { data, timestamp, wire_len, interface, link_type, direction, vlan, flags }
    }
}

impl From<Frame<'_>> for OwnedFrame {
    fn from(frame: Frame<'_>) -> Self {
        let Frame { data, timestamp, wire_len, interface, link_type, direction, vlan, flags } = frame;
        Self { data: data.to_vec(), timestamp, wire_len, interface, link_type, direction, vlan, flags }
    }
}
