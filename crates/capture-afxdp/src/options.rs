//! What the user can choose, and what of it the mechanism takes.
//!
//! Knows limits and defaults; opens nothing.

use std::fmt;
use std::str::FromStr;

use capture::{CaptureDirection, CaptureError, FilterProgram};

const MAX_SNAPLEN: u32 = 262_144;
const MAX_FRAMES: u32 = 1 << 20;
/// What the kernel leaves free in front of a received frame (`XDP_PACKET_HEADROOM` of linux/bpf.h).
pub(crate) const HEADROOM: u32 = 256;

/// Who writes frames into our memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The driver if it can, else the kernel; the log says which.
    #[default]
    Auto,
    /// The driver, or an error.
    ZeroCopy,
    /// The kernel, by one copy.
    Copy,
}

impl FromStr for Mode {
    type Err = CaptureError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "auto" => Ok(Self::Auto),
            "zerocopy" => Ok(Self::ZeroCopy),
            "copy" => Ok(Self::Copy),
            other => Err(bad("mode", other, "one of auto, zerocopy, copy")),
        }
    }
}

/// Where the XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Attach {
    /// In the driver if it can, else in the kernel's stack; the log says which.
    #[default]
    Auto,
    /// In the driver, or an error.
    Native,
    /// In the kernel's stack: works on any interface, and is slower than AF_PACKET.
    Generic,
}

impl FromStr for Attach {
    type Err = CaptureError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "auto" => Ok(Self::Auto),
            "native" => Ok(Self::Native),
            "generic" => Ok(Self::Generic),
            other => Err(bad("attach", other, "one of auto, native, generic")),
        }
    }
}

/// Which receive queues of the interface are taken. Frames on the others go on to the host and are not captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Queues {
    /// All, but at most as many as there are cores.
    #[default]
    All,
    /// The first so many, from 1.
    First(usize),
    /// These, from 0.
    These(Vec<u32>),
}

/// How to capture on one interface. [`Options::new`] gives the defaults; [`open`](crate::open) checks the values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The interface's name, 1 to 15 octets.
    pub interface: String,
    /// Which receive queues are taken.
    pub queues: Queues,
    /// Who writes frames into our memory.
    pub mode: Mode,
    /// Where the program runs.
    pub attach: Attach,
    /// Chunks of memory of each queue, a power of two from 64 to 1,048,576: as many frames (or parts of long ones) can wait to be read. The rings
    /// have as many entries. Default 8192, which is 32 MiB.
    ///
    /// In a steady stream the reader is not woken by each frame: when the ring is empty it sleeps for a short time, in which frames gather. With
    /// more chunks it sleeps longer: at most as long as 30 M frames a second, more than a core brings in, take to fill half of the ring (0.08 ms for
    /// 8192), and at most 1 ms. Frames have the time of their batch, which is later by as much. Frames that come alone are seen at once.
    pub frame_count: u32,
    /// Octets of a chunk: 4096 or 2048, of which 256 are the kernel's. Longer frames take several. Default 4096.
    pub frame_size: u32,
    /// The memory is of huge pages of 2 MiB, which have to be set aside (sysctl vm.nr_hugepages). Default false.
    pub huge_pages: bool,
    /// Octets captured of each frame, 1 to 262,144. Default 256: headers with tunnels and options. A cut costs nothing and saves nothing, except for
    /// frames of several chunks.
    pub snaplen: u32,
    /// Which frames: [`CaptureDirection::In`] is what the NIC takes for this machine (what it takes for others if somebody else made it
    /// promiscuous is not told apart), [`CaptureDirection::Promisc`] (the default) all that comes. XDP sees no frames that are sent.
    pub direction: CaptureDirection,
    /// Compiled for Ethernet and *not* on a live handle: tags are in the frames. Runs before the ring, as part of the program; frames that it
    /// rejects are not counted anywhere. Whatever it returns but 0 takes the frame.
    pub filter: Option<FilterProgram>,
    /// Frames that the filter rejects go on to the host; otherwise they are dropped. Only with a filter: whoever asks for this without one
    /// expects a copy, and would lose the host's network. Default false.
    pub host: bool,
}

