//! Records: the headers of a frame as one ECS document, written straight into the open batch.
//!
//! The names, types and meanings of all fields stand in [`schema`](crate::schema), against which this is tested.

mod body;
mod head;
mod names;
mod out;
mod plain;
mod tables;

use capture::{Frame, Interface};

use crate::batch::MAX_RECORD;
use crate::dissect::{Headers, Layers};
use head::Head;
use out::Out;

pub use names::transport_name;

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
}

impl Encoder {
    /// For the queue numbered `queue`, whose records are numbered from 0.
    #[must_use]
    pub fn new(observer: Observer, queue: u16) -> Self {
        Self { observer, queue, next_sequence: 0, heads: Vec::new() }
    }

    /// Learns the names of the queue's interfaces. Call it before the first frame, and again when the table has grown.
    pub fn set_interfaces(&mut self, interfaces: &[Interface]) {
        for interface in &interfaces[self.heads.len().min(interfaces.len())..] {
            let Observer { name, hostname, run } = &self.observer;
            self.heads.push(Head::new(name, hostname, &interface.name, *run, self.queue));
        }
    }

    /// The sequence number that the next record gets: also how many were written.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Begins the record of a frame: the head is written, which needs nothing of the frame's headers.
    #[inline(always)]
    pub fn begin<'r>(&mut self, room: &'r mut [u8; MAX_RECORD], frame: &Frame<'_>) -> OpenRecord<'r> {
        let mut out = Out::new(room);
        let index = frame.interface.0 as usize;
        while index >= self.heads.len() {
            self.unknown_interface();
        }
        self.heads[index].stamp(&mut out, self.next_sequence, frame.timestamp);
        self.next_sequence += 1;
        OpenRecord(out)
    }

    /// A frame whose interface is not in the table: a bug of the backend, but its frames count all the same.
    #[cold]
    fn unknown_interface(&mut self) {
        let Observer { name, hostname, run } = &self.observer;
        self.heads.push(Head::new(name, hostname, "unknown", *run, self.queue));
    }
}

/// A record of which the head is written.
pub struct OpenRecord<'r>(Out<'r>);

impl OpenRecord<'_> {
    /// Writes the rest, and gives the record's length in octets, which is below [`MAX_RECORD`].
    #[inline(always)]
    pub fn write(self, frame: &Frame<'_>, headers: &Headers<'_>) -> usize {
        let Self(mut out) = self;
        match headers {
            Headers::Plain(headers) => {
                plain::write(&mut out, frame, headers);
                out.len()
            }
            Headers::Read(layers) => general(out, frame, layers),
        }
    }
}

/// Not inlined, so that [`plain::write`] has the registers for itself.
#[inline(never)]
fn general(mut out: Out<'_>, frame: &Frame<'_>, layers: &Layers) -> usize {
    body::write(&mut out, frame, layers);
    out.len()
}
