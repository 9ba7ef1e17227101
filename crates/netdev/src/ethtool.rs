//! What `ethtool` shows and sets: offloads, pause frames, rings, channels, the hash that spreads frames over queues; and where in the
//! machine the NIC is.
//!
//! `None` is what a driver does not have. All answers are of the network namespace of the calling thread. Only [`set_offload`] changes
//! anything, and nothing in this crate calls it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use capture::CaptureError;

use crate::device::control_socket;
use crate::sys::{control, ethtool};

/// What a NIC or its driver does to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Generic receive offload: the kernel merges received segments.
    Gro,
    /// The same by the NIC (or, on a virtual machine, by the host). Switching [`Self::Gro`] off leaves it on.
    GroHw,
    /// Large receive offload: the NIC or its driver merges received segments.
    Lro,
    /// Generic segmentation offload: the kernel cuts what it sends late.
    Gso,
    /// TCP segmentation offload: the NIC cuts what it sends.
    Tso,
    /// VLAN tags are taken out of received frames.
    RxVlan,
    /// VLAN tags are put into sent frames.
    TxVlan,
}

/// How one offload is asked for and set.
enum By {
    /// Commands of its own.
    Commands { get: u32, set: u32 },
    /// A bit of `ETHTOOL_GFLAGS`.
    Flag(u32),
    /// A feature of this name.
    Feature(&'static str),
}

impl Offload {
    /// As `ethtool -K` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gro => "gro",
            Self::GroHw => "rx-gro-hw",
            Self::Lro => "lro",
            Self::Gso => "gso",
            Self::Tso => "tso",
            Self::RxVlan => "rxvlan",
            Self::TxVlan => "txvlan",
        }
    }

    /// As the kernel calls it (net/ethtool/common.c); TSO by its first part.
    fn feature(self) -> &'static str {
        match self {
            Self::Gro => "rx-gro",
            Self::GroHw => "rx-gro-hw",
            Self::Lro => "rx-lro",
            Self::Gso => "tx-generic-segmentation",
            Self::Tso => "tx-tcp-segmentation",
            Self::RxVlan => "rx-vlan-hw-parse",
            Self::TxVlan => "tx-vlan-hw-insert",
        }
    }

    /// Numbers of linux/ethtool.h.
    fn by(self) -> By {
        match self {
            Self::Gro => By::Commands { get: 0x2b, set: 0x2c },
            Self::Gso => By::Commands { get: 0x23, set: 0x24 },
            Self::Tso => By::Commands { get: 0x1e, set: 0x1f },
            Self::GroHw => By::Feature(self.feature()),
            Self::Lro => By::Flag(1 << 15),
            Self::RxVlan => By::Flag(1 << 8),
            Self::TxVlan => By::Flag(1 << 7),
        }
    }
}

/// Flow control of the link (`ethtool -a`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Negotiated with the other end.
    pub autoneg: bool,
    /// Pause frames of the other end are obeyed.
    pub rx: bool,
    /// Pause frames are sent while the ring is full.
    pub tx: bool,
}

/// Descriptors of each queue (`ethtool -g`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Received frames that a queue holds.
    pub rx: u32,
    /// The most that the driver takes.
    pub rx_max: u32,
    /// Frames to be sent that a queue holds.
    pub tx: u32,
    /// The most that the driver takes.
    pub tx_max: u32,
}

/// Queues (`ethtool -l`): combined ones receive and send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// In use, receive only.
    pub rx: u32,
    /// In use, for both.
    pub combined: u32,
    /// The most, receive only.
    pub rx_max: u32,
    /// The most, for both.
    pub combined_max: u32,
}

/// How frames are spread over the queues (`ethtool -x`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The key of the hash; empty if the driver does not tell it.
    pub key: Vec<u8>,
    /// The queue of each hash, modulo its length.
    pub table: Vec<u32>,
    /// The NIC hashes so that both directions give the same, whatever the key: an exclusive or as the function, or of the input.
    pub symmetric: bool,
}

