//! The start of every record: time, event, observer. Rendered once, stamped into each record by one copy of fixed size, and
//! the digits that differ are then patched *there*: patching the template would make the copy wait for those stores.

use std::ops::Range;

use capture::Timestamp;

use super::out::{Out, eight_digits};
use super::tables::HEX_LOWER;

/// Octets of the head at most: what one copy of fixed size stamps into each record.
const HEAD: usize = 576;

const TIME_START: usize = br#"{"@timestamp":""#.len();
const SECONDS: usize = "2026-11-23T18:06:00".len();
const NANOS_START: usize = TIME_START + SECONDS + 1;

/// Room that names may take: with the fixed text around them they stay below [`HEAD`].
const NAME_OCTETS: usize = 64;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    Packet,
    Flow,
}

/// The head of the records of one queue and one interface.
pub(super) struct Head {
    template: [u8; HEAD],
    len: usize,
    /// Where the decimal sequence number starts and ends.
    sequence: (usize, usize),
    /// Where the 16 hexadecimal digits of the sequence end within `event.id`.
    id_end: usize,
    /// When the second that the template says began.
    second_start: u64,
    /// For which sequence numbers the template is right but for the last four digits.
    valid: Range<u64>,
    /// What follows the sequence number.
    tail: Vec<u8>,
}

