//! What the checks look at: values only, so that tests can make them up.

use netdev::ethtool::{Channels, Offload, Pause, Rings, Rss};

/// What the system answered: nothing if it does not have such a thing, an error if it did not tell.
pub(crate) type Answer<T> = Result<Option<T>, String>;

/// An interface.
#[derive(Clone, Debug)]
pub(crate) struct Nic {
    pub name: String,
    pub index: i32,
    /// The network namespace, as the inode of its file.
    pub namespace: u64,
    /// Mbit/s.
    pub speed: Option<u32>,
    pub queues: u32,
    pub node: Option<u32>,
    pub offloads: Vec<(Offload, Answer<bool>)>,
    /// Those that the driver does not let be changed.
    pub fixed: Vec<Offload>,
    pub pause: Answer<Pause>,
    pub rings: Answer<Rings>,
    pub channels: Answer<Channels>,
    pub rss: Answer<Rss>,
    pub irqs: Vec<Irq>,
}

/// An interrupt, and the cores that serve it.
#[derive(Clone, Debug)]
pub(crate) struct Irq {
    pub number: u32,
    pub cores: Result<Vec<u32>, String>,
}

/// All that is not of one interface.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// NUMA nodes and their cores.
    pub nodes: Vec<(u32, Vec<u32>)>,
    /// Cores that are online.
    pub cores: Vec<u32>,
    /// Cores that this process may use.
    pub allowed: Vec<u32>,
    pub irqbalance: bool,
    pub capabilities: Result<Vec<String>, String>,
    /// Octets; `None` for no limit.
    pub memlock: Option<u64>,
    pub rmem_max: Result<u64, String>,
    /// Pages of 2 MiB, all and free.
    pub hugepages: Answer<(u64, u64)>,
    /// The governor of each core that has one.
    pub governors: Vec<(u32, String)>,
    pub clock: Result<Clock, String>,
    pub kernel: String,
    /// Modules of mechanisms and of the NICs, and their versions where they have one.
    pub modules: Vec<(String, Module)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    Absent,
    Loaded { version: Option<String> },
}

#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub current: String,
    pub available: Vec<String>,
}

impl Machine {
    /// The cores near a NIC: those of its node, or all.
    pub(crate) fn near(&self, node: Option<u32>) -> &[u32] {
        let found = self.nodes.iter().find(|(number, cores)| Some(*number) == node && !cores.is_empty());
        found.map_or(&self.cores, |(_, cores)| cores)
    }

    pub(crate) fn has(&self, capability: &str) -> bool {
        self.capabilities.as_ref().is_ok_and(|all| all.iter().any(|has| has == capability))
    }
}

/// A list of cores as the kernel writes it: `0-3,8`. What is no number is left out.
pub(crate) fn cores_of(text: &str) -> Vec<u32> {
    let ranges = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// The same, written.
pub(crate) fn list_of(cores: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(core) => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let text = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Facts that nobody read: a machine and a NIC on which all is well.
#[cfg(test)]
pub(crate) mod made_up {
    use super::*;

    /// Two nodes of four cores each.
    pub(crate) fn machine() -> Machine {
        Machine {
            nodes: vec![(0, vec![0, 1, 2, 3]), (1, vec![4, 5, 6, 7])],
            cores: (0..8).collect(),
            allowed: vec![4, 5, 6, 7],
            irqbalance: false,
            capabilities: Ok(["CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_BPF", "CAP_IPC_LOCK"].map(str::to_owned).to_vec()),
            memlock: Some(8 << 20),
            rmem_max: Ok(64 << 20),
            hugepages: Ok(Some((256, 256))),
            governors: (0..8).map(|core| (core, "performance".to_owned())).collect(),
            clock: Ok(Clock { current: "tsc".to_owned(), available: vec!["tsc".to_owned(), "hpet".to_owned()] }),
            kernel: "6.1.0".to_owned(),
            modules: vec![("netmap".to_owned(), Module::Absent)],
        }
    }

    /// 10 Gbit/s on node 1.
    pub(crate) fn nic() -> Nic {
        use Offload::{Gro, Gso, Lro, RxVlan, Tso};
        Nic {
            name: "eth2".to_owned(),
            index: 4,
            namespace: 1,
            speed: Some(10_000),
            queues: 4,
            node: Some(1),
            offloads: [Gro, Lro, Tso, Gso, RxVlan].map(|offload| (offload, Ok(Some(false)))).to_vec(),
            fixed: Vec::new(),
            pause: Ok(Some(Pause { autoneg: false, rx: false, tx: false })),
            rings: Ok(Some(Rings { rx: 4096, rx_max: 4096, tx: 512, tx_max: 4096 })),
            channels: Ok(Some(Channels { rx: 0, combined: 4, rx_max: 0, combined_max: 16 })),
            rss: Ok(Some(Rss { key: [0x6d, 0x5a].repeat(20), table: vec![0, 1, 2, 3], symmetric: false })),
            irqs: (0..4).map(|n| Irq { number: 40 + n, cores: Ok(vec![4 + n]) }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_and_written() {
        for (text, cores) in [("0-3,8\n", vec![0, 1, 2, 3, 8]), ("5", vec![5]), ("", vec![])] {
            assert_eq!(cores_of(text), cores);
            assert_eq!(list_of(&cores), text.trim());
        }
    }
}
