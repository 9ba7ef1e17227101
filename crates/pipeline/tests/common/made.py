# Writes one pcap file of Ethernet frames, some of each protocol, by scapy: packets that nobody of this project encoded.
import sys
import warnings

warnings.filterwarnings("ignore")
from scapy.all import *
from scapy.contrib.igmp import IGMP
from scapy.contrib.mpls import MPLS

eth = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
v4 = IP(src="192.0.2.1", dst="198.51.100.2", id=7, ttl=61)
v6 = IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=63, fl=0xABCDE, tc=0xB9)
opts = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (123456, 654321)), ("NOP", None), ("WScale", 7)]
syn = TCP(sport=40000, dport=443, seq=0xFFFFFFF0, flags="S", options=opts)
sack = TCP(sport=1, dport=65535, flags="FPUECN", options=[("SAck", (1, 2, 3, 4))], window=0)
udp = UDP(sport=53, dport=5353) / b"payload"

above_ip = [syn, sack, udp, SCTP(sport=5, dport=6, tag=0x01020304), UDP(sport=1, dport=2, len=0) / b"x"]
packets = []
for transport in above_ip:
    packets += [eth / v4 / transport, eth / v6 / transport]
    packets += [eth / Dot1Q(vlan=100, prio=5, id=1) / v4 / transport]
    packets += [eth / Dot1AD(vlan=200) / Dot1Q(vlan=4095) / v6 / transport]
    packets += [eth / MPLS(label=16, s=0) / MPLS(label=1048575, s=1) / v4 / transport]
    packets += [eth / PPPoE(sessionid=77) / PPP(proto=0x21) / v4 / transport]
    packets += [eth / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x800) / v4 / transport]
packets += [eth / v4 / ICMP(type=8, id=1, seq=2), eth / v4 / ICMP(type=3, code=4) / v4 / udp]
packets += [eth / v6 / ICMPv6EchoRequest(id=9, seq=10), eth / v6 / ICMPv6ND_NS(tgt="2001:db8::3")]
packets += [eth / v4 / IGMP(type=0x16, gaddr="224.0.0.5"), eth / ARP(op=1, psrc="192.0.2.1", pdst="192.0.2.2")]
packets += [eth / IP(src="192.0.2.1", dst="192.0.2.9", options=[IPOption_RR(), IPOption_Router_Alert()]) / udp]
packets += [eth / v4 / GRE() / v4 / udp, eth / v4 / AH(nh=17, payloadlen=4, icv=b"0" * 12) / udp, eth / v4 / ESP(spi=1, seq=2)]
packets += [eth / fragment for fragment in (v4 / UDP(sport=7, dport=8) / (b"f" * 3000)).fragment(1400)]
packets += [eth / v6 / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"00")]) / udp]
packets += [eth / v6 / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=0) / syn]
packets += [eth / v6 / IPv6ExtHdrFragment(id=5, m=1) / udp, eth / v6 / IPv6ExtHdrFragment(id=5, offset=185) / b"rest"]
packets += [eth / v6 / AH(nh=6, payloadlen=4, icv=b"0" * 12) / syn, eth / v6 / v4 / udp, eth / v4 / v6 / udp]
packets += [Dot3(dst="01:80:c2:00:00:00", src="02:00:00:00:00:01") / LLC() / STP(), eth / v4 / UDP(dport=4789) / VXLAN() / eth / v4 / udp]
packets += [Ether(bytes(packet)[:cut]) for packet in packets[:8] for cut in range(14, 60, 5)]
for number, packet in enumerate(packets):
    packet.time = 1_700_000_000 + number / 8
wrpcap(sys.argv[1], packets, linktype=1)
