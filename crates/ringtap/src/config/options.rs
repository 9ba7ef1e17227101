//! All options, each defined once: as a flag and as a key of the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use capture::CaptureDirection;
use capture_afpacket::FanoutMode;
use capture_afxdp::{Attach as XdpAttach, Mode as XdpMode};
use clap::{Args, ValueEnum};
use pipeline::enrich::Network;
use serde::Deserialize;

use super::values::{Millis, Octets, Parsed, Plain, Ranged, SensorName, list, one_of, sinks, texts};
use crate::backends::Backend;

/// A group of options of which some are given: `a.or(b)` takes from `b` what `a` does not have.
macro_rules! options {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Args, Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $name {
            /// These, and from `weaker` what they leave open.
            #[must_use]
            pub(crate) fn or(self, weaker: Self) -> Self {
                Self { $($field: Layer::or(self.$field, weaker.$field),)* }
            }
        }
    };
}

/// How the values of two sources become one.
trait Layer {
    fn or(self, weaker: Self) -> Self;
}

impl<T> Layer for Option<T> {
    fn or(self, weaker: Self) -> Self {
        Option::or(self, weaker)
    }
}

impl<T> Layer for Vec<T> {
    fn or(self, weaker: Self) -> Self {
        if self.is_empty() { weaker } else { self }
    }
}

/// Single keys win over single keys.
impl Layer for BTreeMap<String, String> {
    fn or(self, mut weaker: Self) -> Self {
        weaker.extend(self);
        weaker
    }
}

/// What becomes of frames.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Records {
    /// One record per frame.
    Packets,
    /// Reports of flows: who talked to whom, how much, how long answers took.
    Flows,
    /// Both.
    Both,
    /// Reports of flows, and records of packets as long as the sinks keep up.
    Auto,
}

/// Applications whose payloads are read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum App {
    /// Questions, response codes, sizes.
    Dns,
    /// ClientHellos: server name, ALPN, JA4.
    Tls,
    /// Request line and host.
    Http,
}

/// How the ledger is printed at the end.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Summary {
    /// For people.
    #[default]
    Text,
    /// One JSON object on one line; what is unknown is null.
    Json,
}

options! {
    /// What to capture, and how.
    CaptureOptions {
        /// Interface to capture on; may be given several times [default: the one of the default route]
        #[arg(short = 'i', long = "interface", value_name = "IFACE")]
        #[serde(rename = "interfaces", deserialize_with = "list")]
        interfaces: Vec<String>,

        /// Capture mechanism [default: afpacket]
        #[arg(long, value_enum)]
        backend: Option<Backend>,

        /// Queues per interface, each with a thread and a ring of its own [default: one per RSS queue, up to the cores]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        queues: Option<Ranged<Plain, 1, 256>>,

        /// Frames received (in), sent (out), or both and those for other stations too (promisc) [default: promisc]
        #[arg(long, value_name = "DIRECTION", value_parser = one_of::<CaptureDirection>(&["in", "out", "promisc"]))]
        direction: Option<Parsed<CaptureDirection>>,

        /// Octets captured of each frame; headers are all that is read [default: 256; with --app 2048]
        #[arg(long, value_name = "OCTETS", allow_negative_numbers = true)]
        snaplen: Option<Ranged<Plain, 64, 262_144>>,

        /// Octets of a ring block, a power of two [default: 256KiB]
        #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
        block_size: Option<Ranged<Octets, 4_096, 67_108_864>>,

        /// Blocks in each ring [default: 128 MiB or a sixteenth of the memory for all rings, but 16 blocks or more each]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        block_count: Option<Ranged<Plain, 2, 65_536>>,

        /// Time after which the kernel hands over a block that is not full [default: 10ms]
        #[arg(long, value_name = "TIME")]
        block_timeout: Option<Ranged<Millis, 1, 10_000>>,

        /// Octets that frames may take before they are read, of each queue, for pcap, packet and afxdp [default: 32MiB]
        #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
        buffer_size: Option<Ranged<Octets, 65_536, 2_147_483_647>>,

        /// Each frame at once instead of by blocks, for pcap
        #[arg(long, num_args = 0, default_missing_value = "true")]
        immediate: Option<bool>,

        /// Who stamps the time, for pcap: host, adapter, adapter_unsynced ... (pcap-tstamp(7)) [default: libpcap's]
        #[arg(long, value_name = "TYPE")]
        time_stamp_type: Option<String>,

        /// Who writes frames into memory, for afxdp: the driver (zerocopy), the kernel (copy) [default: auto]
        #[arg(long, value_name = "MODE", value_parser = one_of::<XdpMode>(&["auto", "zerocopy", "copy"]))]
        xdp_mode: Option<Parsed<XdpMode>>,

        /// Where the XDP program runs, for afxdp: in the driver (native), in the kernel's stack (generic) [default: auto]
        #[arg(long, value_name = "PLACE", value_parser = one_of::<XdpAttach>(&["auto", "native", "generic"]))]
        xdp_attach: Option<Parsed<XdpAttach>>,

        /// This machine keeps its network though frames are taken from it: afxdp passes on what the filter does not select, netmap all
        #[arg(long, num_args = 0, default_missing_value = "true")]
        host: Option<bool>,

        /// The frames' memory is of huge pages, for afxdp
        #[arg(long, num_args = 0, default_missing_value = "true")]
        huge_pages: Option<bool>,

        /// Number of the cluster by which several queues share an interface, for pfring [default: a free one]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        cluster_id: Option<Ranged<Plain, 1, 65_535>>,

        /// Frames that have to wait before the reader is woken up, for pfring; fewer are looked at after 10 ms [default: 128]
        #[arg(long, value_name = "FRAMES", allow_negative_numbers = true)]
        watermark: Option<Ranged<Plain, 1, 4_096>>,

        /// The libpfring by which zc:IFACE is opened, for pfring [default: wherever the loader finds it]
        #[arg(long, value_name = "PATH")]
        libpfring: Option<PathBuf>,

        /// How frames are dealt to queues: hash keeps flows together [default: hash]
        #[arg(long, value_name = "MODE", value_parser = one_of::<FanoutMode>(&["hash", "cpu", "qm", "rollover"]))]
        fanout: Option<Parsed<FanoutMode>>,

        /// Do not pin worker threads to cores
        #[arg(long, num_args = 0, default_missing_value = "true")]
        no_pinning: Option<bool>,
    }
}