/// Whether an offload is on.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], [`CaptureError::System`].
pub fn offload(name: &str, offload: Offload) -> Result<Option<bool>, CaptureError> {
    asked(name, offload.name(), |socket| match offload.by() {
        By::Commands { get, .. } => Ok(ethtool::value(socket, name, get)? != 0),
        By::Flag(bit) => Ok(ethtool::flags(socket, name)? & bit != 0),
        By::Feature(feature) => Ok(ethtool::feature(socket, name, feature)?.active),
    })
}

/// Whether an offload is as it is for good: the driver does not let it be changed (`ethtool -k`: fixed). `false` if that is not known.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], [`CaptureError::System`].
pub fn is_fixed(name: &str, offload: Offload) -> Result<bool, CaptureError> {
    let feature = asked(name, offload.name(), |socket| ethtool::feature(socket, name, offload.feature()))?;
    Ok(feature.is_some_and(|feature| !feature.changeable))
}

/// Switches an offload, and looks whether the driver did it.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`]; [`CaptureError::Permission`] without `CAP_NET_ADMIN`; [`CaptureError::Unsupported`] if the driver does
/// not let it be changed; [`CaptureError::System`].
pub fn set_offload(name: &str, offload: Offload, on: bool) -> Result<(), CaptureError> {
    const ACTION: &str = "changing an offload";
    let fixed =
        || CaptureError::Unsupported(format!("the driver of {name} does not let {} be changed", offload.name()));
    let socket = control_socket()?;
    let socket = socket.as_fd();
    let result = match offload.by() {
        By::Commands { set, .. } => ethtool::set_value(socket, name, set, u32::from(on)),
        By::Flag(bit) => ethtool::flags(socket, name)
            .and_then(|flags| ethtool::set_flags(socket, name, if on { flags | bit } else { flags & !bit })),
        By::Feature(feature) => ethtool::set_feature(socket, name, feature, on),
    };
    match result {
        Ok(()) if self::offload(name, offload)? == Some(on) => Ok(()),
        Ok(()) => Err(fixed()),
        Err(e) => Err(match e.raw_os_error() {
            Some(libc::EPERM) => CaptureError::no_permission(ACTION, "CAP_NET_ADMIN", "cap_net_raw,cap_net_admin"),
            Some(libc::EOPNOTSUPP | libc::EINVAL) => fixed(),
            _ => CaptureError::on_interface(name, format!("{ACTION} of {name}"), e),
        }),
    }
}

/// Flow control.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], [`CaptureError::System`].
pub fn pause(name: &str) -> Result<Option<Pause>, CaptureError> {
    asked(name, "pause frames", |socket| {
        let [autoneg, rx, tx] = ethtool::pause(socket, name)?.map(|word| word != 0);
        Ok(Pause { autoneg, rx, tx })
    })
}

/// Ring sizes.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], [`CaptureError::System`].
pub fn rings(name: &str) -> Result<Option<Rings>, CaptureError> {
    let rings = asked(name, "ring sizes", |socket| {
        let [rx_max, _, _, tx_max, rx, _, _, tx] = ethtool::rings(socket, name)?;
        Ok(Rings { rx, rx_max, tx, tx_max })
    })?;
    // What drivers without rings answer that do not refuse the question.
    Ok(rings.filter(|rings| rings.rx_max > 0))
}

/// Queues.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], [`CaptureError::System`].
pub fn channels(name: &str) -> Result<Option<Channels>, CaptureError> {
    let channels = asked(name, "queues", |socket| {
        let [rx_max, _, _, combined_max, rx, _, _, combined] = ethtool::channels(socket, name)?;
        Ok(Channels { rx, combined, rx_max, combined_max })
    })?;
    Ok(channels.filter(|channels| channels.rx + channels.combined > 0))
}

