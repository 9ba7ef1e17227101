//! `ringtap list`: what could be captured, and by what.

use std::io::{self, Write, stdout};

use anyhow::{Context, Result};
use capture::CaptureError;
use capture_pcap::Libpcap;
use netdev::interfaces::{self, InterfaceInfo};

use crate::backends::Backend;

pub(crate) fn list() -> Result<()> {
    let all = interfaces::list().context("cannot list the interfaces")?;
    match write(&mut stdout().lock(), &all) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

fn write(out: &mut impl Write, all: &[InterfaceInfo]) -> io::Result<()> {
    writeln!(
        out,
        "{:<16} {:<6} {:>10} {:>6} {:>7} {:>4} {:<12} {:<18} notes",
        "interface", "state", "speed", "mtu", "queues", "node", "driver", "address"
    )?;
    for i in all {
        let state = if i.running {
            "up"
        } else if i.up {
            "no link"
        } else {
            "down"
        };
        let speed = i.speed.map_or_else(|| "-".to_owned(), |mbit| format!("{mbit} Mb/s"));
        let mac = i.mac.map_or_else(|| "-".to_owned(), |mac| mac.map(|octet| format!("{octet:02x}")).join(":"));
        let node = i.numa_node.map_or_else(|| "-".to_owned(), |node| node.to_string());
        let driver = i.driver.as_deref().unwrap_or("-");
        let mut notes = Vec::new();
        if i.default_route {
            notes.push("default route".to_owned());
        }
        if i.loopback {
            notes.push("loopback".to_owned());
        }
        if i.wireless {
            notes.push("wireless: shows what this machine sends and receives only".to_owned());
        }
        writeln!(
            out,
            "{:<16} {state:<6} {speed:>10} {:>6} {:>7} {node:>4} {driver:<12} {mac:<18} {}",
            i.name,
            i.mtu,
            i.rx_queues,
            notes.join(", ")
        )?;
    }
    let usable: Vec<_> = Backend::ALL.iter().map(|&backend| (backend, backend.usable())).collect();
    writeln!(out, "\n{:<16} captured by", "interface")?;
    for i in all {
        writeln!(out, "{:<16} {}", i.name, captured_by(i, &usable))?;
    }
    writeln!(out)?;
    for (backend, usable) in &usable {
        match usable {
            Ok(()) => writeln!(out, "{:<10} usable ({})", backend.name(), backend.what())?,
            Err(error) => writeln!(out, "{:<10} not usable: {error}", backend.name())?,
        }
    }
    match Libpcap::load(None) {
        Ok(libpcap) => writeln!(out, "filters    {} ({})", libpcap.libpcap_version(), libpcap.path().display()),
        Err(error) => writeln!(out, "filters    not usable: {error}"),
    }
}

/// The mechanisms that can be used on an interface, and why the others cannot.
fn captured_by(interface: &InterfaceInfo, usable: &[(Backend, Result<(), CaptureError>)]) -> String {
    let (mut by, mut not) = (Vec::new(), Vec::new());
    for (backend, usable) in usable {
        match (backend.fits(interface), usable) {
            (Ok(()), Ok(())) => by.push(backend.name()),
            (Ok(()), Err(_)) => not.push((backend.name(), "see below".to_owned())),
            (Err(why), _) => not.push((backend.name(), why)),
        }
    }
    let mut text = if by.is_empty() { "nothing".to_owned() } else { by.join(", ") };
    // The same reason is said once.
    for same in not.chunk_by(|(_, a), (_, b)| a == b) {
        let names: Vec<&str> = same.iter().map(|(name, _)| *name).collect();
        text = format!("{text}; not by {}: {}", names.join(", "), same[0].1);
    }
    text
}
