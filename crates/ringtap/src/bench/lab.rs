//! Where it is measured: a veth pair between two namespaces without names, a VALE switch, or two ports of this machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use capture::CaptureError;
use netdev::{Namespace, interfaces};

use super::args::{Common, Place};
use crate::backends::is_modules_own;

/// An end of the cable.
pub(crate) struct End {
    pub interface: String,
    /// `None`: this process's own.
    namespace: Option<Namespace>,
}

pub(crate) struct Lab {
    pub sender: End,
    pub receiver: End,
    /// Not the system's.
    pub libpcap: Option<PathBuf>,
    /// Both are ports of a VALE switch, which are made by opening them and end when they are closed.
    pub vale: bool,
}

impl End {
    /// An interface that is there already.
    pub(crate) fn of_this_namespace(interface: &str) -> Self {
        Self { interface: interface.to_owned(), namespace: None }
    }

    /// Runs `task` where the interface is.
    pub(crate) fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T> {
        match &self.namespace {
            Some(namespace) => Ok(namespace.enter(task)?),
            None => Ok(task()),
        }
    }

    /// `command` will run where the interface is.
    pub(crate) fn run_inside(&self, command: &mut Command) {
        if let Some(namespace) = &self.namespace {
            namespace.run_inside(command);
        }
    }

    /// A program with arguments separated by spaces, to its end.
    fn call(&self, line: &str) -> Result<()> {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null());
        self.run_inside(&mut command);
        let output = command.output().with_context(|| format!("cannot run {program}: is it installed?"))?;
        if !output.status.success() {
            bail!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// How often each end had got or lost its carrier; `None` where nobody tells.
#[derive(Debug, PartialEq)]
pub(crate) struct Carriers([Option<u32>; 2]);

impl Lab {
    /// To be compared with a later look. Both ends have a carrier now, or it is an error.
    pub(crate) fn carriers(&self) -> Result<Carriers> {
        for end in [&self.sender, &self.receiver].into_iter().filter(|end| !is_modules_own(&end.interface)) {
            end.inside(|| wait_for_carrier(&end.interface))??;
        }
        self.carrier_changes()
    }

    /// An error if a link was down since: what is missing then is no matter of the rate.
    pub(crate) fn kept_carriers(&self, before: &Carriers) -> Result<()> {
        let now = self.carrier_changes()?;
        for (end, (before, now)) in [&self.sender, &self.receiver].iter().zip(before.0.iter().zip(now.0)) {
            if *before != now {
                bail!("the link of {} went down during the run: look at cable and switch", end.interface);
            }
        }
        Ok(())
    }

    fn carrier_changes(&self) -> Result<Carriers> {
        let of = |end: &End| -> Result<Option<u32>> {
            if is_modules_own(&end.interface) {
                return Ok(None); // nobody tells
            }
            Ok(end.inside(|| interfaces::carrier_changes(&end.interface))??)
        };
        Ok(Carriers([of(&self.sender)?, of(&self.receiver)?]))
    }

    /// The two ports that are named, or a veth pair, which ends with this value whatever happens.
    pub(crate) fn new(common: &Common) -> Result<Self> {
        if common.lab == Place::Vale {
            if common.libpcap.is_some() {
                bail!("--libpcap: has no effect here; ports of a VALE switch are netmap's");
            }
            capture_netmap::usable().context("--lab vale")?;
            // Switches are the machine's: this process has one of its own.
            let end = |port: &str| End::of_this_namespace(&format!("vale{}:{port}", std::process::id()));
            return Ok(Self { sender: end("s"), receiver: end("r"), libpcap: None, vale: true });
        }
        let lab = match (&common.interface, &common.send) {
            (Some(receiver), Some(sender)) => {
                let (sender, receiver) = (End::of_this_namespace(sender), End::of_this_namespace(receiver));
                Self { sender, receiver, libpcap: common.libpcap.clone(), vale: false }
            }
            _ => Self::veth(common)?,
        };
        lab.carriers()?;
        Ok(lab)
    }

    fn veth(common: &Common) -> Result<Self> {
        let end = |name: &str| -> Result<End> {
            let namespace = Namespace::new().map_err(|error| match error {
                // Granted to this file they are not ip's, ethtool's, or the other programs'.
                CaptureError::Permission { action, capability, .. } => {
                    anyhow!("{action} needs {capability}, for the programs that are called as well: run as root")
                }
                error => anyhow!(error),
            });
            let namespace = namespace.context("measuring on a veth pair of its own")?;
            Ok(End { interface: name.to_owned(), namespace: Some(namespace) })
        };
        let (sender, receiver) = (end("rtbench0")?, end("rtbench1")?);
        let path = receiver.namespace.as_ref().map(Namespace::path).unwrap_or_default();
        let mtu = common.length.get().max(1514) - 14;
        let queues = common.queues.map_or(1, |queues| queues.get());
        let shape = format!("mtu {mtu} numrxqueues {queues} numtxqueues {queues}");
        sender.call(&format!("ip link add rtbench0 {shape} type veth peer name rtbench1 {shape} netns {path}"))?;
        for end in [&sender, &receiver] {
            // Nobody speaks unasked, and what is sent is what is seen. A kernel without IPv6 has nothing to switch off.
            let _ = end.inside(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"));
            let name = &end.interface;
            if let Err(error) = end.call(&format!("ethtool -K {name} gro off gso off tso off tx off")) {
                tracing::warn!("offloads of the veth pair stay as they are: {error:#}");
            }
            end.call(&format!("ip link set {name} up"))?;
        }
        Ok(Self { sender, receiver, libpcap: common.libpcap.clone(), vale: false })
    }
}

/// A carrier comes up to a second late, and what is sent before is lost without a word.
fn wait_for_carrier(name: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let list = interfaces::list()?;
        let Some(interface) = list.iter().find(|i| i.name == name) else {
            return Err(CaptureError::NoSuchInterface { name: name.to_owned() }.into());
        };
        if interface.running {
            thread::sleep(Duration::from_millis(20)); // the queueing discipline comes a moment later
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(5) {
            bail!("{name} has no carrier: ip link set {name} up, and is the cable in?");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
