//! Benchmarks: ratios against named contestants in the same run, medians, the target beside them.

mod delivery;
mod enrich;
mod flows;
mod hot_path;
mod idle;
mod kafka;
mod live;
mod mechanisms;
mod program;
#[cfg(feature = "rapidjson")]
mod rapidjson;
pub(crate) mod receive;
mod replay;
mod traffic;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Dissect and encode in memory, against etherparse with serde_json
    ///
    /// With RapidJSON's Writer as a further contestant of the encoder: cargo run --release -p xtask --features rapidjson --
    /// bench hot-path (needs a C++ compiler and its headers; Debian: rapidjson-dev).
    HotPath,
    /// What countries, autonomous systems, ranges, services and direction cost a lookup, a packet's record and a flow's
    Enrich {
        /// A database of countries [default: one that is made]
        #[arg(long)]
        country: Option<PathBuf>,
        /// A database of autonomous systems [default: one that is made]
        #[arg(long)]
        asn: Option<PathBuf>,
        /// Different addresses outside of the home network
        #[arg(long, default_value_t = 65_536)]
        addresses: usize,
    },
    /// Capture files to JSON, against tcpdump's copying and tshark -T ek
    Replay {
        /// Packets in each file
        #[arg(long, default_value_t = 5_000_000)]
        packets: u64,
    },
    /// Frames to flows: capture files against softflowd, nfpcapd and pmacctd, the table against hashbrown, live, in a flood
    Flows {
        /// Parts of it [default: all]
        parts: Vec<flows::Part>,
        /// Packets in each file, of 1,000 to 1,000,000 flows
        #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1_000_000..))]
        packets: u32,
        /// Of each contestant
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// Live capture on a veth pair, against tcpdump and a bare ring; latency; two queues
    Live {
        /// Frames in each run
        #[arg(long, default_value_t = 5_000_000)]
        frames: u64,
    },
    /// Each mechanism that runs on a veth pair, against the best bare loop or program that uses it
    Mechanisms {
        /// Frames in each run
        #[arg(long, default_value_t = 3_000_000)]
        frames: u64,
    },
    /// Live capture into a real Kafka broker on this machine
    Kafka {
        /// Frames per second [default: 1000000; 800000 with zstd]
        #[arg(long)]
        rate: Option<u32>,
        /// Seconds
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// lz4, zstd, none ...
        #[arg(long, default_value = "lz4")]
        codec: String,
        /// Freeze the broker for two seconds in the middle
        #[arg(long)]
        stall: bool,
        /// ringtap's --pool-memory [default: ringtap's own]
        #[arg(long)]
        pool_memory: Option<String>,
    },
    /// Delivery alone into a real Kafka broker, against librdkafka's copying API
    ///
    /// Messages made beforehand, once lent by ringtap's sink and once copied, in turn; for none, lz4 and zstd.
    KafkaDelivery {
        /// Pairs of runs for each codec
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// Seconds of each run
        #[arg(long, default_value_t = 7)]
        seconds: u32,
    },
    /// CPU with no traffic, size of the binary, time to the first record
    Idle,
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::HotPath => hot_path::run(),
        Bench::Enrich { country, asn, addresses } => enrich::run(country.as_deref(), asn.as_deref(), *addresses),
        Bench::Replay { packets } => replay::bench(*packets),
        Bench::Flows { parts, packets, rounds } => flows::run(parts, *packets, *rounds),
        Bench::Live { frames } => live::run(*frames),
        Bench::Mechanisms { frames } => mechanisms::run(*frames),
        Bench::Kafka { rate, seconds, codec, stall, pool_memory } => {
            let target = if codec == "zstd" { 800_000 } else { 1_000_000 };
            kafka::run(rate.unwrap_or(target), *seconds, codec, *stall, pool_memory.as_deref())
        }
        Bench::KafkaDelivery { rounds, seconds } => delivery::run(*rounds, *seconds),
        Bench::Idle => idle::run(),
    }
}

/// The middle of some measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One result and its target.
fn verdict(what: &str, value: f64, at_least: bool, target: f64) {
    let met = if at_least { value >= target } else { value <= target };
    let sign = if at_least { ">=" } else { "<=" };
    println!("{:<58} {value:>9.3}   target {sign} {target:<6} {}", what, if met { "met" } else { "MISSED" });
}
