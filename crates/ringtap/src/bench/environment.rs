//! What the figures depend on: machine, kernel, driver, settings.

use std::fs;
use std::process::{Command, Stdio};

use netdev::interfaces;
use serde::Serialize;

use super::lab::{End, Lab};

/// What a reader has to know to measure again.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Environment {
    pub ringtap: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub sender: Port,
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
    /// Offloads that are on, as ethtool names them; `None` if ethtool is not there.
    pub offloads: Option<Vec<String>>,
}

pub(crate) fn describe(lab: &Lab) -> Environment {
    let uname = rustix::system::uname();
    let info = rustix::system::sysinfo();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.trim()));
    Environment {
        ringtap: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
        cpu: model.unwrap_or("unknown").to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) >> 20,
        sender: port(&lab.sender),
        receiver: port(&lab.receiver),
    }
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
    let Some(found) = found else { return Port { interface: name.clone(), ..Port::default() } };
    Port {
        interface: name.clone(),
        driver: found.driver,
        mtu: found.mtu,
        rx_queues: found.rx_queues,
        speed_mbit: found.speed,
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
    pub(crate) fn text(&self) -> String {
        let port = |port: &Port| {
            let offloads = match &port.offloads {
                None => "unknown".to_owned(),
                Some(list) if list.is_empty() => "none".to_owned(),
                Some(list) => list.join(", "),
            };
            format!(
                "{} ({}, mtu {}, {} RX queue(s), offloads: {offloads})",
                port.interface,
                port.driver.as_deref().unwrap_or("no driver"),
                port.mtu,
                port.rx_queues
            )
        };
        format!(
            "ringtap {}, {}, {} x {}, {} MiB\nfrom {} to {}",
            self.ringtap,
            self.kernel,
            self.cores,
            self.cpu,
            self.memory_mib,
            port(&self.sender),
            port(&self.receiver)
        )
    }
}
