//! libpcap from options to queues.

use anyhow::Result;
use capture::{CaptureDirection, CaptureError, LinkType};
use capture_pcap::{LiveOptions, open_live};
use netdev::interfaces;

use super::{Opened, Queues, filter, names};
use crate::config::options::{CaptureOptions, FilterOptions};

/// Opens all interfaces; with `peek` without promiscuous mode.
pub(super) fn open_all(capture: &CaptureOptions, filters: &FilterOptions, peek: bool) -> Result<Vec<Result<Opened>>> {
    let open = |name: &String| -> Result<Opened> {
        let mut options = LiveOptions::new(name);
        options.libpcap = filters.libpcap.clone();
        options.queues = capture.queues.map_or(1, |queues| queues.get() as usize);
        if let Some(direction) = &capture.direction {
            options.direction = direction.0;
        }
        if peek && options.direction == CaptureDirection::Promisc {
            options.direction = CaptureDirection::In;
        }
        if let Some(snaplen) = capture.snaplen {
            options.snaplen = snaplen.get() as u32;
        }
        if let Some(size) = capture.buffer_size {
            options.buffer_size = size.get() as u32;
        }
        if let Some(timeout) = capture.block_timeout {
            options.timeout = timeout.duration();
        }
        options.immediate = capture.immediate.unwrap_or(false);
        options.time_stamp_type.clone_from(&capture.time_stamp_type);
        options.filter = match interfaces::link_type(name) {
            // What only this libpcap takes for an interface, such as netmap:eth1.
            Err(CaptureError::NoSuchInterface { .. }) if name.contains(':') => {
                filter::for_user_space(filters, LinkType::ETHERNET, options.snaplen)?
            }
            _ => filter::for_the_kernel(filters, name, options.snaplen)?,
        };
        let queues = Queues::Pcap(open_live(&options)?);
        Ok(Opened { interface: name.clone(), queues, filter: None })
    };
    Ok(names(capture)?.iter().map(open).collect())
}
