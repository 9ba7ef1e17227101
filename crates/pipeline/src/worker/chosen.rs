//! Which packets have records of their own beside flows.

use capture::Frame;

use super::Matcher;
use crate::flow::Packet;

/// Packets that have records beside flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// None.
    None,
    /// All, though sinks may have to be waited for.
    All,
    /// All, as long as sinks hold less than half of the buffers: what comes meanwhile has flows only.
    WhileSinksKeepUp,
}

/// Chooses among them.
pub struct PacketRecords {
    pub(super) packets: Packets,
    matcher: Option<Box<dyn Matcher + Send>>,
    one_in: u32,
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// It has a record.
    Record,
    /// It is not wanted.
    Unselected,
    /// The sinks do not keep up.
    Shed,
}

impl PacketRecords {
    /// Of all packets of one flow in `one_in`, chosen by its key: the same flows in every sensor.
    #[must_use]
    pub fn new(packets: Packets, one_in: u32) -> Self {
        Self { packets, matcher: None, one_in: one_in.max(1) }
    }

    /// Only of frames that match.
    #[must_use]
    pub fn that_match(self, matcher: impl Matcher + Send + 'static) -> Self {
        Self { matcher: Some(Box::new(matcher)), ..self }
    }

    /// Whether the frame may have a record, as far as it alone tells.
    #[inline]
    pub(super) fn matches(&mut self, frame: &Frame<'_>) -> bool {
        self.matcher.as_mut().is_none_or(|matcher| matcher.matches(frame))
    }

    /// What becomes of a packet that might have a record.
    #[inline]
    pub(super) fn choose(&self, packet: &Packet, keeping_up: bool) -> Choice {
        if self.one_in > 1 && !packet.key.is_one_in(self.one_in) {
            Choice::Unselected
        } else if keeping_up {
            Choice::Record
        } else {
            Choice::Shed
        }
    }
}

impl std::fmt::Debug for PacketRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketRecords").field("packets", &self.packets).field("one_in", &self.one_in).finish()
    }
}
