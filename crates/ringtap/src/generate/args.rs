//! The command line of `ringtap gen`.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use pktgen::{Endpoints, MacRange, Rate};

use crate::backends::Backend;
use crate::config::options::Summary;
use crate::config::values::{Millis, Plain, Ranged};

/// What is done, by pkt-gen's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Function {
    /// Send.
    #[default]
    Tx,
    /// Receive and count, until -n frames have come, --duration is over, or Ctrl-C. To find what is missing see `bench expect`
    Rx,
}

/// How frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl TryFrom<Backend> for TxBackend {
    type Error = anyhow::Error;

    fn try_from(backend: Backend) -> Result<Self, Self::Error> {
        match backend {
            Backend::Afpacket => Ok(Self::Afpacket),
            Backend::Afxdp => Ok(Self::Afxdp),
            Backend::Netmap => Ok(Self::Netmap),
            Backend::Packet => Ok(Self::Packet),
            Backend::Pfring | Backend::Pcap => {
                bail!(
                    "--backend {} is for receiving; frames are sent by afpacket, afxdp, netmap or packet",
                    backend.name()
                )
            }
        }
    }
}

/// What the packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// UDP.
    Udp,
    /// TCP segments without a handshake (ACK).
    Tcp,
    /// Echo requests.
    Icmp,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct GenArgs {
    /// Interface to send on, or to receive on
    #[arg(short = 'i', long = "interface", value_name = "IFACE")]
    pub interface: String,
    /// What to do
    #[arg(short = 'f', long = "function", value_enum, default_value_t)]
    pub function: Function,
    /// What is sent: uniform, imix (40, 576 and 1500 octets as 7:4:1), mix (TCP, DNS, ICMP, ARP, IPv6, VLAN: questions and answers, all to
    /// -D), hping3 (its raw IP form of 120 octets), or a capture file
    #[arg(long, value_name = "uniform|imix|mix|hping3|FILE", default_value = DEFAULT_PROFILE)]
    pub profile: String,
    /// Octets of a frame of the uniform profile, without the frame check sequence [default: 60, or as many as headers and stamp need]
    #[arg(short = 'l', long = "length", value_name = "OCTETS")]
    pub length: Option<Ranged<Plain, 14, 65_000>>,
    /// Frames to send, or to receive: 1000, 20k, 10M; 0 for no end
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 0, value_parser = pktgen::frames)]
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
    /// Source MAC addresses [default: the interface's]; the answers of the mix have it with 02 set, 01 cleared and 40 inverted in the first octet
    #[arg(short = 'S', long = "source-mac", value_name = "MAC[-MAC]")]
    pub source_mac: Option<MacRange>,
    /// Destination MAC addresses [default: ff:ff:ff:ff:ff:ff]
    #[arg(short = 'D', long = "destination-mac", value_name = "MAC[-MAC]")]
    pub destination_mac: Option<MacRange>,
    /// What the packets of the uniform profile carry [default: udp]
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// VLAN identifier of an 802.1Q tag, for uniform and imix
    #[arg(long, value_name = "ID")]
    pub vlan: Option<Ranged<Plain, 0, 4095>>,
    /// Stamp each frame with this stream's number, a sequence number and the time, so that the other end finds what is missing; at the end
    /// three more frames tell how many there were. Frames without payload (in the mix: TCP without data, ARP) have it behind the packet,
    /// where hops that route or trim drop it
    #[arg(long, value_name = "N")]
    pub stream: Option<u16>,
    /// Frames handed over at once at most [default: 64; 512 for netmap as fast as it goes]
    #[arg(short = 'b', long = "burst", value_name = "N")]
    pub burst: Option<Ranged<Plain, 1, 4096>>,
    /// Threads, each with a ring of its own [default: 1; to receive by afxdp and netmap as many as there are queues]
    #[arg(short = 'p', long = "threads", value_name = "N")]
    pub threads: Option<Ranged<Plain, 1, 64>>,
    /// Cores to use: threads are pinned to them in turn [default: without -c and -a threads are not pinned]
    #[arg(short = 'c', long = "cores", value_name = "N")]
    pub cores: Option<Ranged<Plain, 1, 4096>>,
    /// The core of the first thread, from 0; the others follow
    #[arg(short = 'a', long = "affinity", value_name = "CORE")]
    pub affinity: Option<Ranged<Plain, 0, 4095>>,
    /// Seconds to wait for the link
    #[arg(short = 'w', long = "wait-link", value_name = "SECONDS", default_value_t = 2)]
    pub wait_link: u64,
    /// End after this time
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Ranged<Millis, 1, { u64::MAX }>>,
    /// Capture file: as often as this, 0 for no end [default: 1]
    #[arg(long, value_name = "N")]
    pub rounds: Option<u64>,
    /// Capture file: with its own times, this much faster [default: by the rate]
    #[arg(long, value_name = "FACTOR", conflicts_with = "rate")]
    pub speed: Option<Speed>,
    /// Mechanism [default: afpacket; to send where the driver is software, such as veth, packet, which is faster there]
    #[arg(long, value_enum)]
    pub backend: Option<Backend>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub summary: Summary,
}

const DEFAULT_PROFILE: &str = "uniform";

impl GenArgs {
    /// An option without effect is a misunderstanding, and is told.
    pub(crate) fn check(&self) -> Result<()> {
        let tx = self.function == Function::Tx;
        let given = |option: &str, given: bool, used: bool, by: &str| match given && !used {
            true => bail!(
                "{option}: has no effect here; it is for {}",
                if tx || by.starts_with("-f tx") { by } else { "-f tx" }
            ),
            false => Ok(()),
        };
        let profile = |names: &[&str]| tx && names.contains(&self.profile.as_str());
        let file = tx && !["uniform", "imix", "mix", "hping3"].contains(&self.profile.as_str());
        given("--profile", self.profile != DEFAULT_PROFILE, tx, "-f tx")?;
        given("-l", self.length.is_some(), profile(&["uniform"]), "the profile uniform")?;
        given("--protocol", self.protocol.is_some(), profile(&["uniform"]), "the profile uniform")?;
        given("--vlan", self.vlan.is_some(), profile(&["uniform", "imix"]), "the profiles uniform and imix")?;
        for (option, is) in [
            ("-s", self.source.is_some()),
            ("-d", self.destination.is_some()),
            ("-S", self.source_mac.is_some()),
            ("-D", self.destination_mac.is_some()),
        ] {
            given(option, is, tx && !file, "the profiles uniform, imix, mix and hping3")?;
        }
        given("--stream", self.stream.is_some(), tx, "-f tx; what arrives of it is told by `ringtap bench expect`")?;
        given("-R", self.rate.is_some(), tx, "-f tx")?;
        given("-b", self.burst.is_some(), tx, "-f tx")?;
        given("--rounds", self.rounds.is_some(), file, "capture files")?;
        given("--speed", self.speed.is_some(), file, "capture files")
    }

    /// Pins the calling thread, the `nth` of this run, if that is wanted.
    pub(crate) fn pin(&self, nth: usize) {
        if self.cores.is_none() && self.affinity.is_none() {
            return;
        }
        let first = self.affinity.map_or(0, |core| core.get() as usize);
        let cores = self.cores.map_or(usize::MAX, |cores| cores.get() as usize);
        let core = (first + nth) % cores;
        if let Err(error) = crate::session::pin_to_core(core) {
            tracing::warn!("thread {nth} is not pinned: core {core} cannot be used ({error})");
        }
    }
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
