//! Frames of any octets, link type and lengths: the record is JSON with room to spare, and what was read before never shows. Every packet, those in
//! tunnels too, is in one report of a flow, whose record is JSON as well.
//!
//! A frame in the input: 2 octets of length, 1 that chooses the link type, 1 for the source's remarks, 2 that say how many
//! octets of it were not captured, then the octets.
#![no_main]

use std::sync::Arc;

use capture::{Direction, Frame, FrameFlags, Interface, InterfaceIndex, LinkType, Timestamp, VlanTag};
use libfuzzer_sys::fuzz_target;
use pipeline::batch::MAX_RECORD;
use pipeline::dissect::{Headers, Layers};
use pipeline::flow::{Ahead, Report, Table, Timeouts, Unpack};
use pipeline::record::{Encoder, Observer};
use testkit::frames::LINK_TYPES;

/// What the first octets of a frame's input say.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Frame<'a>> {
    let (&[a, b, link, remarks, c, d], after) = rest.split_first_chunk()?;
    let (data, after) = after.split_at_checked(usize::from(u16::from_be_bytes([a, b]))).unwrap_or((after, &[]));
    *rest = after;
    let missing = u16::from_be_bytes([c, d]);
    Some(Frame {
        data,
        timestamp: Timestamp::from_nanos(u64::from(missing) << 40 | u64::from(link)),
        wire_len: (data.len() as u32).saturating_add(u32::from(missing)),
        interface: InterfaceIndex(u32::from(remarks >> 7)),
        link_type: LINK_TYPES.get(usize::from(link)).copied().unwrap_or(LinkType(u32::from(link))),
        direction: [Direction::Unknown, Direction::Rx, Direction::Tx][usize::from(remarks & 3) % 3],
        vlan: (remarks & 4 != 0).then_some(VlanTag { tpid: 0x8100, tci: missing }),
        flags: if remarks & 8 == 0 { FrameFlags::NONE } else { FrameFlags::SUPER_FRAME },
    })
}

fn encoder() -> Encoder {
    let mut encoder = Encoder::new(Observer { name: "s".to_owned(), hostname: "h".to_owned(), run: 1 }, 0);
    encoder.set_interfaces(&[Interface { name: "eth0".to_owned(), link_type: LinkType::ETHERNET }]);
    encoder
}

fn write<'r>(
    encoder: &mut Encoder,
    layers: &mut Layers,
    frame: &Frame<'_>,
    room: &'r mut [u8; MAX_RECORD],
) -> &'r [u8] {
    let len = encoder.begin(room, frame).write(frame, &layers.headers(frame));
    assert!(len < MAX_RECORD);
    &room[..len]
}

/// The record as it is written of a frame that is not plain, whatever the frame is.
fn write_any<'r>(encoder: &mut Encoder, frame: &Frame<'_>, room: &'r mut [u8; MAX_RECORD]) -> &'r [u8] {
    let mut layers = Layers::default();
    layers.read(frame);
    let len = encoder.begin(room, frame).write(frame, &Headers::Read(&layers));
    &room[..len]
}

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let (mut reused, mut fresh, mut layers) = (encoder(), encoder(), Layers::default());
    let mut rooms = [[0; MAX_RECORD], [b'"'; MAX_RECORD]];
    let [one, other] = &mut rooms;
    let (mut table, mut unpack, mut flows) =
        (Table::new(0, &Timeouts::default()), Unpack::new(8, Arc::default()), encoder());
    let (mut ahead, mut came, mut reported) = (Ahead::new(), 0, 0);
    let mut report = |report: &Report<'_>| {
        reported += report.packets();
        let mut room = [0; MAX_RECORD];
        let (len, _) = flows.flow(&mut room, report);
        serde_json::from_slice::<serde_json::Value>(&room[..len]).expect("a record is JSON");
    };
    while let Some(frame) = next(&mut rest) {
        let record = write(&mut reused, &mut layers, &frame, one);
        assert_eq!(record, write_any(&mut fresh, &frame, other));
        let value: serde_json::Value = serde_json::from_slice(record).expect("a record is JSON");
        assert_eq!(value["ringtap"]["frame"]["captured_len"], frame.data.len());
        ahead.clear();
        unpack.packets(&frame, &layers.headers(&frame), &mut ahead, |packet, _, _| {
            came += 1;
            let hash = table.prepare(&packet.key);
            table.update(packet, hash, &mut report);
        });
    }
    table.end(&mut report);
    assert_eq!(came, reported);
});
