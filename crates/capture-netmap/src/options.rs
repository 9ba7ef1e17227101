//! What the user can choose, and what of it netmap takes.
//!
//! Knows limits and defaults; opens nothing.

use std::fmt;

use capture::{CaptureDirection, CaptureError, FilterProgram};

use crate::port::{Port, Rings};
use crate::sys::abi;

const MAX_SNAPLEN: u32 = 262_144;
const MAX_QUEUES: usize = 256;
/// Slots that a ring may be asked to have, and spare buffers.
const SLOTS: std::ops::RangeInclusive<u32> = 16..=65_536;
const MAX_EXTRA_BUFS: u32 = 65_536;

/// How to capture on one port. [`Options::new`] gives the defaults; [`open`](crate::open) checks the values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The port's name: see [`Port`].
    pub port: String,
    /// Queues to open, each a ring with a descriptor of its own. As many as the port has receive rings: frames of a ring that nobody
    /// opens would be lost. [`rings`](crate::rings) tells. Default 1.
    pub queues: usize,
    /// Which frames. Default: [`CaptureDirection::Promisc`]: what the port receives, an interface in promiscuous mode. `In` leaves that mode
    /// as it is. `Out` is for host rings (`eth1^`) and for monitors of what is sent (`eth1/t`).
    pub direction: CaptureDirection,
    /// Octets lent of each frame, 1 to 262,144. Default 256. Nothing is copied to cut a frame.
    pub snaplen: u32,
    /// Refused: netmap has no filters. They are run on the frames that come out.
    pub filter: Option<FilterProgram>,
    /// Frames of a NIC go on to the host's network stack when their batch is given back, as if nobody had captured them. What the host
    /// sends goes out in any case, since only receive rings are opened. Frames in several slots are not forwarded. Default false.
    pub forward_to_host: bool,
    /// Nobody else may open the same rings; the same as `/x` behind the name. Default false.
    pub exclusive: bool,
    /// Spare buffers of each queue, for [`Frames::hold`](crate::Frames::hold), up to 65,536. Default 0.
    pub extra_bufs: u32,
    /// Slots of each ring, 16 to 65,536, where the port is made by opening it (VALE, pipes). `None`: the module's default, and for NICs
    /// always what `ethtool -G` has set.
    pub slots: Option<u32>,
}

impl Options {
    /// The defaults for `port`.
    #[must_use]
    pub fn new(port: impl Into<String>) -> Self {
        Self {
            port: port.into(),
            queues: 1,
            direction: CaptureDirection::default(),
            snaplen: 256,
            filter: None,
            forward_to_host: false,
            exclusive: false,
            extra_bufs: 0,
            slots: None,
        }
    }

    /// Checks everything that can be checked without the module, and gives the port with what the options say about it.
    pub(crate) fn check(&self) -> Result<Port, CaptureError> {
        let mut port: Port = self.port.parse()?;
        port.exclusive |= self.exclusive;
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return Err(bad("queues", self.queues, "1 to 256"));
        }
        if self.queues > 1 && port.rings != Rings::All {
            return Err(bad("queues", self.queues, format!("1: {port} is one ring")));
        }
        if !(1..=MAX_SNAPLEN).contains(&self.snaplen) {
            return Err(bad("snaplen", self.snaplen, "1 to 262144 octets"));
        }
        if self.filter.is_some() {
            return Err(CaptureError::Unsupported(
                "netmap has no filters: run the filter on the frames that come out".into(),
            ));
        }
        if self.extra_bufs > MAX_EXTRA_BUFS {
            return Err(bad("extra_bufs", self.extra_bufs, format!("at most {MAX_EXTRA_BUFS}")));
        }
        if let Some(slots) = self.slots.filter(|slots| !SLOTS.contains(slots)) {
            return Err(bad("slots", slots, format!("{} to {}", SLOTS.start(), SLOTS.end())));
        }
        let to_host = port.interface().is_some() && !port.is_monitor() && !matches!(port.rings, Rings::Host(_));
        if self.forward_to_host && !to_host {
            return Err(bad("forward_to_host", true, format!("false: {port} has no frames that the host waits for")));
        }
        self.narrow(&mut port)?;
        Ok(port)
    }

    /// A monitor watches one direction or both; every other port has the direction that it has.
    fn narrow(&self, port: &mut Port) -> Result<(), CaptureError> {
        let direction = self.direction;
        let refused = |value, allowed: &str| Err(bad("direction", value, format!("{port}: {allowed}")));
        match (direction, port.is_monitor(), port.rings) {
            (CaptureDirection::In, true, _) if !port.monitor_rx => {
                refused("in", "this monitor watches what is sent: out or promisc")
            }
            (CaptureDirection::Out, true, _) if !port.monitor_tx => {
                refused("out", "this monitor watches what is received: in or promisc")
            }
            (CaptureDirection::In, true, _) => {
                port.monitor_tx = false;
                Ok(())
            }
            (CaptureDirection::Out, true, _) => {
                port.monitor_rx = false;
                Ok(())
            }
            (CaptureDirection::In, false, Rings::Host(_)) => {
                refused("in", "host rings have what this machine sends: out or promisc")
            }
            (CaptureDirection::Out, false, Rings::All | Rings::One(_)) => refused(
                "out",
                "netmap's rings have what is received: in or promisc; what is sent shows at NAME^ and at a monitor NAME/t",
            ),
            _ => Ok(()),
        }
    }
}