/// Receive hash.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], [`CaptureError::System`].
pub fn rss(name: &str) -> Result<Option<Rss>, CaptureError> {
    /// `ETH_RSS_HASH_XOR`.
    const XOR: u8 = 1 << 1;
    /// `RXH_XFRM_SYM_XOR` and `RXH_XFRM_SYM_OR_XOR`; all bits set says nothing.
    const SYMMETRIC: u8 = 0b11;
    let found = asked(name, "the receive hash", |socket| ethtool::rxfh(socket, name))?;
    Ok(found.map(|found| Rss {
        symmetric: found.function == XOR || found.transform != u8::MAX && found.transform & SYMMETRIC != 0,
        key: found.key,
        table: found.table,
    }))
}

/// The NUMA node that the NIC is attached to; `None` if it is no device of the machine, if the firmware does not tell, or if /sys shows
/// another network namespace.
#[must_use]
pub fn numa_node(name: &str, index: i32) -> Option<u32> {
    let node = fs::read_to_string(format!("{}/numa_node", hardware(name, index)?)).ok()?;
    node.trim().parse().ok() // -1 is "unknown"
}

/// The interrupts of the NIC, in order; none if it has none of its own or /sys does not show them.
#[must_use]
pub fn irqs(name: &str, index: i32) -> Vec<u32> {
    let entries = hardware(name, index).and_then(|folder| fs::read_dir(format!("{folder}/msi_irqs")).ok());
    let numbers = entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut irqs: Vec<u32> = numbers.collect();
    irqs.sort_unstable();
    irqs
}

/// Where /sys shows the device behind an interface.
fn hardware(name: &str, index: i32) -> Option<String> {
    let device = format!("{}/device", shown(name, index)?);
    // A virtio device is a child of the PCI function that has node and interrupts.
    let virtio = fs::read_link(format!("{device}/subsystem")).is_ok_and(|subsystem| subsystem.ends_with("virtio"));
    Some(if virtio { format!("{device}/..") } else { device })
}

/// Whether it is a wireless interface.
#[must_use]
pub fn wireless(name: &str, index: i32) -> bool {
    shown(name, index).is_some_and(|folder| fs::exists(format!("{folder}/phy80211")).unwrap_or(false))
}

/// The interface's folder in /sys, if that is this interface and not one of the same name in another namespace.
pub(crate) fn shown(name: &str, index: i32) -> Option<String> {
    let folder = format!("/sys/class/net/{name}");
    let shown = fs::read_to_string(format!("{folder}/ifindex")).ok()?;
    (shown.trim().parse() == Ok(index)).then_some(folder)
}

fn asked<T>(
    name: &str,
    what: &str,
    question: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
) -> Result<Option<T>, CaptureError> {
    let socket = control_socket()?;
    match question(socket.as_fd()) {
        Ok(answer) => Ok(Some(answer)),
        // ENODEV is what a missing interface gives, and some drivers while the interface is down.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            control::index_of(socket.as_fd(), name).map_err(|e| CaptureError::on_interface(name, what, e))?;
            Ok(None)
        }
        Err(e) => Err(CaptureError::on_interface(name, format!("asking {name} for {what}"), e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_offloads_and_no_hardware() {
        assert!(offload("lo", Offload::Gro).unwrap().is_some());
        for off in [Offload::Lro, Offload::GroHw] {
            assert_eq!(offload("lo", off).unwrap(), Some(false));
        }
        assert_eq!(pause("lo").unwrap(), None);
        assert_eq!(rings("lo").unwrap(), None);
        assert_eq!(channels("lo").unwrap(), None);
        assert_eq!(rss("lo").unwrap(), None);
        assert_eq!((numa_node("lo", 1), irqs("lo", 1).len(), wireless("lo", 1)), (None, 0, false));
    }

    #[test]
    fn a_missing_interface_is_named() {
        let missing =
            |error: CaptureError| assert!(error.to_string().contains("\"no-such-if\" does not exist"), "{error}");
        missing(offload("no-such-if", Offload::Gro).unwrap_err());
        missing(set_offload("no-such-if", Offload::Lro, false).unwrap_err());
        missing(rss("no-such-if").unwrap_err());
        assert_eq!(shown("lo", -1), None);
    }
}
