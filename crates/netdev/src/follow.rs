//! Following one interface for a queue: what happens to it is seen once a second, and told in the log.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use capture::{CaptureError, LinkType};

use crate::device::{Device, Sight, control_socket, longest_frame};
use crate::watch::{Change, Link, Watch};

/// An interface that a queue captures on.
#[derive(Debug)]
pub struct Follow {
    socket: OwnedFd,
    device: Device,
    /// As it was configured: whoever waits for another one waits for this.
    configured: String,
    /// As the kernel last said.
    name: String,
    mtu: u32,
    watch: Watch,
    speaks: bool,
    /// Whether the queue waits for another interface of this name when this one is deleted.
    waits: bool,
}

impl Follow {
    /// In the namespace of the calling thread. Of the queues of an interface one `speaks` for all in the log.
    ///
    /// # Errors
    /// [`CaptureError::System`] if there is no socket to ask by.
    pub fn new(name: &str, device: Device, speaks: bool) -> Result<Self, CaptureError> {
        let socket = control_socket()?;
        let (configured, name, watch) = (name.to_owned(), name.to_owned(), Watch::new(Instant::now()));
        let mut follow = Self { socket, device, configured, name, mtu: 0, watch, speaks, waits: true };
        follow.look(Instant::now());
        Ok(follow)
    }

    /// For a queue that ends with an error when its interface is deleted, and says so by that.
    #[must_use]
    pub fn that_ends(self) -> Self {
        Self { waits: false, ..self }
    }

    /// When to look again.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.watch.next
    }

    /// Looks, tells in the log what changed, and says so.
    pub fn look(&mut self, now: Instant) -> Change {
        let sight = match self.device.look(self.socket.as_fd()) {
            Ok(sight) => sight,
            Err(error) => {
                tracing::debug!(interface = self.name, %error, "cannot look at the interface");
                return Change::None;
            }
        };
        let change = self.watch.saw(&sight, now);
        if let Sight::Present { name, mtu, .. } = sight {
            self.mtu = mtu;
            self.name = name;
        }
        if self.speaks && (self.waits || change != Change::WasDeleted) {
            change.tell(&self.name, &self.configured);
        }
        change
    }

    /// As last seen.
    #[must_use]
    pub fn link(&self) -> Link {
        self.watch.link
    }

    /// The name as last seen.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Octets of the largest packet, without the link-layer header, as last seen.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Octets of the longest frame that comes unmerged, as far as known.
    #[must_use]
    pub fn longest_frame(&self, link_type: LinkType) -> u32 {
        longest_frame(link_type, self.mtu)
    }

    /// The interface.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// It has been deleted and made again.
    pub fn adopt(&mut self, device: Device, now: Instant) {
        self.device = device;
        self.look(now);
    }
}

impl Change {
    /// Tells of it in the log; `interface` is the name under which it was seen last, which may have been changed since it was `configured`.
    pub fn tell(self, interface: &str, configured: &str) {
        match self {
            Self::None => {}
            Self::WentDown => tracing::warn!(interface, "the interface is down; capture goes on when it is up again"),
            Self::CameUp => tracing::info!(interface, "the interface is up again"),
            Self::WasDeleted => {
                tracing::warn!(
                    interface,
                    "the interface was deleted; capture goes on when there is one named {configured}"
                );
            }
        }
    }
}