/// `NR_` flags of a port that is opened to receive.
///
/// Without its transmit rings a port is polled for what comes only, and what the host sends goes its usual way. A monitor that says so
/// would not see what the port sends (`netmap_interp_ringid` takes the flag for the port that is watched, too).
pub(crate) fn receive_flags(port: &Port) -> u64 {
    let when = |set, flag| if set { flag } else { 0 };
    when(!port.is_monitor(), abi::RX_RINGS_ONLY)
        | when(port.is_monitor(), abi::NO_TX_POLL)
        | when(port.monitor_rx, abi::MONITOR_RX)
        | when(port.monitor_tx, abi::MONITOR_TX)
        | when(port.zero_copy, abi::ZCOPY_MONITOR)
        | when(port.exclusive, abi::EXCLUSIVE)
}

pub(crate) fn bad(option: &'static str, value: impl fmt::Display, allowed: impl Into<String>) -> CaptureError {
    CaptureError::BadOption { option, value: value.to_string(), allowed: allowed.into() }
}

#[cfg(test)]
mod tests {
    use capture::BpfInstruction;

    use super::*;

    fn refused(port: &str, change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options::new(port);
        change(&mut options);
        options.check().expect_err("it is refused").to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        let port = Options::new("netmap:eth1").check().unwrap();
        assert_eq!(receive_flags(&port), abi::RX_RINGS_ONLY);
        let port = Options { exclusive: true, ..Options::new("eth1") }.check().unwrap();
        assert_eq!(receive_flags(&port), abi::RX_RINGS_ONLY | abi::EXCLUSIVE);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        assert_eq!(refused("eth1", |o| o.queues = 0), "queues = 0: 1 to 256");
        assert_eq!(refused("eth1-2", |o| o.queues = 2), "queues = 2: 1: netmap:eth1-2 is one ring");
        assert_eq!(refused("eth1", |o| o.snaplen = 0), "snaplen = 0: 1 to 262144 octets");
        assert_eq!(refused("eth1", |o| o.extra_bufs = 65_537), "extra_bufs = 65537: at most 65536");
        assert_eq!(refused("eth1", |o| o.slots = Some(15)), "slots = 15: 16 to 65536");
        for port in ["vale0:1", "netmap:x{1", "eth1^", "eth1/r"] {
            assert!(refused(port, |o| o.forward_to_host = true).starts_with("forward_to_host = true: false"), "{port}");
        }
        let ret = BpfInstruction { code: 6, jt: 0, jf: 0, k: 0 };
        assert!(refused("eth1", |o| o.filter = FilterProgram::new(vec![ret]).ok()).contains("no filters"));
    }

    #[test]
    fn directions_are_those_that_a_port_has() {
        use CaptureDirection::{In, Out, Promisc};
        let flags = |port: &str, direction| {
            let options = Options { direction, ..Options::new(port) };
            options
                .check()
                .map(|port| receive_flags(&port) & (abi::MONITOR_RX | abi::MONITOR_TX))
                .map_err(|e| e.to_string())
        };
        let both = abi::MONITOR_RX | abi::MONITOR_TX;
        for (port, directions) in [
            ("eth1", [Some(0), None, Some(0)]),
            ("vale0:1", [Some(0), None, Some(0)]),
            ("x{1", [Some(0), None, Some(0)]),
            ("eth1^", [None, Some(0), Some(0)]),
            ("eth1/r", [Some(abi::MONITOR_RX), None, Some(abi::MONITOR_RX)]),
            ("eth1/t", [None, Some(abi::MONITOR_TX), Some(abi::MONITOR_TX)]),
            ("eth1/rt", [Some(abi::MONITOR_RX), Some(abi::MONITOR_TX), Some(both)]),
        ] {
            for (direction, expected) in [In, Out, Promisc].into_iter().zip(directions) {
                match (flags(port, direction), expected) {
                    (Ok(flags), Some(expected)) => assert_eq!(flags, expected, "{port} {direction:?}"),
                    (Err(text), None) => assert!(text.starts_with("direction = "), "{text}"),
                    other => panic!("{port} {direction:?}: {other:?}"),
                }
            }
        }
    }
}
