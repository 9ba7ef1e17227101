//! PF_RING's module, version 8.9.0 with ring version 21: sockets, options, and rings of slots that frames are put into.
//!
//! After kernel/pf_ring.c. One interface, whose index is [`INDEX`]. Every call is recorded. Errors are the numbers of errno.

mod ring;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use capture::BpfInstruction;

use ring::{Ring, accepts, tag_as_shown};

/// The interface's number.
pub const INDEX: i32 = 7;
const EPERM: i32 = 1;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;
const ENOPROTOOPT: i32 = 92;
const EAFNOSUPPORT: i32 = 97;
const ENETDOWN: i32 = 100;

/// A call of the process, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// socket(2).
    Socket,
    /// setsockopt(2), number and octets.
    Set(i32, Vec<u8>),
    /// getsockopt(2), number and length.
    Get(i32, usize),
    /// `SO_ATTACH_FILTER`.
    Attach(Vec<BpfInstruction>),
    /// bind(2).
    Bind(Vec<u8>),
    /// mmap(2), length.
    Map(usize),
    /// The last reference is gone.
    Close,
}

/// How the module is, and how it misbehaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether it is loaded.
    pub loaded: bool,
    /// Whether the process may.
    pub allowed: bool,
    /// Whether the interface is up.
    pub up: bool,
    /// The ring's version.
    pub version: u16,
    /// `SO_GET_RING_VERSION`.
    pub module: u32,
    /// Parameter of the module.
    pub min_num_slots: u32,
    /// Octets of a short header.
    pub header: u32,
    /// RX channels of the interface.
    pub channels: u8,
    /// Instead of the true octets of a slot.
    pub slot_len: Option<u32>,
    /// Instead of the true octets of the ring.
    pub total: Option<u64>,
    /// Other parameters, in /sys.
    pub parameters: HashMap<&'static str, u32>,
    /// Clusters that another program has.
    pub taken: Vec<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loaded: true,
            allowed: true,
            up: true,
            version: 21,
            module: 0x0008_0900,
            min_num_slots: 4096,
            header: 48,
            channels: 1,
            slot_len: None,
            total: None,
            parameters: HashMap::from([("enable_tx_capture", 1), ("quick_mode", 0), ("keep_vlan_offload", 0)]),
            taken: Vec::new(),
        }
    }
}

/// The module. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Module {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    settings: Settings,
    sockets: Vec<Open>,
    calls: Vec<Call>,
    last: usize,
}

/// What the module knows of a socket.
#[derive(Debug)]
struct Open {
    id: usize,
    bound: bool,
    active: bool,
    shut_down: bool,
    short: bool,
    bucket: u32,
    direction: u32,
    watermark: u16,
    channels: u64,
    cluster: Option<(u16, u16)>,
    filter: Option<Vec<BpfInstruction>>,
    ring: Option<Ring>,
}

/// A socket of it.
#[derive(Debug)]
pub struct Socket {
    module: Module,
    id: usize,
}

