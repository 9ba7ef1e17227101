# Writes one pcap file of tunnels of every kind, both directions of a connection in each, by scapy: packets that nobody of this project encoded.
import sys
import warnings

warnings.filterwarnings("ignore")
from scapy.all import *
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.contrib.gtp import GTP_U_Header, GTPPDUSessionContainer
from scapy.contrib.mpls import MPLS

# Of a known maker: by that tshark guesses what is Ethernet.
MACS = ["00:1b:21:00:00:01", "00:1b:21:00:00:02"]


def eth(back, kind=None):
    ends = MACS[::-1] if back else MACS
    return Ether(src=ends[0], dst=ends[1]) if kind is None else Ether(src=ends[0], dst=ends[1], type=kind)


def v4(back, net, **more):
    ends = [f"192.0.{net}.1", f"198.51.{net}.2"][:: -1 if back else 1]
    return IP(src=ends[0], dst=ends[1], **more)


def v6(back, net, **more):
    ends = [f"2001:db8:{net}::1", f"2001:db8:{net}::2"][:: -1 if back else 1]
    return IPv6(src=ends[0], dst=ends[1], **more)


def segments(net, ip):
    """A connection: SYN, SYN/ACK, ACK, question, answer."""
    there, back = dict(sport=40000 + net, dport=443), dict(sport=443, dport=40000 + net)
    yield False, ip(False, net) / TCP(**there, seq=100, flags="S", options=[("MSS", 1400)])
    yield True, ip(True, net) / TCP(**back, seq=500, ack=101, flags="SA", options=[("MSS", 1400)])
    yield False, ip(False, net) / TCP(**there, seq=101, ack=501, flags="A")
    yield False, ip(False, net) / TCP(**there, seq=101, ack=501, flags="PA") / b"question"
    yield True, ip(True, net) / TCP(**back, seq=501, ack=109, flags="PA") / b"an answer"


def udp(port, back, both=False):
    # The sender's port differs by direction, but of tunnels that have the same at both ends.
    return UDP(sport=port if both else 50000 + back, dport=port, chksum=0)


GRE_KEY = dict(key_present=1)
tunnels = [
    lambda b, net, p: eth(b) / v4(b, 250) / p,
    lambda b, net, p: eth(b) / v6(b, 250) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / GRE() / p,
    lambda b, net, p: eth(b) / v6(b, 250) / GRE(key_present=1, key=7 + b, chksum_present=1, seqnum_present=1, seqence_number=3) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / GRE(proto=0x6558) / eth(b) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / GRE(proto=0x6558, key_present=1, key=0x00123405) / eth(b) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / GRE(proto=0x88BE, seqnum_present=1, seqence_number=1) / Raw(bytes.fromhex("1064000500000000")) / eth(b) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / GRE(proto=0x22EB, seqnum_present=1, seqence_number=1) / Raw(bytes.fromhex("206400050000000100000000")) / eth(b) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / GRE(proto=0x8847) / MPLS(label=99 + b, s=1) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / udp(4789, b) / VXLAN(vni=42, flags="Instance") / eth(b) / p,
    lambda b, net, p: eth(b) / v6(b, 250) / udp(4789, b) / VXLAN(vni=43, flags="Instance") / eth(b) / Dot1Q(vlan=9) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / udp(6081, b) / GENEVE(vni=44) / eth(b) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / udp(6081, b) / GENEVE(vni=45, options=[GeneveOptions(classid=1, type=2, data=b"1234")]) / eth(b) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / udp(2152, b, both=True) / GTP_U_Header(teid=1000 + b) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / udp(2152, b, both=True) / GTP_U_Header(teid=1000 + b, E=1, next_ex=0x85) / GTPPDUSessionContainer(type=1, QFI=5) / p,
    lambda b, net, p: eth(b) / v4(b, 250) / udp(1701, b, both=True) / Raw(bytes.fromhex("0002") + bytes([0, 1, 0, 2 + b]) + bytes.fromhex("ff03") + (b"\0\x21" if IP in p and p.version == 4 else b"\0\x57")) / p,
    lambda b, net, p: eth(b) / MPLS(label=16 + b, s=0) / MPLS(label=77, s=1) / p,
    lambda b, net, p: eth(b) / MPLS(label=18 + b, s=1) / eth(b) / p,
    lambda b, net, p: eth(b) / MPLS(label=20 + b, s=1) / Raw(b"\0\0\0\0") / eth(b) / p,
    lambda b, net, p: eth(b, 0x8864) / PPPoE(sessionid=5) / PPP(proto=0x21 if p.version == 4 else 0x57) / p,
    # In several, one within another.
    lambda b, net, p: eth(b) / v4(b, 250) / udp(4789, b) / VXLAN(vni=46, flags="Instance") / eth(b) / v4(b, 251) / GRE() / p,
    lambda b, net, p: eth(b) / v6(b, 250) / GRE() / v4(b, 251) / udp(2152, b, both=True) / GTP_U_Header(teid=7) / p,
]
packets = []
net = 0
for tunnel in tunnels:
    for ip in (v4, v6):
        net += 1
        for back, segment in segments(net, ip):
            packets.append(tunnel(back, net, segment))
# IPv6 only.
net += 1
for back, segment in segments(net, v6):
    packets.append(eth(back) / v4(back, 250) / udp(3544, back, both=True) / segment)
# What is too long for a tunnel comes in pieces: the first holds the start of what is inside.
whole = v4(False, 250, id=77) / udp(4789, False) / VXLAN(vni=47, flags="Instance") / eth(False) / v4(False, 200) / UDP(sport=7, dport=8) / (b"x" * 3000)
packets += [eth(False) / piece for piece in fragment(whole, 1400)]
# Errors about what is in a tunnel, and about the tunnel.
lost = v4(False, 201) / UDP(sport=9, dport=10) / b"lost"
packets.append(eth(False) / v4(False, 250) / GRE() / lost)
packets.append(eth(True) / v4(True, 250) / GRE() / v4(True, 201) / ICMP(type=3, code=3) / lost)
packets.append(eth(True) / v4(True, 250) / ICMP(type=3, code=1) / v4(False, 250, proto=17) / UDP(sport=50000, dport=4789))
for number, packet in enumerate(packets):
    packet.time = 1_700_000_000 + number / 8
wrpcap(sys.argv[1], packets, linktype=1)
