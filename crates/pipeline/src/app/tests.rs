//! Messages made by hand, whole, in pieces, damaged; and octets of any kind.

use capture::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::flow::{Endpoint, Ends, Key, Report, Segment, Table, Timeouts};

#[path = "tests/dns.rs"]
mod messages;

const ALL: Protocols = Protocols { dns: true, tls: true, http: true };

fn be16(n: usize) -> [u8; 2] {
    (n as u16).to_be_bytes()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &be16(content.len()), content].concat()
}

fn list(values: &[u16]) -> Vec<u8> {
    let octets: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
    [&be16(octets.len())[..], &octets].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &[&be16(name.len() + 3)[..], &[0], &be16(name.len()), name].concat())
}

fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    let names: Vec<u8> = protocols.iter().flat_map(|name| [&[name.len() as u8], *name].concat()).collect();
    extension(16, &[&be16(names.len())[..], &names].concat())
}

/// A ClientHello, without the headers of message and record.
fn hello(ciphers: &[u16], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = extensions.concat();
    [&[3, 3][..], &[7; 32], &[0], &list(ciphers), &[1, 0], &be16(extensions.len()), &extensions].concat()
}

fn record(hello: &[u8]) -> Vec<u8> {
    let len = (hello.len() as u32).to_be_bytes();
    [&[22, 3, 1][..], &be16(hello.len() + 4), &[1], &len[1..], hello].concat()
}

/// The one that FoxIO's description computes step by step, and its published fingerprint.
fn published() -> (Vec<u8>, &'static str) {
    let ciphers = [
        0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d,
        0x002f, 0x0035,
    ];
    let empty = |kind| extension(kind, &[]);
    let extensions = [
        extension(0x3a3a, &[]),
        empty(0x001b),
        server_name(b"www.example.com"),
        empty(0x0033),
        alpn(&[b"h2", b"http/1.1"]),
        empty(0x4469),
        empty(0x0017),
        empty(0x002d),
        extension(0x000d, &list(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601])),
        empty(0x0005),
        empty(0x0023),
        empty(0x0012),
        extension(0x002b, &[4, 3, 4, 3, 3]),
        empty(0xff01),
        empty(0x000b),
        empty(0x000a),
        empty(0x0015),
        extension(0x7a7a, &[0]),
    ];
    (hello(&ciphers, &extensions), "t13d1516h2_8daaf6152771_e5627efa2ab1")
}

/// A long one, as they are with key shares against quantum computers.
fn long() -> Vec<u8> {
    let (hello, _) = published();
    let mut longer = hello;
    let share = extension(0x0033, &[9; 1300]);
    let place = longer.len() - all_extensions(&longer);
    let len = all_extensions(&longer) + share.len();
    longer[place - 2..place].copy_from_slice(&be16(len));
    longer.extend(share);
    record(&longer)
}

/// Octets of the extensions in the hello of `published`.
fn all_extensions(hello: &[u8]) -> usize {
    hello.len() - (2 + 32 + 1 + 2 + 16 * 2 + 2 + 2)
}

fn packet(protocol: u8, ports: [u16; 2], back: bool, time: u64, segment: Option<Segment>) -> Packet {
    let end = |last: u8, port| {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[192, 0, 2, last]);
        Endpoint { address, port }
    };
    let (from, to) = (end(1, ports[0]), end(2, ports[1]));
    let common = crate::flow::Common::new(Ends::Ipv4, protocol);
    let (key, side) = if back { Key::new(common, to, from) } else { Key::new(common, from, to) };
    Packet {
        key,
        side,
        time: Timestamp::from_nanos(time),
        octets: 100,
        macs: [[0; 6]; 2],
        interface: 0,
        segment,
        asks: None,
        tunnel: None,
        error: None,
        guess: None,
    }
}

fn segment(seq: u32, payload: usize) -> Option<Segment> {
    Some(Segment { seq, ack: 1, window: 1000, flags: Segment::ACK, payload: payload as u32 })
}

