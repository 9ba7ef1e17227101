//! What a program of XDP has to know of an interface: who is there already, and what the NIC takes out of frames.

use std::fmt;
use std::os::fd::AsFd;

use capture::CaptureError;

use crate::device::control_socket;
use crate::sys::control;
use crate::sys::netlink::Netlink;

/// An XDP program that is on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's number for it (`bpftool prog show id`); 0 if there are several.
    pub id: u32,
    /// `XDP_ATTACHED_` of linux/if_link.h: 1 in the driver, 2 in the stack, 3 in the NIC, 4 in several places.
    pub attached: u8,
}

impl fmt::Display for XdpProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.attached {
            1 => "in the driver",
            2 => "generic",
            3 => "in the NIC",
            _ => return f.write_str("several programs"),
        };
        write!(f, "program {} ({place})", self.id)
    }
}

/// The XDP program on the interface of this index in the namespace of the calling thread, if there is one.
///
/// # Errors
/// [`CaptureError::System`] if the kernel does not say.
pub fn xdp_program(index: i32) -> Result<Option<XdpProgram>, CaptureError> {
    let program = Netlink::open().and_then(|netlink| netlink.xdp_program(index));
    let program = program.map_err(|e| CaptureError::system("asking for the XDP program of an interface", e))?;
    Ok(program.map(|(attached, id)| XdpProgram { id, attached }))
}

/// Whether the NIC, or the driver, takes VLAN tags out of received frames and tells them beside (`ethtool -k`: rx-vlan-offload).
///
/// # Errors
/// [`CaptureError::NoSuchInterface`], [`CaptureError::System`] if the driver does not say.
pub fn takes_tags_out(name: &str) -> Result<bool, CaptureError> {
    let socket = control_socket()?;
    control::takes_tags_out(socket.as_fd(), name)
        .map_err(|e| CaptureError::on_interface(name, format!("asking for the offloads of {name}"), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn the_loopback_interface_has_no_program_and_keeps_tags() {
        assert_eq!(xdp_program(Device::find("lo").unwrap().index).unwrap(), None);
        assert!(!takes_tags_out("lo").unwrap_or(false));
        assert!(takes_tags_out("no-such-if").is_err());
        assert!(xdp_program(0x7fff_fff0).is_err());
    }
}
