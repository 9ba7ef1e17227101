//! `bench enrich`: what countries, systems, ranges, services and direction cost, alone and in records.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use capture::Interface;
use pipeline::batch::MAX_RECORD;
use pipeline::dissect::Layers;
use pipeline::enrich::{Enrich, Enrichment, Protocol, Services, What};
use pipeline::flow::{Packet, Table, Timeouts};
use pipeline::record::{Encoder, Observer};
use serde_json::json;
use testkit::frames;
use testkit::mmdb::Mmdb;
use testkit::net::cpu_time;
use testkit::queues::OwnedFrame;
use testkit::random::Random;

use super::{median, verdict};

/// Frames, and flows at most.
const FRAMES: usize = 4_096;
const ROUNDS: usize = 101;
/// One lookup in so many is of IPv6.
const V6: u32 = 5;

pub(super) fn run(country: Option<&Path>, system: Option<&Path>, addresses: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let made = |what, name: &str| -> Result<_> {
        let path = folder.path().join(name);
        std::fs::write(&path, made(what).octets())?;
        Ok(path)
    };
    let enrichment = Arc::new(Enrichment::new(&[], Services::of_system(Path::new("/etc/services"))));
    for (what, named, name) in [(What::Country, country, "country.mmdb"), (What::System, system, "asn.mmdb")] {
        let path = named.map_or_else(|| made(what, name), |path| Ok(path.to_owned()))?;
        let start = Instant::now();
        let (entries, _) = enrichment.add(what, path).result?;
        let from = named.map_or_else(|| "a made database".to_owned(), |path| path.display().to_string());
        println!("{entries} {} of {from}, read in {:.2} s", what.name(), start.elapsed().as_secs_f64());
    }
    let mut enrich = enrichment.worker();
    let tables = enrich.tables();
    println!("{} ranges of addresses, {:.1} MiB", tables.ranges(), tables.octets() as f64 / 1_048_576.0);

    let mut random = Random::new(3);
    let drawn = Zipf::new(addresses, &mut random);
    let ends = |random: &mut Random| {
        let v6 = random.one_in(V6);
        drawn.ends(v6, random)
    };
    let ends: Vec<_> = (0..FRAMES).map(|_| ends(&mut random)).collect();
    let frames: Vec<_> = frames::mix(1, FRAMES).into_iter().map(|frame| placed(frame, &drawn, &mut random)).collect();
    let mut known = vec![];
    let (mut packets, mut flows) = ([vec![], vec![]], [vec![], vec![]]);
    let mut encoders = [encoder(), encoder().with_enrich(enrichment.worker())];
    let (mut written, mut reports) = ([0; 2], 0);
    for _ in 0..ROUNDS {
        known.push(time(FRAMES, || ends.iter().for_each(|ends| look(&mut enrich, ends))));
        for n in [0, 1] {
            packets[n].push(time(FRAMES, || written[n] = packet_records(&mut encoders[n], &frames)));
        }
        for n in [0, 1] {
            let mut table = table(&frames);
            let start = cpu_time();
            reports = flow_records(&mut encoders[n], &mut table);
            flows[n].push((cpu_time() - start).as_nanos() as f64 / reports as f64);
        }
    }
    let [packets_without, packets_with] = packets.map(median);
    let [flows_without, flows_with] = flows.map(median);
    println!("{addresses} addresses of IPv4 and as many of IPv6, drawn by Zipf's law; medians of {ROUNDS} rounds; ns");
    println!("look up two addresses, service, direction    {:>8.1}", median(known.clone()));
    println!(
        "packet record without / with                 {packets_without:>8.1} {packets_with:>8.1}   ({FRAMES} frames)"
    );
    println!("flow record without / with                   {flows_without:>8.1} {flows_with:>8.1}   ({reports} flows)");
    println!("octets of a packet record without / with     {:>8} {:>8}", written[0] / FRAMES, written[1] / FRAMES);
    verdict("ns to look up what is known of a flow", median(known), false, 15.0);
    verdict("ns that enrichment adds to a flow's record", flows_with - flows_without, false, 15.0);
    verdict("ns that enrichment adds to a packet's record", packets_with - packets_without, false, 10.0);
    Ok(())
}

fn encoder() -> Encoder {
    let mut encoder = Encoder::new(Observer { name: "sensor1".into(), hostname: "sensor1".into(), run: 77 }, 0);
    encoder.set_interfaces(&[Interface { name: "eth0".into(), link_type: capture::LinkType::ETHERNET }]);
    encoder
}

fn packet_records(encoder: &mut Encoder, frames: &[OwnedFrame]) -> usize {
    let (mut room, mut layers, mut octets) = ([0; MAX_RECORD], Layers::default(), 0);
    for frame in frames {
        let frame = frame.lend();
        octets += encoder.begin(&mut room, &frame).write(&frame, &layers.headers(&frame));
        black_box(&room);
    }
    octets
}

/// The flows of all frames.
fn table(frames: &[OwnedFrame]) -> Table {
    let mut table = Table::new(64 << 20, &Timeouts::default());
    let mut layers = Layers::default();
    for frame in frames {
        let frame = frame.lend();
        let packet = Packet::of(&frame, &layers.headers(&frame));
        let hash = table.prepare(&packet.key);
        table.update(&packet, hash, |_| {});
    }
    table
}

