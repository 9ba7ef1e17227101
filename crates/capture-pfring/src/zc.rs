//! ZC queues: bursts of packets in the NIC's own memory, by the libpfring found at run time.
//!
//! Holds what is said when a piece is missing, and the loan of a burst.

use std::ffi::CString;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capture::{
    CaptureDirection, CaptureError, Count, Direction, Frame, FrameFlags, Interface, InterfaceIndex, LinkType,
    QueueStats, Readiness, RxBatch, RxQueue, Timestamp,
};
use netdev::{Device, Follow, longest_frame};

use crate::open::usable;
use crate::options::{Options, bad};
use crate::sys::zc::{Api, Missing, Refused, Request, Zc};

/// Packets of a batch, at most.
const BURST: usize = 256;
/// `MAX_CARD_SLOTS` of the library's examples: descriptors that a NIC has at most.
const CARD_SLOTS: u32 = 32_768;
/// Octets.
const FRAME_CHECK_SEQUENCE: u32 = 4;

/// An RSS queue of a NIC with a ZC driver, read by one thread. Sees received frames only.
///
/// # Limits
/// The library has no way to stop a queue: after [`RxQueue::stop`] it is read until it is found empty once, or until as many packets have come
/// as a NIC's ring holds at most. There is no promise of exactness from a closed library: its counters are passed on as they are.
pub struct ZcQueue {
    api: Arc<Api>,
    zc: Zc,
    name: String,
    interfaces: Vec<Interface>,
    follow: Option<Follow>,
    snaplen: usize,
    number: usize,
    counters: Counters,
    /// Packets that may still be read after the stop.
    stopped: Option<u64>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Counters {
    received: u64,
    damaged: u64,
    super_frames: u64,
}

/// A burst, on loan.
pub struct ZcBatch<'q> {
    zc: &'q Zc,
    counters: &'q mut Counters,
    stopped: &'q mut Option<u64>,
    number: usize,
    snaplen: usize,
    /// A packet longer than this was merged.
    longest: u32,
    next: usize,
    count: usize,
}

/// The packets of a burst.
pub struct ZcFrames<'b> {
    zc: &'b Zc,
    counters: &'b mut Counters,
    next: &'b mut usize,
    count: usize,
    snaplen: usize,
    longest: u32,
}

/// Opens `options.queues` RSS queues of an interface like `zc:eth1@0`. Says in the log if there is no licence.
///
/// # Errors
/// [`CaptureError::Unsupported`] that says which piece is missing: libpfring, its closed part, the module, huge pages, the driver.
/// [`CaptureError::BadOption`] for what ZC does not do.
pub fn open_zc(options: &Options) -> Result<Vec<ZcQueue>, CaptureError> {
    let (name, first) = options.check_zc()?;
    let api = Api::load(options.libpfring.as_deref()).map_err(missing)?;
    // What can be known of the interface before ZC takes it away from the kernel.
    let device = Device::find(name).ok();
    let mut queues = Vec::with_capacity(options.queues);
    for number in 0..options.queues {
        let follow = device.and_then(|device| Follow::new(name, device, number == 0).ok()).map(Follow::that_ends);
        queues.push(ZcQueue::open(&api, options, name, first + number, number, follow)?);
    }
    let version = api.version();
    if api.licensed() {
        tracing::info!(interface = name, "ZC {version} has a licence");
    } else {
        tracing::warn!(
            interface = name,
            "ZC {version} has no licence for this NIC: it runs in demo mode and stops after 5 minutes (/etc/pf_ring/MAC-ADDRESS)"
        );
    }
    Ok(queues)
}

fn missing(missing: Missing) -> CaptureError {
    CaptureError::Unsupported(match missing {
        Missing::Library(said) => {
            format!(
                "ZC needs libpfring, which was not found ({said}): install ntop's pfring package, or say where it is (--libpfring PATH)"
            )
        }
        Missing::Symbol { library, name } => format!(
            "this libpfring has no ZC: {} has no {name}. It was built without the closed part; ntop's pfring package has it",
            library.display()
        ),
    })
}

