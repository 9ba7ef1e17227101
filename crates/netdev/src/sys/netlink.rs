//! Questions by rtnetlink(7): the counters of an interface, its carrier, and the XDP program that is on it.
//!
//! Of the namespace in which the socket was opened, whatever namespace the asking thread is in later, and whichever
//! namespace /sys was mounted for. Knows no policy.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const NLMSG_HEADER: usize = 16; // struct nlmsghdr
const IFINFO: usize = 16; // struct ifinfomsg
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// `IFLA_STATS64` of linux/if_link.h.
const IFLA_STATS64: u16 = 23;
/// `IFLA_CARRIER_CHANGES` of linux/if_link.h.
const IFLA_CARRIER_CHANGES: u16 = 35;
/// Positions in `struct rtnl_link_stats64` of linux/if_link.h, counted in u64.
const RX_FIFO_ERRORS: usize = 14;
const RX_MISSED_ERRORS: usize = 15;
/// `IFLA_XDP`, and inside of it `IFLA_XDP_ATTACHED` and `IFLA_XDP_PROG_ID` of linux/if_link.h.
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

/// A socket for questions.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
}

impl Netlink {
    /// In the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Frames that the interface `index` lost before they came into memory: `rx_missed_errors` + `rx_fifo_errors`.
    /// `None` if the kernel gives no counters.
    pub(crate) fn lost_by_nic(&self, index: i32) -> io::Result<Option<u64>> {
        parse_loss(&self.describe(index)?)
    }

    /// The XDP program on the interface `index`: how it is attached (`XDP_ATTACHED_`), and its identifier, 0 if there are several.
    pub(crate) fn xdp_program(&self, index: i32) -> io::Result<Option<(u8, u32)>> {
        parse_xdp(&self.describe(index)?)
    }

    /// How often the interface `index` has got or lost its carrier. `None` if the kernel does not tell (before Linux 3.15).
    pub(crate) fn carrier_changes(&self, index: i32) -> io::Result<Option<u32>> {
        let message = self.describe(index)?;
        let changes = attribute(attributes(&message)?, IFLA_CARRIER_CHANGES);
        Ok(changes.and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes))
    }

    /// What the kernel says about the interface `index`: one message.
    fn describe(&self, index: i32) -> io::Result<Vec<u8>> {
        let mut question = [0u8; NLMSG_HEADER + IFINFO];
        question[0..4].copy_from_slice(&((NLMSG_HEADER + IFINFO) as u32).to_ne_bytes());
        question[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
        question[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        question[NLMSG_HEADER + 4..NLMSG_HEADER + 8].copy_from_slice(&index.to_ne_bytes());
        // SAFETY: reads `question`, whole. A netlink socket that is not connected sends to the kernel.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), question.as_ptr().cast(), question.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answer = vec![0u8; 32 * 1024];
        // SAFETY: writes at most the length of `answer`. The kernel has answered within `send`: this does not wait.
        let got =
            unsafe { libc::recv(self.fd.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT) };
        answer.truncate(usize::try_from(got).map_err(|_| io::Error::last_os_error())?);
        Ok(answer)
    }
}

fn parse_loss(message: &[u8]) -> io::Result<Option<u64>> {
    let Some(counters) = attribute(attributes(message)?, IFLA_STATS64) else { return Ok(None) };
    let counter = |i: usize| counters.get(i * 8..i * 8 + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes);
    Ok(counter(RX_FIFO_ERRORS).zip(counter(RX_MISSED_ERRORS)).map(|(a, b)| a.saturating_add(b)))
}

fn parse_xdp(message: &[u8]) -> io::Result<Option<(u8, u32)>> {
    let xdp = attribute(attributes(message)?, IFLA_XDP).unwrap_or(&[]);
    let attached = attribute(xdp, IFLA_XDP_ATTACHED).and_then(|octets| octets.first()).copied().unwrap_or(0);
    let id = attribute(xdp, IFLA_XDP_PROG_ID).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
    Ok((attached != 0).then_some((attached, id)))
}

/// The attributes of an answer about an interface.
fn attributes(message: &[u8]) -> io::Result<&[u8]> {
    match short(message, 4) {
        Some(RTM_NEWLINK) => Ok(message.get(NLMSG_HEADER + IFINFO..).unwrap_or(&[])),
        Some(NLMSG_ERROR) => {
            let code = message.get(NLMSG_HEADER..NLMSG_HEADER + 4).and_then(|b| b.try_into().ok());
            Err(io::Error::from_raw_os_error(-code.map_or(-libc::EIO, i32::from_ne_bytes)))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The value of the first attribute of this kind (`NLA_F_NESTED` and the like left out).
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (short(rest, 0), short(rest, 2)) {
        let length = usize::from(length);
        let value = rest.get(4..length)?;
        if kind & 0x3fff == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    None
}

fn short(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_lost_nothing() {
        let socket = super::super::control::open().unwrap();
        let index = super::super::control::index_of(std::os::fd::AsFd::as_fd(&socket), "lo").unwrap();
        assert_eq!(Netlink::open().unwrap().lost_by_nic(index).unwrap(), Some(0));
    }

    #[test]
    fn an_unknown_interface_is_an_error() {
        assert!(Netlink::open().unwrap().lost_by_nic(0x7fff_fff0).is_err());
    }

    #[test]
    fn damaged_answers_give_no_number_and_no_panic() {
        let mut message = vec![0u8; 40];
        message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        assert!(matches!(parse_loss(&message), Ok(None)));
        message[32..36].copy_from_slice(&[0xff, 0xff, 23, 0]);
        assert!(matches!(parse_loss(&message), Ok(None)));
        message[32..36].copy_from_slice(&[8, 0, 23, 0]);
        assert!(matches!(parse_loss(&message), Ok(None)));
        assert!(parse_loss(&[]).is_err());
        message[32..36].copy_from_slice(&[8, 0, 43, 0]);
        assert!(matches!(parse_xdp(&message), Ok(None)));
    }
}
