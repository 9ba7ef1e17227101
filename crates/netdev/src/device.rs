//! One interface: found by its name, looked at by its index.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use capture::{CaptureError, LinkType};

use crate::sys::control;

/// An interface, as it was when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The kernel's number for it, at least 1. It stays as long as the interface is not deleted.
    pub index: i32,
    /// What a raw frame of it starts with.
    pub link_type: LinkType,
    /// Whether it is a loopback interface.
    pub loopback: bool,
}

/// What the kernel says about an interface now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// There is none of this index any more.
    Deleted,
    /// It is there.
    Present {
        /// The name it has now.
        name: String,
        /// Set up by the administrator (`IFF_UP`).
        up: bool,
        /// Octets of the largest packet, without the link-layer header.
        mtu: u32,
    },
}

/// Whether frames can leave by an interface now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The interface is gone.
    Deleted,
    /// It is not set up by the administrator.
    Down,
    /// It is set up, and there is no other end.
    Missing,
    /// They can.
    Present,
}

impl Device {
    /// The interface `name` of the calling thread's namespace.
    ///
    /// # Errors
    /// [`CaptureError::NoSuchInterface`], and [`CaptureError::Unsupported`] for one whose frames nothing here can read.
    pub fn find(name: &str) -> Result<Self, CaptureError> {
        Self::find_by(control_socket()?.as_fd(), name)
    }

    /// The same in the namespace of `socket`, any socket.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_by(socket: BorrowedFd<'_>, name: &str) -> Result<Self, CaptureError> {
        let question = || format!("asking for the hardware of {name}");
        let index = control::index_of(socket, name).map_err(|e| CaptureError::on_interface(name, question(), e))?;
        let (kind, _) =
            control::hardware_of(socket, name).map_err(|e| CaptureError::on_interface(name, question(), e))?;
        let link_type = link_type_of(kind).ok_or_else(|| {
            CaptureError::Unsupported(format!(
                "{name} has link type {kind} (ARPHRD_ in linux/if_arp.h), which cannot be captured yet"
            ))
        })?;
        Ok(Self { index, link_type, loopback: kind == libc::ARPHRD_LOOPBACK })
    }

    /// Looks at it, in the namespace of `socket`, any socket.
    ///
    /// # Errors
    /// What the kernel says, except that it is gone.
    pub fn look(&self, socket: BorrowedFd<'_>) -> io::Result<Sight> {
        let ask = |name: &str| Ok((control::flags_of(socket, name)?, control::mtu_of(socket, name)?));
        let seen = self.ask(socket, ask)?;
        Ok(seen.map_or(Sight::Deleted, |(name, (flags, mtu))| Sight::Present {
            name,
            up: flags & libc::IFF_UP != 0,
            mtu,
        }))
    }

    /// Whether frames can leave by it, in the namespace of `socket`, any socket.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn carrier(&self, socket: BorrowedFd<'_>) -> io::Result<Carrier> {
        let ask = |name: &str| {
            // Not every driver can tell.
            let link = control::has_link(socket, name).unwrap_or(true);
            Ok((link, control::flags_of(socket, name)?))
        };
        Ok(match self.ask(socket, ask)?.map(|(_, answer)| answer) {
            None => Carrier::Deleted,
            Some((_, flags)) if flags & libc::IFF_UP == 0 => Carrier::Down,
            Some((link, flags)) if !link || flags & libc::IFF_RUNNING == 0 => Carrier::Missing,
            Some(_) => Carrier::Present,
        })
    }

    /// Asks a question about it by the name that it has now; `None` if it is gone.
    fn ask<T>(
        &self,
        socket: BorrowedFd<'_>,
        question: impl Fn(&str) -> io::Result<T>,
    ) -> io::Result<Option<(String, T)>> {
        let gone = |e: &io::Error| matches!(e.raw_os_error(), Some(libc::ENODEV | libc::ENXIO));
        loop {
            let name = match control::name_of(socket, self.index) {
                Ok(name) => name,
                Err(e) if gone(&e) => return Ok(None),
                Err(e) => return Err(e),
            };
            match question(&name) {
                Ok(answer) => return Ok(Some((name, answer))),
                // Renamed since the first question, or deleted: the name of that index says which.
                Err(e) if gone(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// A socket by which [`Device::look`] and [`Device::carrier`] ask: of the calling thread's namespace, whatever namespace is asked from later.
///
/// # Errors
/// [`CaptureError::System`].
pub fn control_socket() -> Result<OwnedFd, CaptureError> {
    control::open().map_err(|e| CaptureError::system("opening a socket", e))
}

/// What a `SOCK_RAW` frame of an interface of this `ARPHRD_` type starts with.
///
/// `ARPHRD_PPP` gives bare IP: ppp_generic.c takes the PPP header off before a received frame is shown and puts it on after
/// a sent one was (a device without `header_ops` shows no link layer: the comment at the top of net/packet/af_packet.c).
#[must_use]
pub fn link_type_of(kind: u16) -> Option<LinkType> {
    match kind {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(LinkType::ETHERNET),
        libc::ARPHRD_NONE
        | ARPHRD_RAWIP
        | libc::ARPHRD_TUNNEL
        | libc::ARPHRD_TUNNEL6
        | libc::ARPHRD_SIT
        | libc::ARPHRD_PPP => Some(LinkType::RAW),
        _ => None,
    }
}

/// Octets of the longest frame that comes unmerged to an interface of this MTU: of Ethernet with two VLAN tags, without the frame check sequence.
/// `u32::MAX` where nobody knows: the MTU was not read yet (0), or frames begin with a header whose length varies.
#[must_use]
pub fn longest_frame(link_type: LinkType, mtu: u32) -> u32 {
    const ETHERNET_HEADER: u32 = 14;
    const VLAN_TAGS: u32 = 8;
    match link_type {
        _ if mtu == 0 => u32::MAX,
        LinkType::ETHERNET => mtu.saturating_add(ETHERNET_HEADER + VLAN_TAGS),
        LinkType::RAW => mtu,
        _ => u32::MAX,
    }
}

/// Of linux/if_arp.h, since Linux 4.14.
const ARPHRD_RAWIP: u16 = 519;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_frames_are_longer_than_the_longest() {
        let longest = |link_type| longest_frame(link_type, 1500);
        assert_eq!((longest(LinkType::ETHERNET), longest(LinkType::RAW)), (1522, 1500));
        assert_eq!((longest(LinkType::LINUX_SLL), longest_frame(LinkType::ETHERNET, 0)), (u32::MAX, u32::MAX));
    }

    #[test]
    fn hardware_types_have_link_types() {
        assert_eq!(link_type_of(libc::ARPHRD_ETHER), Some(LinkType::ETHERNET));
        assert_eq!(link_type_of(libc::ARPHRD_NONE), Some(LinkType::RAW));
        assert_eq!(link_type_of(libc::ARPHRD_IEEE80211), None);
    }
}
