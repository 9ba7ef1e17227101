//! The record of a flow's report, from the event's times to the end. Source is the initiator, destination the responder.

use super::head::Moment;
use super::known;
use super::out::Out;
use super::tables::TCP_FLAGS;
use super::{app, body};
use crate::dissect::{Network, ether, protocol};
use crate::enrich::{Enrich, Found, Text};
use crate::flow::{
    Anomalies, Ends, Extra, Flow, Handshake, IcmpErrors, NO_VLAN, Report, Sent, Side, Tunnel, community_id,
};
use crate::os::{Guess, System, Systems};

pub(super) fn write(
    out: &mut Out<'_>,
    [start, end]: &mut [Moment; 2],
    report: &Report<'_>,
    systems: &Systems,
    enrich: Option<&mut Enrich>,
) {
    let Report { flow, extra, seen, reason } = *report;
    let initiator = flow.initiator();
    let found = enrich.and_then(|enrich| enrich.flow(flow));
    let found = found.as_ref();
    out.literal(b"\"start\":");
    start.write(out, flow.since());
    out.literal(b"\"end\":");
    end.write(out, flow.last());
    out.literal(b"\"duration\":");
    out.long(flow.last().as_nanos() - flow.since().as_nanos());
    out.literal(b"},");
    network(out, flow, found);
    out.literal(b"\"source\":{");
    endpoint(out, flow, initiator, found.map(|found| found.source));
    out.literal(b"\"destination\":{");
    endpoint(out, flow, initiator.other(), found.map(|found| found.destination));
    if let Some(seen) = seen {
        out.apart(|out| app::write(out, seen));
    }
    out.literal(b"\"ringtap\":{");
    if let Some(found) = found {
        known::about(out, found);
    }
    link(out, flow);
    if let Some(tunnel) = extra.and_then(Extra::tunnel) {
        out.apart(|out| through(out, tunnel, extra.and_then(Extra::carrier)));
    }
    sender(out, flow.guess(), systems);
    out.literal(b"\"flow\":{\"id\":\"");
    number(out, flow.id());
    out.literal(b"\",\"reason\":\"");
    out.text(reason.name());
    out.literal(b"\",\"first\":");
    start.write(out, flow.first());
    out.literal(b"\"source\":{");
    side(out, flow, initiator);
    out.literal(b"\"destination\":{");
    side(out, flow, initiator.other());
    measured(out, flow);
    if let Some(errors) = extra.and_then(Extra::icmp_errors) {
        out.apart(|out| icmp_errors(out, errors));
    }
    out.close(b'}');
    if let Some(seen) = seen {
        out.apart(|out| app::write_own(out, seen));
    }
    out.close(b'}');
    out.finish();
}

/// The number of a flow.
#[inline(always)]
fn number(out: &mut Out<'_>, id: u64) {
    out.literal(b"0x");
    out.hex64(id);
}

/// Who the initiator probably is.
#[inline(always)]
fn sender(out: &mut Out<'_>, guess: Guess, systems: &Systems) {
    let Some(hops) = guess.hops() else { return };
    out.literal(b"\"os_guess\":{");
    if let Some(System { name, flavour }) = systems.system(guess) {
        // Labels have nothing that JSON would escape: see `Systems::add`.
        for (field, text) in [("\"name\":\"", name), ("\"flavour\":\"", flavour)] {
            if !text.is_empty() {
                out.text(field);
                out.text(text);
                out.literal(b"\",");
            }
        }
    }
    out.literal(b"\"hops\":");
    out.octet_value(hops);
    out.close(b'}');
}

#[inline(never)]
fn icmp_errors(out: &mut Out<'_>, IcmpErrors { messages, last: [kind, code] }: IcmpErrors) {
    out.literal(b"\"icmp_errors\":{\"count\":");
    out.value(messages.into());
    out.literal(b"\"type\":");
    out.octet_value(kind);
    out.literal(b"\"code\":");
    out.octet_value(code);
    out.close(b'}');
}

#[inline(never)]
fn through(out: &mut Out<'_>, tunnel: Tunnel, carrier: Option<u64>) {
    let Tunnel { kind, depth, id, .. } = tunnel;
    out.literal(b"\"tunnel\":{\"kind\":\"");
    out.text(kind.name());
    out.literal(b"\",");
    if let Some(id) = id {
        out.literal(b"\"id\":");
        out.value(id);
    }
    out.literal(b"\"depth\":");
    out.octet_value(depth);
    if let Some(carrier) = carrier {
        out.literal(b"\"flow_id\":\"");
        number(out, carrier);
        out.literal(b"\",");
    }
    out.close(b'}');
}

