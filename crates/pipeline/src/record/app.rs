//! What payloads said, in the record of a flow's report. Texts are printable ASCII without quotation marks (`app::Text`).

use super::out::Out;
use crate::app::{Dns, Http, Seen, Text, Tls, response_code, type_name};

/// The fields that ECS has.
pub(super) fn write(out: &mut Out<'_>, seen: &Seen) {
    if let Some(dns) = &seen.dns {
        ecs_dns(out, dns);
    }
    if let Some(name) = seen.tls.as_ref().map(|tls| &tls.server_name).filter(|name| !name.as_str().is_empty()) {
        out.literal(b"\"tls\":{\"client\":{\"server_name\":\"");
        text(out, name);
        out.literal(b"\"}},");
    }
    if let Some(http) = &seen.http {
        ecs_http(out, http);
    }
}

/// Those that it has not, within `ringtap`.
pub(super) fn write_own(out: &mut Out<'_>, seen: &Seen) {
    if let Some(dns) = &seen.dns {
        own_dns(out, dns);
    }
    if let Some(tls) = &seen.tls {
        own_tls(out, tls);
    }
    if let Some(http) = &seen.http {
        out.literal(b"\"http\":{\"requests\":");
        out.value(http.requests);
        out.close(b'}');
    }
}

fn ecs_dns(out: &mut Out<'_>, dns: &Dns) {
    let asked = !dns.name.as_str().is_empty();
    if !asked && dns.response.is_none() {
        return;
    }
    out.literal(b"\"dns\":{");
    if asked {
        out.literal(b"\"question\":{\"name\":\"");
        text(out, &dns.name);
        out.literal(b"\",\"type\":\"");
        match type_name(dns.kind) {
            Some(name) => out.text(name),
            // As in RFC 3597.
            None => {
                out.literal(b"TYPE");
                out.number(dns.kind.into());
            }
        }
        out.literal(b"\"},");
    }
    if let Some(code) = dns.response {
        out.literal(b"\"response_code\":\"");
        out.text(response_code(code));
        out.literal(b"\",");
    }
    out.close(b'}');
}

fn ecs_http(out: &mut Out<'_>, http: &Http) {
    out.literal(b"\"http\":{\"request\":{\"method\":\"");
    text(out, &http.method);
    out.literal(b"\"},\"version\":\"1.");
    out.octet(http.version);
    out.literal(b"\"},\"url\":{\"original\":\"");
    text(out, &http.target);
    out.literal(b"\",");
    if !http.host.as_str().is_empty() {
        out.literal(b"\"domain\":\"");
        text(out, &http.host);
        out.literal(b"\",");
    }
    out.close(b'}');
}

fn own_dns(out: &mut Out<'_>, dns: &Dns) {
    out.literal(b"\"dns\":{\"questions\":");
    out.value(dns.questions);
    out.literal(b"\"answers\":");
    out.value(dns.answers);
    out.literal(b"\"request_bytes\":");
    out.long_value(dns.request_octets);
    out.literal(b"\"response_bytes\":");
    out.long_value(dns.response_octets);
    if dns.questions > 0 && dns.answers > 0 {
        out.literal(b"\"amplification\":");
        // At least a header was asked.
        let hundredths = dns.response_octets.saturating_mul(100) / dns.request_octets.max(1);
        out.long(hundredths / 100);
        let [tens, ones] = [hundredths / 10 % 10, hundredths % 10].map(|digit| b'0' + digit as u8);
        out.literal(&[b'.', tens, ones, b',']);
    }
    if let Some(time) = dns.response_time {
        out.literal(b"\"response_time\":");
        out.long_value(time);
    }
    out.close(b'}');
}

fn own_tls(out: &mut Out<'_>, tls: &Tls) {
    out.literal(b"\"tls\":{\"offered_version\":\"");
    match tls.version {
        0x0300 => out.literal(b"ssl3"),
        0x0301..=0x0304 => {
            out.literal(b"1.");
            out.octet((tls.version - 0x0301) as u8);
        }
        other => out.hex16(other),
    }
    out.literal(b"\",");
    let alpn = tls.alpn.as_str();
    if !alpn.is_empty() {
        out.literal(b"\"alpn\":[");
        for protocol in alpn.split(',') {
            out.literal(b"\"");
            escaped(out, protocol);
            out.literal(b"\",");
        }
        out.close(b']');
    }
    out.literal(b"\"ja4\":\"");
    text(out, &tls.ja4);
    out.literal(b"\"},");
}

fn text<const N: usize>(out: &mut Out<'_>, text: &Text<N>) {
    escaped(out, text.as_str());
}

/// Of printable ASCII without quotation marks only backslashes have to be written twice.
fn escaped(out: &mut Out<'_>, text: &str) {
    for (n, piece) in text.split('\\').enumerate() {
        if n > 0 {
            out.literal(b"\\\\");
        }
        out.text(piece);
    }
}
