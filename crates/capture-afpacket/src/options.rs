//! What the user can choose, and what of it the mechanism takes.
//!
//! Knows limits and defaults; opens nothing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use capture::{CaptureDirection, CaptureError, FilterProgram};

use crate::budget;
use crate::sys::block::BLOCK_HEADER;
use crate::sys::socket::{RingRequest, page_size};

/// Octets that a frame takes in a block beside its captured octets, at most: header and address (68), room for a
/// link-layer header of up to 32 octets, alignment (`tpacket_rcv` in net/packet/af_packet.c).
const FRAME_OVERHEAD: usize = 128;
const DEFAULT_BLOCK_SIZE: u32 = 256 << 10;
const MAX_BLOCK_SIZE: u32 = 64 << 20;
const MAX_SNAPLEN: u32 = 262_144;
/// `PACKET_FANOUT_MAX` of net/packet/internal.h.
const MAX_QUEUES: usize = 256;

/// How the frames of an interface are dealt to its queues (`PACKET_FANOUT_` in packet(7)).
///
/// Never with `PACKET_FANOUT_FLAG_DEFRAG`: it would show datagrams that were never on the wire. Without it all fragments
/// of a datagram still share a queue, since the hash of a fragment takes in addresses only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FanoutMode {
    /// By a symmetric hash of addresses and ports: both directions of a flow in one queue.
    #[default]
    Hash,
    /// By the core that received the frame.
    Cpu,
    /// By the NIC's receive queue.
    QueueMapping,
    /// All to one queue until its ring is full, then to the next.
    Rollover,
}

impl FanoutMode {
    /// The number of linux/if_packet.h.
    pub(crate) fn kernel_mode(self) -> u16 {
        match self {
            Self::Hash => 0,
            Self::Cpu => 2,
            Self::Rollover => 3,
            Self::QueueMapping => 5,
        }
    }
}

impl FromStr for FanoutMode {
    type Err = CaptureError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "hash" => Ok(Self::Hash),
            "cpu" => Ok(Self::Cpu),
            "qm" => Ok(Self::QueueMapping),
            "rollover" => Ok(Self::Rollover),
            other => Err(bad("fanout", other, "one of hash, cpu, qm, rollover")),
        }
    }
}

/// How to capture on one interface. [`Options::new`] gives the defaults; [`open`](crate::open) checks the values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The interface's name, 1 to 15 octets.
    pub interface: String,
    /// Octets of a block: a power of two from the page size to 64 MiB, with room for one frame of `snaplen`. Default 256 KiB.
    pub block_size: u32,
    /// Blocks of each queue's ring, from 2; ring below 4 GiB. `None`: what [`share_memory`](crate::share_memory) gives to an interface
    /// that is alone.
    ///
    /// Make it a third larger than what has to be held: above three quarters full the kernel now and then drops a frame
    /// although there is room (some per 100,000; in `ring_dropped`, without a freeze). `__tpacket_v3_has_room` looks without a
    /// lock at the block that the timer may just be closing.
    pub block_count: Option<u32>,
    /// Time after which a block that is not full is handed over: whole milliseconds, 1 to 10,000. Default 10 ms.
    /// The ring rides out a pause of the reader of about min(ring octets / traffic, blocks * timeout).
    pub block_timeout: Duration,
    /// Octets captured of each frame, 1 to 262,144, cut in the kernel. Default 256: headers with tunnels and options.
    pub snaplen: u32,
    /// Which frames. Default: [`CaptureDirection::Promisc`].
    pub direction: CaptureDirection,
    /// Compiled for the interface's [link type](netdev::interfaces::link_type). Runs in the kernel; frames that it rejects are not counted
    /// anywhere. An interface that is made anew with another link type is not captured then, with a warning.
    pub filter: Option<FilterProgram>,
    /// How frames are dealt to several queues.
    pub fanout: FanoutMode,
    /// Queues to open, 1 to 256. Default 1. See [`default_queues`](netdev::interfaces::default_queues).
    pub queues: usize,
}

