//! Filter expressions for live capture.

use anyhow::{Context, Result};
use capture::{FilterProgram, LinkType};
use capture_pcap::Libpcap;
use netdev::interfaces;

use crate::config::options::FilterOptions;

/// The filter for one interface as a program for a packet socket, if there is any.
pub(super) fn for_the_kernel(filter: &FilterOptions, interface: &str, snaplen: u32) -> Result<Option<FilterProgram>> {
    if filter.filters.is_empty() {
        return Ok(None);
    }
    let libpcap = Libpcap::load(filter.libpcap.as_deref())?;
    let link_type = interfaces::link_type(interface)?;
    let program = libpcap.compile_live(interface, link_type, &filter.filters, snaplen);
    let origin = filter.origin.as_deref().unwrap_or("filter");
    Ok(Some(program.with_context(|| format!("{origin}: cannot filter on {interface}"))?))
}

/// The filter as a program that knows nothing of a kernel, if there is any.
pub(super) fn for_user_space(
    filter: &FilterOptions,
    link_type: LinkType,
    snaplen: u32,
) -> Result<Option<FilterProgram>> {
    if filter.filters.is_empty() {
        return Ok(None);
    }
    let program = Libpcap::load(filter.libpcap.as_deref())?.compile(&filter.filters, link_type, snaplen);
    let origin = filter.origin.as_deref().unwrap_or("filter");
    Ok(Some(program.with_context(|| origin.to_owned())?))
}
