//! The machine's interfaces, for lists and for the default number of queues.
//!
//! All answers are of the network namespace of the calling thread, by ioctl and `/proc/thread-self/net`; `/sys/class/net` is used
//! only where it shows the same interface, since it belongs to the namespace in which it was mounted.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use capture::{CaptureError, LinkType};

use crate::device::{Device, control_socket, link_type_of};
use crate::ethtool::{self, shown};
use crate::sys::control;
use crate::sys::netlink::Netlink;

/// One interface. What the kernel or the driver does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceInfo {
    /// Name.
    pub name: String,
    /// Index, at least 1.
    pub index: i32,
    /// The driver, by `ETHTOOL_GDRVINFO`.
    pub driver: Option<String>,
    /// Set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// Up and with a carrier (`IFF_RUNNING`).
    pub running: bool,
    /// Mbit/s, by `ETHTOOL_GSET`.
    pub speed: Option<u32>,
    /// Octets of the largest packet, without the link-layer header.
    pub mtu: u32,
    /// Hardware address, of interfaces that have one of six octets.
    pub mac: Option<[u8; 6]>,
    /// Receive queues in use, at least 1.
    pub rx_queues: u32,
    /// The NUMA node that the NIC is attached to.
    pub numa_node: Option<u32>,
    /// Whether it is a wireless interface.
    pub wireless: bool,
    /// `ARPHRD_` number of linux/if_arp.h.
    pub hardware_type: u16,
    /// What its frames start with; `None` if nothing here can read them.
    pub link_type: Option<LinkType>,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Whether a default route of IPv4 or IPv6 leaves by it.
    pub default_route: bool,
}

/// All interfaces, by index.
///
/// # Errors
/// [`CaptureError::System`] if the kernel's list cannot be read.
pub fn list() -> Result<Vec<InterfaceInfo>, CaptureError> {
    let socket = control_socket()?;
    let text = fs::read_to_string("/proc/thread-self/net/dev")
        .map_err(|e| CaptureError::system("reading /proc/thread-self/net/dev", e))?;
    let routes = default_routes();
    // An interface that goes away meanwhile is left out.
    let mut all: Vec<_> = names(&text).filter_map(|name| describe(socket.as_fd(), name, &routes).ok()).collect();
    all.sort_by_key(|i| i.index);
    Ok(all)
}

/// Receive queues that the NIC uses, at least 1: `ETHTOOL_GCHANNELS` (combined and receive-only), else what /sys shows.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`].
pub fn rss_queues(name: &str) -> Result<u32, CaptureError> {
    let socket = control_socket()?;
    let index =
        control::index_of(socket.as_fd(), name).map_err(|_| CaptureError::NoSuchInterface { name: name.into() })?;
    Ok(queues_of(socket.as_fd(), name, index))
}

/// What raw frames of this interface start with: what filters have to be compiled for.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], and [`CaptureError::Unsupported`] if nothing here can read them there.
pub fn link_type(name: &str) -> Result<LinkType, CaptureError> {
    Ok(Device::find(name)?.link_type)
}

/// How often an interface has got or lost its carrier since it was made: two looks that differ have something between them. `None` if the
/// kernel does not tell.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], [`CaptureError::System`].
pub fn carrier_changes(name: &str) -> Result<Option<u32>, CaptureError> {
    let index = Device::find(name)?.index;
    let changes = Netlink::open().and_then(|netlink| netlink.carrier_changes(index));
    changes.map_err(|e| CaptureError::system("asking for the carrier of an interface", e))
}

/// Frames that an interface was to send and has dropped itself, such as a veth those that its peer does not take (/proc/net/dev).
#[must_use]
pub fn tx_dropped(name: &str) -> Option<u64> {
    tx_dropped_of(&fs::read_to_string("/proc/thread-self/net/dev").ok()?, name)
}

/// Of a line `name:` with eight numbers of receiving, and sent octets, frames, errors, drops.
fn tx_dropped_of(dev: &str, name: &str) -> Option<u64> {
    let line = dev.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().nth(11)?.parse().ok()
}

/// The number of queues to open if the user names none: one for each receive queue, at most one for each core.
///
/// # Errors
/// [`CaptureError::NoSuchInterface`].
pub fn default_queues(name: &str) -> Result<usize, CaptureError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(usize::try_from(rss_queues(name)?).unwrap_or(1).clamp(1, cores))
}

/// The interface by which the default route leaves, IPv4 before IPv6: what to capture on if the user names none.
#[must_use]
pub fn default_route() -> Option<String> {
    default_routes().into_iter().next()
}

