//! A worker's view of the tables, and what it finds for one packet or flow.

use std::sync::Arc;

use super::cache::Cache;
use super::ranges::Range;
use super::reload::Enrichment;
use super::services::{Protocol, ServiceText, Services};
use super::tables::{Place, Tables, Text};
use crate::flow::{Ends, Flow};

/// What a worker looks things up in: the addresses of late in a cache of its own.
#[derive(Clone, Debug)]
pub struct Enrich {
    source: Arc<Enrichment>,
    generation: u64,
    tables: Arc<Tables>,
    services: Arc<Services>,
    cache: Cache,
}

/// What is known of the ends of a packet or flow, as text.
#[derive(Clone, Copy, Debug)]
pub struct Found<'e> {
    /// Country and system of the source.
    pub(crate) source: Text<'e>,
    /// The same of the destination.
    pub(crate) destination: Text<'e>,
    /// Of both, one more than the special range's number; 0 for none.
    pub(crate) ranges: [usize; 2],
    /// `network.direction`.
    pub(crate) direction: &'static Direction,
    /// `service`.
    pub(crate) service: &'e ServiceText,
}

/// `,"direction":"..."` and how many octets count.
pub(crate) type Direction = ([u8; 32], u8);

/// By whether source (2) and destination (1) are home.
static DIRECTIONS: [Direction; 4] = [
    (crate::record::padded(br#","direction":"external""#), 23),
    (crate::record::padded(br#","direction":"inbound""#), 22),
    (crate::record::padded(br#","direction":"outbound""#), 23),
    (crate::record::padded(br#","direction":"internal""#), 23),
];

/// What is written of a range, in `ringtap`: `"source":{"range":"..."},`
pub(crate) type RangeText = ([u8; 48], u8);

const fn range_texts(end: &str) -> [RangeText; Range::ALL.len() + 1] {
    let mut texts = [([0; 48], 0); Range::ALL.len() + 1];
    let mut n = 1;
    while n < texts.len() {
        let parts = ["\"", end, "\":{\"range\":\"", Range::ALL[n - 1].name(), "\"},"];
        let (mut len, mut part) = (0, 0);
        while part < parts.len() {
            let octets = parts[part].as_bytes();
            let mut at = 0;
            while at < octets.len() {
                texts[n].0[len] = octets[at];
                (len, at) = (len + 1, at + 1);
            }
            part += 1;
        }
        texts[n].1 = len as u8;
        n += 1;
    }
    texts
}

/// By the number of the range: of the source and of the destination.
pub(crate) static RANGES: [[RangeText; Range::ALL.len() + 1]; 2] = [range_texts("source"), range_texts("destination")];

impl Enrich {
    pub(super) fn new(source: Arc<Enrichment>) -> Self {
        let (generation, tables) = source.published();
        let services = source.services();
        let cache = Cache::new(&tables);
        Self { source, generation, tables, services, cache }
    }

    /// Takes over what was published since. Once a batch.
    #[inline]
    pub fn refresh(&mut self) {
        if self.source.generation() != self.generation {
            (self.generation, self.tables) = self.source.published();
            self.cache = Cache::new(&self.tables);
        }
    }

    /// What is known of a packet's ends. `protocol` is that of the ports, if they are known.
    #[inline(always)]
    pub fn packet_v4(
        &mut self,
        source: [u8; 4],
        destination: [u8; 4],
        ports: Option<(Protocol, u16, u16)>,
    ) -> Found<'_> {
        let places = [self.cache.v4(&self.tables, source), self.cache.v4(&self.tables, destination)];
        self.packet(places, ports)
    }

    /// The same of IPv6.
    #[inline(always)]
    pub fn packet_v6(
        &mut self,
        source: &[u8; 16],
        destination: &[u8; 16],
        ports: Option<(Protocol, u16, u16)>,
    ) -> Found<'_> {
        let places = [self.cache.v6(&self.tables, source), self.cache.v6(&self.tables, destination)];
        self.packet(places, ports)
    }

    #[inline(always)]
    fn packet(&self, places: [Place; 2], ports: Option<(Protocol, u16, u16)>) -> Found<'_> {
        self.found(
            places,
            match ports {
                Some((protocol, source, destination)) => self.services.of_packet(protocol, source, destination),
                None => &NO_SERVICE,
            },
        )
    }

    /// What is known of a flow's ends; `None` of flows that have no IP addresses.
    #[inline]
    #[must_use]
    pub fn flow(&mut self, flow: &Flow) -> Option<Found<'_>> {
        let key = flow.key();
        let [source, destination] = [flow.initiator(), flow.initiator().other()].map(|side| key.end(side));
        let places = match key.ends() {
            Ends::Link => return None,
            Ends::Ipv4 => [source, destination].map(|end| {
                let [a, b, c, d, ..] = end.address;
                self.cache.v4(&self.tables, [a, b, c, d])
            }),
            Ends::Ipv6 => [source, destination].map(|end| self.cache.v6(&self.tables, &end.address)),
        };
        Some(self.found(
            places,
            match Protocol::of(key.protocol()) {
                Some(protocol) => self.services.of_flow(protocol, source.port, destination.port),
                None => &NO_SERVICE,
            },
        ))
    }

    #[inline(always)]
    fn found<'e>(&'e self, [source, destination]: [Place; 2], service: &'e ServiceText) -> Found<'e> {
        let tables = &*self.tables;
        Found {
            source: tables.text(source),
            destination: tables.text(destination),
            ranges: [source.range_number(), destination.range_number()],
            direction: &DIRECTIONS[usize::from(source.is_home()) << 1 | usize::from(destination.is_home())],
            service,
        }
    }

    /// What everything is looked up in.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }
}

static NO_SERVICE: ServiceText = ([0; 64], 0);
