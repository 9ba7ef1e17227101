//! Checks of one interface. Pure: facts in, findings out.

use netdev::ethtool::{Channels, Offload, Pause, Rings, Rss};

use super::change::{Change, Target};
use super::facts::{Answer, Machine, Nic, list_of};
use super::finding::{Finding, Topic, Verdict};

/// All checks, in the order of the topics.
pub(crate) fn check(nic: &Nic, machine: &Machine) -> Vec<Finding> {
    let offloads =
        nic.offloads.iter().map(|(which, on)| told(nic, Topic::Offloads, on, |on| offload(nic, *which, *on)));
    let mut found: Vec<Finding> = offloads.flatten().collect();
    found.extend(told(nic, Topic::Pause, &nic.pause, |found| pause(nic, *found)));
    found.extend(told(nic, Topic::Rings, &nic.rings, |found| rings(nic, *found)));
    found.extend(told(nic, Topic::Queues, &nic.channels, |found| queues(nic, *found, machine)));
    found.extend(told(nic, Topic::Rss, &nic.rss, |found| rss(nic, found)));
    found.extend(nic.rss.as_ref().ok().and_then(Option::as_ref).and_then(|found| spread(nic, found)));
    found.extend(irq(nic, machine));
    found.extend(numa(nic, machine));
    found
}

/// Checks the answer, or says that there is none; nothing where the driver has no such thing.
fn told<T>(nic: &Nic, topic: Topic, answer: &Answer<T>, check: impl FnOnce(&T) -> Finding) -> Option<Finding> {
    match answer {
        Ok(value) => value.as_ref().map(check),
        Err(reason) => Some(Finding::unknown(topic, Some(&nic.name), reason)),
    }
}

fn offload(nic: &Nic, which: Offload, on: bool) -> Finding {
    let (name, what) = (&nic.name, which.name());
    let finding = Finding::good(Topic::Offloads, Some(name), format!("{what} {}", if on { "on" } else { "off" }));
    let (verdict, means) = match which {
        Offload::Gro => (
            Verdict::Problem,
            "The kernel merges received segments before they are captured: sizes and counts are not those of the wire.",
        ),
        Offload::Lro | Offload::GroHw => (
            Verdict::Problem,
            "The NIC (or the host of a virtual machine) merges received segments before they are captured: sizes and counts are not those of the wire.",
        ),
        Offload::Tso => (
            Verdict::Advice,
            "What this machine sends is captured before the NIC cuts it into segments. Received frames are not affected; sending costs more without.",
        ),
        Offload::Gso => (
            Verdict::Advice,
            "What this machine sends is captured before the kernel cuts it into segments. Received frames are not affected; sending costs more without.",
        ),
        Offload::RxVlan => (
            Verdict::Advice,
            "VLAN tags are taken out of received frames. --backend afxdp loses them; the others are told the tag beside the frame.",
        ),
        Offload::TxVlan => return finding,
    };
    let finding = finding.means(means);
    if !on {
        return finding;
    }
    if nic.fixed.contains(&which) {
        return finding.but(verdict, format!("{what} off, but the driver does not let it be changed"));
    }
    let finding = finding.but(verdict, format!("{what} off")).command(format!("ethtool -K {name} {what} off"));
    // Not tags: what the other mechanisms show does not get better by it.
    let safe = which != Offload::RxVlan;
    let target = || Target::Offload {
        interface: name.clone(),
        index: nic.index,
        namespace: nic.namespace,
        offload: what.to_owned(),
    };
    finding.fix(safe.then(|| Change { target: target(), to: "off".to_owned() }).into_iter().collect())
}

fn pause(nic: &Nic, pause: Pause) -> Finding {
    let name = &nic.name;
    let word = |on| if on { "on" } else { "off" };
    let finding =
        Finding::good(Topic::Pause, Some(name), format!("rx {} tx {}", word(pause.rx), word(pause.tx))).means(
            "While its ring is full the NIC stops the sender by pause frames (tx), or obeys the other end's (rx): the network is slowed down \
             instead of a loss being counted.",
        );
    let verdict = match (pause.tx, pause.rx) {
        (true, _) => Verdict::Problem,
        (false, true) => Verdict::Advice,
        (false, false) => return finding,
    };
    let autoneg = if pause.autoneg { "autoneg off " } else { "" };
    let finding = finding.but(verdict, "rx off tx off");
    finding.command(format!("ethtool -A {name} {autoneg}rx off tx off   # the link may go down for a moment"))
}