#[inline(always)]
fn network(out: &mut Out<'_>, flow: &Flow, found: Option<&Found<'_>>) {
    let key = flow.key();
    out.literal(b"\"network\":{");
    match key.ends() {
        Ends::Ipv4 => out.literal(b"\"type\":\"ipv4\","),
        Ends::Ipv6 => out.literal(b"\"type\":\"ipv6\","),
        Ends::Link if key.end(Side::Low).port == ether::ARP => out.literal(b"\"type\":\"arp\","),
        Ends::Link => {}
    }
    if key.ends() != Ends::Link {
        body::protocol(out, key.protocol());
    }
    let [low, high] = [flow.delta(Side::Low), flow.delta(Side::High)];
    out.literal(b"\"bytes\":");
    out.long_value(low.octets + high.octets);
    out.literal(b"\"packets\":");
    out.long_value(low.packets + high.packets);
    if let Some(found) = found {
        known::direction_behind_comma(out, found);
    }
    if let Some(id) = community_id(key, flow.initiator()) {
        out.literal(b"\"community_id\":\"");
        out.literal(&id);
        out.literal(b"\",");
    }
    let [outer, inner] = key.vlans();
    if outer != NO_VLAN {
        body::vlan_ids(out, outer, Some(inner).filter(|&inner| inner != NO_VLAN));
    }
    out.close(b'}');
}

#[inline(always)]
fn endpoint(out: &mut Out<'_>, flow: &Flow, side: Side, place: Option<Text<'_>>) {
    let (key, Sent { packets, octets }) = (flow.key(), flow.delta(side));
    let end = key.end(side);
    let network = match key.ends() {
        Ends::Link => None,
        Ends::Ipv4 => Some(Network::Ipv4),
        Ends::Ipv6 => Some(Network::Ipv6),
    };
    let has_port = matches!(key.protocol(), protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDP_LITE);
    let ip = network.map(|network| (&end.address, network));
    body::address(out, flow.mac(side), ip, has_port.then_some(end.port));
    if let Some(place) = place {
        known::place_behind_comma(out, place);
    }
    out.literal(b"\"bytes\":");
    out.long_value(octets);
    out.literal(b"\"packets\":");
    out.long_value(packets);
    out.close(b'}');
}

/// What a packet record has under the same names.
#[inline(always)]
fn link(out: &mut Out<'_>, flow: &Flow) {
    let key = flow.key();
    let ether_type = key.end(Side::Low).port;
    if key.ends() == Ends::Link && ether_type != 0 && ether_type != ether::ARP {
        out.literal(b"\"ethernet\":{\"type\":\"");
        out.hex16(ether_type);
        out.literal(b"\"},");
    }
    if key.ends() != Ends::Link && matches!(key.protocol(), protocol::ICMP | protocol::ICMPV6) {
        let [kind, code] = key.message();
        out.literal(b"\"icmp\":{\"type\":");
        out.octet_value(kind);
        out.literal(b"\"code\":");
        out.octet_value(code);
        if key.end(Side::Low).port != 0 {
            out.literal(b"\"id\":");
            out.value(key.end(Side::Low).port.into());
        }
        out.close(b'}');
    }
}

/// What an end did: in all, and what was odd since the last report.
#[inline(always)]
fn side(out: &mut Out<'_>, flow: &Flow, side: Side) {
    let Sent { packets, octets } = flow.total(side);
    out.literal(b"\"total_bytes\":");
    out.long_value(octets);
    out.literal(b"\"total_packets\":");
    out.long_value(packets);
    if flow.is_tcp() {
        out.literal(b"\"tcp_flags\":");
        out.flags(&TCP_FLAGS[usize::from(flow.tcp_flags(side))]);
        anomalies(out, flow.anomalies(side));
    }
    out.close(b'}');
}

/// Of most ends there is none, which is a single text.
#[inline(always)]
fn anomalies(out: &mut Out<'_>, anomalies: Anomalies) {
    if anomalies == Anomalies::default() {
        return out.literal(b"\"retransmitted\":0,\"out_of_order\":0,\"duplicate\":0,\"zero_window\":0,");
    }
    out.apart(|out| odd(out, anomalies));
}

#[inline(never)]
fn odd(out: &mut Out<'_>, Anomalies { retransmitted, out_of_order, duplicate, zero_window }: Anomalies) {
    out.literal(b"\"retransmitted\":");
    out.value(retransmitted.into());
    out.literal(b"\"out_of_order\":");
    out.value(out_of_order.into());
    out.literal(b"\"duplicate\":");
    out.value(duplicate.into());
    out.literal(b"\"zero_window\":");
    out.value(zero_window.into());
}

#[inline(always)]
fn measured(out: &mut Out<'_>, flow: &Flow) {
    if flow.is_tcp() {
        out.literal(b"\"handshake\":\"");
        out.text(match flow.handshake() {
            Handshake::NotSeen => "not_seen",
            Handshake::Unanswered => "unanswered",
            Handshake::Refused => "refused",
            Handshake::HalfOpen => "half_open",
            Handshake::Complete => "complete",
        });
        out.literal(b"\",");
    }
    let times = flow.times();
    if let Some(responder) = times.responder_rtt {
        out.literal(b"\"rtt\":{\"responder\":");
        out.long_value(responder);
        if let Some(initiator) = times.initiator_rtt {
            out.literal(b"\"initiator\":");
            out.long_value(initiator);
            out.literal(b"\"total\":");
            out.long_value(responder + initiator);
        }
        out.close(b'}');
    }
    if let Some(response) = times.response {
        out.literal(b"\"response_time\":");
        out.long_value(response);
    }
}