/// What is found in segments: sequence number and octets.
fn found_in(segments: &[(u32, &[u8])]) -> (Vec<Finding>, Counts) {
    let mut apps = Apps::new(ALL, 1);
    let mut found = vec![];
    for (seq, octets) in segments {
        let packet = packet(6, [40_000, 443], false, 0, segment(*seq, octets.len()));
        apps.look(0, &packet, 77, Payload { octets, wire: octets.len() as u32 });
        found.extend(apps.found().iter().map(|(_, finding)| finding.clone()));
        apps.forget();
    }
    apps.end();
    (found, apps.counts())
}

fn only_tls(found: &[Finding]) -> &Tls {
    let [Finding::Tls(tls)] = found else { panic!("{found:?}") };
    tls
}

#[test]
fn ja4_is_the_published_one() {
    let (hello, fingerprint) = published();
    let tls = Tls::read(&hello).unwrap();
    assert_eq!(tls.ja4.as_str(), fingerprint);
    assert_eq!((tls.server_name.as_str(), tls.alpn.as_str()), ("www.example.com", "h2,http/1.1"));
    assert_eq!(tls.version, 0x0304);
}

#[test]
fn ja4_of_what_is_rare() {
    let fingerprint = |ciphers: &[u16], extensions: &[Vec<u8>]| {
        Tls::read(&hello(ciphers, extensions)).unwrap().ja4.as_str().to_owned()
    };
    assert_eq!(fingerprint(&[], &[]), "t12i000000_000000000000_000000000000");
    // No extension but those that are not hashed.
    let two = [server_name(b"a.example"), alpn(&[&[0xab, 0xcd]])];
    assert!(fingerprint(&[], &two).starts_with("t12d0002ad_000000000000_000000000000"));
    // One letter is the first and the last; beside an octet that is none both are digits.
    assert!(fingerprint(&[], &[alpn(&[b"x"])]).starts_with("t12i0001xx_"));
    assert!(fingerprint(&[], &[alpn(&[&[0x30, 0xab]])]).starts_with("t12i00013b_"));
    let many: Vec<u16> = (1..=120).collect();
    assert!(fingerprint(&many, &[]).starts_with("t12i990000_"));
    // The highest that is no GREASE, in whatever order.
    assert!(fingerprint(&[], &[extension(43, &[6, 0x8a, 0x8a, 3, 1, 3, 2])]).starts_with("t11i"));
}

#[test]
fn an_extension_that_cannot_be_read_hides_none_behind_it() {
    let broken = extension(16, &[0xff]);
    let tls = Tls::read(&hello(&[1], &[broken, server_name(b"a.example")])).unwrap();
    assert_eq!((tls.server_name.as_str(), tls.alpn.as_str()), ("a.example", ""));
}

#[test]
fn a_hello_split_anywhere_gives_the_same() {
    let whole = long();
    let (expected, _) = found_in(&[(5, &whole)]);
    let expected = only_tls(&expected).clone();
    assert!(whole.len() > 1460 && expected.server_name.as_str() == "www.example.com");
    for at in 1..whole.len() {
        let (first, second) = whole.split_at(at);
        let start = u32::MAX - 3; // the numbers wrap around
        let second_start = start.wrapping_add(at as u32);
        let (found, counts) = found_in(&[(start, first), (second_start, second)]);
        assert_eq!(only_tls(&found), &expected, "split at {at}");
        assert_eq!(counts, Counts { found: 1, ..Counts::default() });
        // The first one comes twice, the second one overlaps it.
        let (found, _) = found_in(&[(start, first), (start, first), (start, &whole)]);
        assert_eq!(only_tls(&found), &expected, "split at {at}, and sent again");
        // The first is missing, or the second.
        assert!(found_in(&[(second_start, second)]).0.is_empty());
        let (found, counts) = found_in(&[(start, first)]);
        assert!(found.is_empty());
        assert_eq!(counts.incomplete, u64::from(at > 5), "what begins with 22 is not yet a ClientHello");
        if at + 1 < whole.len() {
            let (found, counts) = found_in(&[(start, first), (second_start.wrapping_add(1), &second[1..])]);
            assert!(found.is_empty(), "an octet is missing");
            assert_eq!(counts.incomplete, u64::from(at > 5));
        }
    }
}

