//! `ringtap doctor`: settings of interfaces and machine that capturing depends on, what they mean, and what to do.
//!
//! Facts are read (`read`), checked (`interface`, `machine`) and shown (`print`); what is safe to change is changed by way of a journal.

mod change;
mod facts;
mod finding;
mod interface;
mod journal;
mod machine;
mod print;
mod read;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use netdev::interfaces::{self, InterfaceInfo};
use rustix::process::geteuid;

use crate::config::options::Summary;
use crate::{Failure, print};
use change::Live;
use finding::{Finding, Topic, Verdict};
use journal::{Deed, Journal, Outcome};
pub(crate) use read::machine as read_machine;

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Interface to look at; may be given several times [default: all that are up, but loopback]
    #[arg(short = 'i', long = "interface", value_name = "IFACE")]
    pub interfaces: Vec<String>,
    /// Look at these topics only
    #[arg(long, value_enum, value_name = "TOPIC,...", value_delimiter = ',')]
    pub only: Vec<Topic>,
    /// Change what is safe to change, and say what was done: offloads, cores of interrupts, governor, net.core.rmem_max
    #[arg(long)]
    pub fix: bool,
    /// Restore what --fix changed
    #[arg(long, conflicts_with_all = ["fix", "interfaces", "only"])]
    pub undo: bool,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t)]
    pub summary: Summary,
    /// Where --fix writes the old values
    #[arg(long, value_name = "PATH", default_value = journal::DEFAULT, hide = true)]
    pub journal: PathBuf,
}

/// Shows what it found; fails if anything is a problem, or could not be changed.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    if args.undo {
        // Anybody may ask whether there is one.
        let there = fs::exists(&args.journal).unwrap_or(true);
        let undone = || Journal::open(&args.journal)?.undo(&mut Live);
        let deeds = if there { undone().map_err(Failure::Running)? } else { Vec::new() };
        show(&Sight::default(), &deeds, args)?;
        return told(deeds.iter().all(|deed| deed.outcome != Outcome::Failed));
    }
    let mut sight = look(args)?;
    let mut deeds = Vec::new();
    if args.fix {
        let changes: Vec<_> = sight.findings.iter().flat_map(|finding| finding.fix.clone()).collect();
        if !changes.is_empty() {
            let fixed = || Journal::open(&args.journal).context("nothing was changed")?.fix(changes, &mut Live);
            deeds = fixed().map_err(Failure::Running)?;
        }
        // As it is now.
        sight = look(args)?;
    }
    show(&sight, &deeds, args)?;
    let problem = sight.findings.iter().any(|finding| finding.verdict == Verdict::Problem);
    told(!problem && deeds.iter().all(|deed| deed.outcome != Outcome::Failed))
}

fn told(good: bool) -> Result<(), Failure> {
    if good { Ok(()) } else { Err(Failure::Told) }
}

/// What was looked at, and what was found there.
#[derive(Default)]
struct Sight {
    interfaces: Vec<String>,
    findings: Vec<Finding>,
}

fn look(args: &DoctorArgs) -> Result<Sight, Failure> {
    let chosen = chosen(&args.interfaces)?;
    let nics: Vec<_> = chosen.iter().map(read::nic).collect();
    let mut drivers: Vec<String> = chosen.iter().filter_map(|info| info.driver.clone()).collect();
    drivers.sort_unstable();
    drivers.dedup();
    let machine = read::machine(&drivers);
    let queues = nics.iter().map(|nic| nic.queues).fold(0, u32::saturating_add);
    let mut findings: Vec<Finding> = nics.iter().flat_map(|nic| interface::check(nic, &machine)).collect();
    findings.extend(machine::check(&machine, queues));
    findings.retain(|finding| args.only.is_empty() || args.only.contains(&finding.topic));
    Ok(Sight { interfaces: nics.into_iter().map(|nic| nic.name).collect(), findings })
}

fn chosen(names: &[String]) -> Result<Vec<InterfaceInfo>, Failure> {
    let all = interfaces::list().context("cannot list the interfaces").map_err(Failure::Running)?;
    if names.is_empty() {
        return Ok(all.into_iter().filter(|info| info.up && !info.loopback).collect());
    }
    let unknown = |name: &String| !all.iter().any(|info| info.name == *name);
    if let Some(name) = names.iter().find(|name| unknown(name)) {
        return Err(Failure::Setup(anyhow!("interface {name:?} does not exist; `ringtap list` shows those that do")));
    }
    Ok(all.into_iter().filter(|info| names.contains(&info.name)).collect())
}

fn show(sight: &Sight, deeds: &[Deed], args: &DoctorArgs) -> Result<(), Failure> {
    let Sight { interfaces, findings } = sight;
    let text = match (args.summary, args.undo) {
        (Summary::Json, _) => print::json(interfaces, findings, deeds),
        (Summary::Text, true) if deeds.is_empty() => "nothing to undo\n".to_owned(),
        (Summary::Text, true) => print::deeds(deeds, "undid"),
        (Summary::Text, false) => {
            let none = "no interface is up, loopback aside: only the machine was looked at (ringtap list shows the interfaces; ip link set \
                        IFACE up)\n\n";
            let none = if interfaces.is_empty() { none } else { "" };
            let done = if args.fix { print::fixed(deeds, geteuid().is_root()) } else { String::new() };
            format!("{none}{done}{}", print::text(findings))
        }
    };
    print(text.as_bytes()).map_err(Failure::Running)
}