impl Options {
    /// The defaults for `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            block_size: DEFAULT_BLOCK_SIZE,
            block_count: None,
            block_timeout: Duration::from_millis(10),
            snaplen: 256,
            direction: CaptureDirection::default(),
            filter: None,
            fanout: FanoutMode::default(),
            queues: 1,
        }
    }

    /// Checks everything that can be checked without the interface.
    pub(crate) fn ring(&self) -> Result<RingRequest, CaptureError> {
        let name = &self.interface;
        if name.is_empty() || name.len() > 15 || name.contains(|c: char| c == '/' || c.is_whitespace() || c == '\0') {
            return Err(bad("interface", name, "an interface's name: 1 to 15 octets without space and slash"));
        }
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return Err(bad("queues", self.queues, "1 to 256"));
        }
        if !(1..=MAX_SNAPLEN).contains(&self.snaplen) {
            return Err(bad("snaplen", self.snaplen, "1 to 262144 octets"));
        }
        let page = page_size();
        if !self.block_size.is_power_of_two() || !(page..=MAX_BLOCK_SIZE).contains(&self.block_size) {
            return Err(bad(
                "block_size",
                self.block_size,
                format!("a power of two from {page} to {MAX_BLOCK_SIZE} octets"),
            ));
        }
        let needed = BLOCK_HEADER + FRAME_OVERHEAD + self.snaplen as usize;
        if needed > self.block_size as usize {
            let allowed = format!("at least {} for a snaplen of {}", needed.next_power_of_two(), self.snaplen);
            return Err(bad("block_size", self.block_size, allowed));
        }
        let milliseconds = self.block_timeout.as_millis();
        if !(1..=10_000).contains(&milliseconds) || !self.block_timeout.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(bad("block_timeout", format!("{:?}", self.block_timeout), "whole milliseconds, 1 to 10000"));
        }
        let mut alone = [self.clone()];
        budget::share_memory(&mut alone)?;
        let [Self { block_count, .. }] = alone;
        let block_count = block_count.unwrap_or_default();
        let most = u32::MAX / self.block_size;
        if !(2..=most).contains(&block_count) {
            let allowed = format!("2 to {most} blocks of {} octets (a ring is below 4 GiB)", self.block_size);
            return Err(bad("block_count", block_count, allowed));
        }
        let block_timeout = u32::try_from(milliseconds).unwrap_or(10_000);
        Ok(RingRequest { block_size: self.block_size, block_count, block_timeout })
    }
}

pub(crate) fn bad(option: &'static str, value: impl fmt::Display, allowed: impl Into<String>) -> CaptureError {
    CaptureError::BadOption { option, value: value.to_string(), allowed: allowed.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options::new("eth0");
        change(&mut options);
        match options.ring() {
            Err(CaptureError::BadOption { option, allowed, .. }) => format!("{option}: {allowed}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        let ring = Options::new("eth0").ring().unwrap();
        assert_eq!((ring.block_size, ring.block_timeout), (256 << 10, 10));
    }

    #[test]
    fn what_the_kernel_would_refuse_or_cut_is_refused_with_the_range() {
        assert!(refused(|o| o.interface = "a/b".into()).starts_with("interface"));
        assert!(refused(|o| o.interface = "sixteen-octets-x".into()).starts_with("interface"));
        assert!(refused(|o| o.interface.clear()).starts_with("interface"));
        assert_eq!(refused(|o| o.queues = 0), "queues: 1 to 256");
        assert_eq!(refused(|o| o.queues = 257), "queues: 1 to 256");
        assert_eq!(refused(|o| o.snaplen = 0), "snaplen: 1 to 262144 octets");
        assert!(refused(|o| o.block_size = 100_000).contains("power of two"));
        assert!(refused(|o| o.block_size = 2048).contains("power of two"));
        assert!(refused(|o| o.block_size = 1 << 31).contains("power of two"));
        assert_eq!(refused(|o| o.snaplen = 262_144), "block_size: at least 524288 for a snaplen of 262144");
        assert!(refused(|o| o.block_timeout = Duration::ZERO).contains("whole milliseconds"));
        assert!(refused(|o| o.block_timeout = Duration::from_micros(1500)).contains("whole milliseconds"));
        assert!(refused(|o| o.block_timeout = Duration::from_secs(11)).contains("whole milliseconds"));
        assert!(refused(|o| o.block_count = Some(1)).contains("below 4 GiB"));
        assert!(refused(|o| o.block_count = Some(16_384)).contains("2 to 16383"));
    }

    #[test]
    fn fanout_modes_have_their_names() {
        assert_eq!("qm".parse::<FanoutMode>().unwrap(), FanoutMode::QueueMapping);
        assert!("queue".parse::<FanoutMode>().is_err());
    }
}
