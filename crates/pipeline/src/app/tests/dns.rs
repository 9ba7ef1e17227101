//! Messages of DNS.

use super::*;

#[test]
fn names_of_dns_are_harmless() {
    let name = |labels: &[&[u8]]| read_dns(&question(1, false, 0, labels, 1)).name.as_str().to_owned();
    assert_eq!(name(&[b"www", b"example", b"com"]), "www.example.com");
    assert_eq!(name(&[]), ".");
    assert_eq!(name(&[b"a.b", b"\"\\\n\xff"]), r"a\046b.\034\092\010\255");
    let longest = [&[b'a'; 63][..], &[b'b'; 63], &[b'c'; 63], &[b'd'; 61]];
    assert_eq!(name(&longest).len(), 253);
    let hostile = [&[0; 63][..], &[0; 63], &[0; 63], &[0; 61]];
    assert_eq!(name(&hostile).len(), 253, "63 times a backslash and three digits, and the dot");
}

#[test]
fn the_first_question_is_named_and_its_answer_is_told_from_others() {
    let mut table = Table::new(0, &Timeouts::default()).with_room(64 << 10);
    let mut apps = Apps::new(ALL, 1);
    let a: &[&[u8]] = &[b"a", b"example"];
    let b: &[&[u8]] = &[b"b", b"example"];
    let messages = [
        (false, question(7, false, 0, a, 28)),
        (false, question(8, false, 0, b, 1)),
        (true, [question(8, true, 0, b, 1), vec![0; 400]].concat()),
        (true, question(7, true, 3, a, 28)),
        (true, question(7, true, 0, a, 28)),
    ];
    for (n, (back, message)) in messages.iter().enumerate() {
        let packet = packet(17, [40_000, 53], *back, n as u64 * 1_000, None);
        let hash = table.prepare(&packet.key);
        apps.look(0, &packet, hash, Payload { octets: message, wire: message.len() as u32 });
        table.update(&packet, hash, |_| panic!("nothing is due"));
        for (_, finding) in apps.found() {
            table.attach(finding);
        }
        apps.forget();
    }
    let mut said = vec![];
    table.end(|report| said.push(report.seen.and_then(|seen| seen.dns.clone())));
    let [Some(dns)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((dns.name.as_str(), type_name(dns.kind)), ("a.example", Some("AAAA")));
    assert_eq!((dns.response.map(response_code), dns.response_time), (Some("NXDOMAIN"), Some(3_000)));
    assert_eq!((dns.questions, dns.answers), (2, 3));
    assert_eq!((dns.request_octets, dns.response_octets), (2 * 27, 3 * 27 + 400));
}

#[test]
fn an_announcement_asks_nothing_and_answers_nothing() {
    let announcement = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    let mut dns = read_dns(&announcement);
    dns.add(&read_dns(&question(0, false, 0, &[b"hello", b"local"], 1)));
    assert_eq!((dns.name.as_str(), dns.kind, dns.response), ("hello.local", 1, None));
    assert_eq!((dns.questions, dns.answers), (1, 1));
}

#[test]
fn dns_over_tcp_is_read_where_a_segment_holds_a_message() {
    let message = question(7, false, 0, &[b"a", b"example"], 252);
    let with_length = [&be16(message.len())[..], &message].concat();
    let mut apps = Apps::new(ALL, 1);
    let at = packet(6, [40_000, 53], false, 0, segment(0, with_length.len()));
    apps.look(0, &at, 1, Payload { octets: &with_length, wire: with_length.len() as u32 });
    apps.look(1, &at, 1, Payload { octets: &with_length[..10], wire: 10 });
    let [(0, Finding::Dns(dns))] = apps.found() else { panic!("{:?}", apps.found()) };
    assert_eq!((dns.name.as_str(), dns.request_octets), ("a.example", message.len() as u64));
}

#[test]
fn a_name_that_points_at_itself_ends() {
    let mut message = question(7, false, 0, &[], 1);
    message[12] = 0xc0;
    message.insert(13, 12);
    assert!(Dns::read(&message, message.len() as u32, 0).is_none());
}
