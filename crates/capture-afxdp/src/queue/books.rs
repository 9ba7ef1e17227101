//! The account of a queue, and its end: what may be brought up to date while a batch is out.

use capture::{CaptureError, Count, QueueStats};
use netdev::NicLoss;

use crate::attachment::Attachment;
use crate::port::Port;
use crate::sys::socket::XdpSocket;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: u64,
    pub(super) damaged: u64,
    pub(super) damage_logged: u64,
    pub(super) super_frames: u64,
    /// Of the sockets before: an interface that was made anew has a new one.
    pub(super) dropped_before: u64,
}

impl Counters {
    #[cold]
    pub(super) fn damage(&mut self) {
        self.damaged += 1;
    }
}

/// All of a queue but the ring.
pub(super) struct Books<'q> {
    pub(super) port: Option<(&'q XdpSocket, &'q Attachment, u32)>,
    pub(super) counters: &'q mut Counters,
    /// Of the first queue of the interface.
    pub(super) nic: &'q mut Option<NicLoss>,
    pub(super) stopped: &'q mut bool,
}

impl Books<'_> {
    /// `pending`: frames in the ring that are not lent yet.
    pub(super) fn stats(&mut self, pending: u64) -> Result<QueueStats, CaptureError> {
        let now = self.port.map_or(Ok(0), |(socket, ..)| dropped(socket))?;
        let lost = self.counters.dropped_before + now;
        Ok(QueueStats {
            offered: Count::Exact(self.counters.received + pending + lost),
            received: self.counters.received,
            ring_dropped: Count::Exact(lost),
            nic_dropped: self.nic.as_mut().map_or(Count::Exact(0), NicLoss::count),
            damaged: self.counters.damaged,
            // The mechanism has no such thing: it goes on with the next chunk that comes.
            freezes: Count::Exact(0),
            super_frames: self.counters.super_frames,
        })
    }

    pub(super) fn stop(&mut self) -> Result<(), CaptureError> {
        if std::mem::replace(self.stopped, true) {
            return Ok(());
        }
        self.port.map_or(Ok(()), |(_, attachment, queue)| Port::refuse(attachment, queue))
    }
}

/// Frames that came to the socket and found no room.
///
/// `xsk_rcv` in net/xdp/xsk.c: without a chunk a frame counts in `rx_dropped` (and the look into the empty fill ring in
/// `rx_fill_ring_empty_descs` as well, the same frame), without an entry of the RX ring in `rx_ring_full`, which kernels before 5.9 add to
/// `rx_dropped` by themselves. `rx_invalid_descs` is of a ring that only the kernel writes: always 0.
pub(super) fn dropped(socket: &XdpSocket) -> Result<u64, CaptureError> {
    let stats = socket.statistics().map_err(|e| CaptureError::system("reading XDP_STATISTICS", e))?;
    Ok(stats.rx_dropped.saturating_add(stats.rx_ring_full))
}