fn describe(socket: BorrowedFd<'_>, name: &str, routes: &[String]) -> io::Result<InterfaceInfo> {
    let index = control::index_of(socket, name)?;
    let flags = control::flags_of(socket, name)?;
    let (hardware_type, mac) = control::hardware_of(socket, name)?;
    Ok(InterfaceInfo {
        name: name.into(),
        index,
        driver: control::driver_of(socket, name).ok().filter(|d| !d.is_empty()),
        up: flags & libc::IFF_UP != 0,
        running: flags & libc::IFF_RUNNING != 0,
        speed: control::speed_of(socket, name).ok().flatten(),
        mtu: control::mtu_of(socket, name)?,
        mac: (hardware_type == libc::ARPHRD_ETHER).then_some(mac),
        rx_queues: queues_of(socket, name, index),
        numa_node: ethtool::numa_node(name, index),
        wireless: ethtool::wireless(name, index),
        hardware_type,
        link_type: link_type_of(hardware_type),
        loopback: flags & libc::IFF_LOOPBACK != 0,
        default_route: routes.iter().any(|r| r == name),
    })
}

fn queues_of(socket: BorrowedFd<'_>, name: &str, index: i32) -> u32 {
    let channels = control::channels_of(socket, name).ok().filter(|&n| n > 0);
    channels.or_else(|| sysfs_queues(name, index)).unwrap_or(1)
}

fn sysfs_queues(name: &str, index: i32) -> Option<u32> {
    let queues = fs::read_dir(format!("{}/queues", shown(name, index)?)).ok()?;
    let count = queues.flatten().filter(|q| q.file_name().as_encoded_bytes().starts_with(b"rx-")).count();
    u32::try_from(count).ok().filter(|&n| n > 0)
}

/// The names in /proc/net/dev: two lines of headings, then `name:` and counters.
fn names(dev: &str) -> impl Iterator<Item = &str> {
    dev.lines().skip(2).filter_map(|line| Some(line.rsplit_once(':')?.0.trim()))
}

fn default_routes() -> Vec<String> {
    let read = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    ipv4_defaults(&read("route")).chain(ipv6_defaults(&read("ipv6_route"))).collect()
}

/// Lines `Iface Destination Gateway Flags RefCnt Use Metric Mask ...` with destination and mask 0 (hexadecimal).
fn ipv4_defaults(route: &str) -> impl Iterator<Item = String> {
    route.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, "00000000", _, _, _, _, _, "00000000", ..] = fields[..] else { return None };
        Some(name.to_owned())
    })
}

/// Lines `destination prefix source prefix gateway metric refcnt use flags name`, without reject routes (`RTF_REJECT`).
fn ipv6_defaults(route: &str) -> impl Iterator<Item = String> {
    route.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, "00", _, _, _, _, _, _, flags, name] = fields[..] else { return None };
        let reject = u32::from_str_radix(flags, 16).ok()? & 0x200 != 0;
        (destination.bytes().all(|b| b == b'0') && !reject).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Carrier;

    #[test]
    fn routes_are_read() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(ipv4_defaults(v4).collect::<Vec<_>>(), ["eth0"]);
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth2\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert_eq!(ipv6_defaults(&v6).collect::<Vec<_>>(), ["eth2"]);
        assert_eq!(ipv6_defaults("nonsense").count(), 0);
    }

    #[test]
    fn drops_of_sending_are_read() {
        let dev = "Inter-|   Receive                                                |  Transmit\n \
                   face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
                   eth10: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth1: 1 2 3 4 5 6 7 8 9 10 11 77 13 14 15 16\n";
        assert_eq!((tx_dropped_of(dev, "eth1"), tx_dropped_of(dev, "eth")), (Some(77), None));
    }

    #[test]
    fn the_loopback_interface_is_listed() {
        let all = list().unwrap();
        let lo = all.iter().find(|i| i.name == "lo").unwrap();
        assert!(lo.loopback && lo.rx_queues == 1 && lo.link_type == Some(LinkType::ETHERNET) && lo.mac.is_none());
    }

    #[test]
    fn a_missing_interface_is_named() {
        assert!(link_type("no-such-if").unwrap_err().to_string().contains("\"no-such-if\" does not exist"));
        assert!(rss_queues("no-such-if").unwrap_err().to_string().contains("\"no-such-if\" does not exist"));
    }

    #[test]
    fn a_link_that_goes_down_and_comes_back_is_noticed() {
        let namespace = crate::Namespace::new().unwrap();
        let ip = |line: &str| {
            let mut command = std::process::Command::new("ip");
            command.args(line.split(' '));
            namespace.run_inside(&mut command);
            assert!(command.status().unwrap().success(), "ip {line}");
        };
        ip("link add va up type veth peer name vb");
        ip("link set vb up");
        let carrier = |name: &str| {
            namespace
                .enter(|| {
                    let socket = control_socket().unwrap();
                    Device::find(name).unwrap().carrier(socket.as_fd()).unwrap()
                })
                .unwrap()
        };
        assert_eq!((carrier("va"), carrier("vb")), (Carrier::Present, Carrier::Present));
        ip("link set vb down");
        assert_eq!((carrier("va"), carrier("vb")), (Carrier::Missing, Carrier::Down));
        ip("link set vb up");
        let changes = || namespace.enter(|| carrier_changes("va")).unwrap().unwrap().unwrap();
        let before = changes();
        ip("link set vb down");
        ip("link set vb up");
        assert!(changes() > before);
        let missing = namespace.enter(|| carrier_changes("no-such-if")).unwrap();
        assert!(matches!(missing, Err(CaptureError::NoSuchInterface { .. })));
    }
}