/// What lacks when the library could not make a cluster or open a device.
fn refused(refused: Refused, device: &str, name: &str, known: bool) -> CaptureError {
    if let Refused::Handles = refused {
        return CaptureError::Unsupported(format!("{device}: the ZC cluster has no room for the packets of a burst"));
    }
    // The library says no more than an errno, so the pieces are looked at one after the other.
    if let Err(error) = usable() {
        return CaptureError::Unsupported(format!("ZC on {name} needs the module, too: {error}"));
    }
    if let Some(lack) = lack_of_huge_pages() {
        return CaptureError::Unsupported(format!("ZC on {name} needs huge pages: {lack}"));
    }
    match refused {
        Refused::Cluster(error) => CaptureError::system(
            format!("making a ZC cluster of {} MiB for {device} in huge pages (cluster_id may be in use)", cluster_megabytes()),
            error,
        ),
        Refused::Device(_) if !known => CaptureError::NoSuchInterface { name: name.to_owned() },
        Refused::Device(error) => CaptureError::Unsupported(format!(
            "{device} cannot be opened ({error}): {}",
            driver_of(name).map_or_else(
                || format!("{name} has no driver of a NIC, and ZC needs ntop's ZC driver for one"),
                |driver| format!(
                    "{name} is run by the driver {driver}; ZC needs ntop's ZC driver (for example ice-zc), the interface up, and no other program on it"
                )
            )
        )),
        Refused::Handles => unreachable!("returned above"),
    }
}

fn lack_of_huge_pages() -> Option<String> {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let number = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    if number("HugePages_Total:").unwrap_or(0) == 0 {
        return Some("there are none: echo 1024 > /proc/sys/vm/nr_hugepages".to_owned());
    }
    if number("HugePages_Free:") == Some(0) {
        return Some("none is free: more in /proc/sys/vm/nr_hugepages".to_owned());
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|line| line.split_whitespace().nth(2) == Some("hugetlbfs"));
    (!mounted)
        .then(|| "hugetlbfs is not mounted: mkdir -p /dev/hugepages; mount -t hugetlbfs none /dev/hugepages".to_owned())
}

