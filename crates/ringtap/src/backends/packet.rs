//! A packet socket without a ring from options to queues.

use anyhow::Result;
use capture::CaptureDirection;
use capture_afpacket::{PlainOptions, open_plain};

use super::{Opened, Queues, filter, names};
use crate::config::options::{CaptureOptions, FilterOptions};

/// Opens all interfaces; with `peek` without promiscuous mode.
pub(super) fn open_all(capture: &CaptureOptions, filters: &FilterOptions, peek: bool) -> Result<Vec<Result<Opened>>> {
    let open = |name: &String| -> Result<Opened> {
        let mut options = PlainOptions::new(name);
        options.queues = capture.queues.map_or(1, |queues| queues.get() as usize);
        if let Some(direction) = &capture.direction {
            options.direction = direction.0;
        }
        if peek && options.direction == CaptureDirection::Promisc {
            options.direction = CaptureDirection::Out;
        }
        if let Some(snaplen) = capture.snaplen {
            options.snaplen = snaplen.get() as u32;
        }
        if let Some(size) = capture.buffer_size {
            options.buffer_size = size.get() as u32;
        }
        options.filter = filter::for_the_kernel(filters, name, options.snaplen)?;
        Ok(Opened { interface: name.clone(), queues: Queues::Packet(open_plain(&options)?), filter: None })
    };
    Ok(names(capture)?.iter().map(open).collect())
}
