//! Where it is measured: a veth pair between two namespaces without names, a VALE switch, or two ports of this machine.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netdev::{Namespace, interfaces};

use super::args::{Common, Place};

/// An end of the cable.
pub(crate) struct End {
    pub interface: String,
    /// `None`: this process's own.
    namespace: Option<Namespace>,
}

pub(crate) struct Lab {
    pub sender: End,
    pub receiver: End,
    /// Both are ports of a VALE switch, which are made by opening them and end when they are closed.
    pub vale: bool,
}

impl End {
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

impl Lab {
    /// The two ports that are named, or a veth pair, which ends with this value whatever happens.
    pub(crate) fn new(common: &Common) -> Result<Self> {
        if common.lab == Place::Vale {
            capture_netmap::usable().context("--lab vale")?;
            // Switches are the machine's: this process has one of its own.
            let end = |port: &str| End { interface: format!("vale{}:{port}", std::process::id()), namespace: None };
            return Ok(Self { sender: end("s"), receiver: end("r"), vale: true });
        }
        let lab = match (&common.interface, &common.send) {
            (Some(receiver), Some(sender)) => {
                let end = |name: &String| End { interface: name.clone(), namespace: None };
                Self { sender: end(sender), receiver: end(receiver), vale: false }
            }
            _ => Self::veth(common)?,
        };
        for end in [&lab.sender, &lab.receiver] {
            end.inside(|| wait_for_carrier(&end.interface))??;
        }
        Ok(lab)
    }

    fn veth(common: &Common) -> Result<Self> {
        let end = |name: &str| -> Result<End> {
            let namespace = Namespace::new().context("measuring on a veth pair of its own")?;
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
        Ok(Self { sender, receiver, vale: false })
    }
}

/// A carrier comes up to a second late, and what is sent before is lost without a word.
fn wait_for_carrier(name: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let list = interfaces::list()?;
        let Some(interface) = list.iter().find(|i| i.name == name) else {
            return Err(capture::CaptureError::NoSuchInterface { name: name.to_owned() }.into());
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
