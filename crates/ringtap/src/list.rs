//! `ringtap list`: what could be captured, and by what.

use std::io::{self, Write, stdout};

use anyhow::{Context, Result};
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
        "{:<16} {:<6} {:>10} {:>6} {:>7} {:<12} {:<18} notes",
        "interface", "state", "speed", "mtu", "queues", "driver", "address"
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
        let driver = i.driver.as_deref().unwrap_or("-");
        let mut notes = Vec::new();
        if i.default_route {
            notes.push("default route".to_owned());
        }
        if i.loopback {
            notes.push("loopback".to_owned());
        }
        if i.link_type.is_none() {
            notes
                .push(format!("not usable: its frames (ARPHRD {}) are of no kind that ringtap reads", i.hardware_type));
        }
        writeln!(
            out,
            "{:<16} {state:<6} {speed:>10} {:>6} {:>7} {driver:<12} {mac:<18} {}",
            i.name,
            i.mtu,
            i.rx_queues,
            notes.join(", ")
        )?;
    }
    writeln!(out)?;
    for &backend in Backend::ALL {
        match backend.usable() {
            Ok(()) => writeln!(out, "{:<10} usable ({})", backend.name(), backend.what())?,
            Err(error) => writeln!(out, "{:<10} not usable: {error}", backend.name())?,
        }
    }
    match Libpcap::load(None) {
        Ok(libpcap) => writeln!(out, "filters    {} ({})", libpcap.libpcap_version(), libpcap.path().display()),
        Err(error) => writeln!(out, "filters    not usable: {error}"),
    }
}
