//! The command line.

use std::ffi::OsStr;
use std::path::PathBuf;

use capture_pcap::Rate;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::bench::BenchArgs;
use crate::config::options::{
    CaptureOptions, ConfigFile, EnrichOptions, FilterOptions, FlowOptions, LedgerOptions, LogOptions, OutputOptions,
};
use crate::config::values::{Millis, Parsed, Plain, Ranged};
use crate::doctor::DoctorArgs;
use crate::generate::GenArgs;

/// Network sensor: taps the NIC's rings, writes a JSON record per packet, and accounts for every frame.
#[derive(Debug, Parser)]
#[command(name = "ringtap", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogOptions,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.\n\
    The ledger (every frame and record accounted for) goes to standard error at the end.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Capture live traffic until a signal, a time or a count ends it
    Run(RunArgs),
    /// Make records of capture files (pcap, pcapng; plain, .gz, .zst; - for standard input)
    Replay(ReplayArgs),
    /// Send traffic: stamped frames at a steady pace, protocol mixes, capture files
    Gen(GenArgs),
    /// Measure what each mechanism loses, by numbered frames, beside other programs
    Bench(BenchArgs),
    /// List interfaces and capture mechanisms: usable, or why not and what to do
    List,
    /// Look for settings of interfaces and machine that lose or falsify what is captured; say, and with --fix do, what helps
    Doctor(DoctorArgs),
    /// Check the configuration and try every connection; changes nothing
    Check(CheckArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page (troff): ringtap man | man -l -
    Man,
}

/// What `run` and `check` share.
#[derive(Args, Debug)]
pub(crate) struct LiveArgs {
    /// Configuration file; conf.d/*.toml beside it are read too [default: /etc/ringtap/ringtap.toml if there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Capture")]
    pub capture: CaptureOptions,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What all that make records share.
#[derive(Args, Debug)]
pub(crate) struct CommonArgs {
    #[command(flatten, next_help_heading = "Filter")]
    pub filter: FilterOptions,
    #[command(flatten, next_help_heading = "Output")]
    pub output: OutputOptions,
    #[command(flatten, next_help_heading = "Flows")]
    pub flows: FlowOptions,
    #[command(flatten, next_help_heading = "Enrichment")]
    pub enrich: EnrichOptions,
    /// Any option of librdkafka; may be given several times
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = KeyValue)]
    pub librdkafka: Vec<(String, String)>,
    #[command(flatten, next_help_heading = "Ledger")]
    pub ledger: LedgerOptions,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub live: LiveArgs,
    /// End after this time
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Ranged<Millis, 1, { u64::MAX }>>,
    /// End after this number of records (with flows: of packets)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub count: Option<Ranged<Plain, 1, { u64::MAX - 1 }>>,
    /// Show what is seen, once a second, on standard error
    #[arg(long)]
    pub show: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Capture files, read one after the other; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Packets per second: a number, original (the file's own pace) or max
    #[arg(long, value_name = "original|max|N", default_value = "max")]
    pub rate: Parsed<Rate>,
    /// End after this number of records (with flows: of packets)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub count: Option<Ranged<Plain, 1, { u64::MAX - 1 }>>,
    /// Configuration file; replay reads none unless it is named
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub live: LiveArgs,
}

/// An option of librdkafka. clap's own message would quote what was typed, which may be a password.
#[derive(Clone)]
struct KeyValue;

impl TypedValueParser for KeyValue {
    type Value = (String, String);

    fn parse_ref(
        &self,
        command: &clap::Command,
        _arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        match value.to_str().and_then(|text| text.split_once('=')) {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(command.clone().error(ErrorKind::ValueValidation, "-X takes KEY=VALUE, as in -X linger.ms=5")),
        }
    }
}

impl CommonArgs {
    /// As a configuration file that says the same.
    pub(crate) fn into_config(self, capture: CaptureOptions, log: LogOptions) -> ConfigFile {
        let origin = (!self.filter.filters.is_empty()).then(|| "--filter".to_owned());
        let mut config = ConfigFile {
            capture,
            filter: FilterOptions { origin, ..self.filter },
            output: self.output,
            flows: self.flows,
            enrich: self.enrich,
            ledger: self.ledger,
            log,
            ..ConfigFile::default()
        };
        config.kafka.librdkafka.extend(self.librdkafka);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
