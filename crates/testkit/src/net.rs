//! Network namespaces and veth pairs, made with the `ip` program of iproute2, and tun devices.

use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::process::{Child, Command, Output, Stdio};

use netdev::Namespace;

use crate::sys::tun;

pub use crate::sys::thread::{cpu_time, process_cpu_time, stay_on_this_core};

/// A network namespace without a name, so that nothing stays behind, not even after a kill: it ends when this value and
/// all programs inside are gone. IPv6 is off inside, so that nobody speaks unasked; the loopback interface is up.
#[derive(Debug)]
pub struct NetNs {
    inner: Namespace,
}

impl NetNs {
    /// A new namespace.
    ///
    /// # Panics
    /// Without the privilege: the tests need root (`CAP_SYS_ADMIN` and `CAP_NET_ADMIN`).
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that needs root would surprise")]
    pub fn new() -> Self {
        let inner = Namespace::new().unwrap_or_else(|e| panic!("{e}. These tests need root."));
        let namespace = Self { inner };
        namespace.enter(|| {
            for scope in ["all", "default"] {
                // Not there if the kernel has no IPv6.
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
            }
        });
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `task` on a new thread inside and returns what it returns; a panic goes on in the caller.
    ///
    /// # Panics
    /// If the namespace cannot be entered, or if `task` panics.
    pub fn enter<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.inner.enter(task).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Starts a program inside.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(&self, mut command: Command) -> Child {
        self.inner.run_inside(&mut command);
        command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
    }

    /// Runs a program inside to its end and returns its output.
    ///
    /// # Panics
    /// If it cannot be started, or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn(command);
        let output = child.wait_with_output().unwrap_or_else(|e| panic!("{program} {arguments:?}: {e}"));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {}: {}: {complaint}", arguments.join(" "), output.status);
        output
    }

    /// `ip` with arguments separated by spaces.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, arguments: &str) {
        self.run("ip", &arguments.split_ascii_whitespace().collect::<Vec<_>>());
    }

    /// Frames that an interface inside has received so far, those dropped not included (proc_net_dev in proc(5)).
    ///
    /// # Panics
    /// If there is no such interface.
    #[must_use]
    pub fn received(&self, interface: &str) -> u64 {
        let table = self.enter(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("/proc is mounted");
        table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':')?.split_whitespace().nth(1))
            .and_then(|count| count.parse().ok())
            .unwrap_or_else(|| panic!("no counter of {interface} in {table}"))
    }

    /// A path to the namespace that other programs can open as long as this value lives.
    #[must_use]
    pub fn path(&self) -> String {
        self.inner.path()
    }
}

/// How a veth pair is made.
#[derive(Clone, Debug)]
pub struct VethOptions {
    /// Receive and transmit queues of each end.
    pub queues: u32,
    /// Octets of the largest packet, without the link-layer header.
    pub mtu: u32,
    /// Addresses of the two ends, of one /24 (IPv4) or /64 (IPv6, which is turned on for it).
    pub addresses: Option<(IpAddr, IpAddr)>,
}

impl Default for VethOptions {
    fn default() -> Self {
        Self { queues: 1, mtu: 1500, addresses: None }
    }
}

/// A cable between two namespaces. It ends with either of them.
#[derive(Debug)]
pub struct Veth;

impl Veth {
    /// Makes a pair that is up at both ends, without offloads: what is sent is what is seen.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn pair(a: &NetNs, name_a: &str, b: &NetNs, name_b: &str, options: &VethOptions) {
        let VethOptions { queues, mtu, .. } = options;
        let shape = format!("mtu {mtu} numrxqueues {queues} numtxqueues {queues}");
        a.ip(&format!("link add {name_a} {shape} type veth peer name {name_b} {shape} netns {}", b.path()));
        let (address_a, address_b) = options.addresses.unzip();
        for (namespace, name, address) in [(a, name_a, address_a), (b, name_b, address_b)] {
            let off =
                ["-K", name, "gro", "off", "gso", "off", "tso", "off", "tx", "off", "rxvlan", "off", "txvlan", "off"];
            namespace.run("ethtool", &off);
            if let Some(address) = address {
                let length = if address.is_ipv4() { 24 } else { 64 };
                if address.is_ipv6() {
                    namespace.enter(|| {
                        let file = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
                        fs::write(&file, "0").unwrap_or_else(|e| panic!("{file}: {e}"));
                    });
                }
                namespace.ip(&format!("address add {address}/{length} dev {name}"));
            }
            namespace.ip(&format!("link set {name} up"));
        }
    }
}

/// A tun device: an interface whose frames are bare IP packets, put there by [`Tun::inject`]. It ends with this value.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl Tun {
    /// `ARPHRD_NONE` of linux/if_arp.h, what a tun device is if nobody changes it; `ARPHRD_PPP`; `ARPHRD_RAWIP`.
    pub const NONE: u16 = 0xfffe;
    /// See [`Self::NONE`].
    pub const PPP: u16 = 512;
    /// See [`Self::NONE`].
    pub const RAWIP: u16 = 519;

    /// A device of this `ARPHRD_` type, down.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(namespace: &NetNs, name: &str, hardware_type: u16) -> Self {
        let file = namespace.enter(|| tun::open(name, hardware_type));
        Self { file: file.unwrap_or_else(|e| panic!("cannot make the tun device {name}: {e}")) }
    }

    /// The interface receives an IP packet. It has to be up.
    ///
    /// # Panics
    /// If the kernel refuses it.
    pub fn inject(&mut self, packet: &[u8]) {
        self.file.write_all(packet).expect("the tun device takes a packet");
    }
}