impl Module {
    /// Loaded with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let module = Self::default();
        module.lock().settings = settings;
        module
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings; rings that were made stay as they are.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// All calls so far, which are forgotten.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// A parameter of the module.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<u32> {
        self.lock().settings.parameters.get(name).copied()
    }

    /// socket(2).
    ///
    /// # Errors
    /// EAFNOSUPPORT or EPERM, by the settings.
    pub fn socket(&self) -> Result<Socket, i32> {
        let mut state = self.lock();
        if !state.settings.loaded {
            return Err(EAFNOSUPPORT);
        }
        if !state.settings.allowed {
            return Err(EPERM);
        }
        state.calls.push(Call::Socket);
        state.last += 1;
        let id = state.last;
        state.sockets.push(Open {
            id,
            bound: false,
            active: false,
            shut_down: false,
            short: false,
            bucket: 128,
            direction: 0,
            watermark: 128,
            channels: u64::MAX,
            cluster: None,
            filter: None,
            ring: None,
        });
        Ok(Socket { module: self.clone(), id })
    }

    /// The interface receives a frame.
    pub fn receive(&self, frame: &[u8]) {
        self.frame(frame, true);
    }

    /// This machine sends a frame.
    pub fn transmit(&self, frame: &[u8]) {
        self.frame(frame, false);
    }

    /// The memory of the ring that was made last, to write nonsense into.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn memory(&self) -> Arc<[AtomicU64]> {
        let state = self.lock();
        let ring = state.sockets.iter().rev().find_map(|socket| socket.ring.as_ref()).expect("there is a ring");
        ring.words()
    }

    fn frame(&self, frame: &[u8], received: bool) {
        let mut state = self.lock();
        let State { settings, sockets, .. } = &mut *state;
        if !settings.up {
            return;
        }
        // A tag is taken out of what is received before anybody sees it, and the module puts it back.
        let (bare, shown) = if received { tag_as_shown(frame) } else { (frame.to_vec(), frame.to_vec()) };
        let hash = hash(&bare);
        let channel = hash % u64::from(settings.channels.max(1));
        for socket in &mut *sockets {
            if socket.cluster.is_none() && socket.bound && socket.takes_direction(received) {
                socket.add(&bare, &shown, received, channel);
            }
        }
        let mut clusters: Vec<u16> = sockets.iter().filter_map(|socket| Some(socket.cluster?.0)).collect();
        clusters.sort_unstable();
        clusters.dedup();
        for id in clusters {
            let members = sockets.iter().filter_map(|s| s.cluster.filter(|cluster| cluster.0 == id));
            let queues = members.map(|(_, queue)| queue + 1).max().unwrap_or(1);
            let queue = (hash % u64::from(queues)) as u16;
            let member = sockets.iter_mut().find(|s| s.cluster == Some((id, queue)));
            let Some(member) = member.filter(|s| s.bound && s.takes_direction(received)) else { continue };
            match &member.ring {
                // Before the filter is asked.
                Some(ring) if !ring.has_room() => ring.lose(),
                _ => member.add(&bare, &shown, received, channel),
            }
        }
        drop(state);
        self.shared.arrived.notify_all();
    }
}

/// The flow's, the same in both directions.
fn hash(frame: &[u8]) -> u64 {
    frame.get(26..38).unwrap_or_default().chunks_exact(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1])).sum()
}

impl Open {
    fn takes_direction(&self, received: bool) -> bool {
        match self.direction {
            0 => true,
            1 => received,
            _ => !received,
        }
    }

    fn add(&mut self, bare: &[u8], shown: &[u8], received: bool, channel: u64) {
        let Some(ring) = self.ring.as_ref().filter(|_| self.active) else { return };
        if self.filter.as_ref().is_some_and(|program| !accepts(program, bare, received)) {
            return;
        }
        if self.channels >> channel & 1 == 1 {
            ring.insert(shown, self.bucket, received);
        }
    }
}

impl Socket {
    fn with<T>(&self, call: Option<Call>, task: impl FnOnce(&Settings, &mut Open, &[(u16, u16)]) -> T) -> T {
        let mut state = self.module.lock();
        let State { settings, sockets, calls, .. } = &mut *state;
        calls.extend(call);
        let others: Vec<_> = sockets.iter().filter(|s| s.id != self.id).filter_map(|s| s.cluster).collect();
        let socket = sockets.iter_mut().find(|socket| socket.id == self.id).expect("it is open");
        task(settings, socket, &others)
    }

    /// setsockopt(2) at level 0.
    ///
    /// # Errors
    /// EINVAL for a value of another length than the option has.
    pub fn set(&self, option: i32, value: &[u8]) -> Result<(), i32> {
        self.with(Some(Call::Set(option, value.to_vec())), |settings, socket, others| {
            let word = || value.try_into().map(u32::from_ne_bytes).map_err(|_| EINVAL);
            let short = || value.try_into().map(u16::from_ne_bytes).map_err(|_| EINVAL);
            match option {
                99 => {
                    let request: [u8; 12] = value.try_into().map_err(|_| EINVAL)?;
                    let cluster = u16::from_ne_bytes([request[0], request[1]]);
                    let queue = u16::from_ne_bytes([request[2], request[3]]);
                    socket.cluster = None;
                    if cluster == 0 || !socket.bound {
                        return Err(EINVAL);
                    }
                    if others.contains(&(cluster, queue)) || settings.taken.contains(&cluster) {
                        return Err(EBUSY);
                    }
                    socket.cluster = Some((cluster, queue));
                }
                100 => socket.cluster = None,
                106 => socket.active = true,
                107 => socket.bucket = word()?,
                108 => socket.channels = value.try_into().map(u64::from_ne_bytes).map_err(|_| EINVAL)?,
                111 => socket.direction = word()?,
                116 => socket.active = false,
                117 => socket.watermark = short()?.clamp(1, settings.min_num_slots.min(4096) as u16),
                124 => (socket.active, socket.shut_down) = (false, true),
                126 => drop(word()?),
                127 => socket.short = true,
                _ => return Err(ENOPROTOOPT),
            }
            Ok(())
        })
    }

