//! PF_RING, vanilla and ZC, from options to queues.

use anyhow::{Context, Result};
use capture::LinkType;
use capture_pcap::Filter;
use capture_pfring::{Options, open, open_zc};
use netdev::interfaces;

use super::{Opened, Queues, filter, names};
use crate::config::options::{CaptureOptions, FilterOptions};

/// Opens all interfaces: `zc:eth1@0` by ZC, others by the module's own ring.
pub(super) fn open_all(capture: &CaptureOptions, filters: &FilterOptions) -> Result<Vec<Result<Opened>>> {
    let open = |name: &String| -> Result<Opened> {
        let zc = name.starts_with("zc:");
        let mut options = Options::new(name);
        options.queues = match capture.queues {
            Some(queues) => queues.get() as usize,
            None if zc => 1,
            None => interfaces::default_queues(name)?,
        };
        if let Some(direction) = &capture.direction {
            options.direction = direction.0;
        }
        if let Some(snaplen) = capture.snaplen {
            options.snaplen = snaplen.get() as u32;
        }
        if let Some(watermark) = capture.watermark {
            options.watermark = watermark.get() as u16;
        }
        options.cluster_id = capture.cluster_id.map(|id| id.get() as u16);
        // A name without a slash is taken as that of a libpcap is.
        options.libpfring = capture.libpfring.as_deref().map(capture_pcap::Libpcap::meant);
        if zc {
            // ZC has no filters: the worker runs it.
            let program = filter::for_user_space(filters, LinkType::ETHERNET, options.snaplen)?;
            let filter = program.map(|program| Filter::new(&program)).transpose().context("the filter")?;
            let queues = Queues::PfringZc(open_zc(&options)?);
            return Ok(Opened { interface: name.clone(), queues, filter });
        }
        options.filter = filter::for_the_kernel(filters, name, options.snaplen)?;
        Ok(Opened { interface: name.clone(), queues: Queues::Pfring(open(&options)?), filter: None })
    };
    Ok(names(capture)?.iter().map(open).collect())
}
