//! What the user can choose, and what of it the mechanism takes.
//!
//! Knows limits and defaults; opens nothing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use capture::{CaptureDirection, CaptureError, FilterProgram};

use crate::sys::abi::MAX_QUEUES;

const MAX_SNAPLEN: u32 = 65_535;

/// How the frames of an interface are dealt to its queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// By channels if the interface has at least as many as there are queues, otherwise by a cluster.
    #[default]
    Auto,
    /// By the NIC's RSS queues: costs nothing, and the flow's two directions are in one queue if the NIC's hash is symmetric.
    Channels,
    /// By the module, by the flow: addresses, ports, protocol and VLAN, both directions in one queue.
    Cluster,
}

impl FromStr for Sharing {
    type Err = CaptureError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "auto" => Ok(Self::Auto),
            "channels" => Ok(Self::Channels),
            "cluster" => Ok(Self::Cluster),
            other => Err(bad("sharing", other, "one of auto, channels, cluster")),
        }
    }
}

/// How to capture on one interface. [`Options::new`] gives the defaults; [`open`](crate::open) and [`open_zc`](crate::open_zc) check the
/// values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The interface's name, 1 to 15 octets. For [`open_zc`](crate::open_zc) `zc:eth1`, or `zc:eth1@2` to begin with RSS queue 2.
    pub interface: String,
    /// Queues to open, 1 to 64. Default 1.
    pub queues: usize,
    /// How several queues share the interface.
    pub sharing: Sharing,
    /// Number of the cluster, 1 to 65,535; for [`open_zc`](crate::open_zc) of the first queue's. `None`: one that is free. Numbers are the
    /// machine's, also across network namespaces: a number that another program uses is refused.
    pub cluster_id: Option<u16>,
    /// Octets captured of each frame, 1 to 65,535, cut in the kernel. Default 256: headers with tunnels and options.
    ///
    /// The ring has room for `min_num_slots` (a parameter of the module, default 4096; above 1600 octets fewer, but 512 at least) frames of
    /// this length, and for more if they are shorter: slots are as long as what they hold.
    pub snaplen: u32,
    /// Which frames. Default: [`CaptureDirection::Promisc`].
    pub direction: CaptureDirection,
    /// Runs in the kernel, on the frame as AF_PACKET would show it, with the kernel's extensions (so a filter compiled for live capture
    /// finds VLAN tags); frames that it rejects are not counted anywhere. Its return value cuts nothing, the snaplen does.
    pub filter: Option<FilterProgram>,
    /// Frames that have to wait before a sleeping reader is woken up, 1 to 4,096. Default 128, as the module's own: fewer cost a wake-up for
    /// nearly every frame, on the core that receives.
    pub watermark: u16,
    /// How long a reader sleeps at most before it looks at fewer frames than the watermark: 1 ms to 10 s. Default 10 ms.
    pub poll_duration: Duration,
    /// The libpfring for [`open_zc`](crate::open_zc). `None`: `libpfring.so.8` or `libpfring.so`, wherever the loader looks.
    pub libpfring: Option<PathBuf>,
}

impl Options {
    /// The defaults for `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            queues: 1,
            sharing: Sharing::default(),
            cluster_id: None,
            snaplen: 256,
            direction: CaptureDirection::default(),
            filter: None,
            watermark: 128,
            poll_duration: Duration::from_millis(10),
            libpfring: None,
        }
    }

    /// Checks everything that can be checked without the interface.
    pub(crate) fn check(&self) -> Result<(), CaptureError> {
        check_name(&self.interface, &self.interface)?;
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), CaptureError> {
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return Err(bad("queues", self.queues, "1 to 64"));
        }
        if self.cluster_id == Some(0) {
            return Err(bad("cluster_id", 0, "1 to 65535"));
        }
        if !(1..=MAX_SNAPLEN).contains(&self.snaplen) {
            return Err(bad("snaplen", self.snaplen, "1 to 65535 octets"));
        }
        if !(1..=4096).contains(&self.watermark) {
            return Err(bad("watermark", self.watermark, "1 to 4096 frames"));
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&self.poll_duration) {
            return Err(bad("poll_duration", format!("{:?}", self.poll_duration), "1 ms to 10 s"));
        }
        Ok(())
    }

    /// The interface and its first RSS queue, of a device like `zc:eth1@0`.
    pub(crate) fn check_zc(&self) -> Result<(&str, usize), CaptureError> {
        let device = self.interface.strip_prefix("zc:").unwrap_or(&self.interface);
        let (name, first) = device.split_once('@').unwrap_or((device, "0"));
        check_name(name, &self.interface)?;
        let first = first.parse().ok().filter(|first| *first < MAX_QUEUES);
        let first =
            first.ok_or_else(|| bad("interface", &self.interface, "zc:NAME or zc:NAME@QUEUE, QUEUE 0 to 63"))?;
        self.check_numbers()?;
        if self.filter.is_some() {
            let allowed = "none: ZC takes no compiled filter; leave it to the worker";
            return Err(bad("filter", "a program", allowed));
        }
        if self.direction == CaptureDirection::Out {
            return Err(bad("direction", "out", "in or promisc: ZC sees received frames only"));
        }
        Ok((name, first))
    }
}

fn check_name(name: &str, given: &str) -> Result<(), CaptureError> {
    if name.is_empty() || name.len() > 15 || name.contains(|c: char| c == '/' || c.is_whitespace() || c == '\0') {
        return Err(bad("interface", given, "an interface's name: 1 to 15 octets without space and slash"));
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
        match options.check() {
            Err(CaptureError::BadOption { option, allowed, .. }) => format!("{option}: {allowed}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_module_would_refuse_or_cut_is_refused_with_the_range() {
        assert!(Options::new("eth0").check().is_ok());
        assert!(refused(|o| o.interface = "a/b".into()).starts_with("interface"));
        assert!(refused(|o| o.interface = "zc:sixteen-octets".into()).starts_with("interface"));
        assert_eq!(refused(|o| o.queues = 65), "queues: 1 to 64");
        assert_eq!(refused(|o| o.queues = 0), "queues: 1 to 64");
        assert_eq!(refused(|o| o.cluster_id = Some(0)), "cluster_id: 1 to 65535");
        assert_eq!(refused(|o| o.snaplen = 0), "snaplen: 1 to 65535 octets");
        assert_eq!(refused(|o| o.snaplen = 65_536), "snaplen: 1 to 65535 octets");
        assert_eq!(refused(|o| o.watermark = 0), "watermark: 1 to 4096 frames");
        assert_eq!(refused(|o| o.poll_duration = Duration::ZERO), "poll_duration: 1 ms to 10 s");
    }

    #[test]
    fn zc_devices_have_a_name_and_a_queue() {
        let device = |text: &str| Options::new(text).check_zc().map(|(n, q)| (n.to_owned(), q)).ok();
        assert_eq!(device("zc:eth1@3"), Some(("eth1".to_owned(), 3)));
        assert_eq!(device("zc:eth1"), Some(("eth1".to_owned(), 0)));
        assert_eq!(device("eth1@1"), Some(("eth1".to_owned(), 1)));
        assert_eq!(device("zc:eth1@64"), None);
        assert_eq!(device("zc:@0"), None);
        let out = Options { direction: CaptureDirection::Out, ..Options::new("zc:eth1") };
        assert!(out.check_zc().unwrap_err().to_string().starts_with("direction = out"));
    }

    #[test]
    fn sharing_has_its_names() {
        assert_eq!("cluster".parse::<Sharing>().unwrap(), Sharing::Cluster);
        assert!("rss".parse::<Sharing>().is_err());
    }
}
