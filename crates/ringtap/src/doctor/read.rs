//! Facts, read from the system.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt;

use netdev::ethtool::{self, Offload};
use netdev::interfaces::InterfaceInfo;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, sched_getaffinity};

use super::facts::{Answer, Clock, Irq, Machine, Module, Nic, cores_of};
use super::machine::MECHANISMS;
use crate::explain;

const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0";
const HUGE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
const CORES: &str = "/sys/devices/system/cpu";

/// Everything about an interface.
pub(crate) fn nic(info: &InterfaceInfo) -> Nic {
    let name = &info.name;
    let offloads = [Offload::Gro, Offload::GroHw, Offload::Lro, Offload::Tso, Offload::Gso, Offload::RxVlan];
    let irqs = ethtool::irqs(name, info.index);
    Nic {
        name: name.clone(),
        index: info.index,
        namespace: namespace().unwrap_or_default(),
        speed: info.speed,
        queues: info.rx_queues,
        node: info.numa_node,
        offloads: offloads.map(|which| (which, answer(ethtool::offload(name, which)))).to_vec(),
        fixed: offloads.into_iter().filter(|which| ethtool::is_fixed(name, *which).unwrap_or(false)).collect(),
        pause: answer(ethtool::pause(name)),
        rings: answer(ethtool::rings(name)),
        channels: answer(ethtool::channels(name)),
        rss: answer(ethtool::rss(name)),
        irqs: irqs.into_iter().map(|number| Irq { number, cores: irq_cores(number) }).collect(),
    }
}

/// The network namespace of this thread, as the inode of its file.
pub(crate) fn namespace() -> Option<u64> {
    fs::metadata("/proc/thread-self/ns/net").ok().map(|file| file.st_ino())
}

fn answer<T>(result: Result<Option<T>, capture::CaptureError>) -> Answer<T> {
    result.map_err(|error| explain(&error.into()))
}

/// The cores that really serve it where the kernel tells, else those that may.
fn irq_cores(number: u32) -> Result<Vec<u32>, String> {
    let read = |file| text(&format!("/proc/irq/{number}/{file}"));
    let effective = read("effective_affinity_list").map(|list| cores_of(&list)).unwrap_or_default();
    if effective.is_empty() { read("smp_affinity_list").map(|list| cores_of(&list)) } else { Ok(effective) }
}

/// Everything about the machine; `drivers`: modules whose version is of interest.
pub(crate) fn machine(drivers: &[String]) -> Machine {
    let others = MECHANISMS.map(str::to_owned);
    let online = cores_of(&text(&format!("{CORES}/online")).unwrap_or_default());
    Machine {
        nodes: nodes(),
        allowed: sched_getaffinity(None)
            .map(|set| online.iter().copied().filter(|&core| set.is_set(core as usize)).collect())
            .unwrap_or_default(),
        governors: governors(&online),
        cores: online,
        irqbalance: is_running("irqbalance"),
        capabilities: capabilities(),
        memlock: getrlimit(Resource::Memlock).current,
        rmem_max: number("/proc/sys/net/core/rmem_max"),
        hugepages: hugepages(),
        clock: clock(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        modules: others.iter().chain(drivers).map(|name| (name.clone(), module(name))).collect(),
    }
}

fn nodes() -> Vec<(u32, Vec<u32>)> {
    const PATH: &str = "/sys/devices/system/node";
    let entries = fs::read_dir(PATH).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok());
    let mut nodes: Vec<(u32, Vec<u32>)> = numbers
        .map(|number: u32| (number, cores_of(&text(&format!("{PATH}/node{number}/cpulist")).unwrap_or_default())))
        .collect();
    nodes.sort_unstable();
    nodes
}

fn governors(online: &[u32]) -> Vec<(u32, String)> {
    let read = |&core: &u32| Some((core, text(&format!("{CORES}/cpu{core}/cpufreq/scaling_governor")).ok()?));
    online.iter().filter_map(read).collect()
}

fn is_running(program: &str) -> bool {
    let mut processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.any(|entry| fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == program))
}

fn capabilities() -> Result<Vec<String>, String> {
    const NAMES: [(CapabilitySet, &str); 4] = [
        (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::IPC_LOCK, "CAP_IPC_LOCK"),
    ];
    let has = rustix::thread::capabilities(None).map_err(|error| error.to_string())?.effective;
    Ok(NAMES.iter().filter(|(bit, _)| has.contains(*bit)).map(|(_, name)| (*name).to_owned()).collect())
}

fn hugepages() -> Answer<(u64, u64)> {
    if !fs::exists(HUGE).unwrap_or(true) {
        return Ok(None);
    }
    let read = |file| number(&format!("{HUGE}/{file}"));
    Ok(Some((read("nr_hugepages")?, read("free_hugepages")?)))
}

fn clock() -> Result<Clock, String> {
    let available = text(&format!("{CLOCK}/available_clocksource"))?;
    let available = available.split_whitespace().map(str::to_owned).collect();
    Ok(Clock { current: text(&format!("{CLOCK}/current_clocksource"))?, available })
}

fn module(name: &str) -> Module {
    let folder = format!("/sys/module/{name}");
    if !fs::exists(&folder).unwrap_or(false) {
        return Module::Absent;
    }
    Module::Loaded { version: text(&format!("{folder}/version")).ok() }
}

fn number(path: &str) -> Result<u64, String> {
    text(path)?.parse().map_err(|_| format!("{path} holds no number"))
}

fn text(path: &str) -> Result<String, String> {
    let told = |error: io::Error| format!("{path}: {error}");
    fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(told)
}