options! {
    /// Which frames.
    FilterOptions {
        /// Only frames that match this BPF expression (pcap-filter(7)); given several times, all must match
        #[arg(short = 'f', long = "filter", value_name = "BPF")]
        #[serde(rename = "filters", deserialize_with = "list")]
        filters: Vec<String>,

        /// Where the filters stand, if there are any: the file and line, or the command line.
        #[arg(skip)]
        #[serde(skip)]
        origin: Option<String>,

        /// The libpcap that compiles filters, and that captures with --backend pcap [default: the system's]
        #[arg(long, value_name = "PATH")]
        libpcap: Option<PathBuf>,
    }
}

options! {
    /// What records look like and where they go.
    OutputOptions {
        /// Where records go; may be given several times: kafka://HOST:PORT/TOPIC, file:///PATH, stdout:, null: [default: stdout:]
        #[arg(long = "to", value_name = "SINK")]
        #[serde(rename = "to", deserialize_with = "sinks")]
        to: Vec<String>,

        /// What becomes of frames [default: auto; of a capture file: packets]
        #[arg(long, value_enum)]
        records: Option<Records>,

        /// Octets of a batch: of a Kafka message [default: 900000]
        #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
        batch_size: Option<Ranged<Octets, 16_384, 980_000>>,

        /// Time after which a batch is sent though it is not full [default: 200ms]
        #[arg(long, value_name = "TIME")]
        batch_age: Option<Ranged<Millis, 1, 60_000>>,

        /// Memory for batches under way, all queues together [default: run: a thirty-second of the machine's; replay: 24MiB]
        #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
        pool_memory: Option<Ranged<Octets, 4_194_304, 1_099_511_627_776>>,

        /// How long to go on delivering after the end [default: 10s]
        #[arg(long, value_name = "TIME")]
        drain_timeout: Option<Ranged<Millis, 0, 3_600_000>>,

        /// End at the start if a sink does not answer, instead of trying again
        #[arg(long, num_args = 0, default_missing_value = "true")]
        require_sinks: Option<bool>,

        /// The sensor's name in the records [default: the host's]
        #[arg(long, value_name = "NAME")]
        sensor: Option<SensorName>,
    }
}