fn driver_of(name: &str) -> Option<String> {
    let driver = fs::read_link(format!("/sys/class/net/{name}/device/driver")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}

fn cluster_megabytes() -> u64 {
    (u64::from(CARD_SLOTS) * 2048) >> 20
}

impl ZcQueue {
    fn open(
        api: &Arc<Api>,
        options: &Options,
        name: &str,
        rss_queue: usize,
        number: usize,
        follow: Option<Follow>,
    ) -> Result<Self, CaptureError> {
        let device = format!("zc:{name}@{rss_queue}");
        let c_device = CString::new(device.clone()).map_err(|_| bad("interface", &device, "a name without a zero"))?;
        let mtu = follow.as_ref().map_or(1500, Follow::mtu).max(1500);
        let numa_node = fs::read_to_string(format!("/sys/class/net/{name}/device/numa_node"));
        let first = options.cluster_id.map_or(0x4000 | std::process::id() & 0x3fff, u32::from);
        let request = Request {
            cluster: first + number as u32,
            // At most a page: jumbo frames of more are cut by the library.
            buffer_len: (longest_frame(LinkType::ETHERNET, mtu) + FRAME_CHECK_SEQUENCE).next_multiple_of(64).min(4096),
            buffers: CARD_SLOTS + 2 * BURST as u32,
            numa_node: numa_node.ok().and_then(|node| node.trim().parse().ok()).unwrap_or(-1),
            device: &c_device,
            promiscuous: options.direction == CaptureDirection::Promisc,
            burst: BURST,
        };
        let zc = Zc::open(api, request).map_err(|e| refused(e, &device, name, follow.is_some()))?;
        Ok(Self {
            api: Arc::clone(api),
            zc,
            name: device,
            interfaces: vec![Interface { name: name.to_owned(), link_type: LinkType::ETHERNET }],
            follow,
            snaplen: options.snaplen as usize,
            number,
            counters: Counters::default(),
            stopped: None,
            ended: false,
        })
    }

    /// Whether ZC runs without the demo's limit of 5 minutes.
    #[must_use]
    pub fn licensed(&self) -> bool {
        self.api.licensed()
    }

    fn look(&mut self, now: Instant) {
        if let Some(follow) = self.follow.as_mut().filter(|follow| now >= follow.next()) {
            follow.look(now);
        }
    }
}

fn account(zc: &Zc, counters: &Counters, number: usize) -> Result<QueueStats, CaptureError> {
    let stats = zc.stats().ok_or_else(|| CaptureError::Unsupported("pfring_zc_stats does not answer".into()))?;
    Ok(QueueStats {
        offered: Count::Exact(stats.received.saturating_add(stats.dropped)),
        received: counters.received,
        ring_dropped: Count::Exact(stats.dropped),
        // The kernel's counters stand still while the NIC is ZC's.
        nic_dropped: if number == 0 { Count::Unknown } else { Count::Exact(0) },
        damaged: counters.damaged,
        freezes: Count::Exact(0),
        super_frames: counters.super_frames,
    })
}

fn stop(stopped: &mut Option<u64>) {
    stopped.get_or_insert(u64::from(CARD_SLOTS));
}

impl RxQueue for ZcQueue {
    type Batch<'q> = ZcBatch<'q>;

    fn next_batch(&mut self) -> Result<Option<ZcBatch<'_>>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        let count = self.zc.receive().map_err(|got| {
            CaptureError::Unsupported(format!(
                "{}: pfring_zc_recv_pkt_burst returned {got}, which is no number of packets",
                self.name
            ))
        })?;
        self.counters.received += count as u64;
        if let Some(left) = &mut self.stopped {
            *left = left.saturating_sub(count as u64);
            self.ended = count == 0 || *left == 0;
        }
        if count == 0 {
            return Ok(None);
        }
        // Whether the frame check sequence is there is the driver's choice.
        let longest = self.follow.as_ref().map_or(u32::MAX, |follow| follow.longest_frame(LinkType::ETHERNET));
        let longest = longest.saturating_add(FRAME_CHECK_SEQUENCE);
        let Self { zc, counters, stopped, number, snaplen, .. } = self;
        Ok(Some(ZcBatch { zc, counters, stopped, number: *number, snaplen: *snaplen, longest, next: 0, count }))
    }

    /// There is nothing to sleep on: it looks, at first often, then every millisecond.
    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(50);
        loop {
            if self.ended {
                return Ok(Readiness::Ended);
            }
            // What is stopped ends by `next_batch` finding nothing.
            if self.stopped.is_some() || !self.zc.is_empty() {
                return Ok(Readiness::Ready);
            }
            let now = Instant::now();
            self.look(now);
            let left = timeout.saturating_sub(now - start);
            if left.is_zero() {
                return Ok(Readiness::TimedOut);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        stop(&mut self.stopped);
        Ok(())
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.look(Instant::now());
        account(&self.zc, &self.counters, self.number)
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}

impl RxBatch for ZcBatch<'_> {
    type Frames<'b>
        = ZcFrames<'b>
    where
        Self: 'b;

    fn frames(&mut self) -> ZcFrames<'_> {
        let Self { zc, counters, next, count, snaplen, longest, .. } = self;
        ZcFrames { zc, counters, next, count: *count, snaplen: *snaplen, longest: *longest }
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        account(self.zc, self.counters, self.number)
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        stop(self.stopped);
        Ok(())
    }
}

impl<'b> Iterator for ZcFrames<'b> {
    type Item = Frame<'b>;

    fn next(&mut self) -> Option<Frame<'b>> {
        while *self.next < self.count {
            let packet = self.zc.packet(*self.next);
            *self.next += 1;
            let Some(packet) = packet else {
                self.counters.damaged += 1;
                continue;
            };
            let wire_len = packet.data.len() as u32;
            let no_time = packet.seconds == 0 && packet.nanos == 0;
            let mut flags = if no_time { FrameFlags::NO_TIME } else { FrameFlags::NONE };
            if wire_len > self.longest {
                flags = flags.union(FrameFlags::SUPER_FRAME);
                self.counters.super_frames += 1;
            }
            return Some(Frame {
                data: packet.data.get(..self.snaplen).unwrap_or(packet.data),
                timestamp: Timestamp::from_parts(packet.seconds.into(), packet.nanos),
                wire_len,
                interface: InterfaceIndex(0),
                link_type: LinkType::ETHERNET,
                direction: Direction::Rx,
                vlan: None,
                flags,
            });
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.count - *self.next))
    }
}
