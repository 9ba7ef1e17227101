//! Filters in user space, where several link types may come.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use capture::{Frame, LinkType};
use capture_pcap::{Filter, Libpcap};
use pipeline::worker::Matcher;

use crate::config::options::FilterOptions;

/// The longest frame that filters may see: libpcap's own limit.
const SNAPLEN: u32 = 262_144;

/// Filter expressions, compiled anew for each link type that turns up.
pub(crate) struct LinkFilter {
    libpcap: Libpcap,
    expressions: Vec<String>,
    programs: HashMap<u32, Option<Filter>>,
}

impl LinkFilter {
    /// The filter of these options; `None` if there is none.
    pub(crate) fn of(options: &FilterOptions) -> Result<Option<Self>> {
        if options.filters.is_empty() {
            return Ok(None);
        }
        let origin = options.origin.as_deref().unwrap_or("filter");
        Self::new(options.filters.clone(), options.libpcap.as_deref(), origin).map(Some)
    }

    /// All of these expressions must match. A wrong one shows now, not at the first frame; `origin` says where they stand.
    pub(crate) fn new(expressions: Vec<String>, libpcap: Option<&Path>, origin: &str) -> Result<Self> {
        let mut filter = Self { libpcap: Libpcap::load(libpcap)?, expressions, programs: HashMap::new() };
        let ethernet = filter.compile(LinkType::ETHERNET).with_context(|| origin.to_owned())?;
        filter.programs.insert(LinkType::ETHERNET.0, Some(ethernet));
        Ok(filter)
    }

    fn compile(&self, link_type: LinkType) -> Result<Filter> {
        let program = self.libpcap.compile(&self.expressions, link_type, SNAPLEN)?;
        Filter::new(&program).with_context(|| format!("filter {:?}", self.expressions.join(" and ")))
    }

    /// An expression that means nothing for a link type (`ether host` for raw IP) matches none of its frames.
    #[cold]
    fn add(&mut self, link_type: LinkType) {
        let program = match self.compile(link_type) {
            Ok(program) => Some(program),
            Err(error) => {
                tracing::warn!("no frame of link type {} matches: {error:#}", link_type.0);
                None
            }
        };
        self.programs.insert(link_type.0, program);
    }
}

impl Matcher for LinkFilter {
    fn matches(&mut self, frame: &Frame<'_>) -> bool {
        if !self.programs.contains_key(&frame.link_type.0) {
            self.add(frame.link_type);
        }
        let program = self.programs.get(&frame.link_type.0).and_then(Option::as_ref);
        program.is_some_and(|program| program.matches(frame.data, frame.wire_len))
    }
}
