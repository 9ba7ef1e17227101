//! Frames whose payloads are read.

use capture::LinkType;
use testkit::queues::OwnedFrame;

/// An IPv4 packet between two hosts, as a frame.
fn between(protocol: u8, ports: [u16; 2], header: &[u8], payload: &[u8]) -> OwnedFrame {
    let length = (20 + 4 + header.len() + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    // The way back.
    if ports[0] == 53 {
        (packet[15], packet[19]) = (2, 1);
    }
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    packet.extend(header);
    packet.extend(payload);
    OwnedFrame { link_type: LinkType::RAW, ..OwnedFrame::ethernet(packet) }
}

fn segment(ports: [u16; 2], seq: u32, payload: &[u8]) -> OwnedFrame {
    let header = [&seq.to_be_bytes()[..], &[0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]].concat();
    between(6, ports, &header, payload)
}

/// A question and its answer, and on port 53 of TCP all that payloads can say in one flow: with this name everywhere.
pub(crate) fn applications(name: &[u8]) -> Vec<OwnedFrame> {
    let labels: Vec<u8> = name
        .split(|&octet| octet == b'.')
        .flat_map(|part| part.chunks(63))
        .flat_map(|label| [&[label.len() as u8], label].concat())
        .collect();
    let message =
        |flags: u8| [&[0, 7, flags, 0x83, 0, 1, 0, 0, 0, 0, 0, 0][..], &labels, &[0, 0xff, 0xfe, 0, 1]].concat();
    let datagram = |ports: [u16; 2], payload: &[u8]| {
        let header = [&(payload.len() as u16 + 8).to_be_bytes()[..], &[0, 0]].concat();
        between(17, ports, &header, payload)
    };
    let be16 = |n: usize| (n as u16).to_be_bytes();
    let extension = |kind: u8, content: &[u8]| [&[0, kind][..], &be16(content.len()), content].concat();
    let protocol = &name[..name.len().min(40)];
    let extensions = [
        extension(0, &[&be16(name.len() + 3)[..], &[0], &be16(name.len()), name].concat()),
        extension(
            16,
            &[&be16(2 * protocol.len() + 2)[..], &[protocol.len() as u8], protocol, &[protocol.len() as u8], protocol]
                .concat(),
        ),
    ]
    .concat();
    let hello = [&[3, 3][..], &[0; 33], &[0, 2, 0x13, 1, 1, 0], &be16(extensions.len()), &extensions].concat();
    let hello = [&[22, 3, 1][..], &be16(hello.len() + 4), &[1, 0], &be16(hello.len()), &hello].concat();
    let request = [b"GET /", name, b" HTTP/1.1\r\nHost: ", name, b"\r\n\r\n"].concat();
    let with_length = |message: Vec<u8>| [&be16(message.len())[..], &message].concat();
    vec![
        datagram([5000, 53], &message(1)),
        datagram([53, 5000], &[message(0x81), vec![0; 100]].concat()),
        segment([5001, 53], 1, &with_length(message(1))),
        segment([53, 5001], 1, &with_length(message(0x81))),
        segment([5001, 53], 1000, &request),
        segment([5001, 53], 2000, &hello),
    ]
}
