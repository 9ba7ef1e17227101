//! Requests of HTTP/1: request line and host.

use super::Text;

/// Methods of RFC 9110 and RFC 5789, and WebDAV's that clients send.
const METHODS: [&[u8]; 12] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
    b"PROPFIND ",
    b"NOTIFY ",
    b"SUBSCRIBE ",
];

/// Headers that are looked through for the host; clients send it among the first (RFC 9110, 7.2).
const HEADERS: usize = 64;

/// What requests say: one, or the first of a flow since its last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// The method.
    pub method: Text<12>,
    /// The target of the request line.
    pub target: Text<255>,
    /// The host without its port, from the header or, for CONNECT and proxies, from the target; nothing if neither has it.
    pub host: Text<255>,
    /// The minor version: of 1.0 or 1.1.
    pub version: u8,
    /// How many there were.
    pub requests: u32,
}

/// What a payload may be.
pub(super) enum Request {
    /// No request.
    None,
    /// One whose head ends elsewhere: with what there is if the request line is whole.
    Begun(Option<Http>),
    /// One with the whole of its head.
    Whole(Http),
}

/// Whether the first octets are a method and a blank.
#[inline]
pub(super) fn may_begin(payload: &[u8]) -> bool {
    payload[0].is_ascii_uppercase() && METHODS.iter().any(|method| payload.starts_with(method))
}

impl Http {
    pub(super) fn read(payload: &[u8]) -> Request {
        let mut request = httparse::Request::new(&mut []);
        // With no room for headers it stops at the first of them, or has found all there is.
        let line = request.parse(payload);
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
            return if line.is_ok() { Request::Begun(None) } else { Request::None };
        };
        let rest = payload.iter().position(|&octet| octet == b'\n').map_or(&[][..], |end| &payload[end + 1..]);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let whole = match httparse::parse_headers(rest, &mut headers) {
            Ok(status) => status.is_complete(),
            Err(httparse::Error::TooManyHeaders) => true,
            Err(_) => return Request::None,
        };
        let host = headers.iter().find(|header| header.name.eq_ignore_ascii_case("host")).map(|header| header.value);
        let host = host.filter(|host| !host.is_empty()).or_else(|| authority(method, target).map(str::as_bytes));
        let http = Self {
            method: Text::of(method.as_bytes()),
            target: Text::of(target.as_bytes()),
            host: host.map_or_else(Text::default, |host| Text::of(without_port(host))),
            version,
            requests: 1,
        };
        // Without the host a head that goes on is half of what is wanted; what follows it is not.
        if whole || host.is_some() { Request::Whole(http) } else { Request::Begun(Some(http)) }
    }
}

/// Host and port in the target, where they stand there (RFC 9112, 3.2).
fn authority<'t>(method: &str, target: &'t str) -> Option<&'t str> {
    if method == "CONNECT" {
        return Some(target);
    }
    let rest = target.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host)).filter(|host| !host.is_empty())
}

/// `[2001:db8::1]:8080` without `:8080`.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&octet| octet == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    }
}