options! {
    /// Flows.
    FlowOptions {
        /// Memory for flows, all queues together; when it is full, the flow that was silent for the longest time is reported early [default: run: a sixteenth of the machine's, at most 4GiB; replay: 256MiB]
        #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
        #[serde(rename = "memory")]
        flow_memory: Option<Ranged<Octets, 1_048_576, 1_099_511_627_776>>,

        /// Packets that have records beside flows: those that match this BPF expression; given several times, all must match
        #[arg(long, value_name = "BPF")]
        #[serde(rename = "packets-for", deserialize_with = "list")]
        packets_for: Vec<String>,

        /// Packets that have records beside flows: all packets of one flow in N, the same ones everywhere; records say N
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        #[serde(rename = "packets-sample")]
        packets_sample: Option<Ranged<Plain, 1, 1_000_000>>,

        /// More signatures of SYNs, by which systems are guessed: a database in p0f's format, as /etc/p0f/p0f.fp
        #[arg(long, value_name = "FILE")]
        #[serde(rename = "os-signatures")]
        os_signatures: Option<PathBuf>,

        /// Tunnels that are opened, one within another: what they carry has flows of its own; 0 for none [default: 4]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        #[serde(rename = "tunnel-depth")]
        tunnel_depth: Option<Ranged<Plain, 0, 8>>,

        /// Time after which a flow that goes on is reported [default: 60s]
        #[arg(long, value_name = "TIME")]
        #[serde(rename = "active")]
        flow_active: Option<Ranged<Millis, 1_000, 86_400_000>>,

        /// Time without a packet after which an open TCP connection is over [default: 5min]
        #[arg(long, value_name = "TIME")]
        #[serde(rename = "tcp")]
        flow_tcp: Option<Ranged<Millis, 1_000, 86_400_000>>,

        /// The same of a TCP connection whose SYN was not answered [default: 30s]
        #[arg(long, value_name = "TIME")]
        #[serde(rename = "tcp-opening")]
        flow_tcp_opening: Option<Ranged<Millis, 1_000, 86_400_000>>,

        /// The same of a TCP connection after both FINs or a RST, for what is still under way [default: 5s]
        #[arg(long, value_name = "TIME")]
        #[serde(rename = "tcp-closing")]
        flow_tcp_closing: Option<Ranged<Millis, 100, 86_400_000>>,

        /// The same of UDP [default: 60s]
        #[arg(long, value_name = "TIME")]
        #[serde(rename = "udp")]
        flow_udp: Option<Ranged<Millis, 1_000, 86_400_000>>,

        /// The same of all other protocols [default: 60s]
        #[arg(long, value_name = "TIME")]
        #[serde(rename = "other")]
        flow_other: Option<Ranged<Millis, 1_000, 86_400_000>>,

        /// Reads the payloads of these applications, for flows: names that were asked for, server names, requests [default: none]
        #[arg(long, value_enum, value_delimiter = ',', value_name = "dns,tls,http", hide_possible_values = true)]
        #[serde(deserialize_with = "list")]
        app: Vec<App>,
    }
}

options! {
    /// What is known of addresses and ports.
    EnrichOptions {
        /// Leave out countries, autonomous systems, special ranges, direction and services
        #[arg(long, num_args = 0, default_missing_value = "true")]
        #[serde(rename = "off")]
        no_enrich: Option<bool>,

        /// Database of countries (MMDB of any maker, or lines of ranges), read again when it is replaced [default: country.mmdb in /var/lib/ringtap, or GeoLite2-Country.mmdb in /var/lib/GeoIP or /usr/share/GeoIP, if there]
        #[arg(long, value_name = "FILE")]
        geo_country: Option<PathBuf>,

        /// Database of autonomous systems, as well [default: asn.mmdb, GeoLite2-ASN.mmdb, as well]
        #[arg(long, value_name = "FILE")]
        geo_asn: Option<PathBuf>,

        /// Networks that are home: they tell inbound from outbound; may be given several times [default: the private ones: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7]
        #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        home: Vec<Parsed<Network>>,

        /// Names of services by port, over those of /etc/services
        #[arg(skip)]
        services: BTreeMap<String, String>,
    }
}

options! {
    /// Kafka.
    KafkaOptions {
        /// Any option of librdkafka; may be given several times
        #[arg(skip)]
        #[serde(deserialize_with = "texts")]
        librdkafka: BTreeMap<String, String>,
    }
}

options! {
    /// How the account is given.
    LedgerOptions {
        /// How often the ledger is logged; 0s for never [default: 60s]
        #[arg(long, value_name = "TIME")]
        #[serde(rename = "interval")]
        ledger_interval: Option<Ranged<Millis, 0, 86_400_000>>,

        /// How the ledger is printed at the end [default: text]
        #[arg(long, value_enum)]
        summary: Option<Summary>,
    }
}

/// Levels of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Something is lost or cannot go on.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What a user wants to know.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
}

options! {
    /// The log.
    LogOptions {
        /// The least that is logged [default: info]
        #[arg(long = "log-level", value_enum, global = true)]
        #[serde(rename = "level")]
        log_level: Option<Level>,

        /// Log to ringtap.log in this directory too, for services: rotated at 10 MB and compressed
        #[arg(long = "log-dir", value_name = "DIR", global = true)]
        #[serde(rename = "dir")]
        log_dir: Option<PathBuf>,
    }
}

options! {
    /// A configuration file: every section and key may be left out.
    ConfigFile {
        /// `[capture]`
        #[command(flatten)]
        capture: CaptureOptions,
        /// `[filter]`
        #[command(flatten)]
        filter: FilterOptions,
        /// `[output]`
        #[command(flatten)]
        output: OutputOptions,
        /// `[flows]`
        #[command(flatten)]
        flows: FlowOptions,
        /// `[enrich]`
        #[command(flatten)]
        enrich: EnrichOptions,
        /// `[kafka]`
        #[command(flatten)]
        kafka: KafkaOptions,
        /// `[ledger]`
        #[command(flatten)]
        ledger: LedgerOptions,
        /// `[log]`
        #[command(flatten)]
        log: LogOptions,
    }
}

macro_rules! layers {
    ($($name:ident),*) => {$(
        impl Layer for $name {
            fn or(self, weaker: Self) -> Self {
                $name::or(self, weaker)
            }
        }
    )*};
}

layers!(
    CaptureOptions,
    FilterOptions,
    OutputOptions,
    FlowOptions,
    EnrichOptions,
    KafkaOptions,
    LedgerOptions,
    LogOptions
);