#[test]
fn a_hello_of_many_pieces_is_joined_and_one_that_is_too_long_is_counted() {
    let whole = long();
    let pieces: Vec<(u32, &[u8])> = whole.chunks(100).enumerate().map(|(n, piece)| (n as u32 * 100, piece)).collect();
    assert_eq!(only_tls(&found_in(&pieces).0).ja4.as_str(), Tls::read(&whole[9..]).unwrap().ja4.as_str());
    let endless = record(&hello(&[1], &[extension(0x33, &[0; 9000])]));
    let pieces: Vec<(u32, &[u8])> =
        endless.chunks(1400).enumerate().map(|(n, piece)| (n as u32 * 1400, piece)).collect();
    let (found, counts) = found_in(&pieces);
    assert!(found.is_empty());
    assert_eq!(counts, Counts { incomplete: 1, ..Counts::default() });
}

#[test]
fn what_was_not_captured_is_counted_and_not_guessed() {
    let whole = long();
    let mut apps = Apps::new(ALL, 1);
    let at = packet(6, [40_000, 443], false, 0, segment(0, whole.len()));
    apps.look(0, &at, 1, Payload { octets: &whole[..200], wire: whole.len() as u32 });
    let asked = question(9, false, 0, &[b"www", b"example", b"com"], 1);
    let at = packet(17, [40_000, 53], false, 0, None);
    apps.look(0, &at, 1, Payload { octets: &asked[..20], wire: asked.len() as u32 });
    let request = b"GET / HTTP/1.1\r\nUser-Agent: x\r\nHost: a.example\r\n\r\n";
    let at = packet(6, [40_000, 80], false, 0, segment(0, request.len()));
    apps.look(0, &at, 1, Payload { octets: &request[..34], wire: request.len() as u32 });
    apps.end();
    let counts = apps.counts();
    assert_eq!((counts.not_captured, counts.incomplete), (3, 0));
    // Of the request at least its line is known.
    let [(_, Finding::Http(http))] = apps.found() else { panic!("{:?}", apps.found()) };
    assert_eq!((http.method.as_str(), http.target.as_str(), http.host.as_str()), ("GET", "/", ""));
}

