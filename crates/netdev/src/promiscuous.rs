//! Promiscuous mode for mechanisms that do not switch it on by themselves.

use std::os::fd::OwnedFd;

use capture::CaptureError;

use crate::device::Device;
use crate::sys::packet;

/// An interface is in promiscuous mode as long as this lives: the kernel counts who wants it, and switches it off after the last,
/// also after a kill.
#[derive(Debug)]
pub struct Promiscuous {
    _socket: OwnedFd,
}

impl Promiscuous {
    /// Switches it on.
    ///
    /// # Errors
    /// [`CaptureError::Permission`] without `CAP_NET_RAW`; [`CaptureError::System`] if the interface refuses, or is gone.
    pub fn hold(device: &Device) -> Result<Self, CaptureError> {
        let socket = packet::open().map_err(|e| CaptureError::refused("making an interface promiscuous", e))?;
        packet::promiscuous(&socket, device.index)
            .map_err(|e| CaptureError::system(format!("making interface {} promiscuous", device.index), e))?;
        Ok(Self { _socket: socket })
    }
}
