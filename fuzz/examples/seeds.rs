//! Writes seeds into the folder named by the first argument: frames of every protocol, files of them, payloads that are read, and databases of addresses.

use std::path::Path;
use std::{env, fs, io};

use serde_json::json;
use testkit::frames::{self, LINK_TYPES};
use testkit::mmdb::{self, Mmdb};
use testkit::random::Random;

fn main() -> io::Result<()> {
    let folder = env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    let (records, files) = (Path::new(&folder).join("dissect_encode"), Path::new(&folder).join("file_reader"));
    fs::create_dir_all(&records)?;
    fs::create_dir_all(&files)?;
    payloads(&Path::new(&folder).join("payloads"))?;
    databases(&Path::new(&folder).join("databases"))?;
    let mut random = Random::new(1);
    for number in 0..400 {
        let mut input = Vec::new();
        for _ in 0..1 + number % 3 {
            let frame = frames::any_frame(&mut random);
            let link = LINK_TYPES.iter().position(|&known| known == frame.link_type).unwrap_or(200) as u8;
            let missing = frame.wire_len.saturating_sub(frame.data.len() as u32).min(0xffff) as u16;
            input.extend((frame.data.len() as u16).to_be_bytes());
            input.extend([link, random.octet()]);
            input.extend(missing.to_be_bytes());
            input.extend(frame.data);
        }
        fs::write(records.join(format!("frame-{number}")), input)?;
    }
    for (number, magic) in [0xa1b2_c3d4_u32, 0xa1b2_3c4d, 0xa1b2_cd34].into_iter().enumerate() {
        for (order, word) in [("le", u32::to_le_bytes as fn(u32) -> [u8; 4]), ("be", u32::to_be_bytes)] {
            fs::write(files.join(format!("{number}-{order}.pcap")), pcap(&mut random, magic, word))?;
            fs::write(files.join(format!("{number}-{order}.pcapng")), pcapng(&mut random, word))?;
        }
    }
    Ok(())
}

/// A question of DNS with its answer, a ClientHello in one and in two segments, and a request.
fn payloads(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let packet = |kind: u8, seq: u16, payload: &[u8]| {
        [&[kind][..], &seq.to_be_bytes(), &(payload.len() as u16).to_be_bytes(), &[0], payload].concat()
    };
    let message = |flags: u8| [&[0, 7, flags, 3, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\x07example\0\0\x01\0\x01"].concat();
    fs::write(folder.join("dns"), [packet(0, 0, &message(1)), packet(2, 0, &message(0x81))].concat())?;
    let extensions = b"\0\0\0\x0e\0\x0c\0\0\x09a.example\0\x10\0\x05\0\x03\x02h2\0\x2b\0\x03\x02\x03\x04";
    let hello = [&[3, 3][..], &[0; 33], &[0, 2, 0x13, 1, 1, 0, 0, extensions.len() as u8], extensions].concat();
    let len = hello.len() as u8;
    let hello = [&[22, 3, 1, 0, len + 4, 1, 0, 0, len][..], &hello].concat();
    let (first, second) = hello.split_at(30);
    fs::write(folder.join("hello"), packet(0x11, 5, &hello))?;
    fs::write(folder.join("two"), [packet(0x11, 5, first), packet(0x11, 35, second)].concat())?;
    let request = b"GET /x HTTP/1.1\r\nHost: a.example:80\r\n\r\n";
    fs::write(folder.join("request"), packet(0x21, 5, request))
}

/// Databases of each version and size of node: countries, systems, both, networks of IPv4 by another name, and without IPv4.
fn databases(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("countries"), mmdb::countries().octets())?;
    fs::write(folder.join("systems"), mmdb::systems().octets())?;
    let country = json!({"country": {"iso_code": "SK", "names": {"en": "Slovakia"}}, "traits": [true, 1.5, -3]});
    let flat = json!({"country_code": "AT", "country_name": "Austria", "asn": "AS64496", "as_name": "An organization"});
    for bits in [24, 28, 32] {
        let v4 = Mmdb::new(4, bits, "v4").insert("1.0.0.0/8", &country).insert("1.2.0.0/16", &flat).octets();
        fs::write(folder.join(format!("v4-{bits}")), v4)?;
        let mut v6 = Mmdb::new(6, bits, "v6");
        v6.insert("2000::/3", &country).insert("2a00::/16", &flat);
        fs::write(folder.join(format!("v6-{bits}")), v6.octets())?;
        v6.insert("1.2.3.0/24", &flat).alias_of_ipv4("2002::".parse().expect("an address"), 16);
        fs::write(folder.join(format!("both-{bits}")), v6.octets())?;
    }
    Ok(())
}

fn pcap(random: &mut Random, magic: u32, word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let version = if word(1)[0] == 1 { [2, 0, 4, 0] } else { [0, 2, 0, 4] };
    let mut file = [&word(magic)[..], &version, &[0; 8], &word(262_144), &word(1)].concat();
    for _ in 0..5 {
        let frame = frames::any_frame(random);
        let len = frame.data.len() as u32;
        file.extend([word(1_700_000_000), word(5), word(len), word(frame.wire_len.max(len))].concat());
        file.extend(if magic == 0xa1b2_cd34 { &[0; 8][..] } else { &[] });
        file.extend(frame.data);
    }
    file
}

fn pcapng(random: &mut Random, word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let block = |kind: u32, mut body: Vec<u8>| {
        body.resize(body.len().next_multiple_of(4), 0);
        let len = word(body.len() as u32 + 12);
        [&word(kind)[..], &len, &body, &len].concat()
    };
    let little = word(1)[0] == 1;
    let version = if little { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
    let mut file = block(0x0a0d_0d0a, [&word(0x1a2b_3c4d)[..], &version, &[0xff; 8]].concat());
    let link = if little { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
    file.extend(block(1, [&link[..], &word(0)].concat()));
    for number in 0..5 {
        let frame = frames::any_frame(random);
        let len = frame.data.len() as u32;
        let lengths = [word(len), word(frame.wire_len.max(len))].concat();
        file.extend(match number {
            0 => block(3, [&word(len)[..], &frame.data].concat()),
            _ => block(6, [&word(0)[..], &word(0x5_0000), &word(7), &lengths, &frame.data].concat()),
        });
    }
    file
}