fn question(id: u16, answer: bool, code: u8, labels: &[&[u8]], kind: u16) -> Vec<u8> {
    let mut message = vec![(id >> 8) as u8, id as u8, if answer { 0x81 } else { 1 }, code, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        message.push(label.len() as u8);
        message.extend(*label);
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn read_dns(message: &[u8]) -> Dns {
    Dns::read(message, message.len() as u32, 0).expect("a message")
}

fn read_http(octets: &[u8]) -> Option<Http> {
    match Http::read(octets) {
        http::Request::Whole(request) => Some(request),
        http::Request::Begun(request) => request,
        http::Request::None => None,
    }
}

#[test]
fn hosts_stand_in_the_header_or_in_the_target() {
    let host = |request: &str| read_http(request.as_bytes()).map(|http| http.host.as_str().to_owned());
    let found = |text: &str| Some(text.to_owned());
    assert_eq!(host("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), found("a.example"));
    assert_eq!(host("GET / HTTP/1.1\r\nhost:a.example:8080\r\nX: y\r\n\r\n"), found("a.example"));
    assert_eq!(host("GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n"), found("[2001:db8::1]"));
    assert_eq!(host("CONNECT a.example:443 HTTP/1.1\r\n\r\n"), found("a.example"));
    assert_eq!(host("GET http://u:p@a.example:80/x HTTP/1.0\r\n\r\n"), found("a.example"));
    assert_eq!(host("GET / HTTP/1.0\r\n\r\n"), found(""));
    assert_eq!(host("GET / HTTP/1.1\r\nHost: a\"\x7f\r\n\r\n"), None);
    assert_eq!(host("OPTIONS sip:a.example SIP/2.0\r\n\r\n"), None);
    assert_eq!(host("GET is no request\r\n"), None);
    assert_eq!(host("GET /half"), None);
}

fn frames_of(apps: &mut Apps, table: &mut Table, payloads: &[(u16, Vec<u8>)]) {
    for (n, (port, octets)) in payloads.iter().enumerate() {
        let protocol = if n % 2 == 0 { 17 } else { 6 };
        let packet = packet(protocol, [*port, 53], false, 0, (protocol == 6).then(|| segment(0, 1)).flatten());
        let hash = table.prepare(&packet.key);
        apps.look(0, &packet, hash, Payload { octets, wire: octets.len() as u32 });
        table.update(&packet, hash, |_: &Report<'_>| {});
        for (_, finding) in apps.found() {
            table.attach(finding);
        }
        apps.forget();
    }
}

#[test]
fn a_full_room_turns_findings_away_and_gets_all_of_it_back() {
    let payloads: Vec<_> = (0..400).map(|port| (port + 1000, question(1, false, 0, &[b"a"], 1))).collect();
    let mut table = Table::new(1 << 20, &Timeouts::default()).with_room(64 << 10);
    let mut apps = Apps::new(ALL, 1);
    frames_of(&mut apps, &mut table, &payloads);
    let turned_away = table.turned_away();
    assert!(turned_away > 0);
    let mut with = 0;
    table.end(|report| with += u64::from(report.seen.is_some_and(|seen| seen.dns.is_some())));
    assert!(with > 0 && with <= apps.counts().found - turned_away);
    // As much as before: nothing of what is gone is still counted.
    frames_of(&mut apps, &mut table, &payloads);
    assert_eq!(table.turned_away(), 2 * turned_away);
}

#[test]
fn news_is_told_once_and_the_server_s_name_each_time() {
    let mut room = Room::new(64 << 10, 4);
    let empty = room.used();
    let (hello, _) = published();
    room.add(3, &Finding::Tls(Tls::read(&hello).unwrap()));
    room.add(3, &Finding::Http(read_http(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").unwrap()));
    room.add(3, &Finding::Dns(read_dns(&question(1, false, 0, &[b"a"], 1))));
    room.add(2, &Finding::Dns(read_dns(&question(1, false, 0, &[b"a"], 1))));
    room.reported(3);
    room.reported(2);
    let seen = room.of(3).unwrap();
    assert!(seen.tls.is_some() && seen.http.is_none() && seen.dns.is_none() && room.of(2).is_none());
    room.give_back(3);
    room.give_back(2);
    assert_eq!((room.used(), room.of(3).is_some()), (empty, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_octets_do_no_harm(octets in vec(any::<u8>(), 0..600), missing in 0..100_u32) {
        let _ = Dns::read(&octets, octets.len() as u32 + missing, 0);
        let _ = Tls::read(&octets);
        if !octets.is_empty() {
            let _ = read_http(&octets);
            let _ = http::may_begin(&octets);
        }
    }

    #[test]
    fn what_is_nearly_a_message_does_no_harm(at in 0..1600_usize, octet: u8, cut in 0..1600_usize) {
        let mut messages = [
            long(),
            question(1, true, 0, &[b"www", b"example"], 1),
            b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(),
        ];
        let mut apps = Apps::new(ALL, 1);
        for message in &mut messages {
            let len = message.len();
            message[at % len] = octet;
            let octets = &message[..cut % len];
            for protocol in [6, 17] {
                let packet = packet(protocol, [40_000, 53], false, 0, (protocol == 6).then(|| segment(0, len)).flatten());
                apps.look(0, &packet, 5, Payload { octets, wire: len as u32 });
            }
        }
        apps.end();
    }

    #[test]
    fn text_is_printable_and_bounded(octets in vec(any::<u8>(), 0..100)) {
        let text = Text::<64>::of(&octets);
        prop_assert!(text.as_str().len() <= 64);
        prop_assert!(text.as_str().bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'"'));
        if octets.len() <= 64 && octets.iter().all(|c| c.is_ascii_alphanumeric()) {
            prop_assert_eq!(text.as_str().as_bytes(), &octets[..]);
        }
    }

    /// Segments in any order and number never give something that was not sent.
    #[test]
    fn segments_in_any_order_give_the_same_or_nothing(order in vec(0..8_usize, 1..20)) {
        let whole = long();
        let pieces: Vec<(u32, &[u8])> = whole.chunks(whole.len().div_ceil(8)).scan(0_u32, |seq, piece| {
            let at = *seq;
            *seq += piece.len() as u32;
            Some((at, piece))
        }).collect();
        let sent: Vec<_> = order.iter().map(|&n| pieces[n]).collect();
        let expected = Tls::read(&whole[9..]).unwrap();
        for finding in found_in(&sent).0 {
            let Finding::Tls(tls) = finding else { panic!("{finding:?}") };
            prop_assert_eq!(&tls, &expected);
        }
    }
}
