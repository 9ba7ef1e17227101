//! Checks of the machine and of this process. Pure: facts in, findings out.

use super::change::{Change, Target};
use super::facts::{Machine, Module};
use super::finding::{Finding, Topic, Verdict};

/// Memory of each queue of AF_XDP unless told otherwise.
const QUEUE_MEMORY: u64 = 32 << 20;
/// What a packet socket without a ring asks for: the kernel doubles it.
const RECEIVE_BUFFER: u64 = 16 << 20;
/// Modules of mechanisms; the others are drivers.
pub(crate) const MECHANISMS: [&str; 2] = ["netmap", "pf_ring"];
const HUGE_PAGE: u64 = 2 << 20;

/// All checks, in the order of the topics. `queues`: receive queues of the interfaces that are looked at.
pub(crate) fn check(machine: &Machine, queues: u32) -> Vec<Finding> {
    let memory = u64::from(queues.max(1)) * QUEUE_MEMORY;
    let mut found = vec![capabilities(machine), memlock(machine, memory), rmem(machine)];
    found.extend(hugepages(machine, memory));
    found.extend([governor(machine), clock(machine), modules(machine)]);
    found
}

fn capabilities(machine: &Machine) -> Finding {
    const NEEDED: [&str; 4] = ["CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_BPF", "CAP_IPC_LOCK"];
    let all = match &machine.capabilities {
        Ok(all) => all,
        Err(reason) => return Finding::unknown(Topic::Capabilities, None, reason),
    };
    let present = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    let finding = Finding::good(Topic::Capabilities, None, present).means(
        "Capturing needs CAP_NET_RAW; --backend afxdp CAP_NET_ADMIN and CAP_BPF, too, and CAP_IPC_LOCK for memory past the limit; --fix needs root.",
    );
    let missing: Vec<&str> = NEEDED.into_iter().filter(|needed| !machine.has(needed)).collect();
    let verdict = match missing.first() {
        None => return finding,
        Some(&"CAP_NET_RAW") => Verdict::Problem,
        Some(_) => Verdict::Advice,
    };
    let finding = finding.but(verdict, format!("{}, too", missing.join(", ")));
    finding.command("sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep $(command -v ringtap)")
}

fn memlock(machine: &Machine, memory: u64) -> Finding {
    let present = machine.memlock.map_or_else(|| "no limit".to_owned(), |octets| format!("{} KiB", octets >> 10));
    let exempt = machine.has("CAP_IPC_LOCK");
    let present = if exempt { format!("{present}, and CAP_IPC_LOCK lifts it") } else { present };
    let finding = Finding::good(Topic::Memlock, None, present).means(
        "Memory that may not be swapped: --backend afxdp locks 32 MiB for each queue. The other mechanisms need none.",
    );
    if exempt || machine.memlock.is_none_or(|octets| octets >= memory) {
        return finding;
    }
    let finding = finding.but(Verdict::Advice, format!("{} MiB", memory >> 20));
    finding.command("ulimit -l unlimited   # in a systemd unit: LimitMEMLOCK=infinity")
}

fn rmem(machine: &Machine) -> Finding {
    let octets = match &machine.rmem_max {
        Ok(octets) => *octets,
        Err(reason) => return Finding::unknown(Topic::Rmem, None, reason),
    };
    let finding = Finding::good(Topic::Rmem, None, format!("net.core.rmem_max = {octets}"))
        .means("The largest buffer of a socket: what --backend packet and other programs hold while they are busy.");
    if octets >= RECEIVE_BUFFER {
        return finding;
    }
    finding
        .but(Verdict::Advice, format!("at least {RECEIVE_BUFFER}"))
        .command(format!("sysctl -w net.core.rmem_max={RECEIVE_BUFFER}"))
        .fix(vec![Change { target: Target::RmemMax, to: RECEIVE_BUFFER.to_string() }])
}

fn hugepages(machine: &Machine, memory: u64) -> Option<Finding> {
    let (all, free) = match &machine.hugepages {
        Ok(Some(pages)) => *pages,
        Ok(None) => return None,
        Err(reason) => return Some(Finding::unknown(Topic::Hugepages, None, reason)),
    };
    let wanted = memory.div_ceil(HUGE_PAGE);
    let finding = Finding::good(Topic::Hugepages, None, format!("{free} of {all} pages of 2 MiB are free"))
        .means("Needed by --backend afxdp with --huge-pages only. They are taken from the memory of everything else, so --fix does not.");
    if free >= wanted {
        return Some(finding);
    }
    let finding = finding.but(Verdict::Advice, format!("{wanted} free, for --huge-pages"));
    Some(finding.command(format!("sysctl -w vm.nr_hugepages={}", all - free.min(all) + wanted)))
}

fn governor(machine: &Machine) -> Finding {
    const WANTED: &str = "performance";
    let means = "A core that sleeps or runs slowly is late when a burst begins.";
    if machine.governors.is_empty() {
        return Finding::good(Topic::Governor, None, "the kernel does not scale frequencies here").means(means);
    }
    let mut names: Vec<&str> = machine.governors.iter().map(|(_, name)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let finding = Finding::good(Topic::Governor, None, names.join(", ")).means(means);
    let other = machine.governors.iter().filter(|(_, name)| name != WANTED);
    let fix: Vec<Change> =
        other.map(|(core, _)| Change { target: Target::Governor { core: *core }, to: WANTED.to_owned() }).collect();
    if fix.is_empty() {
        return finding;
    }
    finding.but(Verdict::Advice, WANTED).command("cpupower frequency-set -g performance").fix(fix)
}

fn clock(machine: &Machine) -> Finding {
    const PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let clock = match &machine.clock {
        Ok(clock) => clock,
        Err(reason) => return Finding::unknown(Topic::Clock, None, reason),
    };
    let finding = Finding::good(Topic::Clock, None, &clock.current).means(
        "Every frame gets a time from it. Only tsc, and a hypervisor's own, can be read without leaving the processor.",
    );
    let verdict = match clock.current.as_str() {
        // arm64's and RISC-V's own are as good.
        "tsc" | "arch_sys_counter" | "riscv_clocksource" => return finding,
        "kvm-clock" | "hyperv_clocksource_tsc_page" | "xen" => Verdict::Advice,
        _ => Verdict::Problem,
    };
    let finding = finding.but(verdict, "tsc");
    if clock.available.iter().any(|name| name == "tsc") {
        finding.command(format!("echo tsc > {PATH}"))
    } else {
        let mut finding = finding;
        finding.present.push_str(" (the kernel does not offer tsc here)");
        finding
    }
}

fn modules(machine: &Machine) -> Finding {
    let modules = machine.modules.iter().map(|(name, module)| match module {
        // A driver that is at work and no module is part of the kernel.
        Module::Absent if MECHANISMS.contains(&name.as_str()) => format!("{name} not loaded"),
        Module::Absent => format!("{name} built in"),
        Module::Loaded { version: Some(version) } => format!("{name} {version}"),
        Module::Loaded { version: None } => format!("{name} loaded"),
    });
    let present: Vec<String> = [format!("Linux {}", machine.kernel)].into_iter().chain(modules).collect();
    Finding::good(Topic::Modules, None, present.join(", "))
        .means("netmap and pf_ring are capture mechanisms of their own, by modules that no kernel brings along. afpacket, afxdp and pcap do without.")
}
