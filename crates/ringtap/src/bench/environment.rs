//! What the figures depend on: machine, kernel, driver, settings.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use netdev::{ethtool, interfaces};
use serde::Serialize;

use super::lab::End;
use crate::doctor::read_machine;

/// What a reader has to know to measure again.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Environment {
    pub ringtap: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_mib: u64,
    /// How the frequency of the cores is governed; empty where nobody does, as in most virtual machines.
    pub governors: Vec<String>,
    /// What the kernel reads the time from: it does so for each frame.
    pub clock_source: Option<String>,
    /// What the kernel does about the weaknesses of this CPU: it costs time at each system call.
    pub mitigations: BTreeMap<String, String>,
    /// The programs that take part, as they say.
    pub versions: BTreeMap<String, String>,
    /// `None`: another machine.
    pub sender: Option<Port>,
    pub receiver: Port,
}

/// One end.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Port {
    pub interface: String,
    pub driver: Option<String>,
    pub mtu: u32,
    pub rx_queues: u32,
    pub speed_mbit: Option<u32>,
    /// Descriptors of a queue (`ethtool -g`); `None` if the driver has none.
    pub rx_ring: Option<u32>,
    pub tx_ring: Option<u32>,
    /// Offloads that are on, as ethtool names them; `None` if ethtool is not there.
    pub offloads: Option<Vec<String>>,
}

/// `sender`: the end that sends, if it is on this machine.
pub(crate) fn describe(sender: Option<&End>, receiver: &End, versions: BTreeMap<String, String>) -> Environment {
    let uname = rustix::system::uname();
    let info = rustix::system::sysinfo();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.trim()));
    let machine = read_machine(&[]);
    let mut governors: Vec<String> = machine.governors.into_iter().map(|(_, name)| name).collect();
    governors.sort_unstable();
    governors.dedup();
    Environment {
        ringtap: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
        cpu: model.unwrap_or("unknown").to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) >> 20,
        governors,
        clock_source: machine.clock.ok().map(|clock| clock.current),
        mitigations: mitigations(),
        versions,
        sender: sender.map(port),
        receiver: port(receiver),
    }
}

/// Of the weaknesses that this CPU has.
fn mitigations() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).ok()?.trim().to_owned();
        (text != "Not affected").then(|| (entry.file_name().to_string_lossy().into_owned(), text))
    };
    entries.filter_map(read).collect()
}

fn port(end: &End) -> Port {
    let name = &end.interface;
    let list = end.inside(interfaces::list).ok().and_then(Result::ok).unwrap_or_default();
    let found = list.into_iter().find(|i| i.name == *name);
    let mut command = Command::new("ethtool");
    command.args(["-k", name]).stdin(Stdio::null()).stderr(Stdio::null());
    end.run_inside(&mut command);
    let offloads = command.output().ok().filter(|output| output.status.success()).map(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let on = text.lines().filter_map(|line| line.trim().split_once(": on").map(|(what, _)| what.to_owned()));
        on.filter(|what| RELEVANT.contains(&what.as_str())).collect()
    });
    let rings = end.inside(|| ethtool::rings(name)).ok().and_then(Result::ok).flatten();
    let Some(found) = found else { return Port { interface: name.clone(), ..Port::default() } };
    Port {
        interface: name.clone(),
        driver: found.driver,
        mtu: found.mtu,
        rx_queues: found.rx_queues,
        speed_mbit: found.speed,
        rx_ring: rings.map(|rings| rings.rx),
        tx_ring: rings.map(|rings| rings.tx),
        offloads,
    }
}

/// Offloads that change what is seen or what it costs.
const RELEVANT: [&str; 7] = [
    "generic-receive-offload",
    "large-receive-offload",
    "generic-segmentation-offload",
    "tcp-segmentation-offload",
    "rx-vlan-offload",
    "rx-checksumming",
    "tx-checksumming",
];

impl Environment {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let governors = if self.governors.is_empty() { "none".to_owned() } else { self.governors.join(", ") };
        let vulnerable = self.mitigations.values().filter(|text| text.starts_with("Vulnerable")).count();
        let mut text = format!(
            "ringtap {}, {}, {} x {}, {} MiB\ngovernor {governors}, clock source {}, mitigations on for {} of the CPU's {} weaknesses\n",
            self.ringtap,
            self.kernel,
            self.cores,
            self.cpu,
            self.memory_mib,
            self.clock_source.as_deref().unwrap_or("unknown"),
            self.mitigations.len() - vulnerable,
            self.mitigations.len(),
        );
        for (name, version) in &self.versions {
            text += &format!("{name}: {version}\n");
        }
        text + &match &self.sender {
            Some(sender) => format!("from {} to {}", sender.text(), self.receiver.text()),
            None => format!("from another machine to {}", self.receiver.text()),
        }
    }
}

impl Port {
    fn text(&self) -> String {
        let offloads = match &self.offloads {
            None => "unknown".to_owned(),
            Some(list) if list.is_empty() => "none".to_owned(),
            Some(list) => list.join(", "),
        };
        let ring = |ring: Option<u32>| ring.map_or_else(|| "unknown".to_owned(), |size| size.to_string());
        format!(
            "{} ({}, mtu {}, {} RX queue(s), rings RX {} TX {}, offloads: {offloads})",
            self.interface,
            self.driver.as_deref().unwrap_or("no driver"),
            self.mtu,
            self.rx_queues,
            ring(self.rx_ring),
            ring(self.tx_ring)
        )
    }
}
