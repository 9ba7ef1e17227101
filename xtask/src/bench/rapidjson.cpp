// RapidJSON's Writer as a contestant of the encoder: the same record from values that are formatted already.
// Its layout of Values is that of sys/rapidjson.rs.
#define RAPIDJSON_SSE2
#include <cstddef>
#include <cstdint>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

namespace {

// A text without an address, and a number below zero, is a field that the record does not have.
struct Text {
    const char *at;
    size_t length;
};

struct Endpoint {
    Text mac, ip;
    int64_t port;
};

struct Values {
    Text timestamp, id, observer, hostname, interface;
    uint64_t sequence;
    Text type, transport, iana_number, vlan, inner_vlan;
    uint64_t bytes;
    Endpoint source, destination;
    uint64_t captured_len, wire_len;
    Text direction;
    Text vlan_ids[3];
    uint8_t vlan_priority[3];
    uint8_t vlan_drop_eligible[3];
    uint8_t vlans;
    int64_t ip_ttl, ip_dscp, ip_ecn, ip_id, ip_total_length, ip_fragment_offset;
    Text ip_flags[3];
    int64_t ipv6_hop_limit, ipv6_dscp, ipv6_ecn, ipv6_flow_label, ipv6_payload_length;
    int64_t arp_operation;
    Text arp_sender_mac, arp_target_mac;
    int64_t tcp_seq, tcp_ack, tcp_window;
    Text tcp_flags[9];
    uint8_t tcp_options;
    int64_t tcp_mss, tcp_window_scale, tcp_sack_permitted, tcp_timestamp, tcp_timestamp_echo;
    int64_t tcp_sack_left[4], tcp_sack_right[4];
    int64_t udp_length;
    int64_t icmp_type, icmp_code, icmp_id, icmp_seq;
};

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

template <size_t N> void key(Writer &w, const char (&name)[N]) { w.Key(name, N - 1); }

template <size_t N, size_t M> void text(Writer &w, const char (&name)[N], const char (&value)[M]) {
    key(w, name);
    w.String(value, M - 1);
}

template <size_t N> void text(Writer &w, const char (&name)[N], const Text &value) {
    if (value.at) {
        key(w, name);
        w.String(value.at, static_cast<rapidjson::SizeType>(value.length));
    }
}

template <size_t N> void number(Writer &w, const char (&name)[N], int64_t value) {
    if (value >= 0) {
        key(w, name);
        w.Uint64(static_cast<uint64_t>(value));
    }
}

template <size_t N, size_t M> void texts(Writer &w, const char (&name)[N], const Text (&values)[M]) {
    key(w, name);
    w.StartArray();
    for (size_t i = 0; i < M && values[i].at; i++)
        w.String(values[i].at, static_cast<rapidjson::SizeType>(values[i].length));
    w.EndArray();
}

template <size_t N> void numbers(Writer &w, const char (&name)[N], const int64_t (&values)[4]) {
    key(w, name);
    w.StartArray();
    for (size_t i = 0; i < 4 && values[i] >= 0; i++) w.Uint64(static_cast<uint64_t>(values[i]));
    w.EndArray();
}

template <size_t N> void endpoint(Writer &w, const char (&name)[N], const Endpoint &values) {
    if (!values.mac.at && !values.ip.at && values.port < 0) return;
    key(w, name);
    w.StartObject();
    text(w, "mac", values.mac);
    text(w, "ip", values.ip);
    number(w, "port", values.port);
    w.EndObject();
}

void tcp(Writer &w, const Values &v) {
    key(w, "tcp");
    w.StartObject();
    texts(w, "flags", v.tcp_flags);
    number(w, "seq", v.tcp_seq);
    number(w, "ack", v.tcp_ack);
    number(w, "window", v.tcp_window);
    if (v.tcp_options) {
        key(w, "options");
        w.StartObject();
        number(w, "mss", v.tcp_mss);
        number(w, "window_scale", v.tcp_window_scale);
        if (v.tcp_sack_permitted >= 0) {
            key(w, "sack_permitted");
            w.Bool(v.tcp_sack_permitted != 0);
        }
        if (v.tcp_sack_left[0] >= 0) {
            key(w, "sack");
            w.StartObject();
            numbers(w, "left", v.tcp_sack_left);
            numbers(w, "right", v.tcp_sack_right);
            w.EndObject();
        }
        number(w, "timestamp", v.tcp_timestamp);
        number(w, "timestamp_echo", v.tcp_timestamp_echo);
        w.EndObject();
    }
    w.EndObject();
}

void vlans(Writer &w, const Values &v) {
    key(w, "vlan");
    w.StartObject();
    texts(w, "ids", v.vlan_ids);
    key(w, "priority");
    w.StartArray();
    for (size_t i = 0; i < v.vlans; i++) w.Uint(v.vlan_priority[i]);
    w.EndArray();
    key(w, "drop_eligible");
    w.StartArray();
    for (size_t i = 0; i < v.vlans; i++) w.Bool(v.vlan_drop_eligible[i] != 0);
    w.EndArray();
    w.EndObject();
}

void ours(Writer &w, const Values &v) {
    key(w, "ringtap");
    w.StartObject();
    key(w, "frame");
    w.StartObject();
    key(w, "captured_len");
    w.Uint64(v.captured_len);
    key(w, "wire_len");
    w.Uint64(v.wire_len);
    text(w, "direction", v.direction);
    w.EndObject();
    if (v.vlans) vlans(w, v);
    if (v.ip_ttl >= 0) {
        key(w, "ip");
        w.StartObject();
        number(w, "ttl", v.ip_ttl);
        number(w, "dscp", v.ip_dscp);
        number(w, "ecn", v.ip_ecn);
        texts(w, "flags", v.ip_flags);
        number(w, "id", v.ip_id);
        number(w, "total_length", v.ip_total_length);
        number(w, "fragment_offset", v.ip_fragment_offset);
        w.EndObject();
    }
    if (v.ipv6_hop_limit >= 0) {
        key(w, "ipv6");
        w.StartObject();
        number(w, "hop_limit", v.ipv6_hop_limit);
        number(w, "dscp", v.ipv6_dscp);
        number(w, "ecn", v.ipv6_ecn);
        number(w, "flow_label", v.ipv6_flow_label);
        number(w, "payload_length", v.ipv6_payload_length);
        w.EndObject();
    }
    if (v.arp_operation >= 0) {
        key(w, "arp");
        w.StartObject();
        number(w, "operation", v.arp_operation);
        text(w, "sender_mac", v.arp_sender_mac);
        text(w, "target_mac", v.arp_target_mac);
        w.EndObject();
    }
    if (v.tcp_seq >= 0) tcp(w, v);
    if (v.udp_length >= 0) {
        key(w, "udp");
        w.StartObject();
        number(w, "length", v.udp_length);
        w.EndObject();
    }
    if (v.icmp_type >= 0) {
        key(w, "icmp");
        w.StartObject();
        number(w, "type", v.icmp_type);
        number(w, "code", v.icmp_code);
        number(w, "id", v.icmp_id);
        number(w, "seq", v.icmp_seq);
        w.EndObject();
    }
    w.EndObject();
}

void record(Writer &w, const Values &v) {
    w.StartObject();
    text(w, "@timestamp", v.timestamp);
    key(w, "ecs");
    w.StartObject();
    text(w, "version", "8.17.0");
    w.EndObject();
    key(w, "event");
    w.StartObject();
    text(w, "kind", "event");
    key(w, "category");
    w.StartArray();
    w.String("network", 7);
    w.EndArray();
    key(w, "type");
    w.StartArray();
    w.String("info", 4);
    w.EndArray();
    text(w, "module", "ringtap");
    text(w, "dataset", "ringtap.packet");
    text(w, "id", v.id);
    key(w, "sequence");
    w.Uint64(v.sequence);
    w.EndObject();
    key(w, "observer");
    w.StartObject();
    text(w, "name", v.observer);
    text(w, "hostname", v.hostname);
    key(w, "ingress");
    w.StartObject();
    key(w, "interface");
    w.StartObject();
    text(w, "name", v.interface);
    w.EndObject();
    w.EndObject();
    w.EndObject();
    key(w, "network");
    w.StartObject();
    text(w, "type", v.type);
    text(w, "transport", v.transport);
    text(w, "iana_number", v.iana_number);
    key(w, "bytes");
    w.Uint64(v.bytes);
    if (v.vlan.at) {
        key(w, "vlan");
        w.StartObject();
        text(w, "id", v.vlan);
        w.EndObject();
    }
    if (v.inner_vlan.at) {
        key(w, "inner");
        w.StartObject();
        key(w, "vlan");
        w.StartObject();
        text(w, "id", v.inner_vlan);
        w.EndObject();
        w.EndObject();
    }
    w.EndObject();
    endpoint(w, "source", v.source);
    endpoint(w, "destination", v.destination);
    ours(w, v);
    w.EndObject();
}

// Both are used again for each record: nothing is allocated once they have grown.
struct Contestant {
    rapidjson::StringBuffer buffer;
    Writer writer{buffer};
};

} // namespace

extern "C" {

Contestant *rapidjson_new() { return new Contestant; }

void rapidjson_delete(Contestant *contestant) { delete contestant; }

size_t rapidjson_sizeof_values() { return sizeof(Values); }

// The octets are there until the next call.
const char *rapidjson_write(Contestant *contestant, const Values *values, size_t *length) {
    contestant->buffer.Clear();
    contestant->writer.Reset(contestant->buffer);
    record(contestant->writer, *values);
    *length = contestant->buffer.GetSize();
    return contestant->buffer.GetString();
}
}