    /// getsockopt(2) at level 0.
    ///
    /// # Errors
    /// EINVAL if there is no room for the answer.
    pub fn get(&self, option: i32, value: &mut [u8]) -> Result<usize, i32> {
        self.with(Some(Call::Get(option, value.len())), |settings, socket, _| {
            let answer = match option {
                170 => settings.module.to_ne_bytes().to_vec(),
                174 => vec![settings.channels],
                179 if socket.short => settings.header.to_ne_bytes().to_vec(),
                179 => 209_u32.to_ne_bytes().to_vec(),
                _ => return Err(ENOPROTOOPT),
            };
            value.get_mut(..answer.len()).ok_or(EINVAL)?.copy_from_slice(&answer);
            Ok(answer.len())
        })
    }

    /// `SO_ATTACH_FILTER`.
    pub fn attach(&self, program: &[BpfInstruction]) {
        self.with(Some(Call::Attach(program.to_vec())), |_, socket, _| {
            // "empty filter"
            if program.len() > 1 {
                socket.filter = Some(program.to_vec());
            }
        });
    }

    /// bind(2).
    ///
    /// # Errors
    /// EINVAL for what is not our interface, ENETDOWN if it is down.
    pub fn bind(&self, address: &[u8]) -> Result<(), i32> {
        self.with(Some(Call::Bind(address.to_vec())), |settings, socket, _| {
            let family = address.first_chunk().map(|family| u16::from_ne_bytes(*family));
            let index = address.get(4..8).and_then(|index| index.try_into().ok()).map(i32::from_ne_bytes);
            if address.len() != 20 || family != Some(27) || index != Some(INDEX) {
                return Err(EINVAL);
            }
            if !settings.up {
                return Err(ENETDOWN);
            }
            socket.bound = true;
            Ok(())
        })
    }

    /// mmap(2): the words of the whole ring, of which the process sees the first `length` octets.
    ///
    /// # Errors
    /// EINVAL if it has not so many.
    pub fn map(&self, length: usize) -> Result<Arc<[AtomicU64]>, i32> {
        self.with(Some(Call::Map(length)), |settings, socket, _| {
            let bucket = socket.bucket;
            let ring = socket.ring.get_or_insert_with(|| Ring::new(settings, bucket));
            let words = ring.words();
            if length.is_multiple_of(4096) && length <= words.len() * 8 { Ok(words) } else { Err(EINVAL) }
        })
    }

    /// poll(2): whether the watermark was reached in time. Activates the ring.
    #[must_use]
    pub fn poll(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let ready = self.with(None, |_, socket, _| {
                if socket.shut_down {
                    return false;
                }
                socket.active = true;
                let queued = socket.ring.as_ref().map_or(0, Ring::queued);
                queued >= u64::from(socket.watermark)
            });
            let left = deadline.saturating_duration_since(Instant::now());
            if ready || left.is_zero() {
                return ready;
            }
            let state = self.module.lock();
            // A frame that came since the look above is seen a little later.
            let (state, _) = self
                .module
                .shared
                .arrived
                .wait_timeout(state, left.min(Duration::from_millis(5)))
                .unwrap_or_else(PoisonError::into_inner);
            drop(state);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.module.lock();
        state.sockets.retain(|socket| socket.id != self.id);
        state.calls.push(Call::Close);
    }
}
