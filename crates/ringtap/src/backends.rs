//! The capture mechanisms: which there are, and how each opens an interface. The only place that knows all of them.

use anyhow::Result;
use capture::{CaptureError, RxQueue};
use clap::ValueEnum;
use serde::Deserialize;

/// How frames are taken from the wire.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// AF_PACKET with a TPACKET_V3 ring: works on every Linux.
    #[default]
    Afpacket,
}

impl Backend {
    /// All, in the order in which they are listed.
    pub(crate) const ALL: &[Self] = &[Self::Afpacket];

    /// As users write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Afpacket => "afpacket",
        }
    }

    /// What it is.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Afpacket => "AF_PACKET, TPACKET_V3",
        }
    }

    /// Whether this machine and this process's privileges allow it.
    pub(crate) fn usable(self) -> Result<(), CaptureError> {
        match self {
            Self::Afpacket => capture_afpacket::usable(),
        }
    }
}

/// The queues of an interface, of whichever mechanism: one choice at the start, none per frame.
pub(crate) enum Queues {
    Afpacket(Vec<capture_afpacket::Queue>),
}

/// Takes queues of any mechanism.
pub(crate) trait Take {
    fn take<Q: RxQueue + Send + 'static>(&mut self, queue: Q) -> Result<()>;
}

impl Queues {
    /// Opens an interface for a measurement: the mechanism's defaults, all frames, headers only.
    pub(crate) fn open_plain(backend: Backend, interface: &str, queues: usize) -> Result<Self> {
        match backend {
            Backend::Afpacket => {
                let mut options = capture_afpacket::Options::new(interface);
                options.queues = queues;
                Ok(Self::Afpacket(capture_afpacket::open(&options)?))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Afpacket(queues) => queues.len(),
        }
    }

    /// Gives each queue away, in order.
    pub(crate) fn give(self, taker: &mut impl Take) -> Result<()> {
        match self {
            Self::Afpacket(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
        }
    }
}
