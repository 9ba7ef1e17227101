//! What flows keep of their findings, within a bound.

use super::{Dns, Finding, Http, Tls};
use crate::sys::vec;

/// What an allocation takes beside its octets, and what it is rounded up to.
const OVERHEAD: usize = 16;

const fn takes<T>() -> usize {
    size_of::<T>().next_multiple_of(OVERHEAD) + OVERHEAD
}

/// What the payloads of a flow said.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Since the last report.
    pub dns: Option<Box<Dns>>,
    /// Since the flow began: it says what it is about as long as it goes on.
    pub tls: Option<Box<Tls>>,
    /// Since the last report.
    pub http: Option<Box<Http>>,
}

/// The memory for findings of all flows of a table.
#[derive(Debug, Default)]
pub struct Room {
    /// By the number of the flow.
    seen: Vec<Option<Box<Seen>>>,
    octets: usize,
    used: usize,
    turned_away: u64,
}

impl Room {
    /// Of so many octets, for so many flows.
    #[must_use]
    pub fn new(octets: usize, flows: usize) -> Self {
        Self { seen: vec::with_room(flows), octets, used: flows * size_of::<Option<Box<Seen>>>(), turned_away: 0 }
    }

    /// Findings for which there was no room.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    fn has(&mut self, octets: usize) -> bool {
        if self.used + octets > self.octets {
            self.turned_away += 1;
            return false;
        }
        self.used += octets;
        true
    }

    /// What a flow's payloads said.
    #[inline]
    pub(crate) fn of(&self, flow: u32) -> Option<&Seen> {
        self.seen.get(flow as usize)?.as_deref()
    }

    fn place(&mut self, flow: u32) -> &mut Option<Box<Seen>> {
        let flow = flow as usize;
        if flow >= self.seen.len() {
            self.seen.resize_with(flow + 1, || None);
        }
        &mut self.seen[flow]
    }

    /// Adds a finding to what a flow has.
    pub(crate) fn add(&mut self, flow: u32, finding: &Finding) {
        let mut seen = match self.place(flow).take() {
            Some(seen) => seen,
            None if self.has(takes::<Seen>()) => Box::default(),
            None => return,
        };
        match (finding, seen.as_mut()) {
            (Finding::Dns(message), Seen { dns: Some(dns), .. }) => dns.add(message),
            (Finding::Http(_), Seen { http: Some(http), .. }) => http.requests = http.requests.saturating_add(1),
            // Another one of the same flow answers a HelloRetryRequest.
            (Finding::Tls(_), Seen { tls: Some(_), .. }) => {}
            (Finding::Dns(message), seen) if self.has(takes::<Dns>()) => seen.dns = Some(Box::new(message.clone())),
            (Finding::Tls(hello), seen) if self.has(takes::<Tls>()) => seen.tls = Some(Box::new(hello.clone())),
            (Finding::Http(request), seen) if self.has(takes::<Http>()) => seen.http = Some(Box::new(request.clone())),
            _ => {}
        }
        *self.place(flow) = Some(seen);
    }

    /// A flow's report was made: what is news begins anew.
    #[inline]
    pub(crate) fn reported(&mut self, flow: u32) {
        self.take(flow, false);
    }

    /// A flow is over.
    #[inline]
    pub(crate) fn give_back(&mut self, flow: u32) {
        self.take(flow, true);
    }

    /// Takes what is news from a flow, or all.
    fn take(&mut self, flow: u32, all: bool) {
        let Some(place) = self.seen.get_mut(flow as usize) else { return };
        let Some(seen) = place else { return };
        if seen.dns.take().is_some() {
            self.used -= takes::<Dns>();
        }
        if seen.http.take().is_some() {
            self.used -= takes::<Http>();
        }
        if all && seen.tls.take().is_some() {
            self.used -= takes::<Tls>();
        }
        if seen.tls.is_none() {
            *place = None;
            self.used -= takes::<Seen>();
        }
    }

    /// Octets that are taken.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}
