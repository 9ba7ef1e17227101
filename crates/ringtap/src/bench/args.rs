//! The command line of `ringtap bench`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use pktgen::Rate;

use super::stages::Goal;
use crate::backends::Backend;
use crate::config::options::Summary;
use crate::config::values::{Millis, Plain, Ranged};

const EXIT_CODES: &str = "Exit codes: 0 all that was asked for was measured, whatever was lost; 1 interrupted, or something could not be \
    measured, which the last line names: every run of a contestant failed, nothing arrived at a sink, what is missing is \
    not known; 2 wrong usage, or it could not begin.";

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub measure: Measure,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Measure {
    /// Frames sent, received, dropped as the mechanism says, and really missing by their numbers, at each rate; medians
    #[command(after_help = EXIT_CODES)]
    DropRate {
        /// Frames per second; max for as fast as the generator goes
        #[arg(long, value_name = "RATE,...", value_delimiter = ',', default_value = "1000,max")]
        rates: Vec<Rate>,
        /// Runs of each mechanism at each rate
        #[arg(long, value_name = "N", default_value = "5")]
        repeats: Ranged<Plain, 1, 1000>,
        /// Length of each run
        #[arg(long, value_name = "TIME", default_value = "30s")]
        time: Ranged<Millis, 100, 86_400_000>,
        #[command(flatten)]
        common: Common,
    },
    /// Time from the first frame sent to the Nth captured
    #[command(after_help = EXIT_CODES)]
    Elapsed {
        /// Frames to capture: 1000, 100k, 10M
        #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1000,100k,10M", value_parser = some_frames)]
        packets: Vec<u64>,
        /// Runs of each mechanism
        #[arg(long, value_name = "N", default_value = "5")]
        repeats: Ranged<Plain, 1, 1000>,
        #[command(flatten)]
        common: Common,
    },
    /// The highest rate at which nothing is lost (RFC 2544, section 26.1), and the CPU time per million frames there
    #[command(after_help = EXIT_CODES)]
    ZeroLoss {
        /// Length of each trial
        #[arg(long, value_name = "TIME", default_value = "10s")]
        time: Ranged<Millis, 100, 86_400_000>,
        /// How exactly the rate is searched for, as a part of the highest
        #[arg(long, value_name = "PART", default_value = "0.01")]
        resolution: Part,
        #[command(flatten)]
        common: Common,
    },
    /// CPU time of a frame in each stage - ring, dissect, encode, hand-off, sink - and the time from the generator to the record in the
    /// file or topic, with every frame found there again by its number
    #[command(after_help = EXIT_CODES)]
    Stages {
        /// Frames per second; max for as fast as the generator goes
        #[arg(long, value_name = "RATE", default_value = "100k")]
        rate: Rate,
        /// Rounds: all stages once in each
        #[arg(long, value_name = "N", default_value = "5")]
        repeats: Ranged<Plain, 1, 1000>,
        /// Length of each run
        #[arg(long, value_name = "TIME", default_value = "3s")]
        time: Ranged<Millis, 100, 600_000>,
        /// Sink to measure, where records are looked for afterwards: kafka://host:9092/topic or file:///path; may be given several times
        /// [default: a file in the temporary folder]
        #[arg(long = "to", value_name = "URL")]
        goals: Vec<Goal>,
        #[command(flatten)]
        common: Common,
    },
    /// Receive what `ringtap gen --stream N` sends from another machine, until the streams end, and tell what is missing, doubled,
    /// reordered and late
    #[command(after_help = EXIT_CODES)]
    Expect {
        /// Streams to wait for, whichever they are
        #[arg(long, value_name = "N", default_value = "1")]
        streams: Ranged<Plain, 1, 65_536>,
        /// Take these streams only, and wait for all of them
        #[arg(long = "stream", value_name = "ID,...", value_delimiter = ',', conflicts_with = "streams")]
        only: Vec<u16>,
        /// Runs of the sender to wait for, two seconds and more between them: medians
        #[arg(long, value_name = "N", default_value = "1")]
        repeats: Ranged<Plain, 1, 1000>,
        /// Receive here
        #[arg(short = 'i', long = "interface", value_name = "IFACE")]
        interface: String,
        /// Mechanism
        #[arg(long, value_enum, default_value_t)]
        backend: Backend,
        /// Queues [default: 1; all that there are for afxdp and netmap]
        #[arg(long, value_name = "N")]
        queues: Option<Ranged<Plain, 1, 64>>,
        /// The libpcap of the backend pcap [default: the system's]
        #[arg(long, value_name = "PATH")]
        libpcap: Option<PathBuf>,
        /// End a run after this time though a stream has not ended
        #[arg(long, value_name = "TIME")]
        time: Option<Ranged<Millis, 100, 86_400_000>>,
        /// How the result is printed
        #[arg(long, value_enum, default_value_t)]
        summary: Summary,
        #[command(flatten)]
        files: FileArgs,
    },
}

