//! DNS messages: the first question, the response code, and how much larger answers are than questions.

use simple_dns::{PacketFlag, header_buffer};

use super::Text;

/// Octets of the header.
const HEADER: usize = 12;
/// Octets of the longest question: a name, type and class.
const QUESTION: usize = 255 + 4;

/// What DNS messages say: one, or all of a flow since its last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The name asked for, without the dot at the end (the root is one dot); nothing if there is no question that could be read. A dot within a label
    /// is written in digits. The first of several.
    pub name: Text<255>,
    /// The type asked for, see [`type_name`].
    pub kind: u16,
    /// Of the first message's question.
    id: u16,
    /// When the first message was seen, nanoseconds.
    time: u64,
    /// The response code of its answer, see [`response_code`].
    pub response: Option<u8>,
    /// Nanoseconds from the question to the answer.
    pub response_time: Option<u64>,
    /// Messages that ask.
    pub questions: u32,
    /// Messages that answer.
    pub answers: u32,
    /// Octets of all that ask.
    pub request_octets: u64,
    /// Octets of all that answer.
    pub response_octets: u64,
}

impl Dns {
    /// Reads a message of `wire` octets, seen at `time`, of which those that were captured are given. `None` if that is none, or too little of it.
    #[must_use]
    pub fn read(message: &[u8], wire: u32, time: u64) -> Option<Self> {
        let header = message.first_chunk::<HEADER>()?;
        let answers = header_buffer::has_flags(header, PacketFlag::RESPONSE).ok()?;
        let questions = header_buffer::questions(header).ok()?;
        let mut dns = Self { id: header_buffer::id(header).ok()?, time, ..Self::default() };
        match questions {
            // Answers of mDNS repeat no question (RFC 6762, 6); a question without one is none.
            0 if !answers => return None,
            0 => {}
            _ => dns.question(message)?,
        }
        if answers {
            dns.response = Some(header[3] & 0x0f);
            (dns.answers, dns.response_octets) = (1, wire.into());
        } else {
            (dns.questions, dns.request_octets) = (1, wire.into());
        }
        Some(dns)
    }

    /// Reads the first question: of a message that has nothing else. What follows, which may be long, damaged or not captured, is no matter.
    fn question(&mut self, message: &[u8]) -> Option<()> {
        let mut end = HEADER;
        // Nothing stands before the first name that it could point to (RFC 1035, 4.1.4).
        while let label @ 1..=63 = *message.get(end)? {
            end += 1 + usize::from(label);
        }
        if message[end] != 0 {
            return None;
        }
        let name = message.get(HEADER..=end)?;
        let [high, low, _, _] = *message.get(end + 1..)?.first_chunk()?;
        self.kind = u16::from_be_bytes([high, low]);
        // With type and class that the parser knows: it refuses others.
        let mut alone = [0; HEADER + QUESTION];
        alone[5] = 1; // the number of questions
        alone.get_mut(HEADER..=end)?.copy_from_slice(name);
        let known = alone.get_mut(end + 1..end + 5)?;
        known.copy_from_slice(&[0, 1, 0, 1]);
        // Allocates a list of one question and one of its labels.
        let parsed = simple_dns::Packet::parse(&alone).ok()?;
        let question = parsed.questions.first()?;
        for label in question.qname.as_bytes() {
            let end = self.name.as_str().len();
            let fits = (end == 0 || self.name.push(b".")) && self.name.add(label, b'.');
            if !fits {
                break;
            }
        }
        if self.name.as_str().is_empty() {
            self.name.push(b".");
        }
        Some(())
    }

    /// Adds a message that came later.
    pub(super) fn add(&mut self, message: &Self) {
        // Announcements of mDNS ask nothing: what is asked first comes later.
        if self.questions == 0 && message.questions > 0 && self.name.as_str().is_empty() {
            (self.name, self.kind) = (message.name, message.kind);
            (self.id, self.time, self.response, self.response_time) = (message.id, message.time, None, None);
        }
        // The answer to the question that began.
        if self.response.is_none() && message.response.is_some() && message.id == self.id {
            self.response = message.response;
            self.response_time = Some(message.time.saturating_sub(self.time));
        }
        self.questions = self.questions.saturating_add(message.questions);
        self.answers = self.answers.saturating_add(message.answers);
        self.request_octets += message.request_octets;
        self.response_octets += message.response_octets;
    }
}

/// The mnemonic of a type (IANA, "Resource Record (RR) TYPEs"); `None` for those that are hardly met.
#[must_use]
pub const fn type_name(kind: u16) -> Option<&'static str> {
    Some(match kind {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        17 => "RP",
        18 => "AFSDB",
        24 => "SIG",
        25 => "KEY",
        28 => "AAAA",
        29 => "LOC",
        33 => "SRV",
        35 => "NAPTR",
        36 => "KX",
        37 => "CERT",
        38 => "A6",
        39 => "DNAME",
        41 => "OPT",
        43 => "DS",
        44 => "SSHFP",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        53 => "SMIMEA",
        61 => "OPENPGPKEY",
        64 => "SVCB",
        65 => "HTTPS",
        99 => "SPF",
        249 => "TKEY",
        250 => "TSIG",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        _ => return None,
    })
}

/// The name of a response code (IANA, "DNS RCODEs"), of those that the header can hold.
#[must_use]
pub const fn response_code(code: u8) -> &'static str {
    match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        12 => "RCODE12",
        13 => "RCODE13",
        14 => "RCODE14",
        _ => "RCODE15",
    }
}
