# Reads flow records, one a line, and says which have another Community ID than the reference implementation gives; then how many of each protocol.
import collections
import json
import sys

sys.path.insert(0, sys.argv[1])
from communityid import CommunityID, FlowTuple
from communityid.algo import PORT_PROTOS

reference, seen = CommunityID(), collections.Counter()
for line in sys.stdin:
    record = json.loads(line)
    network, source, destination = record["network"], record.get("source", {}), record.get("destination", {})
    identifier = network.get("community_id")
    if "iana_number" not in network or "ip" not in source or "ip" not in destination:
        if identifier is not None:
            print("an identifier without an IP packet:", line, end="")
        continue
    protocol = int(network["iana_number"])
    icmp = record.get("ringtap", {}).get("icmp", {})
    if protocol in (1, 58):
        ports = icmp.get("type", 0), icmp.get("code", 0)
    elif protocol in PORT_PROTOS:
        ports = source.get("port", 0), destination.get("port", 0)
    else:
        ports = None, None
    wanted = reference.calc(FlowTuple(protocol, source["ip"], destination["ip"], *ports))
    seen[protocol] += 1
    if identifier != wanted:
        print(identifier, "and not", wanted, ":", line, end="")
print("seen", json.dumps(seen))