impl Measure {
    /// Of those that send and receive on this machine.
    pub(crate) fn common(&self) -> Option<&Common> {
        match self {
            Self::DropRate { common, .. }
            | Self::Elapsed { common, .. }
            | Self::ZeroLoss { common, .. }
            | Self::Stages { common, .. } => Some(common),
            Self::Expect { .. } => None,
        }
    }
}

/// A number of frames, and at least one.
fn some_frames(text: &str) -> Result<u64, String> {
    match pktgen::frames(text).map_err(|error| error.to_string())? {
        0 => Err("at least one frame is to be captured".to_owned()),
        frames => Ok(frames),
    }
}

/// Where it is measured without ports of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// A veth pair between two namespaces.
    #[default]
    Veth,
    /// Two ports of a VALE switch, for netmap alone: needs its module.
    Vale,
}

/// What all measurements share.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Mechanisms of ringtap [default: all that are usable]
    #[arg(long = "backend", value_name = "NAME,...", value_enum, value_delimiter = ',')]
    pub backends: Vec<Backend>,
    /// Other programs: tcpdump, dumpcap, tshark, netsniff-ng, scapy, or NAME=COMMAND with {iface} and {file} in it, which
    /// writes a capture file and ends on SIGINT; all for every known one of these that is installed. pkt-gen and pfcount only count
    #[arg(long = "program", value_name = "NAME,...|NAME=COMMAND")]
    pub programs: Vec<String>,
    /// Octets of a frame, without the frame check sequence
    #[arg(short = 'l', long = "length", value_name = "OCTETS", default_value = "60")]
    pub length: Ranged<Plain, 60, 9018>,
    /// Receive here, and send by --send on this machine too: a cable between two ports [default: a veth pair made for the purpose]
    #[arg(short = 'i', long = "interface", value_name = "IFACE", requires = "send")]
    pub interface: Option<String>,
    /// Send here
    #[arg(long, value_name = "IFACE", requires = "interface")]
    pub send: Option<String>,
    /// What is made for the purpose
    #[arg(long, value_enum, default_value_t, conflicts_with = "interface")]
    pub lab: Place,
    /// Queues of each mechanism [default: 1; all that there are for afxdp and netmap, which lose what comes to others]
    #[arg(long, value_name = "N")]
    pub queues: Option<Ranged<Plain, 1, 64>>,
    /// The libpcap of the backend pcap [default: the system's]
    #[arg(long, value_name = "PATH")]
    pub libpcap: Option<PathBuf>,
    #[command(flatten)]
    pub files: FileArgs,
}

/// Where the report goes.
#[derive(Args, Debug)]
pub(crate) struct FileArgs {
    /// Write the report here as JSON; - is standard output, and the table goes to standard error then
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report here as a page with plots; - as with --json
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// A part of one, above 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part(pub f64);

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = text.parse().ok().filter(|part| (0.0001..=0.5).contains(part));
        part.map(Self).ok_or_else(|| format!("{text:?} is not a part from 0.0001 to 0.5"))
    }
}
