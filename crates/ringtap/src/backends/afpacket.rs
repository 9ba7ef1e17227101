//! AF_PACKET from options to queues.

use anyhow::Result;
use capture_afpacket::{Options, open, share_memory};
use netdev::interfaces;

use super::{Opened, Queues, filter, names};
use crate::config::options::{CaptureOptions, FilterOptions};

/// Opens all interfaces; with `peek` so that nobody else notices: no interface becomes promiscuous.
pub(super) fn open_all(capture: &CaptureOptions, filters: &FilterOptions, peek: bool) -> Result<Vec<Result<Opened>>> {
    let mut all = names(capture)?.iter().map(|name| options(capture, name)).collect::<Result<Vec<_>>>()?;
    share_memory(&mut all)?;
    let open = |mut options: Options| -> Result<Opened> {
        options.filter = filter::for_the_kernel(filters, &options.interface, options.snaplen)?;
        if peek && options.direction == capture::CaptureDirection::Promisc {
            options.direction = capture::CaptureDirection::Out;
        }
        let queues = Queues::Afpacket(open(&options)?);
        Ok(Opened { interface: options.interface, queues, filter: None })
    };
    Ok(all.into_iter().map(open).collect())
}

fn options(options: &CaptureOptions, name: &str) -> Result<Options> {
    let mut ring = Options::new(name);
    ring.queues = match options.queues {
        Some(queues) => queues.get() as usize,
        None => interfaces::default_queues(name)?,
    };
    if let Some(direction) = &options.direction {
        ring.direction = direction.0;
    }
    if let Some(fanout) = &options.fanout {
        ring.fanout = fanout.0;
    }
    if let Some(snaplen) = options.snaplen {
        ring.snaplen = snaplen.get() as u32;
    }
    if let Some(size) = options.block_size {
        ring.block_size = size.get() as u32;
    }
    ring.block_count = options.block_count.map(|count| count.get() as u32).or(ring.block_count);
    if let Some(timeout) = options.block_timeout {
        ring.block_timeout = timeout.duration();
    }
    Ok(ring)
}