fn flow_records(encoder: &mut Encoder, table: &mut Table) -> usize {
    let (mut room, mut reports) = ([0; MAX_RECORD], 0);
    table.end(|report| {
        black_box(encoder.flow(&mut room, report));
        reports += 1;
    });
    reports
}

fn look(enrich: &mut Enrich, &(source, destination, port): &(IpAddr, IpAddr, u16)) {
    let ports = Some((Protocol::Tcp, 50_000, port));
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            black_box(enrich.packet_v4(source.octets(), destination.octets(), ports));
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            black_box(enrich.packet_v6(&source.octets(), &destination.octets(), ports));
        }
        _ => {}
    }
}

/// Nanoseconds of this thread's for each of `n`: others that want the core do not count.
fn time(n: usize, mut work: impl FnMut()) -> f64 {
    let start = cpu_time();
    work();
    (cpu_time() - start).as_nanos() as f64 / n as f64
}

/// Addresses of IPv4 and of IPv6, of which the nth is drawn with a weight of 1/n.
struct Zipf {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    /// Sums of the weights.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(n: usize, random: &mut Random) -> Self {
        let mut sum = 0.0;
        let sums = (1..=n)
            .map(|n| {
                sum += 1.0 / n as f64;
                sum
            })
            .collect();
        let v4 = (0..n).map(|_| public_v4(random)).collect();
        Self { v4, v6: (0..n).map(|_| public_v6(random)).collect(), sums }
    }

    /// A home address, one of these, in either order, and the service's port.
    fn ends(&self, v6: bool, random: &mut Random) -> (IpAddr, IpAddr, u16) {
        let at = random.below(1 << 40) as f64 / (1_u64 << 40) as f64 * self.sums.last().copied().unwrap_or(0.0);
        let nth = self.sums.partition_point(|&sum| sum < at).min(self.sums.len() - 1);
        let (here, there): (IpAddr, IpAddr) = if v6 {
            (Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, random.short() % 1024).into(), self.v6[nth].into())
        } else {
            (Ipv4Addr::new(10, 0, random.octet() % 4, random.octet()).into(), self.v4[nth].into())
        };
        let port = random.pick(&[443, 443, 443, 443, 53, 53, 80, 22, 5432, 8080, 40_000]);
        if random.one_in(2) { (here, there, port) } else { (there, here, port) }
    }
}

fn public_v4(random: &mut Random) -> Ipv4Addr {
    loop {
        let address = Ipv4Addr::from(random.word());
        if (1..224).contains(&address.octets()[0]) && !address.is_private() && !address.is_loopback() {
            return address;
        }
    }
}

/// Of what registries gave out: some 8,000 networks of 32 bits.
fn public_v6(random: &mut Random) -> Ipv6Addr {
    let first = random.pick(&[0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2a02, 0x2c0f]);
    let [second, third] = [random.short() & 0x0fff, random.short() & 0xff];
    Ipv6Addr::new(first, second, third, 0, 0, 0, 0, random.short())
}

/// A frame of the mix with such ends; what is no TCP or UDP over IP stays as it is.
fn placed(mut frame: OwnedFrame, drawn: &Zipf, random: &mut Random) -> OwnedFrame {
    let data = &mut frame.data;
    let (v6, at) = match data.get(12..14) {
        Some([0x08, 0x00]) if data.len() >= 38 => (false, 26),
        Some([0x86, 0xdd]) if data.len() >= 58 => (true, 22),
        _ => return frame,
    };
    let (source, destination, port) = drawn.ends(v6, random);
    let octets: Vec<u8> = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
        _ => return frame,
    };
    data[at..at + octets.len()].copy_from_slice(&octets);
    let port_at = at + octets.len() + 2;
    data[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
    frame
}

/// A database of about the size of those that can be had: 400,000 networks of IPv4 and 100,000 of IPv6.
fn made(what: What) -> Mmdb {
    let mut random = Random::new(11);
    let mut database = Mmdb::new(6, 28, "made");
    let record = |n: usize| match what {
        What::Country => {
            let code: String = [n / 16 % 16, n % 16].iter().map(|&n| char::from(b'A' + n as u8)).collect();
            json!({"country": {"iso_code": code, "names": {"en": format!("Country {n}")}}})
        }
        What::System => json!({
            "autonomous_system_number": 1_000 + n, "autonomous_system_organization": format!("Organization number {n}"),
        }),
    };
    let kinds = if what == What::Country { 250 } else { 60_000 };
    for _ in 0..100_000 {
        let n = random.below(kinds);
        database.insert_at(public_v6(&mut random).into(), 44, &record(n));
    }
    for _ in 0..400_000 {
        let n = random.below(kinds);
        let prefix = 16 + random.below(9);
        let address = u32::from(public_v4(&mut random)) & (u32::MAX << (32 - prefix));
        database.insert_at(Ipv4Addr::from(address).into(), prefix, &record(n));
    }
    database
}
