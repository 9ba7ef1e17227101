//! Questions to the kernel about an interface, by ioctl (netdevice(7), linux/ethtool.h).
//!
//! Each goes through a socket, and the answer is that of the *socket's* network namespace. Knows no policy.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_ulong, ifreq};

/// `ETHTOOL_GSET`, `ETHTOOL_GDRVINFO`, `ETHTOOL_GFLAGS` and `ETHTOOL_GCHANNELS` of linux/ethtool.h.
const ETHTOOL_GSET: u32 = 0x01;
const ETHTOOL_GLINK: u32 = 0x0a;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// `SIOCETHTOOL` of linux/sockios.h.
const SIOCETHTOOL: c_ulong = 0x8946;

const _: () = assert!(size_of::<ifreq>() == 40 || size_of::<usize>() != 8, "ifreq is not the kernel's");

/// A socket only for asking, in the namespace of the thread that opens it.
pub(crate) fn open() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The index of the interface `name`.
pub(crate) fn index_of(socket: BorrowedFd<'_>, name: &str) -> io::Result<c_int> {
    let request = ask(socket, libc::SIOCGIFINDEX as c_ulong, request(name)?)?;
    // SAFETY: SIOCGIFINDEX has written this member; any bits are an integer.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}

/// The name that the interface has now.
pub(crate) fn name_of(socket: BorrowedFd<'_>, index: c_int) -> io::Result<String> {
    let mut question = request("")?;
    question.ifr_ifru.ifru_ifindex = index;
    let answer = ask(socket, libc::SIOCGIFNAME as c_ulong, question)?;
    let octets = answer.ifr_name.map(|c| c.to_ne_bytes()[0]);
    let end = octets.iter().position(|&b| b == 0).unwrap_or(octets.len());
    Ok(String::from_utf8_lossy(&octets[..end]).into_owned())
}

/// `IFF_` flags.
pub(crate) fn flags_of(socket: BorrowedFd<'_>, name: &str) -> io::Result<c_int> {
    let request = ask(socket, libc::SIOCGIFFLAGS as c_ulong, request(name)?)?;
    // SAFETY: SIOCGIFFLAGS has written this member; any bits are an integer.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(c_int::from(flags))
}

/// The largest packet in octets, without the link layer's header.
pub(crate) fn mtu_of(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let request = ask(socket, libc::SIOCGIFMTU as c_ulong, request(name)?)?;
    // SAFETY: SIOCGIFMTU has written this member; any bits are an integer.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// The `ARPHRD_` type and the first 6 octets of the hardware address.
pub(crate) fn hardware_of(socket: BorrowedFd<'_>, name: &str) -> io::Result<(u16, [u8; 6])> {
    let request = ask(socket, libc::SIOCGIFHWADDR as c_ulong, request(name)?)?;
    // SAFETY: SIOCGIFHWADDR has written this member; any bits are integers.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let [a, b, c, d, e, f, ..] = address.sa_data.map(|octet| octet.to_ne_bytes()[0]);
    Ok((address.sa_family, [a, b, c, d, e, f]))
}

/// The driver's name.
pub(crate) fn driver_of(socket: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let answer: [u32; 49] = ethtool(socket, name, ETHTOOL_GDRVINFO)?; // struct ethtool_drvinfo, 196 octets
    // `driver` is 32 octets from offset 4.
    let octets: Vec<u8> = answer[1..9].iter().flat_map(|w| w.to_ne_bytes()).take_while(|&b| b != 0).collect();
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// Receive queues: combined and receive-only channels that are in use.
pub(crate) fn channels_of(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let answer: [u32; 9] = ethtool(socket, name, ETHTOOL_GCHANNELS)?; // struct ethtool_channels
    let [.., rx, _tx, _other, combined] = answer;
    Ok(rx.saturating_add(combined))
}

/// Whether VLAN tags are taken out of received frames.
pub(crate) fn takes_tags_out(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    const ETH_FLAG_RXVLAN: u32 = 1 << 8;
    let [_, flags] = ethtool(socket, name, ETHTOOL_GFLAGS)?; // struct ethtool_value
    Ok(flags & ETH_FLAG_RXVLAN != 0)
}

/// Whether the driver has a carrier, at once: `IFF_RUNNING` follows up to a second later (net/core/link_watch.c), or now that it is asked.
pub(crate) fn has_link(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let [_, link] = ethtool(socket, name, ETHTOOL_GLINK)?; // struct ethtool_value
    Ok(link != 0)
}

/// The speed in Mbit/s, if the driver knows one.
pub(crate) fn speed_of(socket: BorrowedFd<'_>, name: &str) -> io::Result<Option<u32>> {
    let answer: [u32; 11] = ethtool(socket, name, ETHTOOL_GSET)?; // struct ethtool_cmd, 44 octets
    let [low_0, low_1, ..] = answer[3].to_ne_bytes(); // u16 speed at 12
    let [high_0, high_1, ..] = answer[7].to_ne_bytes(); // u16 speed_hi at 28
    let (low, high) = (u16::from_ne_bytes([low_0, low_1]), u16::from_ne_bytes([high_0, high_1]));
    let speed = u32::from(high) << 16 | u32::from(low);
    Ok((speed != 0 && speed != u32::MAX && speed != u32::from(u16::MAX)).then_some(speed))
}

fn ethtool<const N: usize>(socket: BorrowedFd<'_>, name: &str, command: u32) -> io::Result<[u32; N]> {
    let mut answer = [0u32; N];
    answer[0] = command;
    let mut question = request(name)?;
    question.ifr_ifru.ifru_data = answer.as_mut_ptr().cast();
    // The kernel writes through the pointer: as many octets as the command's struct has, which is what `N` is.
    ask(socket, SIOCETHTOOL, question)?;
    Ok(answer)
}

/// A request that names an interface.
pub(super) fn request(name: &str) -> io::Result<ifreq> {
    // SAFETY: all octets zero is a valid ifreq.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (slot, octet) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = libc::c_char::from_ne_bytes([octet]);
    }
    Ok(request)
}

pub(super) fn ask(socket: BorrowedFd<'_>, command: c_ulong, mut request: ifreq) -> io::Result<ifreq> {
    // SAFETY: a whole ifreq, which the kernel reads and writes; for SIOCETHTOOL it points to memory that the caller owns.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), command as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(request) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_answers() {
        let socket = open().unwrap();
        let index = index_of(socket.as_fd(), "lo").unwrap();
        assert_eq!(name_of(socket.as_fd(), index).unwrap(), "lo");
        assert_eq!(hardware_of(socket.as_fd(), "lo").unwrap(), (libc::ARPHRD_LOOPBACK, [0; 6]));
        assert!(mtu_of(socket.as_fd(), "lo").unwrap() >= 1500);
        assert!(flags_of(socket.as_fd(), "lo").unwrap() & libc::IFF_LOOPBACK != 0);
        assert!(has_link(socket.as_fd(), "lo").unwrap());
        assert!(index_of(socket.as_fd(), "no-such-if").is_err());
        assert!(index_of(socket.as_fd(), "a-name-that-is-longer-than-the-kernel-takes").is_err());
    }
}