/// Smallest frames a second that 1 Mbit/s carries: 64 octets, preamble and gap.
const FRAMES_PER_MBIT: u64 = 1_000_000 / ((64 + 20) * 8);

fn rings(nic: &Nic, rings: Rings) -> Finding {
    let name = &nic.name;
    let speed = nic.speed.filter(|&mbit| mbit > 0);
    let micros = speed.map(|mbit| u64::from(rings.rx) * 1_000_000 / (u64::from(mbit) * FRAMES_PER_MBIT));
    let holds = micros.map_or_else(String::new, |micros| format!(", {micros} us of smallest frames at line rate"));
    let finding = Finding::good(Topic::Rings, Some(name), format!("rx {} of {}{holds}", rings.rx, rings.rx_max))
        .means("Frames that a queue of the NIC holds while its core is busy; what does not fit is lost in the NIC.");
    if rings.rx >= rings.rx_max {
        return finding;
    }
    // 100 us at 10 Gbit/s are a short delay of the kernel's.
    let short = micros.is_some_and(|micros| micros < 100) && speed >= Some(10_000);
    let verdict = if short { Verdict::Problem } else { Verdict::Advice };
    let finding = finding.but(verdict, format!("rx {}", rings.rx_max));
    finding.command(format!("ethtool -G {name} rx {}   # the link may go down for a moment", rings.rx_max))
}

fn queues(nic: &Nic, channels: Channels, machine: &Machine) -> Finding {
    let name = &nic.name;
    let (kind, now, most) = if channels.combined > 0 {
        ("combined", channels.combined, channels.combined_max)
    } else {
        ("rx", channels.rx, channels.rx_max)
    };
    let near = u32::try_from(machine.near(nic.node).len()).unwrap_or(u32::MAX);
    let finding = Finding::good(Topic::Queues, Some(name), format!("{now} of {most} {kind}"))
        .means("Each receive queue is served by one core, so that traffic of more than one core needs more than one.");
    let wanted = most.min(near);
    if now >= wanted {
        return finding;
    }
    let finding = finding.but(Verdict::Advice, format!("{wanted} {kind}, one for each core near the NIC"));
    finding.command(format!("ethtool -L {name} {kind} {wanted}   # the link may go down for a moment"))
}

/// A key with a period of 16 bits gives both directions of a TCP or UDP flow the same hash (Woo and Park, 2012): addresses and ports may be
/// exchanged, for they are at distances of 32 and 16 bits. One of zeros gives everything the same.
fn symmetric(key: &[u8]) -> bool {
    let Some((pair, rest)) = key.split_first_chunk::<2>() else { return false };
    *pair != [0, 0] && rest.chunks(2).all(|other| pair.starts_with(other))
}

fn rss(nic: &Nic, rss: &Rss) -> Finding {
    let name = &nic.name;
    let means = "Frames go to a queue by a hash. Unless it is symmetric, the two directions of a flow are in different queues, and by --backend \
         afxdp in different workers; --backend afpacket brings them together by itself.";
    if nic.queues <= 1 {
        return Finding::good(Topic::Rss, Some(name), "one queue, so both directions meet").means(means);
    }
    if rss.symmetric || symmetric(&rss.key) {
        return Finding::good(Topic::Rss, Some(name), "symmetric").means(means);
    }
    if rss.key.is_empty() {
        return Finding::unknown(Topic::Rss, Some(name), "the driver does not tell its hash key").means(means);
    }
    let start: Vec<String> = rss.key.iter().take(4).map(|octet| format!("{octet:02x}")).collect();
    let key: Vec<&str> = ["6D", "5A"].into_iter().cycle().take(rss.key.len()).collect();
    Finding::good(Topic::Rss, Some(name), format!("asymmetric key {}:...", start.join(":")))
        .means(means)
        .but(Verdict::Advice, format!("6D:5A repeated, {} octets", rss.key.len()))
        .command(format!("ethtool -X {name} hkey {}", key.join(":")))
}

