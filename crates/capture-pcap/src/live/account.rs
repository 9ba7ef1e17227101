//! The account of a queue, and its end: what is needed while a batch is out.

use std::time::{Duration, Instant};

use capture::{BpfInstruction, CaptureError, Count, QueueStats};
use netdev::NicLoss;

use super::LiveOptions;
use crate::sys::live::LiveHandle;
use crate::sys::socket;

/// A program that takes no frame.
pub(super) const REJECT: BpfInstruction = BpfInstruction { code: 0x06, jt: 0, jf: 0, k: 0 };
/// How long a stopped queue waits for frames that the kernel still holds, beside its timeout.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// All of a queue but its frames: what is needed while a batch is out.
pub(super) struct Account {
    pub(super) handle: LiveHandle,
    pub(super) options: LiveOptions,
    pub(super) packet_socket: bool,
    pub(super) received: u64,
    pub(super) damaged: u64,
    pub(super) super_frames: u64,
    pub(super) offered: u64,
    pub(super) dropped: u64,
    pub(super) interface_dropped: u64,
    /// Of libpcap, as last read: they wrap.
    pub(super) last: (u32, u32, u32),
    pub(super) nic: Option<NicLoss>,
    pub(super) stopped: Option<Instant>,
}

impl Account {
    /// Puts a program in the place of the one that the packet(7) socket has.
    pub(super) fn attach(&self, program: &[BpfInstruction]) -> Result<(), CaptureError> {
        let Some(descriptor) = self.handle.descriptor() else { return Ok(()) };
        socket::attach(descriptor, program).map_err(|e| CaptureError::system("attaching the filter", e))
    }

    pub(super) fn failed(&self, what: &str, message: String) -> CaptureError {
        CaptureError::system(format!("{what} {} by libpcap", self.options.interface), std::io::Error::other(message))
    }

    pub(super) fn read_counters(&mut self) -> Result<(), CaptureError> {
        let stats = self.handle.stats().map_err(|message| self.failed("reading the counters of", message))?;
        let now = (stats.received, stats.dropped, stats.interface_dropped);
        self.offered += u64::from(now.0.wrapping_sub(self.last.0));
        self.dropped += u64::from(now.1.wrapping_sub(self.last.1));
        self.interface_dropped += u64::from(now.2.wrapping_sub(self.last.2));
        self.last = now;
        Ok(())
    }

    pub(super) fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.read_counters()?;
        Ok(QueueStats {
            offered: if self.packet_socket { Count::Exact(self.offered) } else { Count::Unknown },
            received: self.received,
            ring_dropped: Count::Exact(self.dropped),
            nic_dropped: match &mut self.nic {
                Some(nic) => nic.count(),
                None => Count::Exact(self.interface_dropped),
            },
            damaged: self.damaged,
            freezes: Count::Unknown,
            super_frames: self.super_frames,
        })
    }

    pub(super) fn stop(&mut self) -> Result<(), CaptureError> {
        if self.stopped.is_some() {
            return Ok(());
        }
        self.stopped = Some(Instant::now());
        // Without a packet socket there is no such filter: what is there now is read, and what comes later is not.
        if self.packet_socket { self.attach(&[REJECT]) } else { Ok(()) }
    }

    /// Whether all that the kernel accepted before the stop was lent.
    pub(super) fn drained(&mut self) -> Result<bool, CaptureError> {
        let Some(stopped) = self.stopped else { return Ok(false) };
        self.read_counters()?;
        let all = self.packet_socket && self.received >= self.offered.saturating_sub(self.dropped);
        Ok(all || stopped.elapsed() > self.options.timeout + if self.packet_socket { PATIENCE } else { Duration::ZERO })
    }
}
