//! The command line of `ringtap gen`.

use clap::{Args, ValueEnum};
use pktgen::{Endpoints, MacRange, Rate};

use crate::config::options::Summary;
use crate::config::values::{Millis, Plain, Ranged};

/// How frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TxBackend {
    /// AF_PACKET TX ring, past the queueing discipline.
    Afpacket,
    /// AF_XDP, by the first queue: needs no program, and cannot be beside a capture by afxdp on that queue.
    Afxdp,
    /// netmap: -i takes VALE ports and pipes, too.
    Netmap,
    /// A packet socket without a ring (sendmmsg).
    Packet,
}

/// What the packets carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// UDP.
    #[default]
    Udp,
    /// TCP segments without a handshake (ACK).
    Tcp,
    /// Echo requests.
    Icmp,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct GenArgs {
    /// Interface to send on
    #[arg(short = 'i', long = "interface", value_name = "IFACE")]
    pub interface: String,
    /// What is sent: uniform, imix (40, 576 and 1500 octets as 7:4:1), mix (TCP, DNS, ICMP, ARP, IPv6, VLAN), hping3 (its raw IP form of
    /// 120 octets), or a capture file
    #[arg(long, value_name = "uniform|imix|mix|hping3|FILE", default_value = "uniform")]
    pub profile: String,
    /// Octets of a frame of the uniform profile, without the frame check sequence
    #[arg(short = 'l', long = "length", value_name = "OCTETS", default_value = "60")]
    pub length: Ranged<Plain, 14, 65_000>,
    /// Frames to send; 0 for no end
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 0)]
    pub count: u64,
    /// Frames per second: 1000, 20k, 1.389M; 0 or max for as fast as it goes [default: max]
    #[arg(short = 'R', long = "rate", value_name = "RATE")]
    pub rate: Option<Rate>,
    /// Source addresses and ports [default: 10.0.0.1:1234]
    #[arg(short = 's', long = "source", value_name = "IP[:PORT][-IP[:PORT]]")]
    pub source: Option<Endpoints>,
    /// Destination addresses and ports [default: 10.1.0.1:1234]
    #[arg(short = 'd', long = "destination", value_name = "IP[:PORT][-IP[:PORT]]")]
    pub destination: Option<Endpoints>,
    /// Source MAC addresses [default: the interface's]
    #[arg(short = 'S', long = "source-mac", value_name = "MAC[-MAC]")]
    pub source_mac: Option<MacRange>,
    /// Destination MAC addresses
    #[arg(short = 'D', long = "destination-mac", value_name = "MAC[-MAC]", default_value = "ff:ff:ff:ff:ff:ff")]
    pub destination_mac: MacRange,
    /// What the packets of the uniform profile carry
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    /// VLAN identifier of an 802.1Q tag, for uniform and imix
    #[arg(long, value_name = "ID")]
    pub vlan: Option<Ranged<Plain, 0, 4095>>,
    /// Stamp each frame with this stream's number, a sequence number and the time, so that the other end finds what is missing; at the end
    /// three more frames tell how many there were
    #[arg(long, value_name = "N")]
    pub stream: Option<u16>,
    /// Frames handed over at once at most [default: 64; 512 for netmap as fast as it goes]
    #[arg(short = 'b', long = "burst", value_name = "N")]
    pub burst: Option<Ranged<Plain, 1, 4096>>,
    /// Threads, each with a ring of its own
    #[arg(short = 'p', long = "threads", value_name = "N", default_value = "1")]
    pub threads: Ranged<Plain, 1, 64>,
    /// Seconds to wait for the link
    #[arg(short = 'w', long = "wait-link", value_name = "SECONDS", default_value_t = 2)]
    pub wait_link: u64,
    /// End after this time
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Ranged<Millis, 1, { u64::MAX }>>,
    /// Capture file: as often as this, 0 for no end
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rounds: u64,
    /// Capture file: with its own times, this much faster [default: by the rate]
    #[arg(long, value_name = "FACTOR", conflicts_with = "rate")]
    pub speed: Option<Speed>,
    /// Mechanism [default: afpacket; packet, which is faster there, where the driver is software such as veth]
    #[arg(long, value_enum)]
    pub backend: Option<TxBackend>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub summary: Summary,
}

/// How much faster than captured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Speed(pub f64);

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a factor such as 1, 2.5 or 100 (0.001 to 1000000)");
        let factor: f64 = text.strip_suffix('x').unwrap_or(text).parse().map_err(|_| wrong())?;
        if (0.001..=1e6).contains(&factor) { Ok(Self(factor)) } else { Err(wrong()) }
    }
}