/// Whether all queues get frames.
fn spread(nic: &Nic, rss: &Rss) -> Option<Finding> {
    let mut used = rss.table.clone();
    used.sort_unstable();
    used.dedup();
    let served = u32::try_from(used.len()).unwrap_or(u32::MAX);
    if served == 0 || served >= nic.queues {
        return None;
    }
    let finding = Finding::good(Topic::Rss, Some(&nic.name), format!("frames to {served} of {} queues", nic.queues))
        .means("Queues that get no frames leave the work to the others.")
        .but(Verdict::Advice, format!("all {} queues", nic.queues));
    Some(finding.command(format!("ethtool -X {} equal {}", nic.name, nic.queues)))
}

fn irq(nic: &Nic, machine: &Machine) -> Option<Finding> {
    let name = &nic.name;
    if nic.irqs.is_empty() {
        return None;
    }
    let mut served = Vec::new();
    for irq in &nic.irqs {
        match &irq.cores {
            Ok(cores) => served.push(cores),
            Err(reason) => return Some(Finding::unknown(Topic::Irq, Some(name), reason)),
        }
    }
    let near = machine.near(nic.node);
    let fair = nic.irqs.len().div_ceil(near.len().max(1));
    let on = |core: u32| served.iter().filter(|cores| ***cores == [core]).count();
    let spread = served.iter().all(|cores| matches!(cores[..], [one] if near.contains(&one) && on(one) <= fair));
    let mut used: Vec<u32> = served.iter().flat_map(|cores| cores.iter().copied()).collect();
    used.sort_unstable();
    used.dedup();
    let present = format!("{} interrupts on cores {}", nic.irqs.len(), list_of(&used));
    let finding = Finding::good(Topic::Irq, Some(name), present)
        .means("The core that serves a queue's interrupt does the kernel's work for it: each should be near the NIC and have its share.");
    if spread {
        return Some(finding);
    }
    let finding = finding.but(Verdict::Advice, format!("one core each, spread over {}", list_of(near)));
    if machine.irqbalance {
        // What it is set to now would not last.
        return Some(finding.command(format!(
            "systemctl disable --now irqbalance && ringtap doctor -i {name} --only irq --fix   # irqbalance moves interrupts itself"
        )));
    }
    let fix = nic.irqs.iter().zip(near.iter().cycle());
    let fix = fix.map(|(irq, core)| Change { target: Target::Irq { number: irq.number }, to: core.to_string() });
    Some(finding.command(format!("ringtap doctor -i {name} --only irq --fix")).fix(fix.collect()))
}

fn numa(nic: &Nic, machine: &Machine) -> Option<Finding> {
    let name = &nic.name;
    // Neither hardware, nor a choice.
    if nic.irqs.is_empty() && nic.node.is_none() {
        return None;
    }
    if machine.nodes.len() <= 1 {
        return Some(Finding::good(Topic::Numa, Some(name), "the machine has one node"));
    }
    let Some(node) = nic.node else {
        return Some(Finding::unknown(Topic::Numa, Some(name), "the firmware does not tell the NIC's node"));
    };
    let near = machine.near(Some(node));
    let finding = Finding::good(Topic::Numa, Some(name), format!("NIC on node {node}, ringtap on its cores"))
        .means("Frames that are read by cores of another node cross the link between the nodes.");
    if machine.allowed.iter().all(|core| near.contains(core)) {
        return Some(finding);
    }
    let mut finding = finding.but(Verdict::Advice, format!("ringtap on cores {}", list_of(near)));
    finding.present = format!("NIC on node {node}, ringtap on cores {}", list_of(&machine.allowed));
    Some(finding.command(format!("numactl --cpunodebind={node} --membind={node} ringtap run -i {name}")))
}
