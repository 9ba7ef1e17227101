//! Payloads of any octets in any order: nothing panics, and the records of their flows are JSON with room to spare.
//!
//! A packet in the input: 1 octet that chooses protocol, side and port, 2 of its sequence number, 2 of length, 1 that says how many octets of it were
//! not captured, then the payload.
#![no_main]

use capture::{Interface, LinkType, Timestamp};
use libfuzzer_sys::fuzz_target;
use pipeline::app::{Apps, Payload, Protocols};
use pipeline::batch::MAX_RECORD;
use pipeline::flow::{Common, Endpoint, Ends, Key, Packet, Report, Segment, Table, Timeouts};
use pipeline::record::{Encoder, Observer};

fn next<'a>(rest: &mut &'a [u8], time: u64) -> Option<(Packet, Payload<'a>)> {
    let (&[kind, a, b, c, d, missing], after) = rest.split_first_chunk()?;
    let (octets, after) = after.split_at_checked(usize::from(u16::from_be_bytes([c, d]))).unwrap_or((after, &[]));
    *rest = after;
    let wire = octets.len() as u32 + u32::from(missing);
    let protocol = if kind & 1 == 0 { 17 } else { 6 };
    let port = [53, 443, 80, 5353][usize::from(kind >> 4 & 3)];
    let (client, server) = (Endpoint { address: [1; 16], port: 40_000 }, Endpoint { address: [2; 16], port });
    let (from, to) = if kind & 2 == 0 { (client, server) } else { (server, client) };
    let (key, side) = Key::new(Common::new(Ends::Ipv6, protocol), from, to);
    let seq = u32::from(u16::from_be_bytes([a, b])).wrapping_sub(2_000);
    let segment = Segment { seq, ack: 1, window: 1, flags: kind >> 2 & 3, payload: wire };
    let packet = Packet {
        key,
        side,
        time: Timestamp::from_nanos(time),
        octets: wire + 60,
        macs: [[2; 6]; 2],
        interface: 0,
        segment: (protocol == 6).then_some(segment),
        asks: None,
        tunnel: None,
        error: None,
        guess: None,
    };
    Some((packet, Payload { octets, wire }))
}

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let mut encoder = Encoder::new(Observer { name: "s".repeat(64), hostname: "h".repeat(64), run: 1 }, 0);
    encoder.set_interfaces(&[Interface { name: "eth0".to_owned(), link_type: LinkType::ETHERNET }]);
    let mut table = Table::new(0, &Timeouts::default()).with_room(64 << 10);
    let mut apps = Apps::new(Protocols { dns: true, tls: true, http: true }, 1);
    let mut write = |report: &Report<'_>| {
        let mut room = [b'"'; MAX_RECORD];
        let (len, _) = encoder.flow(&mut room, report);
        assert!(len < MAX_RECORD);
        let _: serde_json::Value = serde_json::from_slice(&room[..len]).expect("a record is JSON");
    };
    let mut time = 1 << 60;
    while let Some((packet, payload)) = next(&mut rest, time) {
        time += 1 << 33;
        let hash = table.prepare(&packet.key);
        apps.look(0, &packet, hash, payload);
        table.update(&packet, hash, &mut write);
        for (_, finding) in apps.found() {
            table.attach(finding);
        }
        apps.forget();
    }
    apps.end();
    table.end(&mut write);
});
