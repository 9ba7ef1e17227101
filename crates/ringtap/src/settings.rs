//! From options, of which any may be missing, to checked values of which none is: defaults stand here.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use pipeline::app::{Apps, Protocols};
use pipeline::flow::{Table, Timeouts, Unpack};
use pipeline::os::Systems;
use pipeline::record::Observer;
use pipeline::worker::{Flows, PacketRecords, Packets};
use shipper::SinkConfig;

use crate::config::options::{App, ConfigFile, Records, Summary};
use crate::link_filter::LinkFilter;

/// Where records go, and how.
pub(crate) struct OutputSettings {
    pub sinks: Vec<SinkConfig>,
    pub batch_octets: usize,
    pub batch_age: Duration,
    pub pool_octets: usize,
    pub drain_timeout: Duration,
    pub require_sinks: bool,
    pub observer: Observer,
}

/// How flows are made.
pub(crate) struct FlowSettings {
    /// Octets, all queues together.
    memory: usize,
    timeouts: Timeouts,
    /// Tunnels that are opened.
    tunnel_depth: u8,
    /// Known by their SYNs.
    pub systems: Arc<Systems>,
    /// Which packets have records as well.
    packets: Packets,
    /// Expressions that they must match.
    packets_for: Vec<String>,
    libpcap: Option<PathBuf>,
    /// All packets of one flow in so many.
    pub packets_sample: u32,
    /// Time is this machine's, also while no packet comes, and how much later than they were seen packets may come.
    live: Option<Duration>,
    /// Payloads that are read, if any.
    app: Option<Protocols>,
}

/// How the account is given.
pub(crate) struct LedgerSettings {
    /// `None` for never.
    pub interval: Option<Duration>,
    pub summary: Summary,
}

/// Buffers that a worker needs at least: one that is filled, and some under way.
const MIN_BUFFERS: usize = 4;

impl OutputSettings {
    /// `default_pool` is the memory for batches if the options do not say.
    pub(crate) fn new(config: &ConfigFile, default_pool: u64) -> Result<Self> {
        let output = &config.output;
        let default = ["stdout:".to_owned()];
        let urls = if output.to.is_empty() { &default[..] } else { &output.to };
        let mut sinks: Vec<SinkConfig> = Vec::new();
        for url in urls {
            let sink = SinkConfig::parse(url).with_context(|| format!("sink {:?}", shipper::veiled(url)))?;
            if sinks.iter().any(|other| sink.same_target(other)) {
                bail!("sink {sink} is named twice");
            }
            let sink = sink.with_librdkafka(&config.kafka.librdkafka);
            sinks.push(sink);
        }
        let hostname = hostname();
        let name = output.sensor.as_ref().map_or_else(|| hostname.clone(), |sensor| sensor.0.clone());
        Ok(Self {
            sinks,
            batch_octets: output.batch_size.map_or(900_000, |size| size.get() as usize),
            batch_age: output.batch_age.map_or(Duration::from_millis(200), |age| age.duration()),
            pool_octets: output.pool_memory.map_or(default_pool, |size| size.get()) as usize,
            drain_timeout: output.drain_timeout.map_or(Duration::from_secs(10), |time| time.duration()),
            require_sinks: output.require_sinks.unwrap_or(false),
            observer: Observer { name, hostname, run: run_number() },
        })
    }

    /// Buffers for each of `workers`.
    pub(crate) fn buffers(&self, workers: usize) -> usize {
        (self.pool_octets / self.batch_octets / workers.max(1)).max(MIN_BUFFERS)
    }
}

