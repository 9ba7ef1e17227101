//! netmap from options to queues.

use anyhow::{Context, Result};
use capture::LinkType;
use capture_netmap::{Options, open, rings};
use capture_pcap::Filter;

use super::{Opened, Queues, filter, names};
use crate::config::options::{CaptureOptions, FilterOptions};

/// Opens all ports.
pub(super) fn open_all(capture: &CaptureOptions, filters: &FilterOptions) -> Result<Vec<Result<Opened>>> {
    let open = |name: &String| -> Result<Opened> {
        let mut options = Options::new(name);
        // All of them: frames of a ring that nobody opens would be lost.
        options.queues = match capture.queues {
            Some(queues) => queues.get() as usize,
            None => rings(name)?,
        };
        if let Some(direction) = &capture.direction {
            options.direction = direction.0;
        }
        if let Some(snaplen) = capture.snaplen {
            options.snaplen = snaplen.get() as u32;
        }
        options.forward_to_host = capture.host.unwrap_or(false);
        // netmap has no filters: the worker runs it.
        let program = filter::for_user_space(filters, LinkType::ETHERNET, options.snaplen)?;
        let filter = program.map(|program| Filter::new(&program)).transpose().context("the filter")?;
        let queues = Queues::Netmap(open(&options)?);
        Ok(Opened { interface: name.clone(), queues, filter })
    };
    Ok(names(capture)?.iter().map(open).collect())
}
