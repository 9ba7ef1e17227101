//! `bench hot-path`: dissect + encode of packet records, in memory, one core.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use capture::Interface;
use pipeline::batch::{MAX_RECORD, OpenBatch};
use pipeline::dissect::{Headers, Layers};
use pipeline::pool::Pool;
use pipeline::record::Encoder;
use testkit::frames;
use testkit::queues::OwnedFrame;
use testkit::random::Random;
use testkit::reference::{self, Observer};

#[cfg(feature = "rapidjson")]
use super::rapidjson;
use super::{median, verdict};
use crate::sys::allocations;

const FRAMES: usize = 4096;
/// Frames in a round, in random order: a fixed order flatters by branch memory.
const ORDER: usize = 8 * FRAMES;
/// Of these, frames whose values an encoder gets: all values together have to fit into the caches, or those of RapidJSON,
/// which lie in many strings, would mostly be waited for.
const FEW: usize = 256;
const ROUNDS: usize = 25;
const OBSERVER: Observer<'_> = Observer { name: "sensor1", hostname: "sensor1", interface: "eth0", run: 77 };

pub(super) fn run() -> Result<()> {
    let frames = frames::mix(1, FRAMES);
    let mut random = Random::new(2);
    let order: Vec<usize> = (0..ORDER).map(|_| random.below(FRAMES)).collect();
    let mut ours = Ours::new();
    equal(&frames, &mut ours)?;

    let mut layers = vec![Layers::default(); FEW];
    let dissected: Vec<_> =
        frames.iter().zip(&mut layers).map(|(frame, layers)| layers.headers(&frame.lend())).collect();
    #[cfg(feature = "rapidjson")]
    let records = rapidjson::records(&frames, &OBSERVER)?;
    #[cfg(feature = "rapidjson")]
    let (mut rapidjson, mut written) = (rapidjson::Contestant::new(&records)?, vec![]);

    let (mut dissect, mut both, mut encode) = (vec![], vec![], vec![]);
    let (mut idiomatic, mut preformatted) = (vec![], vec![]);
    let mut allocated = 0;
    let mut octets = 0;
    let mut out = Vec::with_capacity(MAX_RECORD);
    for round in 0..ROUNDS {
        dissect.push(time(&order, |n| ours.dissect(&frames[n])));
        let before = allocations();
        both.push(time(&order, |n| octets += ours.write(&frames[n])));
        if round > 0 {
            allocated += allocations() - before;
        }
        encode.push(time(&order, |n| ours.encode(&frames[n % FEW], &dissected[n % FEW])));
        #[cfg(feature = "rapidjson")]
        written.push(time(&order, |n| black_box(rapidjson.write(n % FEW).len())));
        idiomatic.push(time(&order, |n| {
            out.clear();
            reference::idiomatic(&frames[n].lend(), &OBSERVER, 0, n as u64 + 1_000_000, &mut out);
            black_box(&out);
        }));
        preformatted.push(time(&order, |n| {
            out.clear();
            reference::preformatted(&frames[n].lend(), &OBSERVER, 0, n as u64 + 1_000_000, &mut out);
            black_box(&out);
        }));
    }
    let made = (ROUNDS * ORDER) as f64;
    let (dissect, both, encode) = (median(dissect), median(both), median(encode));
    let (idiomatic, preformatted) = (median(idiomatic), median(preformatted));
    println!(
        "{FRAMES} mixed frames, {:.0} octets a record, random order, medians of {ROUNDS} rounds; ns a frame",
        octets as f64 / made
    );
    println!("ringtap: dissect                             {dissect:>8.1}");
    println!("ringtap: dissect + encode into batches       {both:>8.1}   ({:.1} M/s)", 1000.0 / both);
    println!("ringtap: encode alone into batches           {encode:>8.1}");
    println!("etherparse lax + serde_json, idiomatic       {idiomatic:>8.1}");
    println!("etherparse lax + serde_json, preformatted    {preformatted:>8.1}");
    println!("every record is octet for octet serde_json's");
    verdict("times etherparse lax + serde_json, idiomatic", idiomatic / both, true, 15.0);
    verdict("times etherparse lax + serde_json, preformatted", preformatted / both, true, 6.0);
    #[cfg(feature = "rapidjson")]
    {
        let written = median(written);
        println!("RapidJSON's Writer, preformatted, SSE2       {written:>8.1}");
        verdict("encode: times RapidJSON's Writer", written / encode, true, 8.0);
    }
    #[cfg(not(feature = "rapidjson"))]
    println!("encode: times RapidJSON's Writer: only with --features rapidjson, see --help");
    verdict("allocations per frame", allocated as f64 / (made - ORDER as f64), false, 0.01);
    Ok(())
}