impl FlowSettings {
    /// `None` for records of packets only. `live`: packets come as they are sent, and not out of a file.
    pub(crate) fn new(config: &ConfigFile, live: bool) -> Result<Option<Self>> {
        // Live, what comes at any rate is told; a file waits, and what is asked of it most is its packets.
        let default = if live { Records::Auto } else { Records::Packets };
        let records = config.output.records.unwrap_or(default);
        let options = &config.flows;
        let chosen = !options.packets_for.is_empty() || options.packets_sample.is_some();
        if records == Records::Packets && !options.app.is_empty() {
            bail!("--app ([flows] app) says what records of flows have: give --records flows, both or auto, too");
        }
        let has = |app| options.app.contains(&app);
        let app = Protocols { dns: has(App::Dns), tls: has(App::Tls), http: has(App::Http) };
        let snaplen = config.capture.snaplen.map_or(APP_SNAPLEN, |snaplen| snaplen.get());
        if snaplen < APP_SNAPLEN && (app.tls || app.http) {
            tracing::warn!(
                "--snaplen {snaplen} cuts many ClientHellos and requests that --app looks for: {APP_SNAPLEN} is enough"
            );
        }
        let packets = match records {
            Records::Packets if chosen => bail!(
                "--packets-for and --packets-sample choose packets beside flows: take --records flows, both or auto \
                 (and --filter to choose what is looked at at all)"
            ),
            Records::Packets => {
                if options.flow_memory.is_some() || options.tunnel_depth.is_some() || options.os_signatures.is_some() {
                    tracing::warn!(
                        "options of flows have no effect on records of packets: give --records flows, both or auto"
                    );
                }
                return Ok(None);
            }
            Records::Flows if !chosen => Packets::None,
            Records::Auto if live => Packets::WhileSinksKeepUp,
            // A file waits until the sinks have room.
            Records::Flows | Records::Both | Records::Auto => Packets::All,
        };
        let memory_by_default = if live { (memory() / 16).min(4 << 30) } else { 256 << 20 };
        if let Some(size) = &options.flow_memory
            && size.get() > memory() / 2
        {
            bail!(
                "--flow-memory {} is more than half of this machine's memory: give at most {} MiB",
                size.get(),
                memory() >> 21
            );
        }
        let usual = Timeouts::default();
        Ok(Some(Self {
            memory: options.flow_memory.map_or(memory_by_default, |size| size.get()) as usize,
            timeouts: Timeouts {
                active: options.flow_active.map_or(usual.active, |time| time.duration()),
                tcp: options.flow_tcp.map_or(usual.tcp, |time| time.duration()),
                tcp_opening: options.flow_tcp_opening.map_or(usual.tcp_opening, |time| time.duration()),
                tcp_closing: options.flow_tcp_closing.map_or(usual.tcp_closing, |time| time.duration()),
                udp: options.flow_udp.map_or(usual.udp, |time| time.duration()),
                other: options.flow_other.map_or(usual.other, |time| time.duration()),
            },
            tunnel_depth: options.tunnel_depth.map_or(4, |depth| depth.get() as u8),
            systems: Arc::new(systems(options.os_signatures.as_deref())?),
            packets,
            packets_for: options.packets_for.clone(),
            libpcap: config.filter.libpcap.clone(),
            packets_sample: options.packets_sample.map_or(1, |n| n.get() as u32),
            live: live.then(|| config.capture.block_timeout.map_or(Duration::ZERO, |time| time.duration())),
            app: Some(app).filter(|_| !options.app.is_empty()),
        }))
    }

    /// A table for one of `workers`.
    ///
    /// # Errors
    /// An expression that is none.
    pub(crate) fn table(&self, workers: usize) -> Result<Flows> {
        let memory = self.memory / workers.max(1);
        // With payloads an eighth for what they say, and of that an eighth for ClientHellos in several segments.
        let room = if self.app.is_some() { memory / 8 } else { 0 };
        let table = Table::new(memory - room, &self.timeouts).with_room(room - room / 8);
        let mut chosen = PacketRecords::new(self.packets, self.packets_sample);
        if !self.packets_for.is_empty() {
            let filter = LinkFilter::new(self.packets_for.clone(), self.libpcap.as_deref(), "--packets-for")?;
            chosen = chosen.that_match(filter);
        }
        let flows = Flows::new(table, Unpack::new(self.tunnel_depth, Arc::clone(&self.systems)), chosen, self.live);
        Ok(match self.app {
            Some(app) => flows.with_apps(Apps::new(app, room / 8)),
            None => flows,
        })
    }
}

/// Octets of each frame that are captured when payloads are read, unless --snaplen says otherwise: a whole frame of Ethernet's usual size.
pub(crate) const APP_SNAPLEN: u64 = 2048;

/// Those that are built in, and those of a database.
fn systems(database: Option<&Path>) -> Result<Systems> {
    let mut systems = Systems::built_in();
    if let Some(path) = database {
        let text = read_text(path);
        let text = text.with_context(|| format!("--os-signatures: cannot read {}", path.display()))?;
        let added = systems.add(&text);
        added.with_context(|| format!("--os-signatures: {} is no database in p0f's format", path.display()))?;
    }
    Ok(systems)
}

/// A text of reasonable size.
fn read_text(path: &Path) -> std::io::Result<String> {
    const MOST: u64 = 4 << 20;
    let refused = |why| std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
    if !std::fs::metadata(path)?.is_file() {
        return Err(refused("it is no regular file"));
    }
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(MOST + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MOST {
        return Err(refused("it is longer than 4 MiB"));
    }
    // Comments in another encoding are none of our business.
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

impl LedgerSettings {
    pub(crate) fn new(config: &ConfigFile) -> Self {
        let interval = config.ledger.ledger_interval.map_or(Duration::from_secs(60), |time| time.duration());
        Self {
            interval: Some(interval).filter(|time| !time.is_zero()),
            summary: config.ledger.summary.unwrap_or_default(),
        }
    }
}

/// For batches of live capture: what rides out a stall of the sink. Used only as far as a stall needs it.
pub(crate) fn live_pool() -> u64 {
    (memory() / 32).clamp(32 << 20, 1 << 30)
}

/// For batches of replay, which can wait for its sink.
pub(crate) const REPLAY_POOL: u64 = 24 << 20;

/// Octets of the machine's memory.
fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A number that no other run of this sensor has: nanoseconds since 1970, mixed so that the 48 bits that `event.id` holds
/// depend on all of them, and on the process.
fn run_number() -> u64 {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let mixed = (nanos ^ u64::from(std::process::id()).rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 16
}