impl Head {
    /// `run` and `queue` make `event.id` unique together with the sequence number.
    pub(super) fn new(kind: RecordKind, observer: &str, hostname: &str, interface: &str, run: u64, queue: u16) -> Self {
        let mut about = br#""observer":{"name":"#.to_vec();
        json_string(&mut about, observer);
        about.extend_from_slice(br#","hostname":"#);
        json_string(&mut about, hostname);
        about.extend_from_slice(br#","ingress":{"interface":{"name":"#);
        json_string(&mut about, interface);
        about.extend_from_slice(b"}}},");

        let mut start = Vec::with_capacity(HEAD);
        start.extend_from_slice(br#"{"@timestamp":"1970-01-01T00:00:00.000000000Z","ecs":{"version":"8.17.0"},"#);
        // A flow's event goes on behind the head: the observer stands before it.
        let (kind, tail) = match kind {
            RecordKind::Packet => {
                (&br#""type":["info"],"module":"ringtap","dataset":"ringtap.packet","#[..], [b"},", &*about].concat())
            }
            RecordKind::Flow => {
                start.extend_from_slice(&about);
                (&br#""type":["connection"],"module":"ringtap","dataset":"ringtap.flow","#[..], b",".to_vec())
            }
        };
        start.extend_from_slice(br#""event":{"kind":"event","category":["network"],"#);
        start.extend_from_slice(kind);
        start.extend_from_slice(br#""id":""#);
        start.extend_from_slice(format!("{:012x}-{queue:03x}-{:016x}", run & 0xffff_ffff_ffff, 0).as_bytes());
        let id_end = start.len();
        start.extend_from_slice(br#"","sequence":"#);
        let sequence = start.len();

        let mut template = [0; HEAD];
        template[..sequence].copy_from_slice(&start);
        Self { template, len: 0, sequence: (sequence, sequence), id_end, second_start: 0, valid: 0..0, tail }
    }

    /// Writes the head of the record `sequence`, seen at `time`, into an empty record.
    #[inline(always)]
    pub(super) fn stamp(&mut self, out: &mut Out<'_>, sequence: u64, time: Timestamp) {
        if !self.valid.contains(&sequence) {
            self.set_sequence(sequence);
        }
        let mut nanos = time.as_nanos().wrapping_sub(self.second_start);
        // The second comparison is for the last second that the type holds: there the difference may wrap to less than a second.
        if nanos >= 1_000_000_000 || time.as_nanos() < self.second_start {
            self.set_second(time.seconds());
            nanos = u64::from(time.subsec_nanos());
        }
        let nanos = nanos as u32; // below a second
        let (pieces, _) = self.template.as_chunks::<128>();
        out.piece(&pieces[0], 128);
        out.piece(&pieces[1], 128);
        for piece in &self.template.as_chunks::<64>().0[4..(self.len.div_ceil(64)).max(4)] {
            out.piece(piece, 64);
        }
        out.rewind(self.len);
        out.patch(NANOS_START, &[b'0' + (nanos / 100_000_000) as u8]);
        out.patch(NANOS_START + 1, &digits(nanos % 100_000_000));
        if sequence >= 10_000 {
            let [.., a, b, c, d] = digits((sequence % 10_000) as u32);
            out.patch(self.sequence.1 - 4, &[a, b, c, d]);
        }
        let [.., high, low] = sequence.to_be_bytes();
        let ([a, b], [c, d]) = (HEX_LOWER[usize::from(high)], HEX_LOWER[usize::from(low)]);
        out.patch(self.id_end - 4, &[a, b, c, d]);
    }

    /// Brings the template's high digits up to date: every 10,000 records, and for each of the first 10,000.
    #[cold]
    fn set_sequence(&mut self, sequence: u64) {
        let (start, _) = self.sequence;
        let mut end = start + sequence.checked_ilog10().map_or(1, |log| log as usize + 1);
        self.sequence = (start, end);
        let mut rest = sequence;
        for at in (start..end).rev() {
            self.template[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        for (n, octet) in sequence.to_be_bytes().into_iter().enumerate() {
            let at = self.id_end - 16 + 2 * n;
            self.template[at..at + 2].copy_from_slice(&HEX_LOWER[usize::from(octet)]);
        }
        self.template[end..end + self.tail.len()].copy_from_slice(&self.tail);
        end += self.tail.len();
        self.len = end;
        // Right as long as neither the decimal digits above the fourth nor the hexadecimal ones above the fourth change.
        let decimal = if sequence < 10_000 { sequence } else { (sequence / 10_000 * 10_000).saturating_add(9_999) };
        self.valid = sequence..decimal.min(sequence | 0xffff).saturating_add(1);
    }

    /// `2026-11-23T18:06:00`, once a second.
    #[cold]
    fn set_second(&mut self, second: u64) {
        self.second_start = second * 1_000_000_000;
        self.template[TIME_START..TIME_START + SECONDS].copy_from_slice(&second_text(second));
    }
}

/// A time as JSON has it, with the day of the one before kept.
pub(super) struct Moment {
    day: u64,
    /// `"2026-11-23T`, as two words whose upper octets are zero: read as they were written, hence without a wait.
    text: [u64; 2],
}

/// Octets of a [`Moment`]'s text.
const DAY: usize = "\"2026-11-23T".len();

impl Default for Moment {
    fn default() -> Self {
        Self::of_day(0)
    }
}

impl Moment {
    fn of_day(day: u64) -> Self {
        let mut text = [0; 16];
        text[0] = b'"';
        text[1..DAY].copy_from_slice(&second_text(day * 86_400)[..DAY - 1]);
        let [a, b] = *text.as_chunks::<8>().0 else { unreachable!("two halves") };
        Self { day, text: [a, b].map(u64::from_le_bytes) }
    }

    /// `"2026-11-23T18:06:00.000000000Z",`
    #[inline(always)]
    pub(super) fn write(&mut self, out: &mut Out<'_>, time: Timestamp) {
        let (day, of_day, nanos) = (time.seconds() / 86_400, (time.seconds() % 86_400) as u32, time.subsec_nanos());
        if day != self.day {
            *self = Self::of_day(day);
        }
        out.piece(&self.text[0].to_le_bytes(), 8);
        out.piece(&self.text[1].to_le_bytes(), DAY - 8);
        let [hour, minute, second] = [of_day / 3600, of_day / 60 % 60, of_day % 60].map(|n| two_digits(n.into()));
        let colons = u64::from(b':') << 16 | u64::from(b':') << 40;
        out.piece(&(hour | minute << 24 | second << 48 | colons).to_le_bytes(), 8);
        out.piece(&[b'.', b'0' + (nanos / 100_000_000) as u8], 2);
        out.piece(&digits(nanos % 100_000_000), 8);
        out.piece(b"Z\",\0", 3);
    }
}

/// A number below 100 as text, the first digit in the lowest octet.
#[inline(always)]
const fn two_digits(n: u64) -> u64 {
    (n / 10) | (n % 10) << 8 | 0x3030
}

/// `2026-11-23T18:06:00`
fn second_text(second: u64) -> [u8; SECONDS] {
    let (year, month, day) = civil(second / 86_400);
    let of_day = (second % 86_400) as u32;
    let [c, d, y, z, m, n, a, b] = digits(year * 10_000 + month * 100 + day);
    let [_, _, h, i, j, k, s, t] = digits(of_day / 3600 * 10_000 + of_day / 60 % 60 * 100 + of_day % 60);
    [c, d, y, z, b'-', m, n, b'-', a, b, b'T', h, i, b':', j, k, b':', s, t]
}

/// Eight digits with leading zeros.
#[inline(always)]
fn digits(n: u32) -> [u8; 8] {
    (eight_digits(n) | 0x3030_3030_3030_3030).to_le_bytes()
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar (the `civil_from_days` of H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", 2013, for days from 1970 on).
fn civil(days: u64) -> (u32, u32, u32) {
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

/// A JSON string of at most [`NAME_OCTETS`] octets between the quotes; a longer name is cut at a character.
pub(crate) fn json_string(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    let start = out.len();
    for c in name.chars() {
        let mut utf8 = [0; 4];
        let escaped = match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
            c => c.encode_utf8(&mut utf8).to_owned(),
        };
        if out.len() - start + escaped.len() > NAME_OCTETS {
            break;
        }
        out.extend_from_slice(escaped.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(head: &mut Head, sequence: u64, time: Timestamp) -> serde_json::Value {
        let mut room = [0; crate::batch::MAX_RECORD];
        let mut out = Out::new(&mut room);
        head.stamp(&mut out, sequence, time);
        out.finish();
        let len = out.len();
        serde_json::from_slice(&room[..len]).unwrap()
    }

    #[test]
    fn the_longest_names_and_numbers_fit_and_odd_names_are_escaped() {
        let odd = "\"\\\u{1}ü\u{1f600}".repeat(40);
        let mut head = Head::new(RecordKind::Packet, &odd, &odd, &odd, u64::MAX, u16::MAX);
        let record = parsed(&mut head, u64::MAX, Timestamp::from_nanos(u64::MAX));
        assert!(odd.starts_with(record["observer"]["name"].as_str().unwrap()));
        assert_eq!(record["event"]["sequence"], u64::MAX);
        assert_eq!(record["@timestamp"], "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn a_time_before_the_last_second_of_all_is_written_as_it_is() {
        let mut head = Head::new(RecordKind::Packet, "s", "h", "eth0", 7, 1);
        let last = parsed(&mut head, 0, Timestamp::from_nanos(u64::MAX));
        assert_eq!(last["@timestamp"], "2554-07-21T23:34:33.709551615Z");
        assert_eq!(parsed(&mut head, 1, Timestamp::from_nanos(5))["@timestamp"], "1970-01-01T00:00:00.000000005Z");
    }

    #[test]
    fn counting_on_changes_every_digit_that_must_change() {
        let mut head = Head::new(RecordKind::Packet, "s", "h", "eth0", 7, 1);
        for start in [0, 95, 9_990, 65_500, 999_990, 0xffff_fff0, u64::from(u32::MAX) * 0x1_0000 - 20] {
            for sequence in start..start + 600 {
                let record = parsed(&mut head, sequence, Timestamp::EPOCH);
                assert_eq!(record["event"]["sequence"], sequence);
                assert_eq!(record["event"]["id"], format!("000000000007-001-{sequence:016x}"));
            }
        }
    }

    proptest! {
        #[test]
        fn moments_are_jiff_s(times: [u32; 3], nanos in 0..1_000_000_000_u32) {
            let mut moment = Moment::default();
            for second in times {
                let mut room = [0; crate::batch::MAX_RECORD];
                let mut out = Out::new(&mut room);
                moment.write(&mut out, Timestamp::from_parts(second.into(), nanos));
                let len = out.len();
                let expected = jiff::Timestamp::new(second.into(), nanos as i32).unwrap();
                prop_assert_eq!(std::str::from_utf8(&room[..len]).unwrap(), format!("\"{expected:.9}\","));
            }
        }

        #[test]
        fn any_sequence_may_follow_any_other(sequences in proptest::collection::vec(any::<u64>(), 1..20)) {
            let mut head = Head::new(RecordKind::Packet, "s", "h", "eth0", 7, 1);
            for sequence in sequences {
                prop_assert_eq!(&parsed(&mut head, sequence, Timestamp::EPOCH)["event"]["sequence"], sequence);
            }
        }

        #[test]
        fn times_are_jiff_s(nanos: u64) {
            let mut head = Head::new(RecordKind::Packet, "s", "h", "eth0", 0, 0);
            let expected = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
            let record = parsed(&mut head, 0, Timestamp::from_nanos(nanos));
            prop_assert_eq!(record["@timestamp"].as_str().unwrap(), format!("{expected:.9}"));
        }
    }
}
