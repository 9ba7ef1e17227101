//! What the NIC lost before any ring.

use capture::Count;

use crate::sys::netlink::Netlink;

/// The loss of one interface since it was opened.
///
/// `rx_missed_errors` ("dropped by the device due to lack of buffer space ... not used on software devices") and
/// `rx_fifo_errors` of `struct rtnl_link_stats64` (linux/if_link.h). Every driver has these two counters, so the number is
/// what the driver says: on an interface without hardware both stay 0, which is true, for there is no NIC to lose a frame;
/// a virtual interface whose driver does count is believed too. Unknown only if the kernel gives no counters.
/// `rx_dropped` is left out: it also counts frames that were captured and then found no protocol (`__netif_receive_skb_core`).
#[derive(Debug)]
pub struct NicLoss {
    netlink: Option<Netlink>,
    index: i32,
    baseline: Option<u64>,
    /// Of the interface's earlier lives; `None` if it is not known of one.
    before: Option<u64>,
    /// Last known, for the time when the interface is gone.
    now: u64,
}

impl NicLoss {
    /// Counts from now on, in the namespace of the calling thread.
    #[must_use]
    pub fn new(index: i32) -> Self {
        let mut loss = Self { netlink: Netlink::open().ok(), index, baseline: None, before: Some(0), now: 0 };
        loss.baseline = loss.read();
        loss
    }

    /// The interface has been made anew.
    pub fn reopened(&mut self, index: i32) {
        self.before = self.exact();
        self.now = 0;
        self.index = index;
        // If it cannot be read, the old one would hide the losses of the new life below its own counter.
        self.baseline = self.read();
    }

    /// What was lost so far.
    pub fn count(&mut self) -> Count {
        if let (Some(baseline), Some(counter)) = (self.baseline, self.read()) {
            // Monotonic, also if a driver clears its counters at a reset.
            self.now = self.now.max(counter.saturating_sub(baseline));
        }
        self.exact().map_or(Count::Unknown, Count::Exact)
    }

    /// As last read.
    fn exact(&self) -> Option<u64> {
        self.baseline.and(self.before).map(|before| before.saturating_add(self.now))
    }

    fn read(&self) -> Option<u64> {
        self.netlink.as_ref()?.lost_by_nic(self.index).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::control;

    #[test]
    fn a_life_without_counters_makes_the_sum_unknown() {
        let lo = control::index_of(control::open().unwrap().as_fd(), "lo").unwrap();
        let mut loss = NicLoss::new(lo);
        assert_eq!(loss.count(), Count::Exact(0));
        loss.now = 5;
        loss.reopened(lo);
        assert_eq!(loss.count(), Count::Exact(5), "of the life before");
        loss.reopened(0x7fff_fff0);
        assert_eq!(loss.count(), Count::Unknown);
        loss.reopened(lo);
        assert_eq!(loss.count(), Count::Unknown, "what was lost in between nobody knows");
    }
}
