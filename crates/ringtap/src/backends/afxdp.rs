//! AF_XDP from options to queues.

use anyhow::{Context, Result};
use capture::LinkType;
use capture_afxdp::{Attach, Mode, Options, open};

use super::{Opened, Queues, filter, names};
use crate::config::options::{CaptureOptions, FilterOptions};

/// Octets of a chunk of memory, for one frame.
const CHUNK: u64 = 4096;

/// Opens all interfaces.
pub(super) fn open_all(capture: &CaptureOptions, filters: &FilterOptions) -> Result<Vec<Result<Opened>>> {
    let open = |name: &String| -> Result<Opened> {
        let mut options = Options::new(name);
        if let Some(queues) = capture.queues {
            options.queues = capture_afxdp::Queues::First(queues.get() as usize);
        }
        if let Some(direction) = &capture.direction {
            options.direction = direction.0;
        }
        if let Some(snaplen) = capture.snaplen {
            options.snaplen = snaplen.get() as u32;
        }
        if let Some(size) = capture.buffer_size {
            let chunks = u32::try_from(size.get() / CHUNK).unwrap_or(u32::MAX).max(1);
            options.frame_count = 1 << chunks.ilog2();
        }
        options.mode = capture.xdp_mode.as_ref().map_or(Mode::Auto, |mode| mode.0);
        options.attach = capture.xdp_attach.as_ref().map_or(Attach::Auto, |attach| attach.0);
        options.huge_pages = capture.huge_pages.unwrap_or(false);
        options.host = capture.host.unwrap_or(false);
        // Tags are in the frames: no extension of the kernel's is needed, and XDP has none.
        options.filter = filter::for_user_space(filters, LinkType::ETHERNET, options.snaplen)?;
        let queues = open(&options).with_context(|| format!("{name} by afxdp"))?;
        Ok(Opened { interface: name.clone(), queues: Queues::Afxdp(queues), filter: None })
    };
    Ok(names(capture)?.iter().map(open).collect())
}
