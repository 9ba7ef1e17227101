//! The log: time, level, source, message; to standard error, and for services to a file of which old parts are compressed.

mod rotate;

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;

use anyhow::Result;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::options::{Level, LogOptions};
use rotate::RotatingFile;

/// Starts the log of this process.
pub(crate) fn start(options: &LogOptions) -> Result<()> {
    let level = match options.log_level.unwrap_or_default() {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let to_stderr = fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_filter(level);
    let to_file = match &options.log_dir {
        Some(directory) => {
            let file = Mutex::new(RotatingFile::open(directory)?);
            Some(fmt::layer().with_writer(file).with_ansi(false).with_filter(level))
        }
        None => None,
    };
    tracing_subscriber::registry().with(to_stderr).with(to_file).init();
    Ok(())
}
