//! ClientHellos of TLS (RFC 8446, 4.1.2): server name, application protocols, versions, and the fingerprint JA4.

use tls_parser::{
    TlsExtension, TlsExtensionType, TlsVersion, parse_tls_extension_alpn_content,
    parse_tls_extension_signature_algorithms_content, parse_tls_extension_sni_content,
    parse_tls_extension_supported_versions, parse_tls_extension_unknown, parse_tls_handshake_client_hello,
};

use super::Text;
use super::ja4::{self, Parts};

/// The type of the record.
pub(super) const HANDSHAKE: u8 = 22;
/// The type of the message.
const CLIENT_HELLO: u8 = 1;
/// Octets of the record's header, and of the message's.
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// Whether and how much of a ClientHello stands at the start of some octets.
pub(super) enum Hello<'a> {
    /// There is none.
    None,
    /// There may be one, of which more is needed. `certain`: all that tells it from something else is there.
    Part { certain: bool },
    /// The message, without its header.
    Whole(&'a [u8]),
}

impl<'a> Hello<'a> {
    /// A message that several records share is not found.
    pub(super) fn find(octets: &'a [u8]) -> Self {
        let there = |at: usize, what: fn(u8) -> bool| octets.get(at).is_none_or(|&octet| what(octet));
        let may_be = there(0, |octet| octet == HANDSHAKE)
            && there(1, |major| major == 3)
            && there(2, |minor| minor <= 4)
            && there(RECORD_HEADER, |kind| kind == CLIENT_HELLO);
        if !may_be {
            return Self::None;
        }
        let Some(&[.., high, low, _, a, b, c]) = octets.first_chunk::<{ RECORD_HEADER + MESSAGE_HEADER }>() else {
            return Self::Part { certain: octets.len() > RECORD_HEADER };
        };
        let record = usize::from(u16::from_be_bytes([high, low]));
        let message = u32::from_be_bytes([0, a, b, c]) as usize;
        if MESSAGE_HEADER + message > record {
            return Self::None;
        }
        let start = RECORD_HEADER + MESSAGE_HEADER;
        octets.get(start..start + message).map_or(Self::Part { certain: true }, Self::Whole)
    }
}

/// What a ClientHello says: the first of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The server's name; nothing if the client names none.
    pub server_name: Text<255>,
    /// The application protocols that the client offers, with commas between them. What is too long is left out.
    pub alpn: Text<96>,
    /// The highest version that the client offers, as the protocol has it.
    pub version: u16,
    /// The fingerprint.
    pub ja4: Text<36>,
}

impl Tls {
    /// Reads a ClientHello, without the headers of record and message. `None` if that is none. Allocates the lists that it has.
    #[must_use]
    pub fn read(hello: &[u8]) -> Option<Self> {
        let (_, hello) = parse_tls_handshake_client_hello(hello).ok()?;
        let mut parts = Parts {
            version: hello.version.0,
            ciphers: hello.ciphers.iter().map(|cipher| cipher.0).filter(|&cipher| !is_grease(cipher)).collect(),
            ..Parts::default()
        };
        let mut tls = Self::default();
        let mut rest = hello.ext.unwrap_or_default();
        // By type and length first: one extension that cannot be read does not hide those behind it.
        while let Ok((after, TlsExtension::Unknown(TlsExtensionType(kind), content))) =
            parse_tls_extension_unknown(rest)
        {
            let whole = &rest[..rest.len() - after.len()];
            rest = after;
            if !is_grease(kind) {
                parts.extensions.push(kind);
                tls.extension(kind, whole, content, &mut parts);
            }
        }
        tls.version = parts.version;
        tls.ja4 = ja4::fingerprint(&parts);
        Some(tls)
    }

    fn extension(&mut self, kind: u16, whole: &[u8], content: &[u8], parts: &mut Parts) {
        match kind {
            SERVER_NAME => {
                if let Ok((_, TlsExtension::SNI(names))) = parse_tls_extension_sni_content(content)
                    && let Some((_, name)) = names.first()
                {
                    self.server_name = Text::of(name);
                }
            }
            ALPN => {
                if let Ok((_, TlsExtension::ALPN(protocols))) = parse_tls_extension_alpn_content(content) {
                    parts.alpn =
                        protocols.first().map(|first| [first.first(), first.last()].map(Option::<&u8>::copied));
                    self.protocols(&protocols);
                }
            }
            SUPPORTED_VERSIONS => {
                if let Ok((_, TlsExtension::SupportedVersions(versions))) =
                    parse_tls_extension_supported_versions(whole)
                {
                    let known = versions.iter().map(|&TlsVersion(version)| version).filter(|&v| !is_grease(v));
                    parts.version = known.max().unwrap_or(parts.version);
                }
            }
            SIGNATURE_ALGORITHMS => {
                let algorithms = parse_tls_extension_signature_algorithms_content(content);
                if let Ok((_, TlsExtension::SignatureAlgorithms(algorithms))) = algorithms {
                    parts.algorithms = algorithms;
                    parts.algorithms.retain(|&algorithm| !is_grease(algorithm));
                }
            }
            _ => {}
        }
    }

    fn protocols(&mut self, protocols: &[&[u8]]) {
        for protocol in protocols.iter().filter(|protocol| !protocol.is_empty()) {
            let end = self.alpn.as_str().len();
            let fits = (end == 0 || self.alpn.push(b",")) && self.alpn.add(protocol, b',');
            if !fits {
                return self.alpn.truncate(end);
            }
        }
    }
}

/// Values that mean nothing and keep servers used to unknown ones (RFC 8701).
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}