/// What a worker does with a frame.
struct Ours {
    encoder: Encoder,
    layers: Layers,
    pool: Pool,
    open: Option<OpenBatch>,
    now: Instant,
}

impl Ours {
    fn new() -> Self {
        let observer = pipeline::record::Observer {
            name: OBSERVER.name.to_owned(),
            hostname: OBSERVER.hostname.to_owned(),
            run: OBSERVER.run,
        };
        let mut encoder = Encoder::new(observer, 0);
        encoder.set_interfaces(&[Interface {
            name: OBSERVER.interface.to_owned(),
            link_type: capture::LinkType::ETHERNET,
        }]);
        Self { encoder, layers: Layers::default(), pool: Pool::new(2, 900_000), open: None, now: Instant::now() }
    }

    fn dissect(&mut self, frame: &OwnedFrame) {
        black_box(&self.layers.headers(&frame.lend()));
    }

    fn write(&mut self, frame: &OwnedFrame) -> usize {
        self.make_room();
        let Some(open) = &mut self.open else { return 0 };
        let Some(room) = open.room() else { return 0 };
        let frame = frame.lend();
        let record = self.encoder.begin(room, &frame);
        let len = record.write(&frame, &self.layers.headers(&frame));
        open.commit(len, frame.timestamp);
        len
    }

    fn encode(&mut self, frame: &OwnedFrame, headers: &Headers<'_>) -> usize {
        self.make_room();
        let Some(open) = &mut self.open else { return 0 };
        let Some(room) = open.room() else { return 0 };
        let frame = frame.lend();
        let len = self.encoder.begin(room, &frame).write(&frame, headers);
        open.commit(len, frame.timestamp);
        len
    }

    /// Closes a full batch and opens the next.
    fn make_room(&mut self) {
        if self.open.as_mut().and_then(OpenBatch::room).is_none() {
            let full = self.open.take();
            drop(full.and_then(|full| full.close(self.pool.home(), self.now)));
            let buffer = self.pool.take().unwrap_or_default();
            self.open = Some(OpenBatch::new(buffer, 0, self.encoder.next_sequence(), self.now));
        }
    }
}

/// All that is measured writes the same octets.
fn equal(frames: &[OwnedFrame], ours: &mut Ours) -> Result<()> {
    let (mut idiomatic, mut preformatted) = (Vec::new(), Vec::new());
    for frame in frames {
        let frame = frame.lend();
        let sequence = ours.encoder.next_sequence();
        let mut room = [0; MAX_RECORD];
        let len = ours.encoder.begin(&mut room, &frame).write(&frame, &ours.layers.headers(&frame));
        idiomatic.clear();
        preformatted.clear();
        reference::idiomatic(&frame, &OBSERVER, 0, sequence, &mut idiomatic);
        reference::preformatted(&frame, &OBSERVER, 0, sequence, &mut preformatted);
        let written = String::from_utf8_lossy(&room[..len]);
        ensure!(
            written.as_bytes() == idiomatic && written.as_bytes() == preformatted,
            "contestants differ at {written}"
        );
    }
    Ok(())
}

/// Nanoseconds for each of `order`.
fn time<T>(order: &[usize], mut work: impl FnMut(usize) -> T) -> f64 {
    let start = Instant::now();
    for &n in order {
        work(n);
    }
    start.elapsed().as_nanos() as f64 / order.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The invariant of the hot path: allocations are one a batch, and none a frame, whatever the frame is.
    #[test]
    fn a_frame_allocates_nothing() -> Result<()> {
        let mut random = Random::new(8);
        let mut frames = frames::mix(7, 2_000);
        frames.extend((0..2_000).map(|_| frames::sound_frame(&mut random)));
        let mut ours = Ours::new();
        equal(&frames[..2_000], &mut ours)?;
        let (mut octets, round) = (0, |ours: &mut Ours| frames.iter().map(|frame| ours.write(frame)).sum::<usize>());
        for _ in 0..2 {
            octets += round(&mut ours); // the pool's buffers are made
        }
        let before = allocations();
        octets += round(&mut ours);
        let (allocated, batches) = (allocations() - before, (octets / 3 / 800_000 + 1) as u64);
        ensure!(allocated <= 2 * batches, "{allocated} allocations for {} frames in {batches} batches", frames.len());
        Ok(())
    }
}
