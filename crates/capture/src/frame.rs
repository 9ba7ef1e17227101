//! One captured frame, as it lies in the ring.

use crate::{InterfaceIndex, LinkType, Timestamp};

/// A frame on loan from a queue. `data` points into the ring (or the file buffer): it is valid as long as the batch.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The captured octets, at most `wire_len` of them (fewer if the snaplen cut the frame).
    pub data: &'a [u8],
    /// When the frame was seen. [`Timestamp::EPOCH`] with [`FrameFlags::NO_TIME`] where the source has no time.
    pub timestamp: Timestamp,
    /// Octets that the frame had on the wire, without preamble and frame check sequence.
    /// A VLAN tag that the kernel or the NIC took out is *not* counted; it is in `vlan`.
    pub wire_len: u32,
    /// Which of the queue's interfaces saw the frame: an index into [`RxQueue::interfaces`](crate::RxQueue::interfaces).
    pub interface: InterfaceIndex,
    /// What `data` starts with.
    pub link_type: LinkType,
    /// Received or sent by this machine.
    pub direction: Direction,
    /// A VLAN tag that was stripped before the frame came to the ring.
    pub vlan: Option<VlanTag>,
    /// What else the source knows about the frame.
    pub flags: FrameFlags,
}

/// A frame's way through the interface that saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The source does not say (most files).
    #[default]
    Unknown,
    /// Received by the interface.
    Rx,
    /// Sent by this machine.
    Tx,
}

/// An 802.1Q or 802.1ad tag (IEEE 802.1Q-2022, clause 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100 (C-tag), 0x88a8 (S-tag) or a vendor's value.
    pub tpid: u16,
    /// Tag control information: priority (3 bits), drop eligible (1), VLAN identifier (12).
    pub tci: u16,
}

impl VlanTag {
    /// VLAN identifier, 0 to 4095 (0 is a priority tag without a VLAN).
    #[inline]
    #[must_use]
    pub const fn id(self) -> u16 {
        self.tci & 0x0fff
    }
}

/// A set of remarks about one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameFlags(u8);

impl FrameFlags {
    /// Nothing to remark.
    pub const NONE: Self = Self(0);
    /// Several segments of the wire, merged by GRO or LRO (or not yet split by TSO): lengths are not those of the wire.
    pub const SUPER_FRAME: Self = Self(1);
    /// The source has no time for this frame (pcapng Simple Packet Block), or one that no [`Timestamp`] can hold.
    pub const NO_TIME: Self = Self(1 << 1);

    /// Whether every remark of `other` is in `self`.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The remarks of both.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