impl Options {
    /// The defaults for `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            queues: Queues::default(),
            mode: Mode::default(),
            attach: Attach::default(),
            frame_count: 8192,
            frame_size: 4096,
            huge_pages: false,
            snaplen: 256,
            direction: CaptureDirection::default(),
            filter: None,
            host: false,
        }
    }

    /// Checks everything that can be checked without the interface.
    pub(crate) fn check(&self) -> Result<(), CaptureError> {
        let name = &self.interface;
        if name.is_empty() || name.len() > 15 || name.contains(|c: char| c == '/' || c.is_whitespace() || c == '\0') {
            return Err(bad("interface", name, "an interface's name: 1 to 15 octets without space and slash"));
        }
        match &self.queues {
            Queues::First(0) => return Err(bad("queues", 0, "at least 1")),
            Queues::These(ids) => {
                let mut sorted = ids.clone();
                sorted.sort_unstable();
                sorted.dedup();
                if sorted.is_empty() || sorted.len() < ids.len() {
                    return Err(bad("queues", format!("{ids:?}"), "numbers of receive queues, each once"));
                }
            }
            _ => {}
        }
        check_memory(self.frame_count, self.frame_size)?;
        if !(1..=MAX_SNAPLEN).contains(&self.snaplen) {
            return Err(bad("snaplen", self.snaplen, "1 to 262144 octets"));
        }
        if self.direction == CaptureDirection::Out {
            let allowed = "in or promisc with AF_XDP: XDP sees received frames only; for direction out use AF_PACKET";
            return Err(bad("direction", "out", allowed));
        }
        if self.host && self.filter.is_none() {
            let allowed = "only together with a filter: without one every frame is captured, and XDP cannot give a frame to the host as well";
            return Err(bad("host", true, allowed));
        }
        if self.mode == Mode::ZeroCopy && self.attach == Attach::Generic {
            return Err(bad(
                "mode",
                "zerocopy",
                "copy or auto with attach = generic: only a driver writes without a copy",
            ));
        }
        Ok(())
    }

    /// The receive queues to take of an interface that has `channels`.
    pub(crate) fn queue_numbers(&self, channels: u32) -> Result<Vec<u32>, CaptureError> {
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        let allowed = || {
            let name = &self.interface;
            format!("{name} has {channels} receive queue(s), numbered from 0 (ethtool -L {name} changes that)")
        };
        match &self.queues {
            Queues::All => Ok((0..channels.clamp(1, cores)).collect()),
            Queues::First(count) => match u32::try_from(*count) {
                Ok(wanted) if wanted <= channels => Ok((0..wanted).collect()),
                _ => Err(bad("queues", count, allowed())),
            },
            Queues::These(ids) => match ids.iter().find(|&&id| id >= channels) {
                Some(id) => Err(bad("queues", id, allowed())),
                None => Ok(ids.clone()),
            },
        }
    }
}

/// What both directions take.
pub(crate) fn check_memory(frame_count: u32, frame_size: u32) -> Result<(), CaptureError> {
    if !frame_count.is_power_of_two() || !(64..=MAX_FRAMES).contains(&frame_count) {
        return Err(bad("frame_count", frame_count, format!("a power of two from 64 to {MAX_FRAMES}")));
    }
    if !matches!(frame_size, 2048 | 4096) {
        return Err(bad("frame_size", frame_size, "2048 or 4096 octets"));
    }
    Ok(())
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
        match options.check().and_then(|()| options.queue_numbers(4)) {
            Err(CaptureError::BadOption { option, allowed, .. }) => format!("{option}: {allowed}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_the_range() {
        assert!(Options::new("eth0").check().is_ok());
        assert!(refused(|o| o.interface = "a/b".into()).starts_with("interface"));
        assert!(refused(|o| o.interface.clear()).starts_with("interface"));
        assert_eq!(refused(|o| o.queues = Queues::First(0)), "queues: at least 1");
        assert!(refused(|o| o.queues = Queues::First(5)).contains("eth0 has 4 receive queue(s)"));
        assert!(refused(|o| o.queues = Queues::These(vec![1, 4])).contains("ethtool -L eth0"));
        assert!(refused(|o| o.queues = Queues::These(vec![1, 1])).contains("each once"));
        assert!(refused(|o| o.queues = Queues::These(vec![])).contains("each once"));
        assert!(refused(|o| o.frame_count = 1000).contains("power of two"));
        assert!(refused(|o| o.frame_count = 32).contains("power of two"));
        assert!(refused(|o| o.frame_size = 1024).contains("2048 or 4096"));
        assert_eq!(refused(|o| o.snaplen = 0), "snaplen: 1 to 262144 octets");
        assert!(refused(|o| o.direction = CaptureDirection::Out).contains("use AF_PACKET"));
        assert!(refused(|o| o.host = true).contains("together with a filter"));
        assert!(refused(|o| (o.mode, o.attach) = (Mode::ZeroCopy, Attach::Generic)).starts_with("mode"));
    }

    #[test]
    fn queues_are_numbered() {
        let numbers = |queues| Options { queues, ..Options::new("eth0") }.queue_numbers(4).unwrap();
        assert_eq!(numbers(Queues::First(3)), [0, 1, 2]);
        assert_eq!(numbers(Queues::These(vec![3, 1])), [3, 1]);
        assert!(!numbers(Queues::All).is_empty() && numbers(Queues::All).len() <= 4);
    }

    #[test]
    fn choices_have_their_names() {
        assert_eq!("zerocopy".parse::<Mode>().unwrap(), Mode::ZeroCopy);
        assert_eq!("generic".parse::<Attach>().unwrap(), Attach::Generic);
        assert!("zc".parse::<Mode>().is_err() && "skb".parse::<Attach>().is_err());
    }
}
