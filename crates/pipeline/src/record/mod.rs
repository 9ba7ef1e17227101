//! Records: the headers of a frame as one ECS document, written straight into the open batch.
//!
//! The names, types and meanings of all fields stand in [`schema`](crate::schema), against which this is tested.

mod app;
mod body;
mod flow;
mod head;
mod known;
mod names;
mod out;
mod plain;
mod tables;

use std::sync::Arc;

use capture::{Frame, Interface, Timestamp};

use crate::batch::MAX_RECORD;
use crate::dissect::{Headers, Layers};
use crate::enrich::Enrich;
use crate::flow::Report;
use crate::os::Systems;
use head::{Head, Moment, RecordKind};
use out::Out;

pub(crate) use head::json_string;
pub use names::transport_name;
pub(crate) use out::padded;

/// Who observes: the same for all records of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observer {
    /// `observer.name`: the sensor's name, by default the host's. At most 64 octets get into the records.
    pub name: String,
    /// `observer.hostname`. At most 64 octets get into the records.
    pub hostname: String,
    /// A number that no other run of this sensor has: part of `event.id`. The lower 48 bits count.
    pub run: u64,
}

/// Writes the records of one queue.
pub struct Encoder {
    observer: Observer,
    queue: u16,
    next_sequence: u64,
    /// One for each interface of the queue.
    heads: Vec<Head>,
    flow_heads: Vec<Head>,
    moments: [Moment; 2],
    /// Of which flows' guesses are.
    systems: Arc<Systems>,
    /// What records of packets say of the choice of their flows, if there was one.
    sampling: String,
    enrich: Option<Enrich>,
}

impl Encoder {
    /// For the queue numbered `queue`, whose records are numbered from 0.
    #[must_use]
    pub fn new(observer: Observer, queue: u16) -> Self {
        Self {
            observer,
            queue,
            next_sequence: 0,
            heads: Vec::new(),
            flow_heads: Vec::new(),
            moments: Default::default(),
            systems: Arc::default(),
            sampling: String::new(),
            enrich: None,
        }
    }

    /// Records say what is known of addresses and ports, too.
    #[must_use]
    pub fn with_enrich(mut self, enrich: Enrich) -> Self {
        self.enrich = Some(enrich);
        self
    }

    /// Takes over newer databases, if there are any. Once a batch of frames.
    #[inline]
    pub fn refresh(&mut self) {
        if let Some(enrich) = &mut self.enrich {
            enrich.refresh();
        }
    }

    /// Names the systems that flows guess.
    #[must_use]
    pub fn naming(self, systems: Arc<Systems>) -> Self {
        Self { systems, ..self }
    }

    /// Records of packets are those of one flow in `one_in`, and say so if that is not 1.
    #[must_use]
    pub fn sampled(self, one_in: u32) -> Self {
        let sampling = if one_in > 1 { format!(",\"sampling\":{{\"one_in\":{one_in}}}}}}}") } else { String::new() };
        Self { sampling, ..self }
    }

    /// Learns the names of the queue's interfaces. Call it before the first frame, and again when the table has grown.
    pub fn set_interfaces(&mut self, interfaces: &[Interface]) {
        for interface in &interfaces[self.heads.len().min(interfaces.len())..] {
            self.add(&interface.name);
        }
    }

    fn add(&mut self, interface: &str) {
        let Observer { name, hostname, run } = &self.observer;
        let head = |kind| Head::new(kind, name, hostname, interface, *run, self.queue);
        self.heads.push(head(RecordKind::Packet));
        self.flow_heads.push(head(RecordKind::Flow));
    }

    /// The sequence number that the next record gets: also how many were written.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Begins the record of a frame: the head is written, which needs nothing of the frame's headers.
    #[inline(always)]
    pub fn begin<'r>(&'r mut self, room: &'r mut [u8; MAX_RECORD], frame: &Frame<'_>) -> OpenRecord<'r> {
        let mut out = Out::new(room);
        let index = frame.interface.0 as usize;
        while index >= self.heads.len() {
            self.unknown_interface();
        }
        self.heads[index].stamp(&mut out, self.next_sequence, frame.timestamp);
        self.next_sequence += 1;
        OpenRecord { out, sampling: &self.sampling, enrich: self.enrich.as_mut() }
    }

    /// A frame whose interface is not in the table: a bug of the backend, but its frames count all the same.
    #[cold]
    fn unknown_interface(&mut self) {
        self.add("unknown");
    }

    /// Writes the record of a flow's report, and gives its length in octets, which is below [`MAX_RECORD`], and its time.
    pub fn flow(&mut self, room: &mut [u8; MAX_RECORD], report: &Report<'_>) -> (usize, Timestamp) {
        let (mut out, flow) = (Out::new(room), report.flow);
        while flow.interface() >= self.flow_heads.len() {
            self.unknown_interface();
        }
        let time = flow.last();
        self.flow_heads[flow.interface()].stamp(&mut out, self.next_sequence, time);
        self.next_sequence += 1;
        flow::write(&mut out, &mut self.moments, report, &self.systems, self.enrich.as_mut());
        (out.len(), time)
    }
}

/// A record of which the head is written.
pub struct OpenRecord<'r> {
    out: Out<'r>,
    sampling: &'r str,
    enrich: Option<&'r mut Enrich>,
}

impl OpenRecord<'_> {
    /// Writes the rest, and gives the record's length in octets, which is below [`MAX_RECORD`].
    #[inline(always)]
    pub fn write(self, frame: &Frame<'_>, headers: &Headers<'_>) -> usize {
        let Self { mut out, sampling, enrich } = self;
        match headers {
            Headers::Plain(headers) => plain::write(&mut out, frame, headers, enrich),
            Headers::Read(layers) => general(&mut out, frame, layers, enrich),
        }
        if !sampling.is_empty() {
            // Behind the last field of the last object, `ringtap`: both it and the record are closed anew.
            out.rewind(out.len() - 2);
            out.text(sampling);
        }
        out.len()
    }
}

/// Not inlined, so that [`plain::write`] has the registers for itself.
#[inline(never)]
fn general(out: &mut Out<'_>, frame: &Frame<'_>, layers: &Layers, enrich: Option<&mut Enrich>) {
    body::write(out, frame, layers, enrich);
}
